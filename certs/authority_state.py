"""What a CA directory remembers besides its keys: which CA generation issues, which are trusted, where a rollover
stands. Pure: from JSON and to JSON."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from certs.durations import MAX_DURATION
from certs.errors import AuthorityError
from certs.hostile import plain
from certs.profiles import Constraints

STATE_VERSION = 1
ROOT_LIFETIME = timedelta(days=3650)
INTERMEDIATE_LIFETIME = timedelta(days=90)
MAX_AUTHORITY_NAME_CHARACTERS = 40  # leaves room in a CN for what tells root, intermediate and generation apart

_GENERATION_NAME = re.compile(r"ca-[1-9][0-9]{0,5}", re.ASCII)


class Phase(StrEnum):
    """Where a rollover of the CA stands."""

    STEADY = "steady"  # one generation, trusted and issuing
    STARTED = "started"  # old and new are trusted, the old one issues
    SWITCHED = "switched"  # old and new are trusted, the new one issues


@dataclass(frozen=True, slots=True)
class Plan:
    """How a CA is to be made."""

    name: str
    root_lifetime: timedelta = ROOT_LIFETIME
    intermediate_lifetime: timedelta = INTERMEDIATE_LIFETIME
    constraints: Constraints = field(default_factory=Constraints)

    def check(self) -> None:
        """Raises :class:`AuthorityError`."""
        if not self.name.isprintable() or not 1 <= len(self.name) <= MAX_AUTHORITY_NAME_CHARACTERS:
            raise AuthorityError(f"a CA's name has 1 to {MAX_AUTHORITY_NAME_CHARACTERS} printable characters")
        if self.name != self.name.strip():
            raise AuthorityError("a CA's name has no spaces around it")
        if not timedelta(hours=1) <= self.intermediate_lifetime <= self.root_lifetime:
            raise AuthorityError("the intermediate lives at least an hour and no longer than the root")
        if self.root_lifetime > MAX_DURATION:
            raise AuthorityError("a root lives at most a hundred years")
        if self.constraints:
            self.constraints.extension()


@dataclass(frozen=True, slots=True)
class AuthorityState:
    """One CA. Generations are directories, ``ca-1``, ``ca-2`` …; ``trusted`` lists the issuing one first or second."""

    plan: Plan
    phase: Phase
    active: str
    trusted: tuple[str, ...]
    generations: tuple[str, ...]

    def to_json(self) -> bytes:
        content = {
            "version": STATE_VERSION,
            "name": self.plan.name,
            "phase": self.phase.value,
            "active": self.active,
            "trusted": self.trusted,
            "generations": self.generations,
            "root_lifetime_s": self.plan.root_lifetime.total_seconds(),
            "intermediate_lifetime_s": self.plan.intermediate_lifetime.total_seconds(),
            "constraints": asdict(self.plan.constraints),
        }
        return json.dumps(content, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> AuthorityState:
        """Raises :class:`AuthorityError` for anything :meth:`to_json` does not write."""
        try:
            content = json.loads(data)
            if content["version"] != STATE_VERSION:
                raise AuthorityError(f"the CA was made by another version ({content['version']!r}) of this program")
            state = cls(
                plan=Plan(
                    name=content["name"],
                    root_lifetime=timedelta(seconds=content["root_lifetime_s"]),
                    intermediate_lifetime=timedelta(seconds=content["intermediate_lifetime_s"]),
                    constraints=_constraints(content["constraints"]),
                ),
                phase=Phase(content["phase"]),
                active=content["active"],
                trusted=tuple(content["trusted"]),
                generations=tuple(content["generations"]),
            )
            state._check()
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise AuthorityError(f"the CA's state is damaged: {plain(error)}") from None
        return state

    @property
    def next_generation(self) -> str:
        return f"ca-{1 + max(int(name.removeprefix('ca-')) for name in self.generations)}"

    @property
    def old(self) -> str:
        """During a rollover, the generation that is on its way out. Raises ValueError when there is none."""
        if self.phase is Phase.STEADY:
            raise ValueError("no rollover is under way")
        return self.trusted[0]

    @property
    def new(self) -> str:
        """During a rollover, the generation that is on its way in. Raises ValueError when there is none."""
        if self.phase is Phase.STEADY:
            raise ValueError("no rollover is under way")
        return self.trusted[1]

    def _check(self) -> None:
        if not all(_GENERATION_NAME.fullmatch(name) for name in self.generations):
            raise ValueError("a generation's name is not ca- and a number")
        if not set(self.trusted) <= set(self.generations) or self.active not in self.trusted:
            raise ValueError("the generation that issues is not among the trusted")
        if len(self.trusted) != (1 if self.phase is Phase.STEADY else 2):
            raise ValueError("phase and trust do not fit")


def _constraints(content: dict[str, Any]) -> Constraints:
    return Constraints(tuple(content["dns"]), tuple(content["ip"]), tuple(content["trust_domains"]))
