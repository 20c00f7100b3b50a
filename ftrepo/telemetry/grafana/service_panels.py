"""The panels of the token-exchange service: what callers get, and what it signs and checks with.

The names are those of `ftrepo.service.http.metric_table`, which this package does not need.
"""

from __future__ import annotations

from ftrepo.telemetry.grafana.panel import Panel, most, quantile, rate

_YES = ((0, "no", "red"), (1, "yes", "green"))
_KEYS = ((0, "fresh", "green"), (1, "stale", "yellow"), (2, "unusable", "red"))
_REQUESTS = "ftrepo_http_requests_total"
_DURATION = "ftrepo_http_request_duration_seconds"
_ASKED = ',endpoint!~"/health.*|/metrics|/internal.*"'
_FAILED = _ASKED + ',status=~"5.."'

SERVICE = (
    Panel(
        title="Ready",
        reading="Whether every chosen instance can issue tokens. An outage of the database leaves "
        "it ready.",
        queries=[("min(ftrepo_ready{$here})", "")],
        form="stat",
        names=_YES,
        width=4,
    ),
    Panel(
        title="Requests that fail",
        reading="The share of 5xx, without health and metrics. The objective of 99.9% leaves "
        "0.1% in the long run.",
        queries=[
            (
                f"({rate(_REQUESTS, only=_FAILED)} or vector(0)) / {rate(_REQUESTS, only=_ASKED)}",
                "",
            )
        ],
        unit="percentunit",
        form="stat",
        steps=[0.001, 0.0144],
        width=4,
    ),
    Panel(
        title="Signing key",
        reading="For how long it may still sign, at the instance where that is shortest. It jumps "
        "back when the next key takes over, by default with 105 minutes left. Much less: the next "
        "one waits for the primary.",
        queries=[("min(ftrepo_signing_key_remaining_seconds{$here})", "")],
        unit="s",
        form="stat",
        width=4,
    ),
    Panel(
        title="Tables of the database",
        reading="Outdated: the migrations of this release have not been run, and the database is "
        "as good as down.",
        queries=[(most("ftrepo_database_schema_outdated"), "")],
        form="stat",
        names=((0, "present", "green"), (1, "outdated", "red")),
        width=4,
    ),
    Panel(
        title="Instances and releases",
        reading="How many run which release; more than one release is a deploy under way.",
        queries=[("count by (version, python) (ftrepo_build_info{$here})", "{{version}}")],
        form="stat",
        width=4,
    ),
    Panel(
        title="Event loop's lag",
        reading="How much too late a timer fired, at worst in a minute. Above a quarter of a "
        "second the time-outs of half a second mean little.",
        queries=[(most("ftrepo_event_loop_lag_seconds"), "")],
        unit="s",
        form="stat",
        steps=[0.05, 0.25],
        width=4,
    ),
    Panel(
        title="Requests, by endpoint and status",
        reading="503 is documented and has a Retry-After; 500 is a defect; 429 is a limit; 499 is "
        "a caller who did not wait.",
        queries=[(rate(_REQUESTS, "endpoint", "status"), "{{endpoint}} {{status}}")],
        unit="reqps",
        width=12,
    ),
    Panel(
        title="How long requests take",
        reading="Half a second in the first moments of an outage, until the breaker opens; "
        "milliseconds otherwise.",
        queries=[
            (quantile(0.5, _DURATION, "endpoint"), "{{endpoint}} median"),
            (quantile(0.99, _DURATION, "endpoint"), "{{endpoint}} 99%"),
        ],
        unit="s",
        width=12,
    ),
    Panel(
        title="Tokens issued",
        reading="Exchanged for another, or for a service.",
        queries=[(rate("ftrepo_tokens_issued_total", "kind"), "{{kind}}")],
        unit="reqps",
    ),
    Panel(
        title="Tokens refused, by reason",
        reading="A step in one reason after a deploy, here or at a provider, is a setting that "
        "does not fit any more. A hump of client-not-authenticated is somebody who guesses.",
        queries=[(rate("ftrepo_token_refusals_total", "kind", "reason"), "{{kind}}: {{reason}}")],
        unit="reqps",
    ),
    Panel(
        title="Requests under way",
        reading="At the limit further ones are answered 503 at once.",
        queries=[
            (most("ftrepo_http_requests_in_flight", "instance"), "{{instance}}"),
            (most("ftrepo_http_requests_in_flight_max"), "limit"),
        ],
    ),
    Panel(
        title="Keys of providers",
        reading="Stale: the provider does not answer, and its keys are used all the same. "
        "Unusable: the exchange of its tokens is answered 503.",
        queries=[
            (
                most("ftrepo_provider_keys_state", "instance", "provider"),
                "{{instance}} {{provider}}",
            )
        ],
        form="states",
        names=_KEYS,
    ),
    Panel(
        title="Age of providers' keys",
        reading="A saw with teeth of four fifths of fresh_s, or of what the provider allows.",
        queries=[
            (most("ftrepo_provider_keys_age_seconds", "instance", "provider"), "{{provider}}")
        ],
        unit="s",
    ),
    Panel(
        title="Fetches of providers' keys",
        reading="Failures: see last_error in /health/detailed. Many that succeed: tokens with key "
        "ids that the provider does not have.",
        queries=[
            (rate("ftrepo_provider_fetches_total", "provider", "result"), "{{provider}} {{result}}")
        ],
        unit="reqps",
    ),
)
