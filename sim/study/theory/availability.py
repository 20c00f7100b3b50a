"""Availability of each design under alternating outages, as far as there is a closed form.

Up and down times alternate and are independent (a renewal process), and callers come evenly. Over a
long time the share of calls that fail is then, by renewal reward (Ross, Stochastic Processes, 1996,
section 3.6), the expected time lost in an outage and after it over the mean of a cycle.

What is lost depends on the key that a token was signed with:

* *primary-only* loses the outage, for every key.
* With memory, an instance knows its own keys, and those of the others that it had learned when the
  outage began. It lacks those that were made since. With pending writes these reach everybody after
  the outage; without them, never.

There is no closed form for what a breaker lets through when some calls succeed (partial outages),
for instances that start anew with an empty memory, for keys that expire during an outage, and for
outages that follow each other within a token's lifetime: simulate these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.history import Floats
from sim.study.theory.outages import mean_beyond_s

_POINTS = 2_000
_AGES = 300
_PHASES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """Which instance made the key that a verifier asks for, and when.

    Attributes:
        instances: N. Each makes keys; a verifier asks one of them at random for a key of one of
            them at random.
        rotation_interval_s: R, the time between two keys of an instance; its phase is random.
        token_age_mean_s: τ: ages are exponential with this mean,
        token_lifetime_s: T: cut off at this age.
        grace_s: for how long after its turn a key that was made in an outage is not yet signed
            with: `publish_lead_s`, or longer if an instance waits until the primary has it.
            Infinite if it signs with nothing else.
    """

    instances: int
    rotation_interval_s: float
    token_age_mean_s: float
    token_lifetime_s: float
    grace_s: float = 0.0

    @property
    def elsewhere_share(self) -> float:
        """The share of calls that meet another instance than the key's maker: 1 - 1/N."""
        return 1.0 - 1.0 / self.instances


def grace_s(
    *,
    publish_lead_s: float,
    sign_when_committed: bool,
    rotation_interval_s: float,
    lifetime_s: float,
    token_lifetime_s: float,
) -> float:
    """How much later than its turn a key made in an outage is first signed with.

    Its lead, which is cut to what the lifetime W of a key leaves, W - R - T; with
    `sign_when_committed` all of that, since the older key may sign until T before it expires.

    Source: `ftrepo.rotation.KeyRotation`, whose rules these are.
    """
    spare_s = max(0.0, lifetime_s - rotation_interval_s - token_lifetime_s)
    return spare_s if sign_when_committed else min(publish_lead_s, spare_s)


def availability_alternating(
    mean_up_s: float, mean_down_s: float, *, lost_s: float | None = None
) -> float:
    """Long-run share of calls that succeed: 1 - lost / (up + down).

    Args:
        mean_up_s: mean time between the end of an outage and the next.
        mean_down_s: mean length of an outage.
        lost_s: what an outage costs, in seconds of all calls; `None` for its whole length, which
            makes this MTTF / (MTTF + MTTR).
    """
    lost_s = mean_down_s if lost_s is None else lost_s
    return 1.0 - lost_s / (mean_up_s + mean_down_s)


def lost_primary_only_s(lengths_s: Floats, *, hangs_deadline_s: float = 0.0) -> float:
    """What an outage costs a service that has nothing but the primary: E[(D - d)⁺].

    Args:
        lengths_s: of the outages.
        hangs_deadline_s: d. Zero where calls are refused. Where they hang, a call made less than
            the caller's deadline before the end is answered in time.
    """
    return mean_beyond_s(lengths_s, hangs_deadline_s)


def recently_made_share(use: KeyUse, elapsed_s: Floats) -> Floats:
    """P(A + V < x): a token's key came into use, in its turn, less than x seconds ago.

    A is the age of the token, V the time from the key's first use to the signing, uniform on [0, R)
    because phases are random. With G(x) = ∫₀ˣ P(A < y) dy this is (G(x) - G(x - R)) / R.

    Args:
        use: which keys are asked for.
        elapsed_s: x, at which to return it; 0 and less give 0.
    """
    within = _age_integral_s(use, elapsed_s) - _age_integral_s(
        use, elapsed_s - use.rotation_interval_s
    )
    shares: Floats = within / use.rotation_interval_s
    return shares


