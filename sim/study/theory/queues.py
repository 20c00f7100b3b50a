"""Queues with several servers, which the primary's pool of connections is."""

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
