"""The standard library's dataclasses, their methods made when they are first called.

:func:`dataclasses.dataclass` writes the text of up to six methods for each class and has it compiled. That is a
millisecond for each of two hundred classes, a quarter of a sidecar's start, and most of them are never called. Here the
fields are the standard library's, and the methods are made of them, with the same behaviour, when somebody wants them.
To the type checker it is the standard library's decorator.

What nobody here uses is not there: ``order``, ``kw_only``, ``init=False`` and pseudo-fields (``InitVar``); nor does
``__dataclass_params__`` say what was asked for, so that a class may inherit from a frozen one without being one.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

Fields = Sequence["dataclasses.Field[Any]"]
# The text of a method; what it refers to is put into the dictionary.
Text = Callable[[type, Fields, dict[str, Any]], str]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, repr=True):
        """See :func:`dataclasses.dataclass`."""

        def decorated(cls):
            return _with_methods(cls, frozen=frozen, slots=slots, eq=eq, shows=repr)

        return decorated if cls is None else decorated(cls)


def _with_methods(cls: type, *, frozen: bool, slots: bool, eq: bool, shows: bool) -> type:
    own = cls.__dict__
    # As the original has it: beside an __eq__ of its own Python puts None for the hash, which nobody has asked for.
    has_hash = "__hash__" in own and not (own["__hash__"] is None and "__eq__" in own)
    document, cls.__doc__ = cls.__doc__, cls.__doc__ or cls.__name__  # or else it would be made of the signature
    made: type = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    made.__doc__ = document
    _make_when_called(made, "__init__", _text_of_frozen_init if frozen else _text_of_init)
    if eq and "__eq__" not in own:
        _make_when_called(made, "__eq__", _text_of_eq)
    if eq and frozen and not has_hash:
        _make_when_called(made, "__hash__", _text_of_hash)
    ready: dict[str, Any] = {}
    if eq and not frozen and not has_hash:
        ready["__hash__"] = None  # as Python marks what has none
    if shows and "__repr__" not in own:
        ready["__repr__"] = _repr
    if frozen:
        ready |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
    if frozen and slots:
        ready |= {"__getstate__": _state, "__setstate__": _take_state}
    for name, method in ready.items():
        setattr(made, name, method)
    return made


def _make_when_called(owner: type, name: str, text: Text) -> None:
    def first(self: Any, /, *arguments: Any, **named: Any) -> Any:
        known: dict[str, Any] = {}
        exec(text(owner, dataclasses.fields(owner), known), known)  # noqa: S102 - of names of fields, as the original
        method = known[name]
        method.__qualname__, method.__module__ = f"{owner.__qualname__}.{name}", owner.__module__
        setattr(owner, name, method)
        return method(self, *arguments, **named)

    setattr(owner, name, first)


def _text_of_init(owner: type, fields: Fields, known: dict[str, Any]) -> str:
    return _init(owner, fields, known, "self.{} = {}")


def _text_of_frozen_init(owner: type, fields: Fields, known: dict[str, Any]) -> str:
    known["_set"] = object.__setattr__
    return _init(owner, fields, known, "_set(self, '{}', {})")


def _init(owner: type, fields: Fields, known: dict[str, Any], assignment: str) -> str:
    parameters, lines = ["self"], ["pass"]
    for field in fields:
        name = value = field.name
        if field.default_factory is not dataclasses.MISSING:
            known["_not_given"], known[f"_make_{name}"] = dataclasses.MISSING, field.default_factory
            parameters.append(f"{name}=_not_given")
            value = f"_make_{name}() if {name} is _not_given else {name}"
        elif field.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = field.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        lines.append(assignment.format(name, value))
    if hasattr(owner, "__post_init__"):
        lines.append("self.__post_init__()")
    return f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines)


def _text_of_eq(_: type, fields: Fields, __: dict[str, Any]) -> str:
    ours, theirs = (_tuple(fields, end) for end in ("self", "other"))
    return (
        "def __eq__(self, other):\n"
        " if other.__class__ is not self.__class__:\n  return NotImplemented\n"
        f" return {ours} == {theirs}"
    )


def _text_of_hash(_: type, fields: Fields, __: dict[str, Any]) -> str:
    return f"def __hash__(self):\n return hash({_tuple(fields, 'self')})"


def _tuple(fields: Fields, end: str) -> str:
    return f"({''.join(f'{end}.{field.name}, ' for field in fields if field.compare)})"


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


# What is pickled of one that is frozen and has slots.


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _take_state(self: Any, state: Sequence[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
