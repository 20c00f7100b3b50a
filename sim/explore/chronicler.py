"""Takes note of what happens in a world, and sums it up in a digest."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from enum import Enum
from operator import attrgetter
from typing import Any

from ftrepo.keys import PublicKey
from sim.explore.happenings import Broke, Happening, Observed
from sim.loop import LoopError

HAPPENINGS_MAX = 200_000
"""A world of some dozens of operations that makes more than this is caught in a loop of its own."""


class EndlessWorldError(LoopError):
    """A world goes on and on: calls without end, though virtual time passes."""


class Chronicler:
    """The one list of everything that happens, in the order of its happening.

    Args:
        loop: whose time counts, in seconds since the world began.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.happenings: list[Happening] = []
        self.note = self.happenings.append
        self.now_s = loop.time
        self._calls = 0

    def next_call(self) -> int:
        """Return the number of another call to the primary, over the whole world."""
        self._calls += 1
        return self._calls - 1

    def broke(self, what: str) -> None:
        """Note that something failed of which nobody was told."""
        self.note(Broke(self.now_s(), what))

    def close(self) -> None:
        """Let go of the whole play, to which the traceback of every error in the list leads."""
        for happening in self.happenings:
            if isinstance(happening, Observed):
                error: BaseException | None = getattr(happening.event, "error", None)
                while error is not None and error.__traceback__ is not None:
                    error.__traceback__ = None
                    error = error.__cause__ or error.__context__

    def must_end(self) -> None:
        """Refuse to go on with a world that has no end.

        Raises:
            EndlessWorldError: more has happened than in any honest world.
        """
        if len(self.happenings) > HAPPENINGS_MAX:
            raise EndlessWorldError(
                f"no end: more than {HAPPENINGS_MAX} happenings within {self.now_s():.0f} s"
            )


def digest_of(happenings: Iterable[Happening]) -> str:
    """Return a SHA-256 over all happenings, in order: equal for plays that were equal to the bit.

    It depends on no address, no hash seed and no order of a set.
    """
    return hashlib.sha256("\n".join(map(_text, happenings)).encode()).hexdigest()


def _text(value: object) -> str:
    kind = type(value)
    writer = _WRITERS.get(kind)
    if writer is None:
        writer = _WRITERS[kind] = _writer_of(value)
    return writer(value)


def _writer_of(value: object) -> Callable[[Any], str]:
    """Return what writes values of this kind: looked up once, because a world has thousands."""
    kind = type(value)
    if isinstance(value, PublicKey):
        return _text_of_key
    if isinstance(value, Enum):
        return attrgetter("name")
    if is_dataclass(kind):
        return _writer_of_dataclass(kind)
    if isinstance(value, BaseException):
        return lambda error: f"{kind.__name__}: {error}"
    if isinstance(value, frozenset):
        return lambda members: f"{{{','.join(sorted(map(_text, members)))}}}"
    if isinstance(value, tuple):
        return lambda members: _listed("", members)
    raise TypeError(f"a happening holds {value!r}, which has no text that is always the same")


def _writer_of_dataclass(kind: type[Any]) -> Callable[[Any], str]:
    names = [each.name for each in fields(kind)]
    if len(names) > 1 and all(each.type in _PLAIN for each in fields(kind)):
        values = attrgetter(*names)
        return lambda each: f"{kind.__name__}{values(each)!r}"
    return lambda each: _listed(kind.__name__, [getattr(each, name) for name in names])


def _listed(name: str, members: Iterable[object]) -> str:
    return f"{name}({','.join([_text(each) for each in members])})"


def _text_of_key(key: PublicKey) -> str:
    span = f"{key.created.isoformat()}/{key.expires.isoformat()}"
    return f"{key.id}/{key.material.hex()}/{key.algorithm.name}/{span}"


_PLAIN = frozenset({"float", "int", "str", "tuple[str, ...]"})
"""Types, as they are annotated, whose values have the same text everywhere by themselves."""

_WRITERS: dict[type, Callable[[Any], str]] = dict.fromkeys(
    (int, float, str, bool, type(None)), repr
)
