"""Every repository against a dictionary: whatever is asked of it in whatever order, as time passes.

The steps are drawn one by one, and what each must answer is known at once from the dictionary. They
are carried out together in the end, because some repositories live in virtual time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ftrepo.errors import KeyConflictError, KeyExpiredError, KeyNotFoundError
from ftrepo.interface import PrimaryStore, PublicKeyRepository
from ftrepo.keys import PublicKey
from tests.ftrepo.repositories import REPOSITORIES, RepositoryUnderTest, SettableClock
from tests.laboratory import EPOCH, make_key

NAMES = ("a", "b", "c")
MATERIALS = st.sampled_from(["one", "other"])
LIFETIMES_S = st.sampled_from([1.0, 5.0, 1e6])

Answer = PublicKey | type[Exception] | None
"""What a step comes to: a key, an error, or nothing that matters."""

Step = tuple[str, Callable[[PublicKeyRepository, SettableClock], Awaitable[object]], Answer]
"""What is done, in words; how; and what it must come to."""


class RepositoryMachine(RuleBasedStateMachine):
    """Draws steps, and knows from a dictionary what they must come to."""

    def __init__(self, play: Callable[[list[Step]], None], *, is_primary_store: bool) -> None:
        super().__init__()
        self.play = play
        self.is_primary_store = is_primary_store
        self.now_s = 0.0
        self.held: dict[str, PublicKey] = {}
        self.steps: list[Step] = []

    def valid(self, name: str) -> PublicKey | None:
        key = self.held.get(name)
        clock = SettableClock()
        clock.advance(self.now_s)
        return None if key is None or key.has_expired(clock()) else key

    def outcome_of_create(self, key: PublicKey) -> Answer:
        clock = SettableClock()
        clock.advance(self.now_s)
        if key.has_expired(clock()):
            return KeyExpiredError
        held = self.valid(key.id)
        if held is None:
            self.held[key.id] = key
        elif not held.same_material(key):
            return KeyConflictError
        return None

    @rule(name=st.sampled_from(NAMES), material=MATERIALS, lifetime_s=LIFETIMES_S)
    def create(self, name: str, material: str, lifetime_s: float) -> None:
        key = make_key(name, material=material, created_s=self.now_s, lifetime_s=lifetime_s)
        self.steps.append(
            (f"create {key}", lambda repo, _: repo.create(key), self.outcome_of_create(key))
        )

    @rule(name=st.sampled_from(NAMES), material=MATERIALS)
    def create_late(self, name: str, material: str) -> None:
        """One whose time may have passed."""
        key = make_key(name, material=material, lifetime_s=5.0)
        self.steps.append(
            (f"create {key}", lambda repo, _: repo.create(key), self.outcome_of_create(key))
        )

    @rule(name=st.sampled_from(NAMES))
    def get_one(self, name: str) -> None:
        self.get(name)

    def get(self, name: str) -> None:
        expected = self.valid(name) or KeyNotFoundError
        self.steps.append((f"get {name}", lambda repo, _: repo.get(name), expected))

    @rule()
    def delete_expired(self) -> None:
        self.steps.append(("delete expired", lambda repo, _: repo.delete_expired(), None))

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 5.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

        async def advance(_: PublicKeyRepository, clock: SettableClock) -> None:
            clock.advance(seconds)

        self.steps.append((f"{seconds} s pass", advance, None))

    @rule()
    def look_at_everything(self) -> None:
        for name in NAMES:
            self.get(name)
        expected = [key for name in NAMES if (key := self.valid(name))]

        async def listed(repository: PublicKeyRepository, _: SettableClock) -> None:
            assert isinstance(repository, PrimaryStore)
            assert list(await repository.list_valid(after=None, limit=10)) == expected

        if self.is_primary_store:
            self.steps.append(("list", listed, None))

    def teardown(self) -> None:
        self.look_at_everything()
        self.play(self.steps)


async def carry_out(
    steps: list[Step], repository: PublicKeyRepository, clock: SettableClock
) -> None:
    """Take every step, and hold what it comes to against what it must come to."""
    for number, (said, act, expected) in enumerate(steps):
        told: Any
        try:
            told = await act(repository, clock)
        except (KeyConflictError, KeyExpiredError, KeyNotFoundError) as error:
            told = type(error)
        wrong = f"step {number}, {said}, came to {told} and not to {expected}"
        if expected is None:
            assert not isinstance(told, type), wrong
        else:
            assert told == expected, wrong


@pytest.mark.parametrize(
    "under_test",
    [pytest.param(each, id=name, marks=each.marks) for name, each in REPOSITORIES.items()],
)
def test_a_repository_is_a_dictionary_whose_keys_expire(
    request: pytest.FixtureRequest, under_test: RepositoryUnderTest
) -> None:
    """The first key under an id stays until it expires, is found, and refuses every other."""
    needed = [request.getfixturevalue(name) for name in under_test.fixtures]

    def play(steps: list[Step]) -> None:
        async def body() -> None:
            clock = SettableClock()
            assert clock() == EPOCH
            async with under_test.open(clock, *needed) as repository:
                await carry_out(steps, repository, clock)

        under_test.run(body())

    run_state_machine_as_test(
        lambda: RepositoryMachine(play, is_primary_store=under_test.is_primary_store),
        settings=settings(max_examples=5 if needed else 50, stateful_step_count=20),
    )