def unknown_share(use: KeyUse, elapsed_s: Floats, *, attempts: int = 1) -> Floats:
    """Share of calls, so long after an outage began, for a key made in it by another instance.

    (1 - 1/N)ᵐ P(A + V < x - grace), with m attempts of a caller, each at an instance of its own:
    where all instances knew all keys as the outage began, because new ones are announced.
    """
    made = recently_made_share(use, np.asarray(elapsed_s) - use.grace_s)
    shares: Floats = use.elsewhere_share**attempts * made
    return shares


def lost_with_pending_writes_s(
    use: KeyUse, lengths_s: Floats, *, longest_wait_s: float, attempts: int = 1
) -> float:
    """What an outage costs a fleet that flushes its keys after it, in seconds of all calls.

    The integral of `unknown_share` over the outage, and its value at the end for as long as either
    the maker has not flushed or the instance asked has not seen that the primary is back. Both
    waits are uniform up to `longest_wait_s`; the longer of two is 2/3 of it in the mean.

    Args:
        use: which keys are asked for.
        lengths_s: of the outages.
        longest_wait_s: the pace of the probes, or of the flush where there is no breaker.
        attempts: of a caller, each at another instance drawn at random.

    Approximates: up times are long against a token's age, so that an outage finds all keys known.
    """
    grid_s = np.linspace(0.0, float(lengths_s.max()), _POINTS)
    shares = unknown_share(use, grid_s, attempts=attempts)
    return _lost_s(grid_s, shares, lengths_s, 2 / 3 * longest_wait_s)


def lost_without_pending_writes_s(
    use: KeyUse, lengths_s: Floats, *, mean_wait_s: float = 0.0
) -> float:
    """What an outage costs a fleet whose keys made in it never reach the primary.

    A key is asked for as often whenever it was made. So the share of calls for such keys is the
    share of time in which keys go astray, and all but 1/N of them fail: (1 - 1/N)(E[D] + E[W]). It
    depends neither on the rotation nor on tokens: memory alone gains a fleet 1/N of the outage.

    Args:
        use: which keys are asked for.
        lengths_s: of the outages.
        mean_wait_s: E[W], how long after an outage an instance goes on without the primary.
    """
    return use.elsewhere_share * (float(lengths_s.mean()) + mean_wait_s)


def unlearned_share(
    use: KeyUse,
    elapsed_s: Floats,
    *,
    refresh_interval_s: float | None,
    reads_per_s: float,
    mean_up_s: float = math.inf,
) -> Floats:
    """Share of calls, so long after an outage began, for a key that the instance asked lacks.

    Where nothing is announced, an instance learns of another's key by its next refresh, or by being
    asked for it while the primary is up. A key made a time x before the outage is unknown with
    probability P(last refresh longer ago than x) exp(-r R P(A + V < x)); one made in it, with 1.

    The refresh begins anew as the breaker closes. With exponential up times its last one was longer
    ago than x with probability (e^(-x/U) - e^(-ρ/U)) / (1 - e^(-ρ/U)); with long ones, 1 - x/ρ.

    Args:
        use: which keys are asked for; without a lead, keys are signed with as they are made.
        elapsed_s: the times since the outage began.
        refresh_interval_s: ρ; `None` if there is no refresh.
        reads_per_s: r, calls a second that one instance gets for keys of one maker.
        mean_up_s: U; infinite if outages are rare.

    Source: an exponential time modulo ρ is exponential and cut off at ρ; and the void probability
    of a Poisson process whose rate is r times the share of tokens that the key has signed so far.
    """
    interval_s = use.rotation_interval_s
    # When the last key before the outage was made: a phase; and how old the token is.
    phase_s = ((np.arange(_PHASES) + 0.5) / _PHASES * interval_s)[:, None]
    age_s = _ages_s(use, (np.arange(_AGES) + 0.5) / _AGES)[None, :]
    shares = []
    for moment_s in np.asarray(elapsed_s):
        signed_s = moment_s - age_s
        turn = np.floor((signed_s + phase_s) / interval_s)
        in_outage = signed_s > interval_s + use.grace_s - phase_s
        made_before_s = phase_s - np.where(in_outage, turn, np.minimum(turn, 0)) * interval_s
        missed = np.exp(
            -reads_per_s * interval_s * recently_made_share(use, np.maximum(0.0, made_before_s))
        )
        if refresh_interval_s is not None:
            missed = missed * _longer_ago(made_before_s, refresh_interval_s, mean_up_s)
        shares.append(float(np.mean(np.where(in_outage, 1.0, missed))))
    return use.elsewhere_share * np.array(shares)


