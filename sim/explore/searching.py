"""The search: seed after seed, in parallel, up to the first world that breaks an invariant.

What is found does not depend on how many processes search. Seeds are counted in their order: the
search ends at the lowest seed that breaks something, and nothing after it is in the figures. Only a
budget of time, or Ctrl-C, makes the number of seeds a matter of speed; the report says how many
there were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from sim.explore.judging import DETERMINISM, Case, Verdict, drawn, judge
from sim.explore.tally import Tally
from sim.study.parallel import Executor, local_executor

if TYPE_CHECKING:
    from ftrepo.policy import Policy
    from sim.explore.happenings import Violation
    from sim.world.scenario import Scenario

T = TypeVar("T")

SEEDS = 1_000
"""How many seeds are searched if nobody says otherwise: some ten seconds."""

CHUNK_WORLDS = 32
"""So many worlds are one job: a fraction of a second, much longer than it takes to hand out."""

ROUND_CHUNKS = 400
"""So many jobs are handed out at once; a minute or so of work for two processors."""

TWICE_EVERY = 25
"""Of so many seeds one is played twice, to see if its history is the same: 4% of the time."""

Progress = Callable[[int, int | None], None]
"""Is told how many worlds were searched, and of how many; `None` if only the budget ends it."""


class End(Enum):
    """Why a search ended."""

    SEEDS = "seeds"
    """All of them were searched."""
    VIOLATION = "violation"
    BUDGET = "budget"
    """The time was up."""
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """Where worlds are drawn.

    Attributes:
        name: of the scenario; empty if everything is drawn.
        within: the scenario that gives primary, instances and journal.
    """

    name: str = ""
    within: Scenario | None = None

    @property
    def said(self) -> str:
        """What is added to the number of a seed, to say where it was drawn."""
        return f" of scenario {self.name}" if self.name else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is searched.

    Attributes:
        grounds: each seed gives a world in every one of them, in this order.
        policy: under which each is played; `None` draws one from the seed.
        only: the one invariant that counts; `None` for all.
        first: the first seed.
        seeds: how many; `None` for as many as the budget allows.
    """

    grounds: tuple[Grounds, ...] = (Grounds(),)
    policy: Policy | None = None
    only: str | None = None
    first: int = 0
    seeds: int | None = SEEDS

    @property
    def worlds(self) -> int | None:
        """How many worlds there are."""
        return None if self.seeds is None else self.seeds * len(self.grounds)

    def case(self, seed: int, grounds: Grounds) -> Case:
        """Return what is played for a seed."""
        return drawn(seed, within=grounds.within, policy=self.policy)

    def judged(self, seed: int, case: Case) -> Verdict:
        """Play and judge it."""
        return judge(case, only=self.only, twice=seed % TWICE_EVERY == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The first world that broke an invariant.

    Attributes:
        seed: that it was drawn from.
        grounds: where it was drawn.
        case: the world and the policy.
        verdict: its history, and every violation.
    """

    seed: int
    grounds: Grounds
    case: Case
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search did.

    Attributes:
        plan: what was to be searched.
        seeds: how many were, the one that broke something included.
        tally: what was reached.
        found: what broke an invariant; `None` if nothing did.
        end: why it ended.
        wall_s: how long it took, in real seconds; `None` if there was no clock.
    """

    plan: Plan
    seeds: int
    tally: Tally
    found: Found | None
    end: End
    wall_s: float | None

    @property
    def seeds_per_s(self) -> float | None:
        """Seeds in a real second; `None` if no time was measured."""
        return self.seeds / self.wall_s if self.wall_s else None


@dataclass(frozen=True, slots=True)
class Broken:
    """Which world broke an invariant, in as few words as another process needs.

    Attributes:
        seed: that it was drawn from.
        place: of its grounds in the plan.
        violation: what was seen first.
    """

    seed: int
    place: int
    violation: Violation


@dataclass(slots=True)
class Chunk:
    """What became of some seeds in a row, up to the first that broke something."""

    seeds: int = 0
    tally: Tally = field(default_factory=Tally)
    broken: Broken | None = None


def search(
    plan: Plan,
    *,
    now: Callable[[], float] | None = None,
    workers: int | None = None,
    budget_s: float | None = None,
    progress: Progress | None = None,
) -> Search:
    """Search until a world breaks an invariant, or seeds or time are used up, or Ctrl-C is pressed.

    Args:
        plan: what is searched.
        now: reads a clock that counts real seconds; `None` measures no time.
        workers: processes; `None` for one for each processor, 1 to stay in this process.
        budget_s: after how long no more is begun; `None` for no bound.
        progress: is told at the start and after each chunk of seeds.

    Raises:
        ValueError: there is a bound neither in seeds nor in time, or no clock for the latter.
    """
    if plan.seeds is None and budget_s is None:
        raise ValueError("a search needs a bound: seeds, or a budget of time")
    if budget_s is not None and now is None:
        raise ValueError("a budget of time needs a clock")
    clock = now or (lambda: 0.0)
    began_s, done, end = clock(), Chunk(), End.SEEDS
    report = progress or (lambda _done, _total: None)
    report(0, plan.worlds)
    try:
        with (
            local_executor(workers, jobs=_jobs_max(plan)) as executor,
            contextlib.closing(_chunks(plan, executor)) as chunks,
        ):
            for chunk in chunks:
                done.seeds += chunk.seeds
                done.tally.add(chunk.tally)
                report(done.tally.worlds, plan.worlds)
                if chunk.broken is not None:
                    done.broken, end = chunk.broken, End.VIOLATION
                    break
                if budget_s is not None and clock() - began_s >= budget_s:
                    end = End.BUDGET if done.seeds != plan.seeds else End.SEEDS
                    break
    except KeyboardInterrupt:
        end = End.INTERRUPTED
    wall_s = None if now is None else clock() - began_s
    found = None if done.broken is None else _found(plan, done.broken)
    return Search(
        plan=plan, seeds=done.seeds, tally=done.tally, found=found, end=end, wall_s=wall_s
    )


def searched(plan: Plan, first: int, seeds: int) -> Chunk:
    """Search some seeds in a row, in this process, up to the first that breaks something."""
    chunk = Chunk()
    for seed in range(first, first + seeds):
        chunk.seeds += 1
        for place, grounds in enumerate(plan.grounds):
            try:
                case = plan.case(seed, grounds)
                verdict = plan.judged(seed, case)
                chunk.tally.note(seed, case, verdict.chronicle)
            except Exception as error:
                # Of the search itself: what fails in a play is a finding.
                error.add_note(f"in the world of seed {seed}" + grounds.said)
                raise
            if verdict.violations:
                chunk.broken = Broken(seed, place, verdict.violations[0])
                return chunk
    return chunk


def _found(plan: Plan, broken: Broken) -> Found:
    """Play it once more, here: its history is too large to come from another process."""
    grounds = plan.grounds[broken.place]
    case = plan.case(broken.seed, grounds)
    verdict = plan.judged(broken.seed, case)
    if not verdict.violations:
        seen = broken.violation
        said = f"another process saw {seen.invariant} broken ({seen.said}), and this one does not"
        verdict = replace(verdict, violations=(replace(seen, invariant=DETERMINISM, said=said),))
    return Found(seed=broken.seed, grounds=grounds, case=case, verdict=verdict)


def _chunks(plan: Plan, executor: Executor) -> Generator[Chunk, None, None]:
    """Yield chunk after chunk in the order of their seeds."""
    shared = executor.share(plan)
    size = max(1, CHUNK_WORLDS // len(plan.grounds))
    first, last = plan.first, None if plan.seeds is None else plan.first + plan.seeds
    while last is None or first < last:
        end = first + size * ROUND_CHUNKS
        end = end if last is None else min(end, last)
        jobs = [(shared, at, min(size, end - at)) for at in range(first, end, size)]
        first = end
        finished = executor.finished(searched, jobs)
        try:
            yield from _in_order(finished)
        finally:
            if isinstance(finished, Generator):
                finished.close()


def _in_order(finished: Iterator[tuple[int, T]]) -> Iterator[T]:
    """Yield results in the order of their jobs, each as soon as all before it are there."""
    waiting: dict[int, T] = {}
    coming = 0
    for number, result in finished:
        waiting[number] = result
        while coming in waiting:
            yield waiting.pop(coming)
            coming += 1


def _jobs_max(plan: Plan) -> int:
    if plan.worlds is None:
        return ROUND_CHUNKS
    return max(1, -(-plan.worlds // CHUNK_WORLDS))
