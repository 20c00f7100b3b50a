"""Closed forms that simulations are held against."""

from __future__ import annotations


def erlang_c(servers: int, offered_load: float) -> float:
    """Probability that an arrival at an M/M/c queue has to wait.

    Computed by the stable recursion for the Erlang B probability, B(n) = aB(n-1) / (n + aB(n-1)),
    and C = B / (1 - ρ(1 - B)).

    Args:
        servers: c, at least 1.
        offered_load: a = arrival rate × mean service time, in Erlang, below `servers`.

    Source: Erlang 1917; e.g. Cooper, Introduction to Queueing Theory, 1981, sections 3.3 and 3.5.
    """
    if not 0 <= offered_load < servers:
        raise ValueError(
            f"the queue is stable only with a load below {servers}, not {offered_load}"
        )
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered_load * blocked / (n + offered_load * blocked)
    utilisation = offered_load / servers
    return blocked / (1 - utilisation * (1 - blocked))


def mmc_mean_wait_s(servers: int, arrivals_per_s: float, mean_service_s: float) -> float:
    """Mean time in the queue of an M/M/c system, service not included: C / (c/s - λ)."""
    load = arrivals_per_s * mean_service_s
    return erlang_c(servers, load) / (servers / mean_service_s - arrivals_per_s)


def cached_keys(*, issuers: int, rotation_interval_s: float, lifetime_s: float) -> float:
    """Mean number of unexpired keys: Little's law, L = λW.

    Args:
        issuers: how many instances make keys.
        rotation_interval_s: each makes one every so many seconds.
        lifetime_s: how long a key stays in the cache: from its creation to its expiry.
    """
    return issuers / rotation_interval_s * lifetime_s


def availability_alternating(mean_up_s: float, mean_down_s: float) -> float:
    """Long-run share of up time of an alternating renewal process: MTTF / (MTTF + MTTR)."""
    return mean_up_s / (mean_up_s + mean_down_s)


def mean_flush_wait_s(flush_interval_s: float) -> float:
    """Mean wait for the next beat of a fixed interval, from a moment independent of it: half."""
    return flush_interval_s / 2


__all__ = [
    "availability_alternating",
    "cached_keys",
    "erlang_c",
    "mean_flush_wait_s",
    "mmc_mean_wait_s",
]
