"""The panels of the primary, the pending writes and the memory."""

from __future__ import annotations

from ftrepo.telemetry.grafana.panel import Panel, most, quantile, rate

_HITS = rate("ftrepo_cache_hits_total")
_MISSES = rate("ftrepo_cache_misses_total")
_MEAN_WAIT = f"{rate('ftrepo_pool_wait_time_seconds_total')} / {rate('ftrepo_pool_acquires_total')}"

PRIMARY = (
    Panel(
        title="Failures",
        reading="Time-outs point to overload or a lost network, errors to a server that is away, "
        "rejections to what was asked. Time-outs that go on after the cause has gone, with the "
        "database up, are a metastable overload: shed load until they stop.",
        queries=[
            (
                rate("ftrepo_primary_failures_total", "operation", "failure"),
                "{{operation}}: {{failure}}",
            )
        ],
        unit="reqps",
    ),
    Panel(
        title="How long failed calls took",
        reading="At the time-out: the server hangs. Near 0: it refuses.",
        queries=[
            (quantile(0.5, "ftrepo_primary_failure_duration_seconds"), "median"),
            (quantile(0.99, "ftrepo_primary_failure_duration_seconds"), "99%"),
        ],
        unit="s",
    ),
    Panel(
        title="Calls under way",
        reading="Near the limit: calls hang, and others are refused without being made.",
        queries=[
            (most("ftrepo_primary_calls_in_flight", "instance"), "{{instance}}"),
            (most("ftrepo_primary_calls_in_flight_max"), "limit"),
        ],
    ),
    Panel(
        title="Budget for calls that bring nothing",
        reading="Empty: the primary gets no more than Policy.futile_calls_per_s_max of them, and "
        "others are refused. In an outage that is right. Otherwise somebody asks for keys that "
        "there are not, or the primary cannot cope.",
        queries=[
            ("min by (instance) (ftrepo_budget_tokens{$here})", "{{instance}}: left"),
            (rate("ftrepo_budget_refusals_total", "instance"), "{{instance}}: refused a second"),
        ],
    ),
    Panel(
        title="Connections",
        reading="All used and callers waiting: the pool is too small, or queries are too slow.",
        queries=[
            (most("ftrepo_pool_used_connections", "instance", "pool"), "{{instance}} used"),
            (most("ftrepo_pool_idle_connections", "instance", "pool"), "{{instance}} idle"),
            (most("ftrepo_pool_connections_max", "instance", "pool"), "{{instance}} limit"),
            (most("ftrepo_pool_waiting", "instance", "pool"), "{{instance}} callers waiting"),
        ],
    ),
    Panel(
        title="Connections made, failed and broken",
        reading="Many made without an outage: they are not kept long enough. Broken ones: the "
        "server or the network drops them.",
        queries=[
            (rate(f"ftrepo_pool_connections_{name}_total"), name)
            for name in ("opened", "failed", "broken")
        ],
        unit="reqps",
    ),
    Panel(
        title="Wait for a connection",
        reading="The mean wait of all who asked; and how many a second gave up.",
        queries=[
            (_MEAN_WAIT, "mean wait, s"),
            (rate("ftrepo_pool_exhausted_total"), "gave up, a second"),
        ],
    ),
    Panel(
        title="Ping",
        reading="Of the last health check; a gap is a check that failed.",
        queries=[(most("ftrepo_database_ping_time_seconds", "instance"), "{{instance}}")],
        unit="s",
    ),
    Panel(
        title="Refreshes and missed clean-ups, per hour",
        reading="Every instance loads all keys at Policy.refresh_interval_s and after an outage.",
        queries=[
            ("sum(increase(ftrepo_refreshes_total{$here}[1h]))", "refreshes"),
            ("sum(increase(ftrepo_cleanups_missed_total{$here}[1h]))", "missed clean-ups"),
        ],
    ),
)

