"""Identities from a SPIFFE agent over its Workload API (SPIFFE Workload API sections 4 and 5): one call whose answers
go on coming for as long as the agent lives.

``read`` makes a call of its own and takes the first answer; ``follow`` stays connected, and connects again with a
growing pause when the agent has gone. What is served does not change by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator

from certs.errors import MaterialError, MaterialReason
from certs.material import Material
from certs.renewal import RandomUnit
from certs.sources import Candidate, Event, Failed
from certs.spiffe import endpoint_of
from certs.workload_api import SvidResponse
from tlsidecar.dataplane.http2.client import CallStatus, GrpcCall, Http2Error

METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"

# Without it an agent refuses: what a browser or a careless proxy could be made to send is not enough (section 4.3).
SECURITY_HEADER = (b"workload.spiffe.io", b"true")

FIRST_ANSWER_S = 10.0
CONNECT_S = 5.0
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
_READ_BYTES = 65536

# gRPC's names for what agents say: for people.
_GRPC_CODES = {1: "cancelled", 4: "deadline exceeded", 5: "not found", 7: "permission denied", 12: "unimplemented",
               13: "internal", 14: "unavailable", 16: "unauthenticated"}  # fmt: skip


class WorkloadApiSource:
    """Implements :class:`certs.sources.Source`; the agent renews."""

    def __init__(
        self, endpoint: str, spiffe_id: str = "", hint: str = "", random_unit: RandomUnit = random.random
    ) -> None:
        """``spiffe_id`` and ``hint`` choose among several identities. Raises :class:`EndpointError`."""
        self._endpoint = endpoint
        self._address = endpoint_of(endpoint)
        self._spiffe_id = spiffe_id
        self._hint = hint
        self._random_unit = random_unit

    def __repr__(self) -> str:
        return f"WorkloadApiSource({self._endpoint})"

    async def read(self) -> Material:
        """What the agent says now. Raises :class:`MaterialError` (``agent_failed``, ``source_timeout``)."""
        answers = self._answers()
        try:
            return await anext(answers)
        finally:
            await answers.aclose()

    async def renew(self) -> Material:
        """The agent renews: what it says now."""
        return await self.read()

    async def follow(self) -> AsyncIterator[Event]:
        pause_s = FIRST_PAUSE_S
        is_gone = False
        while True:
            answers = self._answers()
            try:
                async for material in answers:
                    pause_s, is_gone = FIRST_PAUSE_S, False
                    yield Candidate(material)
            except MaterialError as error:
                # An agent that is being replaced is gone for a moment: only one that is not back is a failure.
                if is_gone:
                    yield Failed(error)
                is_gone = True
            finally:
                await answers.aclose()
            await asyncio.sleep(pause_s * (0.5 + 0.5 * self._random_unit()))
            pause_s = min(pause_s * 2, MAX_PAUSE_S)

    def describe(self) -> str:
        wanted = ", ".join(filter(None, (self._spiffe_id, self._hint and f"hint {self._hint}")))
        return f"SPIFFE agent {self._endpoint}" + (f", {wanted}" if wanted else "")

    @property
    def renews(self) -> bool:
        return False

    async def _answers(self) -> AsyncGenerator[Material, None]:
        """One connection's answers, the first of which has its time. Raises :class:`MaterialError` when it ends,
        whichever way."""
        call = GrpcCall(METHOD, "localhost", b"", (SECURITY_HEADER,))
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await self._connect()
        except TimeoutError:
            raise self._failed(f"cannot be reached within {CONNECT_S:g} s") from None
        except OSError as error:
            raise self._failed(f"cannot be reached: {error.strerror or error}") from None
        try:
            writer.write(call.opening)
            first_by: float | None = asyncio.get_running_loop().time() + FIRST_ANSWER_S
            while call.status is None:
                try:
                    async with asyncio.timeout_at(first_by):
                        data = await reader.read(_READ_BYTES)
                except TimeoutError:
                    detail = f"{self._endpoint} did not answer within {FIRST_ANSWER_S:g} s"
                    raise MaterialError(MaterialReason.SOURCE_TIMEOUT, detail) from None
                if not data:
                    raise self._failed("it closed the connection")
                messages = call.receive(data)
                writer.write(call.to_send)
                for message in messages:
                    first_by = None
                    yield self._material(message)
            raise self._failed(_ended(call.status))
        except Http2Error as error:
            raise self._failed(str(error)) from None
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _material(self, message: bytes) -> Material:
        try:
            response = SvidResponse.parse(message)
            return response.material(response.choose(self._spiffe_id, self._hint), self.describe())
        except MaterialError as error:
            raise MaterialError(error.reason, f"{self._endpoint}: {error.detail}") from None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path, host, port = self._address
        if path:
            return await asyncio.open_unix_connection(path)
        return await asyncio.open_connection(host, port)

    def _failed(self, detail: str) -> MaterialError:
        return MaterialError(MaterialReason.AGENT_FAILED, f"{self._endpoint}: {detail}")


def _ended(status: CallStatus) -> str:
    if status.grpc is None:
        return f"what it answers is not gRPC (HTTP status {status.http})"
    if status.grpc == 7:
        return f"it has no identity for this process: permission denied{_said(status)}"
    return f"it ended the call: {_GRPC_CODES.get(status.grpc, f'status {status.grpc}')}{_said(status)}"


def _said(status: CallStatus) -> str:
    return f" ({status.message})" if status.message else ""
