"""The calls of callers: each operation of a world in a task of its own, until it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from ftrepo.errors import (
    KeyConflictError,
    KeyExpiredError,
    KeyNotFoundError,
    KeyUnavailableError,
    PendingFullError,
    PrimaryUnavailableError,
)
from ftrepo.keys import Algorithm, PublicKey
from sim.explore.happenings import Asked, Outcome, Told
from sim.explore.hostile_world import OperationKind
from sim.world.issuers import EPOCH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ftrepo.interface import Durability
    from ftrepo.policy import Policy
    from sim.explore.chronicler import Chronicler
    from sim.explore.hostile_instance import HostileInstance
    from sim.explore.hostile_world import KeySpec, Operation
    from sim.explore.process import Process

_REFUSALS: dict[OperationKind, dict[type[Exception], Outcome]] = {
    OperationKind.CREATE: {
        KeyConflictError: Outcome.CONFLICT,
        KeyExpiredError: Outcome.EXPIRED,
        PendingFullError: Outcome.FULL,
    },
    OperationKind.GET: {
        KeyUnavailableError: Outcome.UNAVAILABLE,
        KeyNotFoundError: Outcome.NOT_FOUND,
    },
}
"""The documented errors of each call, by exact type. Everything else is a failure."""


class Keys:
    """The keys of a world, each made when it is first asked for.

    Args:
        specs: of all keys, by place.
    """

    def __init__(self, specs: Sequence[KeySpec]) -> None:
        self._specs = specs
        self._made: dict[int, PublicKey] = {}

    def id_of(self, place: int) -> str:
        """The id of a key: of the first key that has it."""
        same_id_as = self._specs[place].same_id_as
        return f"k{place}" if same_id_as is None else self.id_of(same_id_as)

    def _material_of(self, place: int) -> str:
        spec = self._specs[place]
        if spec.same_material and spec.same_id_as is not None:
            return self._material_of(spec.same_id_as)
        # Never parsed here, and easy to read.
        return f"material of key {place}"

    def made(self, place: int, now: datetime) -> PublicKey:
        """Return a key, made now if it was not made before.

        Args:
            place: of the key.
            now: by the clock of whoever makes it.
        """
        if place not in self._made:
            expires = EPOCH + timedelta(seconds=self._specs[place].expires_s)
            self._made[place] = PublicKey(
                id=self.id_of(place),
                material=self._material_of(place).encode(),
                algorithm=Algorithm.ED25519,
                created=now if now < expires else EPOCH,
                expires=expires,
            )
        return self._made[place]


class Call:
    """One call of one caller. It is told exactly once how it ended, also if it never began.

    Args:
        number: of the operation.
        operation: what is asked.
        instance: whom.
        keys: of the world.
        policy: of the instance.
        chronicler: is told of both.
    """

    def __init__(
        self,
        number: int,
        operation: Operation,
        *,
        instance: HostileInstance,
        keys: Keys,
        policy: Policy,
        chronicler: Chronicler,
    ) -> None:
        self.number = number
        self._operation = operation
        self._policy = policy
        self._chronicler = chronicler
        self._given_up: Outcome | None = None
        self._is_told = False
        key = operation.key
        self._key_id = "" if key is None else keys.id_of(key)
        now_s = chronicler.now_s()
        asked = Asked(
            now_s,
            number,
            operation.kind,
            instance.number,
            instance.process_number,
            None if key is None else self._key_id,
        )
        chronicler.note(asked)
        self._key: PublicKey | None = None
        process = instance.process
        if process is None or not instance.is_up:
            self.tell(Outcome.CUT_OFF)
            return
        if key is not None and operation.kind is OperationKind.CREATE:
            self._key = keys.made(key, instance.now())
        self.task = asyncio.get_running_loop().create_task(self._ask(process), name="call")
        process.calls.append(self)
        self.task.add_done_callback(lambda _: self._ended(process))

    @property
    def is_told(self) -> bool:
        """Whether it has ended, for the caller."""
        return self._is_told

    def give_up(self, why: Outcome) -> None:
        """Cancel the call, unless it has ended."""
        if not self._is_told or why is Outcome.CUT_OFF:
            if self._given_up is None:
                self._given_up = why
            self.task.cancel()

    def tell(
        self,
        outcome: Outcome,
        *,
        found: PublicKey | None = None,
        durability: Durability | None = None,
        error: str = "",
    ) -> None:
        """Note how the call ended; the first time counts."""
        if not self._is_told:
            self._is_told = True
            now_s = self._chronicler.now_s()
            key = found or self._key
            self._chronicler.note(Told(now_s, self.number, outcome, key, durability, error))

    def _ended(self, process: Process) -> None:
        process.calls.remove(self)
        # A task that is cancelled before its first step never runs.
        self.tell(self._given_up or Outcome.FAILED, error="the call never began")

    async def _ask(self, process: Process) -> None:
        repository = process.repository
        try:
            match self._operation.kind:
                case OperationKind.CREATE:
                    assert self._key is not None
                    durability = await repository.create(self._key)
                    self.tell(Outcome.ACKNOWLEDGED, durability=durability)
                case OperationKind.GET:
                    found = await repository.get(self._key_id)
                    self.tell(Outcome.FOUND, found=found)
                case OperationKind.DELETE_EXPIRED:
                    await repository.delete_expired()
                    self.tell(Outcome.ACKNOWLEDGED)
                case _:
                    await repository.flush()
                    self.tell(Outcome.ACKNOWLEDGED)
        except asyncio.CancelledError:
            if self._given_up is None:
                self.tell(Outcome.FAILED, error="CancelledError: nobody had cancelled the call")
            else:
                self.tell(self._given_up)
        except Exception as error:
            self._tell_failure(error)

    def _tell_failure(self, error: Exception) -> None:
        kind = self._operation.kind
        outcome = _REFUSALS.get(kind, {}).get(type(error), Outcome.FAILED)
        if (
            kind is OperationKind.CREATE
            and self._policy.write_order == "primary-only"
            and isinstance(error, PrimaryUnavailableError)
        ):
            outcome = Outcome.UNAVAILABLE
        failed = outcome is Outcome.FAILED
        self.tell(outcome, error=f"{type(error).__name__}: {error}" if failed else "")


def after_turns(turns: int, act: Callable[[], object]) -> None:
    """Act after so many turns of the running loop: at once if there are none."""
    if turns <= 0:
        act()
    else:
        asyncio.get_running_loop().call_soon(after_turns, turns - 1, act)


def acknowledged(told: Iterable[object]) -> dict[str, PublicKey]:
    """Return the keys that some `create` was acknowledged for, by id, in that order."""
    return {
        each.key.id: each.key
        for each in told
        if isinstance(each, Told) and each.outcome is Outcome.ACKNOWLEDGED and each.key is not None
    }
