"""Manifests as text: each document that changes is written anew with its comments, every other stays as it is."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence
from dataclasses import field
from itertools import pairwise
from typing import Any

from tlsidecar.inject.plan import InjectError
from tlsidecar.inject.pod import Tree
from tlsidecar.lazy_dataclass import dataclass

# Where in each kind the pod template is.
_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}

# YAML 1.2 section 9.1.2: at the start of a line these can be nothing but a document's mark, in a scalar neither.
_DOCUMENT_MARK = re.compile(r"^(?:---(?=[\s]|$).*|\.\.\.\s*)$", re.MULTILINE)

Change = Callable[[Tree, str], bool]


@dataclass(slots=True)
class Changed:
    """The new text, and the workloads that were changed and that were left as they are, as ``Kind/name``."""

    text: str
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


def apply(text: str, change: Change) -> Changed:
    """``change`` is given every pod template with its workload's name. Raises :class:`InjectError`, which names the
    document and the line, and :class:`ImportError` where ruamel.yaml is missing."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.width = 1 << 20  # long lines stay long
    result = Changed("")
    parts: list[str] = []
    for number, (line, document) in enumerate(_documents(text), start=1):
        yaml.map_indent, yaml.sequence_indent, yaml.sequence_dash_offset = _indentation(document)
        place = f"document {number}, line {line}"
        if not _holds_something(document):
            parts.append(document)
            continue
        try:
            tree = yaml.load(document)
        except (YAMLError, ValueError, RecursionError) as error:
            raise InjectError(f"{place}: not YAML: {_first_line(error)}") from None
        if tree is None:
            parts.append(document)
            continue
        if not isinstance(tree, MutableMapping):
            raise InjectError(f"{place}: not a Kubernetes object: a mapping with a kind is expected")
        before = len(result.changed)
        for workload, name, template in templates(tree, place):
            (result.changed if change(template, name) else result.unchanged).append(workload)
        if len(result.changed) == before:
            parts.append(document)
            continue
        written = io.StringIO()
        yaml.dump(tree, written)
        parts.append(_with_marks_of(document, written.getvalue()))
    result.text = "".join(parts)
    return result


def templates(tree: Tree, place: str = "") -> Iterator[tuple[str, str, Tree]]:
    """Every pod template in an object, with what holds it (``Kind/name``) and that one's name."""
    kind = tree.get("kind")
    if not isinstance(kind, str):
        raise InjectError(f"{place}: not a Kubernetes object: it has no kind")
    if kind.endswith("List") and isinstance(tree.get("items"), MutableSequence):
        for item in tree["items"]:
            if not isinstance(item, MutableMapping):
                raise InjectError(f"{place}: {kind}: an item is not a mapping")
            yield from templates(item, place)
        return
    path = _TEMPLATES.get(kind)
    if path is None:
        return
    metadata = tree.get("metadata")
    named = metadata if isinstance(metadata, MutableMapping) else {}
    name = str(named.get("name") or named.get("generateName") or "").rstrip("-")
    if not name:
        raise InjectError(f"{place}: {kind}: it has no name")
    found: Any = tree
    for key in path:
        found = found.get(key)
        if not isinstance(found, MutableMapping):
            raise InjectError(f"{place}: {kind}/{name}: there is no pod template in it ({'.'.join(path)})")
    yield f"{kind}/{name}", name, found


def _documents(text: str) -> Iterator[tuple[int, str]]:
    """Each document with the line it begins on. The mark belongs to the document that it begins; one that only ends
    a document (``...``) to that. Put together again they are the text."""
    starts = [0, *(match.start() for match in _DOCUMENT_MARK.finditer(text) if match[0].startswith("---")), len(text)]
    line = 1
    for start, end in pairwise(starts):
        document = text[start:end]
        if document:
            yield line, document
        line += document.count("\n")


def _holds_something(document: str) -> bool:
    """Whether there is more than marks, comments and directives."""
    for line in _DOCUMENT_MARK.sub("", document).splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith(("#", "%")):
            return True
    return "--- " in document


def _with_marks_of(document: str, written: str) -> str:
    """The library leaves the mark at the start away where the document had nothing else on it."""
    mark = re.match(r"---[ \t]*(?:#.*)?\n", document)
    if mark is not None and not written.startswith("---"):
        return mark[0] + written
    return written


def _indentation(document: str) -> tuple[int, int, int]:
    """How mappings and lists are indented here, so that a changed document keeps its looks: two, and the dashes of a
    list either under their key or two further in."""
    match = re.search(r"^( *)[^\s#-][^\n]*:[ \t]*(?:#[^\n]*)?\n(?:[ \t]*(?:#[^\n]*)?\n)*( *)- ", document, re.MULTILINE)
    indented = match is not None and len(match[2]) > len(match[1])
    return (2, 4, 2) if indented else (2, 2, 0)


def _first_line(error: Exception) -> str:
    problem = getattr(error, "problem", None) or str(error) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1} of it)" if mark is not None else ""
    return f"{str(problem).splitlines()[0]}{where}"
