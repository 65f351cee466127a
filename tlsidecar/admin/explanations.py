"""The admin API's calls that say why: of a refusal, a connection, a certificate in hand."""

from __future__ import annotations

from tlsidecar import outcomes
from tlsidecar.admin import views
from tlsidecar.admin.api import Api
from tlsidecar.admin.explaining import asked_about, explained, unexplained
from tlsidecar.admin.messages import AdminRequest, ApiError, Reply, whole_number
from tlsidecar.admin.parameters import connection_id_of
from tlsidecar.api.encode import encoded
from tlsidecar.api.explanations import Explanation, ExplanationReply, RefusalReply, from_text
from tlsidecar.control.interface import Control
from tlsidecar.explain.judging import Asked, CannotAsk
from tlsidecar.observe.refusals import KEPT_CHAINS
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Mode

# What is judged again for an explanation, beside what is wrong with a chain.
_JUDGED_AGAIN = (
    Reason.NOT_ALLOWED,
    Reason.NOT_EXPECTED,
    Reason.ROUTE_DENIED,
    Reason.BAD_PATH,
    Reason.IDENTITY_DENIED,
)
# These are of the verification, but not of the chain.
_NOT_OF_THE_CHAIN = (Reason.BAD_SIGNATURE, Reason.NO_CERTIFICATE, Reason.NO_CERTIFICATE_REQUEST)


async def refusal(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/refusals/{id}``: by its id, r17, or its number alone; or the newest of a connection, c42. 404 when it
    is kept no more."""
    text = request.path_values["id"]
    number = whole_number(text[1:] if text[:1] in ("r", "c") else text)
    if number is None:
        raise ApiError(400, "a refusal's id is r and its number, as in r17")
    control = api.control
    await control.caught_up()
    log = control.refusals
    numbered = log.of_connection(number) if text.startswith("c") else log.find(number)
    if numbered is None:
        raise ApiError(404, f"no refusal {text} is kept")
    number, found = numbered
    record = views.refusal(number, found)
    return api.json_reply(encoded(RefusalReply(control.clock.now(), record, of_refusal(control, found))))


async def connection(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/connections/{id}/explanation``: its peer, judged again by the rules and the trust of now. 404 once it
    is closed."""
    connection_id = connection_id_of(request)
    control = api.control
    detail = await control.connection(connection_id)
    if detail is None:
        raise ApiError(404, f"no connection {connection_id}")
    name = detail.record.listener
    if not detail.chain:
        explanation = _without_certificate(detail.record.mode)
    else:
        explanation = _explained(control, detail.chain, name, None)
    return api.json_reply(encoded(ExplanationReply(control.clock.now(), explanation)))


def _without_certificate(mode: str) -> Explanation[str]:
    if mode == Mode.TERMINATE.value:
        return unexplained("it has shown no certificate yet")
    note = "a local application, which shows no certificate: the remotes of its requests are judged one by one"
    return Explanation(True, "", (), (), note)


async def certificate(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/explain``: a chain that nobody needs to have shown yet, as it would be judged. 400 for what is no
    certificate."""
    query = request.query
    try:
        chain = from_text(query.get("certificate", ""))
        asked = Asked.of(query.get("method", ""), query.get("path", ""))
        explanation = _explained(api.control, chain, query.get("listener", ""), asked)
    except ValueError as error:  # CannotAsk is one
        raise ApiError(400, str(error)) from None
    return api.json_reply(encoded(ExplanationReply(api.control.clock.now(), explanation)))


def of_refusal(control: Control, refusal: outcomes.Refusal) -> Explanation[str]:
    """What would become of the peer of a refusal now."""
    chain = control.refusals.chain(refusal.leaf)
    if refusal.side is Side.PEER:
        return unexplained("the other end turned us away: its rules are not known here", refusal.identity, chain)
    if not refusal.leaf:
        return unexplained("no certificate was shown that could be read", refusal.identity)
    if not chain:
        kept = f"its certificates are not kept: those of the {KEPT_CHAINS} peers that were refused last are"
        return unexplained(kept, refusal.identity)
    try:
        asked = Asked.of(refusal.method, refusal.target) if refusal.method else None
        explanation = _explained(control, chain, refusal.listener, asked)
    except CannotAsk as error:
        return unexplained(f"it cannot be judged again: {error}", refusal.identity, chain)
    of_the_chain = refusal.stage is Stage.VERIFY and refusal.reason not in _NOT_OF_THE_CHAIN
    if of_the_chain or refusal.reason in _JUDGED_AGAIN:
        return explanation
    note = f"it was turned away for something else, which is not judged again: {refusal.reason.sentence}"
    return Explanation(False, explanation.identity, explanation.chain, explanation.judgements, note)


def _explained(control: Control, chain: tuple[bytes, ...], listener: str, asked: Asked | None) -> Explanation[str]:
    listeners = asked_about(control.settings.listeners, listener, chain, asked)
    return explained(chain, listeners, control.contexts_of, asked, control.denials.of)
