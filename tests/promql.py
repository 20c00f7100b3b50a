"""As much of PromQL as the alert rules need, over scrapes that are at hand.

Where Prometheus' own tool is installed, a test holds this one against it.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Scrape = Mapping[tuple[str, Labels], float]
Compare = Callable[[float, float], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?![\w.]))|(?P<word>[a-zA-Z_:][\w:]*)|(?P<text>"[^"]*")
    |(?P<range>\[\w+\])|(?P<span>\d+[smh])|(?P<sign>=~|!~|!=|==|<=|>=|[-+/*<>=(){},]))""",
    re.VERBOSE,
)
_COMPARED: Mapping[str, Compare] = {
    ">": operator.gt,
    "<": operator.lt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
}
_SUMMED = {"+": operator.add, "-": operator.sub}
_TIMES = {"*": operator.mul, "/": lambda a, b: a / b if b else math.nan}
_MATCHED: Mapping[str, Callable[[str, str], bool]] = {
    "=": lambda value, given: value == given,
    "!=": lambda value, given: value != given,
    "=~": lambda value, given: re.fullmatch(given, value) is not None,
    "!~": lambda value, given: re.fullmatch(given, value) is None,
}
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class Point(NamedTuple):
    """A value and when it was scraped."""

    at_s: float
    value: float


class History:
    """What was scraped, and when; a series that a scrape lacks has ended.

    Args:
        scrapes: each with its moment, in order.
    """

    def __init__(self, scrapes: Sequence[tuple[float, Scrape]]) -> None:
        self.moments_s = [moment_s for moment_s, _ in scrapes]
        self.series: dict[str, dict[Labels, list[Point]]] = {}
        for moment_s, scrape in scrapes:
            for (name, labels), value in scrape.items():
                points = self.series.setdefault(name, {}).setdefault(labels, [])
                points.append(Point(moment_s, value))

    def at(self, name: str, at_s: float) -> Vector:
        """Each series of a name at a moment."""
        latest_s = max((each for each in self.moments_s if each <= at_s), default=math.nan)
        found = self.within(name, at_s, at_s - latest_s)
        return {labels: points[-1].value for labels, points in found.items()}

    def within(self, name: str, at_s: float, span_s: float) -> dict[Labels, list[Point]]:
        """Each series of a name in a span that ends at a moment, both ends included."""
        found = {
            labels: [each for each in points if at_s - span_s <= each.at_s <= at_s]
            for labels, points in self.series.get(name, {}).items()
        }
        return {labels: points for labels, points in found.items() if points}


def seconds(span: str) -> float:
    """A span of time, such as 5m."""
    return float(span[:-1]) * _SECONDS[span[-1]]


def evaluate(query: str, history: History, at_s: float) -> Vector:
    """What a query says at a moment."""
    reader = _Reader(query, history, at_s)
    result = reader.sets()
    assert reader.is_at_end, f"not understood: {query!r} at {reader.here}"
    assert isinstance(result, dict)
    return result


def raised(rule: Mapping[str, str], history: History, moments_s: Iterable[float]) -> Vector:
    """The series for which an alert stands at the last of the moments at which it is looked at."""
    for_s, since_s, standing = seconds(rule.get("for", "0s")), dict[Labels, float](), Vector()
    for moment_s in moments_s:
        found = evaluate(rule["expr"], history, moment_s)
        since_s = {labels: since_s.get(labels, moment_s) for labels in found}
        standing = {
            labels: value for labels, value in found.items() if moment_s - since_s[labels] >= for_s
        }
    return standing


