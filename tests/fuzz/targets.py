"""What is fuzzed: a function for each parser that meets bytes of somebody else's. It raises where it found something.

They know nothing of the fuzzer: `make test` replays the corpus through the same functions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import h11
import hpack as hpack_oracle
from unit.dataplane.http.identities import identity
from unit.dataplane.http.xfcc_reader import parse, unhex
from unit.dataplane.http1.chunks import mean_the_same
from unit.dataplane.http1.conversation import identity_headers, listener, rules_of
from unit.dataplane.http1.lanes import comparable, passed
from unit.dataplane.http2.reading import pieces_of, read_all
from unit.dataplane.http2.talk import hears_what_it_may, takes_what_goes_on

from certs.errors import CertificateInvalid, MaterialError
from certs.identity import Identity
from certs.pem import certificates_in, crls_in, key_in, read_blocks
from tlsidecar.config import ConfigError, load_with_origins, render_problems
from tlsidecar.dataplane.http import paths, xfcc
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1 import forward
from tlsidecar.dataplane.http1.halves import body_reader
from tlsidecar.dataplane.http1.head_reader import HeadReader
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.dataplane.http1.response_head import ResponseHead
from tlsidecar.dataplane.http2.errors import Http2Error
from tlsidecar.dataplane.http2.hpack import Decoder
from tlsidecar.settings import Http, ListenerSettings

MAX_BYTES = 4096


def request_head(data: bytes) -> None:
    """The same verdict whole and in pieces; fast and precise heads say and send the same; h11 reads what is sent."""
    for settings in _listeners():
        scanner = rules_of(settings).requests
        whole = _verdict(scanner.reader(), data, MAX_BYTES)
        for step in (1, 5):
            assert _verdict(scanner.reader(), data, step) == whole, "it depends on the pieces"
        fast = scanner.fast(data, 0, len(data))
        if fast is not None:
            assert whole == fast.end, "the fast way accepts what the precise one does not"
        if not isinstance(whole, int):
            continue
        reader = scanner.reader()
        assert reader.read(data, 0, len(data)) == whole
        precise = reader.head(0, whole)
        sent = [_as_sent(head, data, settings) for head in (fast, precise) if head is not None]
        assert sent == sent[:1] * len(sent), "the two ways differ"
        paths_of(precise.target)


def _as_sent(head: RequestHead, data: bytes, settings: ListenerSettings) -> object:
    sent = forward.request_bytes(head, data, identity_headers(settings))
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(sent)
    event = parser.next_event()
    assert isinstance(event, h11.Request), event
    assert not parser.trailing_data[0]
    assert (event.method, event.target) == (head.method, head.target)
    told = [value for name, value in event.headers if name == b"x-forwarded-client-cert"]
    assert len(told) == 1
    facts = (head.minor, head.framing, head.length, head.keep_alive, head.host, head.request_id)
    return facts, head.is_plain, sorted(event.headers)


def paths_of(target: bytes) -> None:
    """Normalising what is normal changes nothing."""
    try:
        normal = paths.normalise_target(target)
    except MessageRefused:
        return
    assert paths.normalise_target(normal) == normal or b"%25" in target


def response_head(data: bytes) -> None:
    """The same verdict whole and in pieces; fast and precise heads say the same; what goes on is read by h11."""
    rules = rules_of(listener())
    for method in (b"GET", b"HEAD"):
        scanner = rules.responses
        whole = _verdict(scanner.reader(method), data, MAX_BYTES)
        for step in (1, 5):
            assert _verdict(scanner.reader(method), data, step) == whole, "it depends on the pieces"
        fast = scanner.fast(data, 0, len(data), method)
        if fast is not None:
            assert whole == fast.end, "the fast way accepts what the precise one does not"
        if method == b"GET" and scanner.whole(data, len(data)):
            assert fast is not None
            reader = body_reader(fast.framing, fast.length)
            assert reader.read(data, fast.end, len(data), []) == len(data)
            assert reader.done or not fast.length
        if not isinstance(whole, int):
            continue
        reader = scanner.reader(method)
        assert reader.read(data, 0, len(data)) == whole
        heads = [head for head in (fast, reader.head(0, whole)) if head is not None]
        if heads[0].status >= 200:
            sent = [_as_heard(head, data, method) for head in heads]
            assert sent == sent[:1] * len(sent), "the two ways differ"


def _as_heard(head: ResponseHead, data: bytes, method: bytes) -> object:
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    parser.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"x")]))
    parser.send(h11.EndOfMessage())
    head.goes_in_chunks = head.framing in (Framing.CHUNKED, Framing.CLOSE)
    parser.receive_data(bytes(forward.response_bytes(head, data, close=False)))
    event = parser.next_event()
    assert isinstance(event, h11.Response), event
    headers = sorted(field for field in event.headers if field != (b"connection", b"keep-alive"))
    return head.status, head.framing, head.length, head.keep_alive, headers


def chunked(data: bytes) -> None:
    """Refused, or to h11 what becomes of it, in any pieces. The first byte says where the pieces are cut."""
    if data:
        mean_the_same(data[1:], [data[0], data[0] * 3, data[0] * 7])


def request_stream(data: bytes) -> None:
    """A whole connection's requests, in pieces and through both lanes, come to the same."""
    if len(data) < 2:
        return
    cuts = [data[0], data[0] * 5]
    whole = comparable(passed(data[1:], []))
    assert comparable(passed(data[1:], cuts)) == whole
    assert comparable(passed(data[1:], cuts, force_h11=True)) == whole


