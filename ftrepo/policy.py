"""Policy: every tunable of the repository, in one frozen dataclass, to and from TOML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftrepo import settings
from ftrepo.errors import PolicyError
from ftrepo.settings import Setting, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOUSE = "house rule"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How a `FaultTolerantRepository` behaves. Derive others with `dataclasses.replace`.

    What each setting does, and where its default comes from, is said at the setting;
    `settings_table` and `to_toml` show it.

    Raises:
        PolicyError: a value is of the wrong type or impossible, or two of them contradict each
            other. The message names the setting, the value and what is allowed.
    """

    read_policy: Literal["primary-first", "cache-first", "primary-only"] = setting(
        "primary-first",
        doc="Which store `get` asks first. primary-first sees a deletion at once and pays a round "
        "trip; cache-first answers from memory while the key is fresh enough; primary-only never "
        "answers from memory, so that an outage is an outage.",
        source="the requirements of the service: the primary first",
    )
    write_order: Literal["cache-first", "primary-first", "primary-only"] = setting(
        "cache-first",
        doc="Where `create` puts a key first. cache-first makes it readable here at once; "
        "primary-first makes it readable here only when the primary has answered or failed; with "
        "primary-only a failing primary fails the create.",
        source="the requirements of the service: into the cache, then into the primary",
    )
    pending_writes: bool = setting(
        True,
        doc="Whether a key that the primary missed waits to be written later. If not, it stays in "
        "memory only, and other instances never see it.",
        source="the requirements: a primary that fails is never raised to the caller",
    )

    insert_timeout_s: float | None = setting(
        0.5,
        unit="s",
        above=0,
        doc="How long `create`, and each flush, waits for the primary. `none` waits for ever: one "
        "hanging primary then hangs every caller.",
        source="the requirements of the service: 500 ms",
    )
    select_timeout_s: float | None = setting(
        0.5,
        unit="s",
        above=0,
        doc="How long `get`, and each probe, waits for the primary. `none` waits for ever.",
        source="the requirements of the service: 500 ms",
    )
    delete_timeout_s: float | None = setting(
        0.5,
        unit="s",
        above=0,
        doc="How long `delete_expired` waits for the primary. `none` waits for ever.",
        source="the requirements of the service: 500 ms",
    )
    load_timeout_s: float | None = setting(
        2.0,
        unit="s",
        above=0,
        doc="How long the load at start, and each refresh, waits for one page of keys. No caller "
        "waits for a refresh, so it may be longer. `none` waits for ever.",
        source=f"{_HOUSE}: four times select_timeout_s, for a page of many rows",
    )
    calls_in_flight_max: int = setting(
        100,
        unit="calls",
        least=1,
        doc="The most calls to the primary under way at once, those included that were abandoned "
        "at their time-out and have not ended yet. More are refused at once.",
        source=f"{_HOUSE}: four times the 25 connections of a server's pool",
    )
    futile_calls_per_s_max: float | None = setting(
        100.0,
        unit="calls/s",
        above=0,
        doc="How many calls a second the primary may get, in the long run, that bring nothing: "
        "failed, timed out, given up, or for a key that it does not have. As many as "
        "calls_in_flight_max, and a fifth more, may come at once before that. Beyond it memory "
        "answers, if it can, or the answer is 'unavailable'. `none` sets no bound, and neither "
        "does read_policy = primary-only, since memory could not answer instead.",
        source=f"{_HOUSE}: a few per cent of what a small server can take",
    )
    ramp_up_s: float = setting(
        5.0,
        unit="s",
        least=0,
        doc="For how long, after the breaker has closed, calls of `get` are let back step by step: "
        "at first futile_calls_per_s_max of them, at the end all. Each time a random part of it, "
        "from half up to the whole, so that instances which failed together do not return "
        "together. 0 lets all calls back at once.",
        source=f"{_HOUSE}: long enough for a server to warm its cache of an index",
    )
    absent_ttl_s: float = setting(
        1.0,
        unit="s",
        least=0,
        doc="For how long an id is remembered that the primary said it does not have, unless a key "
        "appears under it here or is announced. 0 remembers none, and each `get` asks.",
        source=f"{_HOUSE}: short, as another instance may create the key meanwhile",
    )

    peer_timeout_s: float | None = setting(
        0.1,
        unit="s",
        above=0,
        doc="How long other instances, where they can be asked, are waited for when memory lacks a "
        "key and the primary cannot be asked; within select_timeout_s, which holds for both "
        "together. `none` asks nobody.",
        source=f"{_HOUSE}: a hundred round trips within a data centre",
    )

    flush_interval_s: float = setting(
        1.0,
        unit="s",
        above=0,
        doc="How often pending writes are sent to the primary. Half of it is the mean sync lag "
        "that it adds after a recovery.",
        source="the requirements ask for a fixed interval; one flush a second is little load",
    )
    flush_batch_max: int = setting(
        5000,
        unit="keys",
        least=1,
        doc="The most keys in one round trip of a flush. A batch that fails is followed by smaller "
        "ones.",
        source=f"{_HOUSE}: about 500 kB of Ed25519 keys, which PostgreSQL 18 was seen to take in "
        "a tenth of a second; smaller batches get less through",
    )
    pending_max: int | None = setting(
        None,
        unit="keys",
        least=1,
        doc="The most keys that may wait; `create` refuses more while the primary is away. `none` "
        "is unbounded, on purpose: a service makes few keys, and losing one breaks its tokens.",
        source="the requirements: unbounded by default",
    )
    journal_timeout_s: float = setting(
        0.04,
        unit="s",
        above=0,
        doc="How long `create` waits, after the primary has failed, for the journal to have the "
        "key on the disk, where there is a journal. Past it the key is acknowledged as durable as "
        "memory, and the write goes on.",
        source=f"{_HOUSE}: with insert_timeout_s, less than 50 ms above the 500 ms required",
    )
    journal_open_timeout_s: float = setting(
        10.0,
        unit="s",
        above=0,
        doc="How long the start waits for the journal to open, before it fails: without what the "
        "journal holds, acknowledged keys would be missing. The end waits as long for it to close.",
        source=f"{_HOUSE}: 100,000 keys open in one to two seconds",
    )
    drain_timeout_s: float = setting(
        5.0,
        unit="s",
        least=0,
        doc="How long a shutdown may take to write what is still pending. 0 does not try.",
        source=f"{_HOUSE}: half of the 10 s that `docker stop` grants",
    )

    refresh_interval_s: float | None = setting(
        300.0,
        unit="s",
        above=0,
        doc="How often every unexpired key is loaded from the primary into memory, besides at the "
        "start and when the breaker closes. `none` leaves it at those two.",
        source="the lifespan of a key set in PyJWT's PyJWKClient",
    )
    load_page_max: int = setting(
        1000,
        unit="keys",
        least=1,
        doc="The most keys in one page of a load or a refresh.",
        source=f"{_HOUSE}: about 100 kB of Ed25519 keys",
    )
    expiry_interval_s: float = setting(
        600.0,
        unit="s",
        above=0,
        doc="How often expired keys are deleted, from the primary and from memory. They are never "
        "served, deleted or not.",
        source=f"{_HOUSE}: keys live for hours, and a late deletion costs only room",
    )

    cache_entries_max: int | None = setting(
        10_000,
        unit="keys",
        least=1,
        doc="The most keys in memory; the least recently used one makes room. Keys that wait to "
        "be written come on top and are never evicted. `none` is unbounded.",
        source=f"{_HOUSE}: about 6 MB of Ed25519 keys, and more than most fleets have",
    )
    cache_ttl_s: float | None = setting(
        None,
        unit="s",
        above=0,
        doc="How long a key stays in memory after it was put there. `none` keeps it until it "
        "expires or is evicted.",
        source="the requirements ask for the option; off, since a key carries its own expiry",
    )
    max_staleness_s: float | None = setting(
        None,
        unit="s",
        above=0,
        doc="How long memory may serve a key that the primary has not confirmed. Past it the "
        "answer is 'unavailable', never 'unknown key'. `none` serves it until it expires. Smaller "
        "values honour a revocation sooner and survive shorter outages.",
        source="the operator's choice between revocation and availability; off by default",
    )

    snapshot_interval_s: float | None = setting(
        60.0,
        unit="s",
        above=0,
        doc="How soon, at the latest, a new key in memory is also in the snapshot, where there is "
        "one; a start reads it, so that a service which starts in an outage is not empty. `none` "
        "neither writes nor reads one.",
        source=f"{_HOUSE}: a tenth of publish_lead_s, and little writing",
    )
    snapshot_timeout_s: float = setting(
        2.0,
        unit="s",
        above=0,
        doc="How long the start waits for the snapshot; past it memory is loaded from the primary "
        "alone.",
        source=f"{_HOUSE}: 10,000 keys are read in a tenth of that",
    )

    publish_lead_s: float = setting(
        600.0,
        unit="s",
        least=0,
        doc="How long a new key is published before tokens are signed with it, so that every "
        "instance has it in memory by then. Cut to what the keys' lifetime leaves. 0 signs with a "
        "new key at once. The key of a starting instance has no older one before it, and is used "
        "at once.",
        source=f"{_HOUSE}: twice refresh_interval_s",
    )
    sign_when_committed: bool = setting(
        True,
        doc="Whether a new key waits until the primary has it, for as long as the older one may "
        "sign. A key that no other instance can find signs tokens that most of them refuse. Where "
        "pending_writes = false nothing waits.",
        source=f"{_HOUSE}: an outage then stops no verifier before the older key is too old",
    )

    breaker: bool = setting(
        True,
        doc="Whether a circuit breaker stops calls to a primary that keeps failing.",
        source="the requirements of the service: a dead primary is not called on every request",
    )
    breaker_failure_threshold: int | None = setting(
        5,
        unit="failures",
        least=1,
        doc="How many failures in a row trip the breaker. `none`: they alone never do.",
        source="the requirements of the service: 5 failures",
    )
    breaker_count_interval_s: float = setting(
        60.0,
        unit="s",
        least=0,
        doc="How often the counts of a closed breaker start again from zero. 0 never clears them.",
        source="the requirements of the service: every 60 s",
    )
    breaker_failure_rate: float | None = setting(
        None,
        above=0,
        most=1,
        doc="Which share of failures, within breaker_window_s, trips the breaker: it notices a "
        "primary that fails now and then. `none`: no share does.",
        source="the requirements of the service for other dependencies: 0.5; off, since memory "
        "answers for each failed call",
    )
    breaker_slow_rate: float | None = setting(
        None,
        above=0,
        most=1,
        doc="Which share of slow calls, within breaker_window_s, trips the breaker. `none`: no "
        "share does.",
        source=f"{_HOUSE}: off, since a slow answer is an answer",
    )
    breaker_slow_call_s: float = setting(
        0.25,
        unit="s",
        above=0,
        doc="From how long on a call is slow.",
        source=f"{_HOUSE}: half of the time-outs",
    )
    breaker_window_s: float = setting(
        10.0,
        unit="s",
        above=0,
        doc="How far back both shares look.",
        source="the requirements of the service: a rolling window of 10 s",
    )
    breaker_window_calls_min: int = setting(
        5,
        unit="calls",
        least=1,
        doc="How many calls there must be in the window before a share of them means anything.",
        source="the requirements of the service: 5 requests",
    )
    breaker_open_s: float = setting(
        5.0,
        unit="s",
        above=0,
        doc="How long a tripped breaker refuses every call before it probes.",
        source=f"{_HOUSE}: 30 s is for general use; here a probe is one cheap ping, and the "
        "sync lag grows with this",
    )
    breaker_open_factor: float = setting(
        1.0,
        least=1,
        doc="How many times longer the breaker stays open after each probe that fails. 1 always "
        "waits as long.",
        source=f"{_HOUSE}: one cheap probe at a time needs no sparing, and waiting adds sync lag",
    )
    breaker_open_max_s: float = setting(
        60.0,
        unit="s",
        above=0,
        doc="The longest that the breaker stays open between two probes, however often it grew. A "
        "breaker_open_s above it stays as it is.",
        source="the longest open time that the requirements name: 60 s",
    )
    breaker_open_jitter: float = setting(
        0.1,
        least=0,
        most=1,
        doc="Which share of the time open is drawn at random, so that instances which tripped "
        "together do not probe together. 0 draws nothing.",
        source=f"{_HOUSE}: spreads the probes of a fleet over half a second",
    )
    breaker_half_open_max_calls: int = setting(
        2,
        unit="calls",
        least=1,
        doc="How many probes a half-open breaker admits at once; as many successes close it.",
        source="the requirements of the service: 2 requests",
    )
    breaker_probe_timeout_s: float = setting(
        5.0,
        unit="s",
        above=0,
        doc="After how long a probe that never reported loses its place to another. Keep it "
        "longer than the time-outs.",
        source=f"{_HOUSE}: ten times the time-outs",
    )

    def __post_init__(self) -> None:
        settings.check_all(self)
        if self.pending_writes and self.write_order == "primary-only":
            raise PolicyError(
                'pending_writes = true contradicts write_order = "primary-only", in which a write '
                "that the primary missed has failed; set pending_writes = false"
            )
        tripping = ("breaker_failure_threshold", "breaker_failure_rate", "breaker_slow_rate")
        if self.breaker and all(getattr(self, name) is None for name in tripping):
            raise PolicyError(
                f"{' = '.join(tripping)} = none contradicts breaker = true: nothing would trip it"
            )
        futile = self.futile_calls_per_s_max
        if self.breaker and futile is not None and futile * self.breaker_open_s < 1:
            raise PolicyError(
                f"futile_calls_per_s_max = {futile:g} contradicts breaker_open_s = "
                f"{self.breaker_open_s:g}: there would be fewer calls than probes"
            )
        if self.breaker and self.breaker_half_open_max_calls > self.calls_in_flight_max:
            raise PolicyError(
                f"breaker_half_open_max_calls = {self.breaker_half_open_max_calls} contradicts "
                f"calls_in_flight_max = {self.calls_in_flight_max}, which would refuse the probes"
            )

    @classmethod
    def from_toml(cls, path: str | Path) -> Policy:
        """Read a policy from a TOML file; settings that it leaves out have their defaults.

        Raises:
            PolicyError: the file is missing or not TOML, or a setting is unknown, of the wrong
                type or impossible. The message names the file, the line and the setting.
        """
        path = Path(path)
        mapping, lines = settings.read_toml(path)
        source = str(path)
        values = settings.values_from_mapping(cls, mapping, source=source, lines=lines)
        return cls._from(values, source)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, source: str = "policy") -> Policy:
        """Make a policy from names and values; "none" stands for `None`.

        Args:
            mapping: some of the settings; the others have their defaults.
            source: what to call the mapping in an error.

        Raises:
            PolicyError: a setting is unknown, of the wrong type or impossible.
        """
        return cls._from(settings.values_from_mapping(cls, mapping, source=source), source)

    @classmethod
    def _from(cls, values: Mapping[str, Any], source: str) -> Policy:
        try:
            return cls(**values)
        except PolicyError as error:
            raise PolicyError(f"{source}: {error}") from None

    def to_toml(self, *, comments: bool = True) -> str:
        """Write every setting as TOML that `from_toml` reads back into an equal policy.

        Args:
            comments: whether each setting is preceded by what it does and where it comes from.
        """
        return settings.to_toml(self, comments=comments)


def settings_table() -> list[Setting]:
    """Return name, default, unit, allowed values, meaning and source of every setting."""
    return settings.table(Policy)
