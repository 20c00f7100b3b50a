"""How coverage grows with the number of worlds, and how far it is from its end.

Worlds are independent of each other, and in each a name (a behaviour, a pair, a situation) is
reached or not. So names are to worlds what species are to traps, and the statistics are those of
ecology: how many names fewer worlds would have reached (rarefaction), how many more would be, and
how many can be reached at least. All of it follows from how many worlds reached each name, and
holds for worlds as they are drawn here.

Sources: the curve and its variance, Colwell, Mao and Chang, "Interpolating, extrapolating, and
comparing incidence-based species accumulation curves", Ecology 85, 2004; what more worlds bring,
Colwell and others, Journal of Plant Ecology 5, 2012; how many there are at least, Chao, Biometrics
43, 1987 ("Chao2"); the error of Good's and Turing's estimate, Esty, Annals of Statistics 11, 1983.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sim.study.intervals import CONFIDENCE, Interval

if TYPE_CHECKING:
    from sim.explore.tally import Tally

Floats = NDArray[np.float64]

_TAIL = (1 - CONFIDENCE) / 2
_NORMAL = float(special.ndtri(1 - _TAIL))


@dataclass(frozen=True, slots=True)
class Growth:
    """What a search knows of names that it has reached, and of those that it has not.

    Attributes:
        worlds: how many were played; one or more.
        times: for each name that was reached, in how many worlds.
        names: how many there are on the list, whether or not they can be reached.
    """

    worlds: int
    times: tuple[int, ...]
    names: int

    @classmethod
    def of(cls, tally: Tally, names: Collection[str]) -> Growth:
        """Return the growth of what a search reached.

        Args:
            tally: of at least one world.
            names: of behaviours, pairs or situations.
        """
        times = (tally.times[each] for each in names)
        return cls(tally.worlds, tuple(many for many in times if many), len(names))

    @property
    def reachable(self) -> float:
        """How many names can be reached at least, those that were included: Chao2, bias-corrected.

        At least, because names that are much rarer than those seen once or twice leave no trace.
        """
        once, twice = self._reached_by(1), self._reached_by(2)
        share = (self.worlds - 1) / self.worlds
        unseen = share * once * (once - 1) / (2 * (twice + 1))
        return min(float(self.names), len(self.times) + unseen)

    def after(self, worlds: int) -> Interval:
        """Return how many names are reached in so many worlds, drawn anew.

        The variance is that of names which are reached independently of each other, and at least
        one name more is taken to be reachable. Situations go together somewhat, so theirs is too
        small: in searches of 200 to 3,000 worlds the interval covered the truth in 86% to 93%.

        Args:
            worlds: up to `self.worlds`, interpolated, with an interval; beyond, extrapolated, and
                without one (NaN). What is extrapolated is rather too low, see `reachable`; that of
                twice the worlds was so by 1% in those searches.
        """
        if worlds > self.worlds:
            return Interval(self._extrapolated(worlds), np.nan, np.nan, self.worlds)
        reached = 1 - self._missed(worlds)
        mean = float(reached.sum())
        # Of another search, not of another choice among these worlds: it has a width at the end.
        most = max(self.reachable, len(self.times) + 1)
        half = _NORMAL * max(0.0, float((reached**2).sum()) - mean**2 / most) ** 0.5
        high = min(float(self.names), mean + half)
        return Interval(mean, max(0.0, mean - half), high, self.worlds)

    def new_in_one(self, after: int | None = None) -> Interval:
        """Return how many names one world more is expected to reach for the first time.

        The estimate is that of Good and Turing. Its interval is a gamma distribution's with the
        variance of the error, (Q1 + 2 Q2)/n², where Q1 and Q2 names were reached in one and in two
        of n worlds; the upper end counts one more that was seen once. So where none was, it is that
        of a Poisson count of zero, 3.7/n. In searches of 200 to 3,000 worlds it covered the truth
        for situations in 91% to 95%.

        Args:
            after: so many worlds, at most `self.worlds`; `None` for all of them. If those have
                reached every name on the list, nothing new is left, and that is certain.
        """
        if after is None and len(self.times) == self.names:
            return Interval(0.0, 0.0, 0.0, self.worlds)
        worlds = self.worlds if after is None else after
        once, twice = (self._expected_by(many, worlds) for many in (1, 2))
        low = _gamma_quantile(_TAIL, once, once + 2 * twice)
        high = _gamma_quantile(1 - _TAIL, once + 1, once + 1 + 2 * twice)
        return Interval(once / worlds, low / worlds, high / worlds, self.worlds)

    def _reached_by(self, many: int) -> int:
        """How many names were reached in exactly so many worlds."""
        return sum(each == many for each in self.times)

    def _expected_by(self, many: int, worlds: int) -> float:
        """How many names are reached in exactly so many of some of these worlds."""
        n = np.array(self.times, dtype=float)
        n = n[n >= many]
        rest, others = self.worlds - n, worlds - many
        possible = rest >= others
        n, rest = n[possible], rest[possible]
        logs = _log_choose(n, many) + _log_choose(rest, others)
        return float(np.exp(logs - _log_choose(self.worlds, worlds)).sum())

    def _missed(self, worlds: int) -> Floats:
        """For each name, the probability that none of some of these worlds reaches it."""
        rest = self.worlds - np.array(self.times, dtype=float)
        missed = np.zeros(len(rest))
        possible = rest >= worlds
        logs = _log_choose(rest[possible], worlds) - _log_choose(self.worlds, worlds)
        missed[possible] = np.exp(logs)
        return missed

    def _extrapolated(self, worlds: int) -> float:
        unseen = self.reachable - len(self.times)
        if not unseen:
            return float(len(self.times))
        once = self._reached_by(1)
        found = 1 - (1 - once / (self.worlds * unseen + once)) ** (worlds - self.worlds)
        return len(self.times) + unseen * found


def share_of_worlds(many: int, worlds: int) -> Interval:
    """Return the share of worlds that do something, of which some were seen to.

    The interval is that of Clopper and Pearson (Biometrika 26, 1934), for independent worlds; its
    end is one-sided where none did, or all.

    Args:
        many: how many did.
        worlds: of how many; one or more.
    """
    tail = _TAIL if 0 < many < worlds else 1 - CONFIDENCE
    low = float(special.betaincinv(many, worlds - many + 1, tail)) if many else 0.0
    high = 1.0
    if many < worlds:
        high = float(special.betaincinv(many + 1, worlds - many, 1 - tail))
    return Interval(many / worlds, low, high, worlds)


def powers(worlds: int, *, per_decade: int = 12) -> Sequence[int]:
    """Return numbers of worlds from 1 up, evenly by their logarithm, each once."""
    count = max(2, round(per_decade * np.log10(max(worlds, 2))) + 1)
    return sorted({round(each) for each in np.geomspace(1, worlds, count).tolist()})


def _log_choose(n: Floats | float, k: float) -> Floats:
    log_factorial = special.gammaln
    return np.asarray(log_factorial(n + 1.0) - log_factorial(k + 1.0) - log_factorial(n - k + 1.0))


def _gamma_quantile(probability: float, mean: float, variance: float) -> float:
    if mean <= 0:
        return 0.0
    return float(special.gammaincinv(mean**2 / variance, probability)) * variance / mean
