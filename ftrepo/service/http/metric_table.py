"""What is measured of the service itself, as rows of the same kind as `ftrepo.telemetry` has."""

from __future__ import annotations

from ftrepo.telemetry.metric import Kind, Metric

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
"""Any other is reported as "other"."""

REQUESTS = Metric(
    name="ftrepo.http.requests",
    kind=Kind.COUNTER,
    unit="{request}",
    help="Requests that were answered, by endpoint, method and status; 499 if the caller left "
    "before.",
    labels={"endpoint": None, "method": METHODS, "status": None},
)
REQUEST_DURATION = Metric(
    name="ftrepo.http.request.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    help="From the arrival of a request's headers to the end of its answer.",
    labels={"endpoint": None},
)
REQUESTS_IN_FLIGHT = Metric(
    name="ftrepo.http.requests.in_flight",
    kind=Kind.GAUGE,
    unit="{request}",
    help="Requests under way.",
)
REQUESTS_IN_FLIGHT_MAX = Metric(
    name="ftrepo.http.requests.in_flight_max",
    kind=Kind.GAUGE,
    unit="{request}",
    help="The most requests that may be under way.",
)
TOKENS_ISSUED = Metric(
    name="ftrepo.tokens.issued",
    kind=Kind.COUNTER,
    unit="{token}",
    help="Tokens that were issued: exchanged for another, or for a service.",
    labels={"kind": ("exchange", "service")},
)
TOKEN_REFUSALS = Metric(
    name="ftrepo.token.refusals",
    kind=Kind.COUNTER,
    unit="{request}",
    help="Requests for a token that were refused, or could not be served, and why.",
    labels={"kind": ("exchange", "service"), "reason": None},
)
PROVIDER_KEYS_AGE = Metric(
    name="ftrepo.provider.keys_age",
    kind=Kind.GAUGE,
    unit="s",
    help="How long ago a provider's keys were last fetched; absent before the first time.",
    labels={"provider": None},
)
PROVIDER_KEYS_STATE = Metric(
    name="ftrepo.provider.keys_state",
    kind=Kind.GAUGE,
    unit="",
    help="0 fresh, 1 stale but in use, 2 unusable or never fetched: its tokens are answered 503.",
    labels={"provider": None},
)
PROVIDER_FETCHES = Metric(
    name="ftrepo.provider.fetches",
    kind=Kind.COUNTER,
    unit="{fetch}",
    help="Fetches of a provider's keys.",
    labels={"provider": None, "result": ("success", "failure")},
)
SIGNING_KEY_REMAINING = Metric(
    name="ftrepo.signing_key.remaining",
    kind=Kind.GAUGE,
    unit="s",
    help="For how long the signing key may still sign; 0 if there is none.",
)
SCHEMA_OUTDATED = Metric(
    name="ftrepo.database.schema_outdated",
    kind=Kind.GAUGE,
    unit="",
    help="1 if the database lacks the tables of this release: the migrations have to be run.",
)
READY = Metric(
    name="ftrepo.ready",
    kind=Kind.GAUGE,
    unit="",
    help="1 if the service can issue tokens and is not about to stop, else 0.",
)
LOOP_LAG = Metric(
    name="ftrepo.event_loop.lag",
    kind=Kind.GAUGE,
    unit="s",
    help="How much too late a timer of the event loop fired, at worst in the last minute.",
)
BUILD_INFO = Metric(
    name="ftrepo.build_info",
    kind=Kind.GAUGE,
    unit="",
    help="1; the labels say what runs.",
    labels={"version": None, "python": None},
)

SERVICE_METRICS: tuple[Metric, ...] = (
    REQUESTS,
    REQUEST_DURATION,
    REQUESTS_IN_FLIGHT,
    REQUESTS_IN_FLIGHT_MAX,
    TOKENS_ISSUED,
    TOKEN_REFUSALS,
    PROVIDER_KEYS_AGE,
    PROVIDER_KEYS_STATE,
    PROVIDER_FETCHES,
    SIGNING_KEY_REMAINING,
    SCHEMA_OUTDATED,
    READY,
    LOOP_LAG,
    BUILD_INFO,
)
"""The table of everything that is measured here; the repository's own is `telemetry.METRICS`."""
