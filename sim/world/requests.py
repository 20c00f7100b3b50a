"""What each `get` asks for, and the luck of its attempts, drawn before it is made.

An open stream of arrivals draws all of its requests at once. A client of a closed population draws
its own, some at a time, for nobody knows beforehand how many it will make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sim.world.faults import CallDraw
from sim.world.issuers import Demand

if TYPE_CHECKING:
    from sim.world.scenario import Scenario
    from sim.world.streams import Streams

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a caller.

    Attributes:
        label: a name that no other request of the run has.
        issuer: whose token the verifier holds; 0 is the observed instance.
        token_age_s: how old the token is.
        unknown: whether the token is forged, with a key id that nobody made.
        luck: what each attempt meets in the primary, if it reaches it.
        pauses: uniform in [0, 1), one for the pause before each attempt but the first.
    """

    label: str
    issuer: int
    token_age_s: float
    unknown: bool
    luck: tuple[CallDraw, ...]
    pauses: tuple[float, ...]


class Requests:
    """A number of requests, each as it is drawn.

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
        demand = Demand.draw(scenario.keys, generator("demand"), size)
        self._issuer = demand.issuer.tolist()
        self._token_age_s = demand.token_age_s.tolist()
        self._unknown = demand.unknown.tolist()
        attempts = range(scenario.caller.attempts_max)
        select = scenario.primary.select
        self._select_s = [
            select.draw(generator(_of_attempt("get latency", at)), size).tolist() for at in attempts
        ]
        self._failure = [
            generator(_of_attempt("get failure", at)).random(size).tolist() for at in attempts
        ]
        self._pauses = [
            generator(_of_attempt("pause", at)).random(size).tolist() for at in attempts[1:]
        ]

    def __getitem__(self, number: int) -> Request:
        return Request(
            f"{self._label}{number}",
            self._issuer[number],
            self._token_age_s[number],
            self._unknown[number],
            tuple(
                CallDraw(select_s[number], failure[number], 0.0, 0.0)
                for select_s, failure in zip(self._select_s, self._failure, strict=True)
            ),
            tuple(pauses[number] for pauses in self._pauses),
        )


def requests_of_client(scenario: Scenario, streams: Streams, client: int) -> Iterator[Request]:
    """Yield the requests of one client of a closed population, for ever."""
    block = 0
    while True:
        where = f"client {client}/{block}"
        generator = partial(_generator_of, streams, where)
        requests = Requests(scenario, generator, _AT_ONCE, label=f"{where}/")
        for number in range(_AT_ONCE):
            yield requests[number]
        block += 1


def _generator_of(streams: Streams, where: str, name: str) -> np.random.Generator:
    return streams.generator(f"{where}/{name}")


def _of_attempt(name: str, at: int) -> str:
    """The stream of an attempt. The first has the name that it has where nobody retries."""
    return name if at == 0 else f"{name}, attempt {at + 1}"