class _Reader:
    """Reads a query from left to right, and computes as it reads."""

    def __init__(self, query: str, history: History, at_s: float) -> None:
        self._tokens = [match for match in _TOKEN.finditer(query) if match[0].strip()]
        assert "".join(t[0] for t in self._tokens).split() == query.split(), f"unread: {query!r}"
        self._next = 0
        self._history = history
        self._at_s = at_s

    @property
    def here(self) -> str:
        return "" if self.is_at_end else self._tokens[self._next][0].strip()

    @property
    def is_at_end(self) -> bool:
        return self._next >= len(self._tokens)

    def take(self, *wanted: str) -> str:
        token = self.here
        assert not wanted or token in wanted, f"{token!r} where {wanted} was due"
        self._next += 1
        return token

    def sets(self) -> Vector | float:
        left = self.both()
        while self.here == "or":
            self.take()
            right = _vector(self.both())
            left = _vector(left)
            left = right | left
        return left

    def both(self) -> Vector | float:
        left = self.compared()
        while self.here in ("and", "unless"):
            word, on = self.take(), self.on()
            left, right = _vector(left), _vector(self.compared())
            keys = {_only(labels, on) for labels in right}
            left = {k: v for k, v in left.items() if (_only(k, on) in keys) == (word == "and")}
        return left

    def compared(self) -> Vector | float:
        left = self.summed()
        while self.here in _COMPARED:
            holds, right = _COMPARED[self.take()], self.summed()
            assert isinstance(right, float)
            left = {k: v for k, v in _vector(left).items() if holds(v, right)}
        return left

    def summed(self) -> Vector | float:
        return self._arithmetic(_SUMMED, self.multiplied)

    def multiplied(self) -> Vector | float:
        return self._arithmetic(_TIMES, self.one)

    def _arithmetic(
        self,
        signs: Mapping[str, Callable[[float, float], float]],
        operand: Callable[[], Vector | float],
    ) -> Vector | float:
        left = operand()
        while self.here in signs:
            compute, on = signs[self.take()], self.on()
            left, right = _vector(left), _vector(operand())
            others = {_only(labels, on): value for labels, value in right.items()}
            left = {
                _only(k, on): compute(v, others[_only(k, on)])
                for k, v in left.items()
                if _only(k, on) in others
            }
        return left

    def on(self) -> list[str] | None:
        if self.here != "on":
            return None
        self.take()
        return self.names()

    def names(self) -> list[str]:
        self.take("(")
        names = []
        while self.here != ")":
            names.append(self.take())
            if self.here == ",":
                self.take()
        self.take(")")
        return names

    def one(self) -> Vector | float:
        token = self._tokens[self._next]
        if token["number"]:
            return float(self.take())
        if self.here == "(":
            self.take()
            inner = self.sets()
            self.take(")")
            return inner
        word = self.take()
        if word in ("sum", "max", "min"):
            return self.aggregated({"sum": sum, "max": max, "min": min}[word])
        if word == "histogram_quantile":
            self.take("(")
            share = float(self.take())
            self.take(",")
            buckets = _vector(self.sets())
            self.take(")")
            return _quantiles(share, buckets)
        if self.here == "(":
            return self.over_time(word)
        return self.selected(word)

    def aggregated(self, total: Callable[[Iterable[float]], float]) -> Vector:
        by: list[str] = []
        if self.here == "by":
            self.take()
            by = self.names()
        self.take("(")
        inner = _vector(self.sets())
        self.take(")")
        groups: dict[Labels, list[float]] = {}
        for labels, value in inner.items():
            groups.setdefault(_only(labels, by), []).append(value)
        return {labels: total(values) for labels, values in groups.items()}

    def selected(self, name: str) -> Vector:
        matches = self.matchers()
        at_s = self._at_s
        if self.here == "offset":
            self.take()
            at_s -= seconds(self.take())
        found = self._history.at(name, at_s)
        return {labels: value for labels, value in found.items() if matches(labels)}

    def over_time(self, function: str) -> Vector:
        self.take("(")
        name, matches = self.take(), self.matchers()
        span_s = seconds(self.take().strip("[]"))
        self.take(")")
        found = self._history.within(name, self._at_s, span_s)
        chosen = {labels: points for labels, points in found.items() if matches(labels)}
        if function == "min_over_time":
            return {labels: min(p.value for p in points) for labels, points in chosen.items()}
        if function == "last_over_time":
            return {labels: points[-1].value for labels, points in chosen.items()}
        per_s = {"increase": 1.0, "rate": 1.0 / span_s}[function]
        return {
            labels: per_s * _increase(points, self._at_s, span_s)
            for labels, points in chosen.items()
            if len(points) > 1
        }

    def matchers(self) -> Callable[[Labels], bool]:
        conditions = []
        if self.here == "{":
            self.take()
            while self.here != "}":
                name, holds, given = self.take(), _MATCHED[self.take()], self.take().strip('"')
                conditions.append((name, holds, given))
                if self.here == ",":
                    self.take()
            self.take("}")
        return lambda labels: all(
            holds(dict(labels).get(name, ""), given) for name, holds, given in conditions
        )


def _vector(value: Vector | float) -> Vector:
    assert isinstance(value, dict)
    return value


def _only(labels: Labels, names: Sequence[str] | None) -> Labels:
    return labels if names is None else frozenset(each for each in labels if each[0] in names)


def _increase(points: Sequence[Point], at_s: float, span_s: float) -> float:
    """As Prometheus extrapolates it (`extrapolatedRate` in promql/functions.go)."""
    first, last = points[0], points[-1]
    resets = sum(a.value for a, b in itertools.pairwise(points) if b.value < a.value)
    grown = last.value - first.value + resets
    sampled_s = last.at_s - first.at_s
    apart_s = sampled_s / (len(points) - 1)
    before_s, after_s = first.at_s - (at_s - span_s), at_s - last.at_s
    if grown > 0 and first.value >= 0:  # A counter cannot have begun below zero.
        before_s = min(before_s, sampled_s * first.value / grown)
    extended_s = sampled_s
    for gap_s in (before_s, after_s):
        extended_s += gap_s if gap_s < 1.1 * apart_s else apart_s / 2
    return grown * extended_s / sampled_s


def _quantiles(share: float, buckets: Vector) -> Vector:
    """As Prometheus interpolates it: linearly within a bucket."""
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, count in buckets.items():
        rest = frozenset(each for each in labels if each[0] != "le")
        groups.setdefault(rest, []).append((float(dict(labels)["le"]), count))
    return {labels: _quantile(share, sorted(counts)) for labels, counts in groups.items()}


def _quantile(share: float, counts: Sequence[tuple[float, float]]) -> float:
    rank, (bound, below) = share * counts[-1][1], (0.0, 0.0)
    if not rank:
        return math.nan
    for bound_next, count in counts:
        if count >= rank:
            if math.isinf(bound_next):
                return bound
            return bound + (bound_next - bound) * (rank - below) / (count - below)
        bound, below = bound_next, count
    raise AssertionError("the last bucket has no bound")