def xfcc_writer(data: bytes) -> None:
    """What a certificate says is read back as it was, by readers of both schools. Lines are subject, URIs and DNS."""
    subject, *names = data.decode("utf-8", "replace").split("\n\n")
    uris, dns = tuple(names[::2]), tuple(names[1::2])
    raw = xfcc.element(identity(subject=subject, uris=uris, dns=dns), by=uris, certificate_pem=subject)
    assert raw.isascii()
    text = raw.decode()
    assert text.isprintable()
    assert xfcc.is_well_formed(raw)
    for unescape_all in (False, True):
        ((*pairs,),) = parse(text, unescape_all=unescape_all)
        keys = ["By"] * len(uris) + ["Hash"] + ["Cert"] * bool(subject) + ["Subject"] + ["URI"] * len(uris)
        assert [key for key, _ in pairs] == keys + ["DNS"] * len(dns)
    said = parse(text)[0]
    assert [unhex(value) for key, value in said if key in ("URI", "DNS")] == [*uris, *dns]
    assert [unquote(value) for key, value in said if key == "Cert"] == [subject] * bool(subject)
    value = data[:64]
    if xfcc.is_well_formed(value):
        parse(value.decode("latin-1").replace(", ", ",").replace(",\t", ",") + ",Hash=00")


def pem(data: bytes) -> None:
    """Read, or refused with a reason; never another error."""
    try:
        blocks = read_blocks(data)
    except MaterialError:
        return
    for read in (certificates_in, crls_in, lambda found: [key_in(found, None)], lambda found: [key_in(found, b"x")]):
        try:
            found = read(blocks)  # type: ignore[operator]
        except MaterialError:
            continue
        if read is certificates_in:
            for certificate in found:
                try:
                    Identity.from_certificate(certificate)
                except CertificateInvalid:
                    continue


def config(data: bytes) -> None:
    """Settings, or problems in printable lines; never another error."""
    file = _scratch() / "fuzz.toml"
    file.write_bytes(data)
    try:
        load_with_origins(file, {}, {})
    except ConfigError as error:
        text = render_problems(error)
        assert text
        assert all(line.isprintable() for line in text.split("\n"))


def http2_frames(data: bytes) -> None:
    """The same frames and the same fault in any pieces. The first bytes say where the pieces are cut."""
    wire = data[4:]
    cuts = [data[0], data[1] * 2, data[2] * 4, data[3] * 8] if len(data) > 3 else []
    seen, fault, _ = read_all([wire])
    assert read_all(pieces_of(wire, cuts))[:2] == (seen, fault)
    assert read_all([wire[at : at + 1] for at in range(len(wire))])[:2] == (seen, fault)


def http2_session(data: bytes) -> None:
    """What is made of a client's bytes is taken by hyper h2. The first bytes say where the pieces are cut."""
    takes_what_goes_on(data[4:], [data[0], data[1] * 2, data[2] * 4, data[3] * 8] if len(data) > 3 else [])


def http2_service(data: bytes) -> None:
    """What is made of a service's bytes is taken by hyper h2, as the client. The first bytes say where they are cut."""
    hears_what_it_may(data[4:], [data[0], data[1] * 2, data[2] * 4, data[3] * 8] if len(data) > 3 else [])


def hpack(data: bytes) -> None:
    """What is understood the oracle understands alike. Blocks are told apart by 0xFF 0x00."""
    ours, theirs = Decoder(100, 32 * 1024), hpack_oracle.Decoder()
    theirs.max_allowed_table_size = 4096
    for block in data.split(b"\xff\x00"):
        expected, problem = _decoded(theirs, block)
        fields, refusal = _decoded(ours, block)
        if refusal:
            stricter = "does not end" in refusal or "size update" in refusal or "ENHANCE_YOUR_CALM" in refusal
            assert problem or stricter, refusal
            return
        assert not problem, problem
        assert fields == expected


def _decoded(decoder: Any, block: bytes) -> tuple[list[tuple[bytes, bytes]], str]:
    try:
        if isinstance(decoder, Decoder):
            return decoder.decode(block), ""
        return [tuple(field) for field in decoder.decode(block, raw=True)], ""
    except (Http2Error, hpack_oracle.HPACKError, IndexError) as error:
        return [], str(error) or repr(error)


def _verdict(reader: HeadReader, data: bytes, step: int) -> int | tuple[int, str] | None:
    """Where the head ends, or why it is refused, or ``None`` while it is incomplete."""
    try:
        for end in range(step, len(data) + step, step):
            head_end = reader.read(data, 0, min(end, len(data)))
            if head_end is not None:
                reader.head(0, head_end)  # type: ignore[attr-defined]
                return head_end
    except MessageRefused as refused:
        return refused.status, str(refused.reason)
    return None


@cache
def _listeners() -> list[ListenerSettings]:
    lenient = Http(underscores="allow", remove_headers=("x-tenant", "x-request-id"))
    return [listener(), listener(http=lenient)]


@cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        request_head,
        response_head,
        chunked,
        request_stream,
        xfcc_writer,
        pem,
        config,
        http2_frames,
        http2_session,
        http2_service,
        hpack,
    )
}
