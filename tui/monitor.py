"""Watches one sidecar: asks what the plan says, hands the replies to the model, and comes back when the socket goes."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from tlsidecar.api.errors import AdminError, BadReply, Refused
from tlsidecar.api.sse import SseMessage
from tlsidecar.api.times import moment
from tui.client import AdminClient, Backoff
from tui.clock import Clock
from tui.lately import LATELY_S, LATELY_STEP_S
from tui.model import Model
from tui.plan import BACKGROUND_INTERVAL_S, MAX_REFUSALS, POLL_INTERVAL_S, Ask, Interest, asks
from tui.records import Json, event_of
from tui.tabs.tab import Tab, TabState
from tui.text import EMPTY, SafeText

FAILURES_LIMIT = 100
_NUMBER_DIGITS = 19  # of 64 bits


@dataclass(slots=True, eq=False)
class Monitor:
    """One sidecar, its client and what is known of it."""

    client: AdminClient
    clock: Clock
    randomness: random.Random
    is_alone: bool = True  # not one of several, which have to be told apart
    model: Model = field(init=False)
    tabs: dict[str, TabState] = field(default_factory=dict)  # what the reader has set, by the tab's name
    _backoff: Backoff = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _polling: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        endpoint = self.client.endpoint
        self.model = Model(endpoint.name, EMPTY if self.is_alone else endpoint.label)
        self._backoff = Backoff(self.randomness, cap_s=endpoint.longest_retry_s)

    @property
    def name(self) -> SafeText:
        """What tells this sidecar from all others: the target that means it alone."""
        return self.client.endpoint.name

    def tab(self, tab: Tab) -> TabState:
        """What the reader has set in this tab of this sidecar."""
        return self.tabs.setdefault(tab.name, tab.fresh_state())

    async def poll(self, interest: Interest) -> float:
        """Ask once for everything that ``interest`` needs. Never raises an :class:`AdminError`: what failed is in the
        model. Returns the seconds to wait before the next time."""
        async with self._polling:
            try:
                await self._poll_status()
                for ask in asks(interest, self.model, self.clock.monotonic()):
                    await self._poll_one(ask, interest)
            except AdminError as error:
                delay_s = self._backoff.delay_s(self.model.link.attempt + 1)
                self.model.lose(error.message, self.clock.monotonic() + delay_s)
                return delay_s
        return BACKGROUND_INTERVAL_S if interest.needs is None or interest.in_background else POLL_INTERVAL_S

    async def _poll_status(self) -> None:
        sent_at = self.clock.monotonic()
        reply = await self.client.read("/v1/status")
        received_at = self.clock.monotonic()
        if moment(reply.get("now")) is None:
            raise BadReply(SafeText("the reply is not a sidecar's status"))
        self.model.take_status(reply, received_at, self.clock.now(), received_at - sent_at)

    async def _poll_one(self, ask: Ask, interest: Interest) -> None:
        """A read that the sidecar refuses is that view's trouble; only a lost socket is everybody's."""
        try:
            await self._read(ask, interest)
        except Refused as error:
            if ask is Ask.CONNECTION and error.status == 404:
                self.model.take_connection_gone()
            elif ask is Ask.LATELY:
                self.model.take_lately(None, self.clock.monotonic())
            else:
                self.model.troubles[ask] = error.message
        else:
            self.model.troubles.pop(ask, None)

    async def _read(self, ask: Ask, interest: Interest) -> None:
        match ask:
            case Ask.CERTIFICATES:
                reply = await self.client.read("/v1/certificates")
                self.model.take_certificates(reply, self.clock.monotonic())
            case Ask.REFUSALS:
                limit = max(1, min(MAX_REFUSALS, interest.refusals_limit))
                reply = await self.client.read("/v1/refusals", limit=limit)
                self.model.take_refusals(reply, limit, self.clock.monotonic())
            case Ask.FAILURES:
                reply = await self.client.read("/v1/failures", limit=FAILURES_LIMIT)
                self.model.take_failures(reply, self.clock.monotonic())
            case Ask.HISTORY:
                span = self.model.span(interest.span)
                whose = interest.whose
                more = {whose.by.value: whose.key} if whose.is_asked_for else {}
                reply = await self.client.read("/v1/history", since=f"{span.span_s}s", step=f"{span.step_s}s", **more)
                self.model.take_past(reply, span, self.clock.monotonic(), whose)
            case Ask.LATELY:
                reply = await self.client.read("/v1/history", since=f"{LATELY_S}s", step=f"{LATELY_STEP_S}s")
                self.model.take_lately(reply, self.clock.monotonic())
            case Ask.REFUSAL:
                reply = await self.client.read(f"/v1/refusals/r{interest.refusal_seq}")
                self.model.take_refusal(reply, self.clock.monotonic())
            case Ask.CONNECTIONS:
                query = interest.connections
                reply = await self.client.read(
                    "/v1/connections",
                    filter=query.filter,
                    sort=query.sort.value,
                    order="desc" if query.descending else "asc",
                    limit=query.limit,
                    offset=query.offset,
                    **({"group": query.group} if query.group else {}),
                )
                self.model.take_connections(reply, query)
            case Ask.CONNECTION:
                reply = await self.client.read(f"/v1/connections/{interest.connection_id}")
                self.model.take_connection(reply)

    def wake(self) -> None:
        """End the present wait: poll now."""
        self._wake.set()

    async def wait(self, seconds: float) -> None:
        """Wait, unless woken."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def watch(self, interest: Callable[[], Interest], changed: Callable[[], None], delay_s: float = 0.0) -> None:
        """Poll for ever, beginning after ``delay_s``; ``changed`` is called after each time."""
        await self.wait(delay_s)
        while True:
            delay_s = await self.poll(interest())
            changed()
            if delay_s == BACKGROUND_INTERVAL_S:  # hundreds, each in its own time
                delay_s *= self.randomness.uniform(0.9, 1.1)
            await self.wait(delay_s)

    async def follow_events(self, changed: Callable[[], None], hidden: Sequence[str] = ()) -> None:
        """Subscribe to the events and come back after each loss, from where they ended, for ever. The first time
        it starts with what the sidecar still keeps. Kinds that are ``hidden`` need not be sent."""
        attempt = 0
        wanted = " ".join(f"!kind:{kind}" for kind in sorted(hidden))
        while True:
            is_fresh = False
            try:
                async with aclosing(self.client.events(self.model.last_event_id or 0, wanted)) as messages:
                    async for message in messages:
                        self.take_message(message)
                        is_fresh = True
                        changed()
            except AdminError as error:
                if wanted and isinstance(error, Refused) and error.status == 400:
                    wanted = ""  # an older sidecar: it sends them all
                    continue
                self.model.troubles["events"] = error.message
                changed()
            attempt = 1 if is_fresh else attempt + 1
            await asyncio.sleep(self._backoff.delay_s(attempt))

    def take_message(self, message: SseMessage) -> None:
        """One message of the event stream. A gap makes everything else be read afresh."""
        try:
            data = json.loads(message.data)
        except (ValueError, RecursionError):
            return
        if not isinstance(data, dict):
            return
        self.model.troubles.pop("events", None)
        self.model.take_event(event_of(message.event, _with_sequence(data, message.id)))
        if message.event == "lost":
            self.model.certificates_key = None
            self.wake()


def _with_sequence(data: Json, message_id: str) -> Json:
    """The event's data, with the stream's own id where the data has none."""
    number = event_number(message_id)
    return data if "seq" in data or number is None else {"seq": number, **data}


def event_number(message_id: str) -> int | None:
    """The number that a message's id is, if it is one of a sidecar's; no text is so long that it cannot be read."""
    return int(message_id) if message_id.isdecimal() and len(message_id) < _NUMBER_DIGITS else None
