"""The admin API's OpenAPI 3.1 document, made from the route table."""

from __future__ import annotations

from functools import cache

from tlsidecar import __version__
from tlsidecar.admin.access import Access
from tlsidecar.admin.api import Parameter, Route
from tlsidecar.admin.messages import (
    ERROR_CODES,
    EVENT_STREAM,
    JSON,
    MAX_DRAIN_S,
    MAX_GENERATION_DRAIN_S,
    MAX_IDENTITY_CHARACTERS,
    PLAIN_TEXT,
    REQUEST_BODY_BYTES,
)
from tlsidecar.api.denials import LONGEST_DENIAL_S
from tlsidecar.api.replies import Error
from tlsidecar.api.schema import TEXT, Schema, reference, schemas
from tlsidecar.api.words import LOG_LEVELS
from tlsidecar.outcomes import Reason, Side, Stage

# The words of fields whose vocabulary is the data plane's.
_VOCABULARIES = {"Refusal.side": Side, "Refusal.stage": Stage, "Refusal.reason": Reason}

_EXPECTED: Schema = {
    "type": "integer",
    "minimum": 0,
    "description": "connections that this is expected to touch: refused (409) where it is off by more than a tenth",
}

BODIES: dict[str, Schema] = {
    "DrainRequest": {
        "type": "object",
        "properties": {
            "timeout_s": {"type": "number", "minimum": 0, "maximum": MAX_DRAIN_S},
            "expected": _EXPECTED,
        },
        "additionalProperties": False,
    },
    "DrainGenerationsRequest": {
        "type": "object",
        "properties": {
            "older_than": {"type": "integer", "minimum": 1, "description": "a generation; by default the one in use"},
            "own_identity": {"type": "string", "description": "of our identity of this name; by default of each"},
            "timeout_s": {"type": "number", "minimum": 0, "maximum": MAX_GENERATION_DRAIN_S},
            "expected": _EXPECTED,
        },
        "additionalProperties": False,
    },
    "DenialRequest": {
        "type": "object",
        "properties": {
            "identity": {"type": "string", "maxLength": MAX_IDENTITY_CHARACTERS},
            "for_s": {"type": "number", "minimum": 1, "maximum": LONGEST_DENIAL_S},
            "expected": _EXPECTED,
        },
        "required": ["identity", "for_s"],
        "additionalProperties": False,
    },
    "RotateRequest": {
        "type": "object",
        "properties": {"identity": TEXT},
        "additionalProperties": False,
    },
    "LogLevelRequest": {
        "type": "object",
        "properties": {"level": {"type": "string", "enum": list(LOG_LEVELS)}},
        "required": ["level"],
        "additionalProperties": False,
    },
}


@cache
def document(routes: tuple[Route, ...]) -> Schema:
    """The whole document for these routes. The caller may not change it."""
    paths: dict[str, dict[str, Schema]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    replies = [route.reply for route in routes if isinstance(route.reply, type)]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tlsidecar admin API",
            "version": __version__,
            "description": "Served on a Unix socket to its owner and root. Requests with Origin or Referer, or with a "
            f"Host other than localhost, are refused; a request body is JSON of at most {REQUEST_BODY_BYTES} bytes.",
        },
        "servers": [{"url": "http://localhost"}],
        "paths": paths,
        "components": {
            "schemas": schemas([Error, *replies], _VOCABULARIES) | BODIES,
            "responses": {
                "Error": {
                    "description": f"Refused: {', '.join(dict.fromkeys(ERROR_CODES.values()))}",
                    "content": {JSON: {"schema": reference("Error")}},
                }
            },
        },
    }


def _operation(route: Route) -> Schema:
    content = _content(route)
    responses: Schema = {str(route.status): {"description": route.summary, "content": content}}
    for status in route.other_statuses:
        described: Schema = {"description": ERROR_CODES[status]}
        described["content"] = content if route.reply == PLAIN_TEXT else {JSON: {"schema": reference("Error")}}
        responses[str(status)] = described
    responses["default"] = {"$ref": "#/components/responses/Error"}
    operation: Schema = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "tags": [route.access.name.lower()],
        "responses": responses,
    }
    parameters = [_path_parameter(name, route.path) for name in _names_in(route.path)]
    parameters += [_query_parameter(parameter) for parameter in route.parameters]
    if route.reply == EVENT_STREAM:
        meaning = "the sequence number to resume after"
        parameters.append({"name": "Last-Event-ID", "in": "header", "description": meaning, "schema": TEXT})
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        operation["requestBody"] = {"content": {JSON: {"schema": reference(route.body)}}}
    if route.access is Access.CONTROL:
        operation["description"] = "On the control socket only; leaves an audit line."
    return operation


def _content(route: Route) -> Schema:
    if isinstance(route.reply, type):
        return {JSON: {"schema": reference(route.reply.__name__)}}
    return {route.reply.partition(";")[0]: {"schema": {"type": "object"} if route.reply == JSON else TEXT}}


def _operation_id(route: Route) -> str:
    words = route.path.removeprefix("/v1").replace(".json", "").replace("{", "").replace("}", "")
    return "_".join([route.method.lower(), *words.replace("-", "_").strip("/").split("/")])


def _names_in(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _path_parameter(name: str, path: str) -> Schema:
    schema: Schema = dict(TEXT) if path.startswith("/v1/refusals/") else {"type": "integer"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameter(parameter: Parameter) -> Schema:
    schema: Schema = {"type": parameter.kind}
    if parameter.values:
        schema["enum"] = list(parameter.values)
    return {"name": parameter.name, "in": "query", "description": parameter.meaning, "schema": schema}