PENDING = (
    Panel(
        title="Keys that wait for the primary",
        reading="A ramp during an outage, 0 within seconds of its end. At the limit new keys are "
        "refused.",
        queries=[
            (most("ftrepo_pending_keys", "instance"), "{{instance}}"),
            (most("ftrepo_pending_keys_max"), "limit"),
        ],
    ),
    Panel(
        title="Age of the oldest",
        reading="How much would be lost if all memories were lost now and there were no journal.",
        queries=[(most("ftrepo_pending_oldest_age_seconds", "instance"), "{{instance}}")],
        unit="s",
    ),
    Panel(
        title="Keys created, by what they survive",
        reading="'memory' dies with the process, 'journal' with the disk.",
        queries=[(rate("ftrepo_keys_created_total", "durability"), "{{durability}}")],
        unit="reqps",
    ),
    Panel(
        title="Flushes",
        reading="Failed ones with the breaker closed: batches are too large for the time-out, or "
        "one key cannot be stored.",
        queries=[
            (rate("ftrepo_flushes_total", "outcome"), "batches {{outcome}}"),
            (rate("ftrepo_keys_flushed_total"), "keys confirmed"),
        ],
        unit="reqps",
    ),
    Panel(
        title="How long a confirmed batch took",
        reading="Near Policy.insert_timeout_s: the next larger one will fail.",
        queries=[
            (quantile(0.5, "ftrepo_flush_duration_seconds"), "median"),
            (quantile(0.99, "ftrepo_flush_duration_seconds"), "99%"),
        ],
        unit="s",
    ),
    Panel(
        title="Keys dropped, and conflicts",
        reading="shutdown: lost, as a process ended without a journal; a process that has ended is "
        "not scraped any more, so the log is the better witness. conflict: two keys were made "
        "under one id. expired: the outage was longer than the key's life.",
        queries=[
            ("sum by (reason) (increase(ftrepo_keys_dropped_total{$here}[5m]))", "{{reason}}"),
            ("sum(increase(ftrepo_conflicts_total{$here}[5m]))", "conflicts seen"),
        ],
    ),
    Panel(
        title="Journal and snapshot",
        reading="Failures of the journal: keys are as durable as memory. Of the snapshot: a start "
        "in an outage would be empty. Look at the disk.",
        queries=[
            (
                "sum by (operation) (increase(ftrepo_journal_failures_total{$here}[5m]))",
                "{{operation}} failed",
            ),
            (
                "sum by (outcome) (increase(ftrepo_journal_recovered_total{$here}[5m]))",
                "found at the start: {{outcome}}",
            ),
            ("sum(increase(ftrepo_journal_kept_total{$here}[5m]))", "left at the end"),
            (
                "sum by (operation) (increase(ftrepo_snapshot_failures_total{$here}[5m]))",
                "snapshot: {{operation}} failed",
            ),
            (
                "sum by (outcome) (increase(ftrepo_snapshot_loaded_total{$here}[5m]))",
                "snapshot: {{outcome}}",
            ),
        ],
    ),
)

CACHE = (
    Panel(
        title="Keys in memory",
        reading="At the limit the least recently used are forgotten, and cannot be answered for "
        "in an outage.",
        queries=[
            (most("ftrepo_cache_entries", "instance"), "{{instance}}"),
            (most("ftrepo_cache_entries_max"), "limit"),
        ],
    ),
    Panel(
        title="Memory taken",
        reading="An estimate, within 15%.",
        queries=[(most("ftrepo_cache_size_bytes", "instance"), "{{instance}}")],
        unit="bytes",
    ),
    Panel(
        title="Lookups",
        reading="With primary-first, memory is only asked when the primary cannot answer: misses "
        "are then the callers who got no answer. Known to be absent: made-up ids, asked for again.",
        queries=[
            (_HITS, "hits"),
            (_MISSES, "misses"),
            (rate("ftrepo_cache_absent_hits_total"), "known to be absent"),
        ],
        unit="reqps",
    ),
    Panel(
        title="Share of hits",
        reading="In an outage: the share of callers who get their key.",
        queries=[(f"{_HITS} / ({_HITS} + {_MISSES})", "hits")],
        unit="percentunit",
    ),
    Panel(
        title="Answers in the primary's place",
        reading="unavailable: an outage. unknown to the primary: the key waits for a flush, or "
        "this memory is ahead of a replica. Other instances are asked for what memory lacks.",
        queries=[
            (rate("ftrepo_served_from_memory_total", "reason"), "{{reason}}"),
            (rate("ftrepo_peers_asked_total", "outcome"), "other instances: {{outcome}}"),
        ],
        unit="reqps",
    ),
    Panel(
        title="Expired keys deleted",
        reading="From memory and from the primary.",
        queries=[(rate("ftrepo_keys_deleted_total", "store"), "{{store}}")],
        unit="reqps",
    ),
)
