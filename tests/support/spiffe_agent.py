"""A SPIFFE agent: grpcio with the Workload API's own definitions, on a Unix socket."""

from __future__ import annotations

import queue
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from spiffe._proto import workload_pb2


@dataclass(frozen=True)
class Identity:
    """One SVID with its bundle."""

    spiffe_id: str
    chain: Sequence[x509.Certificate]
    key: ec.EllipticCurvePrivateKey
    bundle: Sequence[x509.Certificate]
    hint: str = ""


def der(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.DER) for each in certificates)


def response(
    identities: Sequence[Identity],
    federated: Mapping[str, Sequence[x509.Certificate]] | None = None,
    crls: Sequence[bytes] = (),
) -> bytes:
    """The answer of FetchX509SVID; ``crls`` in DER."""
    return workload_pb2.X509SVIDResponse(
        svids=[
            workload_pb2.X509SVID(
                spiffe_id=each.spiffe_id,
                x509_svid=der(each.chain),
                x509_svid_key=each.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
                bundle=der(each.bundle),
                hint=each.hint,
            )
            for each in identities
        ],
        crl=crls,
        federated_bundles={name: der(bundle) for name, bundle in (federated or {}).items()},
    ).SerializeToString()  # type: ignore[no-any-return]


class Agent:
    """Says ``says`` to whoever asks, and whatever is set later to those who stay; None denies. A context manager."""

    def __init__(self, socket: Path, says: bytes | None) -> None:
        self.socket = socket
        self.url = f"unix://{socket}"
        self._says = says
        self._followers: set[queue.Queue[bytes | None]] = set()
        self._server: grpc.Server | None = None

    def __enter__(self) -> Agent:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        # As bytes, so that a test can say what is no message of the protocol.
        handler = grpc.unary_stream_rpc_method_handler(self._fetch)
        service = workload_pb2.DESCRIPTOR.services_by_name["SpiffeWorkloadAPI"].full_name
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"FetchX509SVID": handler}),)
        )
        self._server.add_insecure_port(self.url)
        self._server.start()

    def stop(self) -> None:
        for follower in list(self._followers):
            follower.put(None)
        if self._server is not None:
            self._server.stop(None).wait(10)
            self._server = None

    @property
    def followers(self) -> int:
        return len(self._followers)

    def say(self, says: bytes | None) -> None:
        self._says = says
        for follower in list(self._followers):
            follower.put(says)

    def _fetch(self, _request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        metadata = dict(context.invocation_metadata())
        if metadata.get("workload.spiffe.io") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
        waiting: queue.Queue[bytes | None] = queue.Queue()
        waiting.put(self._says)
        self._followers.add(waiting)
        try:
            while context.is_active():
                try:
                    says = waiting.get(timeout=0.1)
                except queue.Empty:
                    continue
                if says is None:
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
                yield says
        finally:
            self._followers.discard(waiting)
