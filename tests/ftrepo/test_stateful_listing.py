"""The list of valid keys, asked for at any moment of histories that Hypothesis builds step by step.

The steps are drawn one by one and played together in virtual time, before a primary that fails in
several ways. What is promised of a list is in `listing_play`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ftrepo.keys import PublicKey
from ftrepo.policy import Policy
from tests.ftrepo.listing_play import NAMES, ROOMY, Play, Step
from tests.ftrepo.troubled_primary import Mode
from tests.laboratory import Laboratory, make_key, run_laboratory

DELAYS_S = st.sampled_from([0.0, 0.001, 0.01, 0.3, 0.7, 1.0, 3.0])
"""Between two steps: at once, within a call, within a shared answer, and long."""

LIFETIMES_S = st.sampled_from([0.6, 2.0, 1e4])

POLICIES = st.builds(
    Policy,
    read_policy=st.sampled_from(["primary-first", "cache-first", "primary-only"]),
    write_order=st.sampled_from(["cache-first", "primary-first"]),
    cache_entries_max=st.sampled_from([ROOMY, 1]),
    load_page_max=st.sampled_from([1_000, 1]),
    refresh_interval_s=st.sampled_from([None, 1.0]),
    flush_interval_s=st.sampled_from([0.1, 1.0]),
    max_staleness_s=st.sampled_from([None, 2.0]),
    breaker=st.booleans(),
)


class ListingMachine(RuleBasedStateMachine):
    """Draws a history, and plays it in the end."""

    @initialize(policy=POLICIES, announces=st.booleans())
    def begin(self, policy: Policy, announces: bool) -> None:
        self.policy = policy
        self.announces = announces
        self.now_s = 1.0
        self.steps: list[Step] = []

    def add(self, delay_s: float, said: str, act: Callable[[Play], Awaitable[None] | None]) -> None:
        self.now_s += delay_s
        self.steps.append((self.now_s, said, act))

    def make(self, delay_s: float, name: str, material: str, lifetime_s: float) -> PublicKey:
        at_s = self.now_s + delay_s
        return make_key(name, material=name + material, created_s=at_s, lifetime_s=lifetime_s)

    @rule(
        delay_s=DELAYS_S,
        name=st.sampled_from(NAMES),
        material=st.sampled_from(["one", "one", "other"]),
        lifetime_s=LIFETIMES_S,
        here=st.booleans(),
    )
    def create(
        self, delay_s: float, name: str, material: str, lifetime_s: float, here: bool
    ) -> None:
        key = self.make(delay_s, name, material, lifetime_s)
        if here:
            self.add(delay_s, f"create {key}", lambda play: play.create(key))
        else:
            self.add(delay_s, f"store elsewhere {key}", lambda play: play.store(key))

    @rule(delay_s=DELAYS_S, name=st.sampled_from(NAMES), gap_s=st.sampled_from([0.6, 0.7]))
    def create_when_it_has_expired(self, delay_s: float, name: str, gap_s: float) -> None:
        """Lists on either side are one answer, if the first of them is not shared already."""
        brief = self.make(delay_s, name, "brief", 0.6)
        self.add(delay_s, f"create {brief}", lambda play: play.create(brief))
        self.list_keys(0.01, 1)
        lasting = self.make(gap_s, name, "lasting", 1e4)
        self.add(gap_s, f"create {lasting}", lambda play: play.create(lasting))
        self.list_keys(0.01, 1)

    @rule(delay_s=DELAYS_S, name=st.sampled_from(NAMES), here=st.booleans())
    def create_between_two_lists(self, delay_s: float, name: str, here: bool) -> None:
        """The second list shares the answer of the first."""
        self.list_keys(delay_s, 1)
        self.create(delay_s=0.01, name=name, material="one", lifetime_s=1e4, here=here)
        self.list_keys(0.01, 1)

    @rule(delay_s=DELAYS_S, times=st.sampled_from([1, 3]))
    def ask_for_all(self, delay_s: float, times: int) -> None:
        self.list_keys(delay_s, times)

    def list_keys(self, delay_s: float, times: int) -> None:
        for number in range(times):
            self.add(0.0 if number else delay_s, "list", lambda play: play.list_keys())

    @rule(delay_s=DELAYS_S, after_s=st.sampled_from([0.0, 0.001, 0.2]))
    def list_and_give_up(self, delay_s: float, after_s: float) -> None:
        said = f"list, and give up after {after_s} s"
        self.add(delay_s, said, lambda play: play.list_and_give_up(after_s))

    @rule(delay_s=DELAYS_S, name=st.sampled_from(NAMES))
    def revoke(self, delay_s: float, name: str) -> None:
        self.add(delay_s, f"revoke {name}", lambda play: play.revoke(name))

    @rule(delay_s=DELAYS_S, mode=st.sampled_from(Mode))
    def primary_becomes(self, delay_s: float, mode: Mode) -> None:
        self.add(delay_s, f"the primary is {mode.name}", lambda play: play.primary.become(mode))

    def teardown(self) -> None:
        if not hasattr(self, "steps"):
            return

        async def story(lab: Laboratory) -> list[str]:
            play = Play(lab, self.policy, announces=self.announces)
            await play.take(self.steps)
            return play.wrong

        wrong = run_laboratory(story)
        said = "\n".join(f"{at_s:.3f} s: {said}" for at_s, said, _ in self.steps)
        assert not wrong, f"{wrong[0]}\nafter\n{said}\n{self.policy}, announces: {self.announces}"


class TestListing(ListingMachine.TestCase):
    """Every list of valid keys agrees with `get`, and is complete if it says so."""

    settings = settings(max_examples=100, stateful_step_count=25, report_multiple_bugs=False)


def test_an_announced_key_joins_a_shared_answer() -> None:
    """Another instance's key is listed as soon as memory has learnt of it."""
    key = make_key("b", created_s=1.01)

    async def story(lab: Laboratory) -> list[str]:
        play = Play(lab, Policy(), announces=True)
        await play.take(
            [
                (1.0, "list", lambda play: play.list_keys()),
                (1.01, "store elsewhere", lambda play: play.store(key)),
                (1.02, "list", lambda play: play.list_keys()),
            ]
        )
        return play.wrong

    assert run_laboratory(story) == []
