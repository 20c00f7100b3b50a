from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from ftrepo.__main__ import main
from ftrepo.service.http.metric_table import SERVICE_METRICS
from ftrepo.telemetry.grafana import alerts_yaml, dashboard, dashboard_json
from ftrepo.telemetry.metric import Kind
from ftrepo.telemetry.metrics import METRICS
from tests.ftrepo.service.alerting import scraped
from tests.ftrepo.service.http.serving import Served
from tests.laboratory import Laboratory
from tests.promql_names import FUNCTIONS, WORDS, bare, grouping, selectors
from tests.scraped import in_an_outage, scrape

ROOT = Path(__file__).parents[3]
HERE = ROOT / "ftrepo" / "telemetry" / "grafana"

PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
RULES = [rule for group in yaml.safe_load(alerts_yaml())["groups"] for rule in group["rules"]]
QUERIES = {
    **{
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in PANELS
        for target in panel["targets"]
    },
    **{rule["alert"]: rule["expr"] for rule in RULES},
}

TARGET_LABELS = {"job", "instance"}
"""What Prometheus itself gives every series that it scrapes."""


@pytest.fixture(scope="module")
def series() -> dict[str, set[str]]:
    """The name of each series, with its labels, of a repository in an outage and of a service."""

    async def ask(_: Laboratory, registry: CollectorRegistry) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, labels in scrape(registry):
            found.setdefault(name, set()).update(label for label, _ in labels)
        return found

    async def refused(served: Served) -> None:
        await served.token(client_secret="guessed")

    provider = {"name": "p", "issuer": "i", "audience": ["a"], "jwks_file": "/nowhere/jwks.json"}
    service = scraped(refused, until_s=90.0, providers=[provider])
    found = in_an_outage(ask, at_s=20.0)
    for name, each in service.series.items():
        found.setdefault(name, set()).update(label for labels in each for label, _ in labels)
    # Of a provider that could be asked; a test of the service has both.
    return found | {"ftrepo_provider_keys_age_seconds": {"provider"}}


def test_the_reader_of_queries_reads() -> None:
    """What the tests below rely on finds every name and every label."""
    query = 'sum by (le, a) (rate(x_bucket{b=~"c{d}",e!="f"}[5m:15s])) / on (g) max(y) > bool 0'
    assert selectors(query) == [("x_bucket", {"b", "e"}), ("y", set())]
    assert grouping(query) == {"le", "a", "g"}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_names_only_what_exists(name: str, series: dict[str, set[str]]) -> None:
    """Each metric, and each label that selects or groups it, is in a real scrape of an outage."""
    query = QUERIES[name]
    named = selectors(query)
    assert named
    for metric, labels in named:
        assert metric in series, f"there is no {metric}"
        assert labels <= series[metric] | TARGET_LABELS, f"{metric} has no {labels}"
    everywhere = set().union(*(series[metric] for metric, _ in named))
    assert grouping(query) <= everywhere | TARGET_LABELS


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_well_formed(name: str) -> None:
    """Brackets balance, functions are known, and nothing is left of what stands for a selector."""
    query = QUERIES[name]
    depth: list[str] = []
    pairs = {")": "(", "]": "[", "}": "{"}
    for letter in re.sub(r'"(?:[^"\\]|\\.)*"', '""', query):
        if letter in pairs.values():
            depth.append(letter)
        elif letter in pairs:
            assert depth.pop() == pairs[letter]
    assert not depth
    assert "$here" not in query
    called = set(re.findall(r"([a-z_]\w*)\s*\(", bare(query)))
    assert called <= FUNCTIONS | WORDS


@pytest.mark.parametrize("name", QUERIES)
def test_a_counter_is_never_shown_bare(name: str) -> None:
    """The value of a counter says when the process began; only its increase means something.

    Whether there is such a series at all may be asked: one that is new has no increase yet.
    """
    query = re.sub(r"\((\w+\{[^}]*\}) unless \1 offset \w+\)", "", QUERIES[name])
    for counter in re.findall(r"\w+_total\b", query):
        for before in re.findall(rf"(\w+)\({counter}\b", query):
            assert before in ("rate", "increase")
        assert len(re.findall(rf"\b{counter}\b", query)) == len(
            re.findall(rf"\w\({counter}\b", query)
        )


