"""Draws what callers do: small stories about one key, told again and again at chosen moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sim.explore.hostile_world import KeySpec, Operation, OperationKind

if TYPE_CHECKING:
    from sim.explore.dice import Dice
    from sim.explore.moments import Moments

OPERATIONS_MAX = (10, 30, 60)
"""The most operations that a world has (a story more or less); one of these, drawn."""

TURNS_MAX = 15
"""How many turns of the loop a cancellation or a stop may be late: a `create` takes about as many
until it awaits the primary, and from the answer on. While the order is first come, first served,
they pass before the next timer of the same instant: so many count from an answer."""


def draw_operations(
    dice: Dice, moments: Moments, keys: Sequence[KeySpec], *, instances: int
) -> tuple[Operation, ...]:
    """Return what callers ask, in order of time.

    Args:
        dice: draws.
        moments: when it is worth asking.
        keys: that there may be.
        instances: how many there are to ask.
    """
    return _Stories(dice, moments, keys, instances).tell()


class _Stories:
    """The stories that are told in a world: one kind always, each of the others or not."""

    def __init__(
        self, dice: Dice, moments: Moments, keys: Sequence[KeySpec], instances: int
    ) -> None:
        self._dice = dice
        self._moments = moments
        self._keys = keys
        self._instances = instances
        self._operations: list[Operation] = []
        # In half of the worlds the last key is left to others: what was created is not published.
        self._own = len(keys)
        if len(keys) > 1 and dice.chance(0.5):
            self._own -= 1

    def tell(self) -> tuple[Operation, ...]:
        """Tell stories until there are enough operations."""
        dice = self._dice
        wanted = dice.whole(3, dice.pick(OPERATIONS_MAX))
        stories: list[Callable[[int, float], None]] = [self._create_and_ask]
        others = (
            self._twins,
            self._rivals,
            self._successor,
            self._too_late,
            self._publish,
            self._crowd,
            self._clean_up,
            self._flush,
            self._storm,
        )
        stories += dice.some(others, 0.4)
        are_cancelled = dice.chance(0.5)
        moment_s = self._moments.any()
        while len(self._operations) < wanted:
            if dice.chance(0.7):
                moment_s = self._moments.any()
            dice.pick(stories)(self._any_key(), moment_s)
        if are_cancelled:
            self._operations = [self._perhaps_cancelled(each) for each in self._operations]
        return tuple(sorted(self._operations, key=lambda each: each.at_s))

    def _perhaps_cancelled(self, operation: Operation) -> Operation:
        dice = self._dice
        if operation.kind is OperationKind.PUBLISH or not dice.chance(0.3):
            return operation
        timeout_s = dice.pick(self._moments.timeouts_s)
        after_s = dice.pick((0.0, 0.01, dice.wait(0.005), dice.wait(0.3), timeout_s))
        return replace(
            operation,
            cancel_after_s=round(after_s, 4),
            cancel_after_turns=dice.whole(0, TURNS_MAX),
            cancel_at_answer=dice.chance(0.4),
        )

    def _ask(
        self, kind: OperationKind, at_s: float, key: int | None = None, instance: int | None = None
    ) -> int:
        """Let somebody ask something of this instance, or of any. Returns of which."""
        if instance is None:
            instance = self._dice.whole(0, self._instances - 1)
        at_s = self._moments.at(at_s)
        self._operations.append(Operation(at_s=at_s, kind=kind, instance=instance, key=key))
        return instance

    def _create_and_ask(self, key: int, at_s: float) -> None:
        """One creates a key; it is asked for there or elsewhere, soon."""
        self._ask(OperationKind.CREATE, at_s, key)
        for _ in range(self._dice.whole(0, 3)):
            at_s = self._moments.soon(at_s)
            self._ask(OperationKind.GET, at_s, key)

    def _twins(self, key: int, at_s: float) -> None:
        """Several create the same key, at the same moment or one soon after the other."""
        for _ in range(self._dice.whole(2, 3)):
            self._ask(OperationKind.CREATE, at_s, key)
            if self._dice.chance(0.5):
                at_s = self._moments.soon(at_s)

    def _rivals(self, key: int, at_s: float) -> None:
        """Two keys are created at once, under one id if there are such, and one is asked for."""
        self._ask(OperationKind.CREATE, at_s, key)
        self._ask(OperationKind.CREATE, at_s, self._other_of_id(key))
        self._ask(OperationKind.GET, self._moments.soon(at_s), key)

    def _successor(self, key: int, at_s: float) -> None:
        """A key expires, and at that moment another is created, under its id if there is such."""
        earlier, later = sorted(
            (self._other_of_id(key), key), key=lambda place: self._keys[place].expires_s
        )
        expires_s = min(self._keys[earlier].expires_s, self._moments.duration_s)
        self._ask(OperationKind.CREATE, min(at_s, expires_s - 0.01), earlier)
        expired_s = self._moments.soon(expires_s)
        self._ask(OperationKind.CREATE, expired_s, later)
        self._ask(OperationKind.GET, self._moments.soon(expired_s), later)

    def _too_late(self, key: int, at_s: float) -> None:
        """A key is created shortly before it expires, or at that very moment."""
        expires_s = self._keys[key].expires_s
        if expires_s <= self._moments.duration_s:
            before_s = self._dice.pick((0.0, 0.002, 0.1, 0.5, 2.0))
            at_s = expires_s - before_s
        instance = self._ask(OperationKind.CREATE, at_s, key)
        self._ask(OperationKind.GET, self._moments.soon(at_s), key, instance)

    def _publish(self, key: int, at_s: float) -> None:
        """Somebody else stores a key, and it is asked for before and after."""
        key = self._dice.pick((key, len(self._keys) - 1))
        trouble_s = self._moments.trouble()
        if trouble_s is not None and self._dice.chance(0.5):
            at_s = self._moments.soon(trouble_s)
        self._ask(OperationKind.GET, at_s, key)
        at_s = self._moments.soon(at_s)
        self._ask(OperationKind.PUBLISH, at_s, key)
        self._ask(OperationKind.GET, self._moments.soon(at_s), key)

    def _crowd(self, key: int, at_s: float) -> None:
        """Many ask one instance for one key at once."""
        instance = None
        for _ in range(self._dice.whole(3, 6)):
            instance = self._ask(OperationKind.GET, at_s, key, instance)
            if self._dice.chance(0.3):
                at_s = self._moments.soon(at_s)

    def _clean_up(self, key: int, at_s: float) -> None:
        """Expired keys are deleted while one is created."""
        self._ask(OperationKind.DELETE_EXPIRED, at_s)
        self._ask(OperationKind.CREATE, self._moments.soon(at_s), key)

    def _flush(self, key: int, at_s: float) -> None:
        """A key is created, and flushed in the same breath."""
        instance = self._ask(OperationKind.CREATE, at_s, key)
        for _ in range(self._dice.whole(1, 2)):
            self._ask(OperationKind.FLUSH, self._moments.soon(at_s), None, instance)

    def _storm(self, key: int, at_s: float) -> None:
        """Many create as the primary begins to fail: enough to trip a breaker, which then probes.

        Whoever asks when it is about to probe meets it open, half-open or closed again.
        """
        dice, moments = self._dice, self._moments
        trouble_s = moments.trouble()
        at_s = at_s if trouble_s is None else trouble_s
        instance = None
        for _ in range(dice.whole(5, 7)):
            instance = self._ask(OperationKind.CREATE, at_s, self._any_key(), instance)
            at_s += dice.pick((0.0, 0.001, 0.01))
        probe_s = at_s + moments.open_s + dice.pick((0.0, *moments.timeouts_s))
        kinds = (OperationKind.CREATE, OperationKind.GET)
        for moment_s in (at_s + 0.5 * moments.open_s, probe_s):
            self._ask(dice.pick(kinds), moments.near(moment_s), key, instance)

    def _any_key(self) -> int:
        return self._dice.whole(0, self._own - 1)

    def _other_of_id(self, key: int) -> int:
        """Another key with the id of this one, if there is one; else any."""
        same = self._keys[key].same_id_as
        if same is not None:
            return same
        later = [place for place, each in enumerate(self._keys) if each.same_id_as == key]
        return self._dice.pick(later or range(len(self._keys)))
