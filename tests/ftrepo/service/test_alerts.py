"""The alert rules, evaluated on real scrapes of a service that is driven into each trouble."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from laboratory import refuse
from prometheus_client.parser import text_string_to_metric_families

from ftrepo.postgres.alerts import HealthThresholds
from ftrepo.service.http.resources import LoopLag
from ftrepo.telemetry.grafana import alerts_yaml
from tests.ftrepo.service.alerting import EVERY_S, TARGET, scraped
from tests.ftrepo.service.http.serving import Served, serve
from tests.ftrepo.service.troubles import CASES
from tests.promql import History, Labels, raised
from tests.promql_names import selectors

GROUPS = yaml.safe_load(alerts_yaml())["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}


def standing(history: History) -> dict[str, set[Labels]]:
    """Every alert that is raised at the end, and for which series."""
    found = {name: set(raised(rule, history, history.moments_s)) for name, rule in RULES.items()}
    return {name: labels for name, labels in found.items() if labels}


@functools.cache
def history_of(case: str) -> History:
    """What Prometheus has of a case; made once, for two tests."""
    return CASES[case].history()


@pytest.mark.parametrize("case", CASES)
def test_trouble_raises_its_alerts_and_no_others(case: str) -> None:
    """Each condition is driven in a running service, and all rules look at its scrapes."""
    assert set(standing(history_of(case))) == CASES[case].alerts


def test_what_is_over_is_forgotten() -> None:
    """The alert of an outage falls with its end, once the breaker is closed."""
    history = scraped(outages=(refuse(60.0, 200.0),), until_s=330.0)
    moments_s = [each for each in history.moments_s if each <= 200.0]
    assert raised(RULES["BreakerOpen"], history, moments_s)
    assert not standing(history)


def provider(folder: Path, **given: Any) -> dict[str, Any]:
    """Settings with a provider whose keys are in a file."""
    file = folder / "keys.json"
    # RFC 8037, appendix A.2.
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    key = {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x}
    file.write_text(json.dumps({"keys": [key]}))
    return {
        "name": "corp",
        "issuer": "https://corp.example",
        "audience": ["tokens"],
        "algorithms": ["EdDSA"],
        "jwks_file": file,
        "fresh_s": 60.0,
    } | given


@pytest.mark.parametrize(
    ("stale_s", "alert"), [(86_400.0, "ProviderKeysStale"), (0.0, "ProviderKeysUnusable")]
)
def test_a_provider_that_is_away_is_told_of_by_what_its_keys_are_worth(
    stale_s: float, alert: str, tmp_path: Path
) -> None:
    """A warning while they are used, and critical once they are not; its breaker is no matter."""
    corp = provider(tmp_path, stale_s=stale_s)

    async def lost(_: Served) -> None:
        corp["jwks_file"].unlink()

    history = scraped(lost, until_s=600.0, providers=[corp])
    (labels,) = standing(history)[alert]
    assert dict(labels)["provider"] == "corp"
    assert set(standing(history)) == {alert}


def test_a_loop_that_is_late_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time is never late, so the lag is made up."""
    monkeypatch.setattr(LoopLag, "worst_s", 0.4)
    assert set(standing(scraped(until_s=330.0))) == {"EventLoopLate"}


def test_an_instance_that_cannot_be_scraped_is_missed() -> None:
    """It served within the last hour; a target that never did is somebody else's."""
    history = history_of("nothing")
    end_s = history.moments_s[-1]
    targets = [TARGET, TARGET | {"instance": "other"}]
    down = {("up", frozenset(each.items())): 0.0 for each in targets}
    times_s = [end_s + EVERY_S * number for number in range(1, 5)]
    gone = History([*zip(times_s, itertools.repeat(down), strict=False)])
    gone.series["ftrepo_build_info"] = history.series["ftrepo_build_info"]
    (labels,) = standing(gone)["ServiceUnreachable"]
    assert dict(labels) == TARGET


def test_the_thresholds_are_those_of_the_health_monitor() -> None:
    """Prometheus and the service's own log say the same of a database."""
    own = HealthThresholds()
    assert own.breaker_open_critical_s == 60
    assert "[1m]" in RULES["BreakerOpen"]["expr"]
    for alert, least in (
        ("DatabasePingVerySlow", own.ping_critical_s),
        ("DatabasePingSlow", own.ping_warning_s),
        ("ConnectionWaitsLong", own.wait_warning_s),
        ("ConnectionsIdle", own.idle_share_warning),
    ):
        assert f" > {least:g}" in RULES[alert]["expr"], alert


def test_the_service_shows_every_metric_that_a_rule_names() -> None:
    """One address has all that the rules need; which labels it has is tested with the dashboard."""

    async def ask(served: Served) -> str:
        return (await served.get("/metrics")).text

    shown = {
        name
        for family in text_string_to_metric_families(serve(ask))
        for name in (family.name, f"{family.name}_{family.type}", f"{family.name}_bucket")
    }
    shown |= {f"{name}_total" for name in shown} | {"up"}
    for name, rule in RULES.items():
        assert {metric for metric, _ in selectors(rule["expr"])} <= shown, name


promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@promtool
@pytest.mark.parametrize("case", CASES)
def test_prometheus_raises_the_same(case: str, tmp_path: Path) -> None:
    """Its own tool, given the same scrapes, comes to the same alerts: rules are read as it does."""
    history = history_of(case)
    last = len(history.moments_s) - 1
    firing = [
        {"labels": f"ALERTS{written(each)}", "value": 1}
        for name, found in standing(history).items()
        for labels in found
        for each in [
            dict(labels) | RULES[name]["labels"] | {"alertname": name, "alertstate": "firing"}
        ]
    ]
    test = {
        "rule_files": ["alerts.yml"],
        "evaluation_interval": f"{EVERY_S:g}s",
        "tests": [
            {
                "interval": f"{EVERY_S:g}s",
                "input_series": list(played(history)),
                "promql_expr_test": [
                    {
                        "expr": 'ALERTS{alertstate="firing"}',
                        "eval_time": f"{last * EVERY_S:g}s",
                        "exp_samples": firing,
                    }
                ],
            }
        ],
    }
    (tmp_path / "alerts.yml").write_text(alerts_yaml(), encoding="utf-8")
    (tmp_path / "test.yml").write_text(json.dumps(test), encoding="utf-8")
    run = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def played(history: History) -> Iterator[dict[str, str]]:
    """Each series as promtool takes it: a value for each scrape, `_` where there is none."""
    for name, series in history.series.items():
        for labels, points in series.items():
            values = {point.at_s: repr(point.value) for point in points}
            texts = [values.get(moment_s, "_") for moment_s in history.moments_s]
            yield {"series": name + written(dict(labels)), "values": " ".join(texts)}


def written(labels: Mapping[str, str]) -> str:
    """Labels as a selector has them."""
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"