def test_every_metric_is_on_the_dashboard() -> None:
    """What is measured can be seen without writing a query."""
    shown = {
        metric for panel in PANELS for t in panel["targets"] for metric, _ in selectors(t["expr"])
    }
    for metric in (*METRICS, *SERVICE_METRICS):
        suffix = "_bucket" if metric.kind is Kind.HISTOGRAM else ""
        assert metric.prometheus_name + suffix in shown, metric.name


def test_every_panel_says_how_to_read_it() -> None:
    """Each has a description, a unit, a data source that is asked for, and a place of its own."""
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]),
                range(place["y"], place["y"] + place["h"]),
            )
        )
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert len(panel["description"]) > 20
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_variable_in_a_query_is_defined() -> None:
    """A variable is one of the dashboard's, or one that Grafana has by itself."""
    defined = {each["name"] for each in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", dashboard_json()))
    assert used - {"__rate_interval", "__range", "__all"} == defined


def test_the_file_is_the_dashboard(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON that is shipped is what the command prints; renew it with that command."""
    assert main(["dashboard"]) == 0
    printed = capsys.readouterr().out
    assert printed == dashboard_json() == (HERE / "ftrepo.json").read_text(encoding="utf-8")
    assert json.loads(printed)["uid"] == "ftrepo"
    assert main(["alerts"]) == 0
    assert capsys.readouterr().out == (HERE / "alerts.yml").read_text(encoding="utf-8")


def test_the_commands_need_no_database_driver() -> None:
    """A machine that only watches needs nothing but the package."""
    code = (
        "import sys; from ftrepo.__main__ import main; main(['dashboard'])\n"
        "assert 'asyncpg' not in sys.modules and 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_every_alert_says_what_to_do() -> None:
    """Each has a severity, a summary and what it means, and leads to its part of the guide."""
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^#+ (.*)$", guide, re.MULTILINE))
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        notes = rule["annotations"]
        assert "instance" in notes["summary"]
        assert notes["description"].endswith(".")
        assert rule["alert"] in headings
        assert notes["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_a_team_reads_the_guide_where_it_wants(capsys: pytest.CaptureFixture[str]) -> None:
    """Its address stands in every rule, before the name of the alert."""
    assert main(["alerts", "--runbooks", "https://wiki.example/ftrepo"]) == 0
    rules = yaml.safe_load(capsys.readouterr().out)["groups"][0]["rules"]
    assert rules[0]["annotations"]["runbook_url"] == "https://wiki.example/ftrepo#breakeropen"
    assert all("wiki.example" in rule["annotations"]["runbook_url"] for rule in rules)


promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def check_with_promtool(*arguments: str | Path) -> str:
    """What Prometheus' own tool says, if it finds nothing wrong."""
    run = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@promtool
def test_prometheus_takes_the_rules() -> None:
    """Prometheus' own tool finds nothing wrong with the file."""
    assert f"{len(RULES)} rules found" in check_with_promtool("check", "rules", HERE / "alerts.yml")


@promtool
def test_the_alerts_are_raised_when_they_should_be(tmp_path: Path) -> None:
    """An outage, a stuck breaker, false trips and storms raise what they should, and no more."""
    shutil.copy(HERE / "alerts.yml", tmp_path)
    shutil.copy(Path(__file__).parent / "alerts_test.yml", tmp_path)
    assert "SUCCESS" in check_with_promtool("test", "rules", tmp_path / "alerts_test.yml")


@promtool
def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    """Each query of the dashboard parses, once Grafana's variables are filled in."""
    rules = [
        {"record": f"q{number}", "expr": filled_in(query)}
        for number, query in enumerate(QUERIES.values())
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in check_with_promtool("check", "rules", path)


def filled_in(query: str) -> str:
    """A query as Grafana sends it."""
    query = query.replace("$__rate_interval", "1m").replace("$__range", "1h")
    return re.sub(r"\$\w+", ".*", query)