def lost_unannounced_s(
    use: KeyUse,
    lengths_s: Floats,
    *,
    refresh_interval_s: float | None,
    reads_per_s: float,
    mean_wait_s: float,
    mean_up_s: float = math.inf,
) -> float:
    """What an outage costs where new keys are not announced; see `unlearned_share`.

    Args:
        use: which keys are asked for.
        lengths_s: of the outages.
        refresh_interval_s: `None` if there is no refresh.
        reads_per_s: calls a second that one instance gets for keys of one maker.
        mean_wait_s: how long after an outage, in the mean, such a key stays unknown.
        mean_up_s: of exponential up times; infinite if outages are rare.
    """
    grid_s = np.concatenate(([0.0], np.geomspace(1.0, max(2.0, float(lengths_s.max())), 120)))
    shares = unlearned_share(
        use,
        grid_s,
        refresh_interval_s=refresh_interval_s,
        reads_per_s=reads_per_s,
        mean_up_s=mean_up_s,
    )
    return _lost_s(grid_s, shares, lengths_s, mean_wait_s)


def _longer_ago(than_s: Floats, interval_s: float, mean_up_s: float) -> Floats:
    """P(the last beat of an interval that began with the up time was longer ago than that)."""
    within_s = np.clip(than_s, 0.0, interval_s)
    if math.isinf(mean_up_s):
        even: Floats = 1.0 - within_s / interval_s
        return even
    last = math.exp(-interval_s / mean_up_s)
    shares: Floats = (np.exp(-within_s / mean_up_s) - last) / (1.0 - last)
    return shares


def _lost_s(grid_s: Floats, shares: Floats, lengths_s: Floats, wait_s: float) -> float:
    """E[∫₀ᴰ p(u) du + p(D) · wait], by the trapezoidal rule."""
    steps = np.diff(grid_s) * (shares[1:] + shares[:-1]) / 2
    inside = np.interp(lengths_s, grid_s, np.concatenate(([0.0], np.cumsum(steps))))
    after = np.interp(lengths_s, grid_s, shares) * wait_s
    return float(np.mean(inside + after))


def _age_integral_s(use: KeyUse, until_s: Floats) -> Floats:
    """G(x) = ∫₀ˣ P(A < y) dy for the exponential age, cut off at the token's lifetime."""
    mean_s, lifetime_s = use.token_age_mean_s, use.token_lifetime_s
    within = -math.expm1(-lifetime_s / mean_s)
    times_s = np.maximum(0.0, np.asarray(until_s, dtype=float))
    young_s = np.minimum(times_s, lifetime_s)
    integral: Floats = (young_s + mean_s * np.expm1(-young_s / mean_s)) / within
    whole: Floats = integral + (times_s - young_s)
    return whole


def _ages_s(use: KeyUse, shares: Floats) -> Floats:
    """The ages of tokens at these shares of their distribution; see `sim.world.issuers.Demand`."""
    within = -math.expm1(-use.token_lifetime_s / use.token_age_mean_s)
    ages: Floats = -use.token_age_mean_s * np.log1p(-shares * within)
    return ages
