"""Each class behaves as the standard library would have made it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any, Generic, TypeVar

import pytest

from tlsidecar.lazy_dataclass import dataclass as lazy

T = TypeVar("T")


def shapes(dataclass: Callable[..., Any]) -> dict[str, Any]:
    """Classes of each kind that there is in the project, by ``dataclass``."""

    @dataclass(frozen=True, slots=True)
    class Address:
        """Where."""

        host: str
        port: int = 0
        tags: tuple[str, ...] = field(default_factory=tuple, compare=False)
        secret: str = field(default="", repr=False)

        @property
        def text(self) -> str:
            return f"{self.host}:{self.port}"

    @dataclass(slots=True)
    class Counter:
        found: list[int] = field(default_factory=list)
        total: int = 0

        def __post_init__(self) -> None:
            self.total += len(self.found)

    @dataclass(frozen=True)
    class Named(Generic[T]):
        value: T

        def __repr__(self) -> str:
            return "a name of its own"

        def __hash__(self) -> int:
            return 7

    @dataclass(frozen=True, slots=True)
    class Further(Address):
        way: str = "up"

    @dataclass(frozen=True, eq=False, repr=False)
    class Token:
        value: int

    @dataclass
    class Plain:
        value: Any = None

    return {each.__name__: each for each in (Address, Counter, Named, Further, Token, Plain)}


LAZY, EAGER = shapes(lazy), shapes(dataclasses.dataclass)


def outcome(act: Callable[[dict[str, Any]], Any], classes: dict[str, Any]) -> Any:
    """What it returns, or what it raises, in words."""
    try:
        return act(classes)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(
    "act",
    [
        lambda it: repr(it["Address"]("a", 1, secret="key")),
        lambda it: repr(it["Further"]("a", 1, way="down")),
        lambda it: repr(it["Named"](1)),
        lambda it: repr(it["Counter"]([1, 2])),
        lambda it: it["Counter"]().found is it["Counter"]().found,
        lambda it: it["Address"](),
        lambda it: it["Address"]("a", 1, (), "", 5),
        lambda it: it["Address"]("a", prot=1),
        lambda it: it["Address"]("a", 1, ("x",)) == it["Address"]("a", 1, ("y",)),
        lambda it: it["Address"]("a") == it["Address"]("b"),
        lambda it: it["Address"]("a") == it["Further"]("a"),
        lambda it: it["Address"]("a") != "a",
        lambda it: it["Token"](1) == it["Token"](1),
        lambda it: len({it["Address"]("a"), it["Address"]("a"), it["Address"]("b")}),
        lambda it: hash(it["Address"]("a", 1, ("x",))) == hash(it["Address"]("a", 1, ("y",))),
        lambda it: hash(it["Named"](1)),
        lambda it: hash(it["Counter"]()),
        lambda it: hash(it["Plain"]()),
        lambda it: setattr(it["Address"]("a"), "host", "b"),
        lambda it: setattr(it["Named"](1), "other", "b"),
        lambda it: delattr(it["Address"]("a"), "host"),
        lambda it: setattr(it["Counter"](), "other", 1),
        lambda it: replace(it["Address"]("a", 1), port=2).text,
        lambda it: replace(it["Further"]("a", 1), hots=2),
        lambda it: [(each.name, each.default, each.repr) for each in fields(it["Further"])],
        lambda it: it["Further"].__match_args__,
        lambda it: (it["Address"].__doc__, it["Address"].__slots__, it["Further"].__slots__),
        lambda it: dataclasses.asdict(it["Further"]("a")),
        lambda it: repr(copy.deepcopy(it["Further"]("a", 3))),
        lambda it: it["Address"].__init__.__qualname__ and it["Address"]("a").__init__.__qualname__,
    ],
)
def test_as_the_standard_library_has_it(act: Callable[[dict[str, Any]], Any]) -> None:
    assert outcome(act, LAZY) == outcome(act, EAGER)
    assert outcome(act, LAZY) == outcome(act, EAGER), "once the methods are made"


@lazy(frozen=True, slots=True)
class Sent:
    """Goes to another process."""

    host: str
    port: int = 1


def test_it_crosses_a_pipe() -> None:
    assert pickle.loads(pickle.dumps(Sent("a", 2))) == Sent("a", 2)


def test_what_shows_itself_within_itself_is_shown_once() -> None:
    plain = LAZY["Plain"]()
    plain.value = [plain]
    assert repr(plain).endswith(".Plain(value=[...])")


def test_a_frozen_one_cannot_be_changed() -> None:
    sent = Sent("a")
    with pytest.raises(FrozenInstanceError):
        sent.host = "b"  # type: ignore[misc] - which the type checker sees, too
    assert sent.host == "a"


def test_two_threads_may_be_the_first() -> None:
    start = threading.Barrier(8)
    found: list[Any] = []
    made = shapes(lazy)["Address"]

    def make() -> None:
        start.wait()
        found.append(made("a", 1))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == len(threads)
