"""What each `get` asks for, and the luck of its attempts, drawn before it is made.

An open stream of arrivals draws all of its requests at once. A client of a closed population draws
its own, some at a time, for nobody knows beforehand how many it will make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.world.faults import CallDraw
from sim.world.issuers import Demand

if TYPE_CHECKING:
    from sim.world.scenario import Scenario
    from sim.world.streams import Streams

_AT_ONCE = 64
"""How many requests a client draws at a time, and how many of an open stream are objects at once.
Drawn, a request is a few numbers in arrays, so that a run may have millions of them."""


class Request(NamedTuple):
    """One request of a caller.

    Attributes:
        label: a name that no other request of the run has.
        issuer: whose token the verifier holds: first the observed instances, then the peers.
        token_age_s: how old the token is.
        unknown: whether the token is forged, with a key id that nobody made.
        luck: what each attempt meets in the primary, if it reaches it.
        pauses: uniform in [0, 1), one for the pause before each attempt but the first.
        balance: uniform in [0, 1), one for each attempt: which instance it is sent to.
    """

    label: str
    issuer: int
    token_age_s: float
    unknown: bool
    luck: tuple[CallDraw, ...]
    pauses: tuple[float, ...]
    balance: tuple[float, ...]


class Requests:
    """A number of requests, in the order in which they are made.

    Args:
        scenario: what is asked for, how often, and how long the primary takes.
        generator: returns the generator of a named stream.
        size: how many.
        label: comes before the number of a request in its label.
    """

    def __init__(
        self,
        scenario: Scenario,
        generator: Callable[[str], np.random.Generator],
        size: int,
        *,
        label: str = "",
    ) -> None:
        self._label = label
        self._size = size
        instances = scenario.service.instances
        self._demand = Demand.draw(scenario.keys, generator("demand"), size, instances=instances)
        attempts = range(scenario.caller.attempts_max)
        select = scenario.primary.select
        self._select_s = [
            select.draw(generator(_of_attempt("get latency", at)), size) for at in attempts
        ]
        self._failure, self._pauses, self._balance = (
            [generator(_of_attempt(name, at)).random(size) for at in numbers]
            for name, numbers in (
                ("get failure", attempts),
                ("pause", attempts[1:]),
                ("balance", attempts),
            )
        )

    def __iter__(self) -> Iterator[Request]:
        for start in range(0, self._size, _AT_ONCE):
            yield from self._some(start, min(start + _AT_ONCE, self._size))

    def _some(self, start: int, end: int) -> Iterator[Request]:
        def plain(column: NDArray[Any]) -> list[Any]:
            return column[start:end].tolist()  # type: ignore[no-any-return]

        luck = [
            map(CallDraw, plain(work_s), plain(failure), repeat(0.0), repeat(0.0))
            for work_s, failure in zip(self._select_s, self._failure, strict=True)
        ]
        return map(
            Request,
            [f"{self._label}{number}" for number in range(start, end)],
            plain(self._demand.issuer),
            plain(self._demand.token_age_s),
            plain(self._demand.unknown),
            zip(*luck, strict=True),
            zip(*map(plain, self._pauses), strict=True) if self._pauses else repeat(()),
            zip(*map(plain, self._balance), strict=True),
        )


def requests_of_client(scenario: Scenario, streams: Streams, client: int) -> Iterator[Request]:
    """Yield the requests of one client of a closed population, for ever."""
    block = 0
    while True:
        where = f"client {client}/{block}"
        generator = partial(_generator_of, streams, where)
        yield from Requests(scenario, generator, _AT_ONCE, label=f"{where}/")
        block += 1


def _generator_of(streams: Streams, where: str, name: str) -> np.random.Generator:
    return streams.generator(f"{where}/{name}")


def _of_attempt(name: str, at: int) -> str:
    """The stream of an attempt. The first has the name that it has where nobody retries."""
    return name if at == 0 else f"{name}, attempt {at + 1}"
