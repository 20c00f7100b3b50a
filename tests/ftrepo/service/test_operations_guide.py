"""The operations guide is held to the code: its tables, its examples and the names in it."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from ftrepo.__main__ import _parser
from ftrepo.policy import Policy
from ftrepo.postgres import ConnectionSettings, PoolSettings
from ftrepo.postgres.health import HealthSettings
from ftrepo.service.http.endpoints import LIVE, READY
from ftrepo.service.http.health_documents import (
    Cache,
    Database,
    DetailedHealth,
    Health,
    Pending,
    Provider,
)
from ftrepo.service.http.metric_table import SERVICE_METRICS
from ftrepo.service.http.problem_kinds import INTERNAL, MALFORMED, OF_ERROR, OF_STATUS
from ftrepo.service.settings import ServiceSettings
from ftrepo.service.settings_sources import SECRET_FILES
from ftrepo.service.settings_tables import (
    ClientSettings,
    KeySettings,
    PeerSettings,
    ProviderSettings,
    ServerSettings,
    TokenSettings,
)
from ftrepo.telemetry.grafana import alerts_yaml
from ftrepo.telemetry.manual import metrics_table
from ftrepo.telemetry.metrics import METRICS

GUIDE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
RULES = [rule for group in yaml.safe_load(alerts_yaml())["groups"] for rule in group["rules"]]
TABLES: tuple[type[BaseModel], ...] = (
    ServiceSettings,
    ServerSettings,
    KeySettings,
    TokenSettings,
    ProviderSettings,
    ClientSettings,
    PeerSettings,
)


def blocks(language: str) -> list[str]:
    """The examples in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def default_of(setting: str) -> object:
    """The default of a setting, by its path."""
    model: type[BaseModel] = ServiceSettings
    *tables, name = setting.split(".")
    for table in tables:
        model = type(model.model_fields[table].default)
    return model.model_fields[name].default


def test_the_table_of_settings_has_their_defaults() -> None:
    """Each is there under that name, that variable and that default."""
    rows = re.findall(r"^\| `([\w.]+)` \| `(FTREPO_\w+)` \| (.+?) \| ", GUIDE, re.MULTILINE)
    assert len(rows) > 15
    for setting, variable, default in rows:
        assert variable == "FTREPO_" + setting.upper().replace(".", "__")
        if setting != "folder":  # Its default depends on the user.
            value = default_of(setting)
            assert default == ("none" if value in (None, ()) else f"`{json.dumps(value)}`"), setting


def test_every_kind_of_answer_is_explained() -> None:
    """The table has each type with its status and its title, sorted, and no others."""
    kinds = [INTERNAL, MALFORMED, *OF_ERROR.values(), *OF_STATUS.values()]
    rows = re.findall(r"^\| (\d{3}) \| `([\w-]+)` \| (.+?) \| \S.* \|$", GUIDE, re.MULTILINE)
    assert set(rows) == {(str(kind.status), kind.slug, kind.title) for kind in kinds}
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    """Renew it with `metrics_table(SERVICE_METRICS)`."""
    assert GUIDE.endswith(metrics_table(SERVICE_METRICS))


def test_every_alert_has_a_part_that_says_how_much_it_matters() -> None:
    """Its heading, and its severity as in the rules; no alert is explained that there is not."""
    parts = re.findall(r"^#### (\w+)\n\n\*(\w+)\.\* \S", GUIDE, re.MULTILINE)
    assert dict(parts) == {rule["alert"]: rule["labels"]["severity"].capitalize() for rule in RULES}
    assert len(parts) == len(RULES)


def test_the_guide_names_only_what_exists() -> None:
    """Each metric, alert and setting that the text speaks of is there, under that name."""
    metrics = {each.prometheus_name for each in (*METRICS, *SERVICE_METRICS)}
    text = GUIDE.partition("## Every metric")[0]
    named = set(re.findall(r"`(ftrepo_\w+)", text))
    assert len(named) > 5
    assert named <= metrics
    alerts = {rule["alert"] for rule in RULES}
    assert set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", text)) <= alerts | EVENTS
    words = set(re.findall(r"`(?:[a-z]+\.)?([a-z]+(?:_[a-z]+)+)`", text)) - named
    known = {name for table in TABLES for name in table.model_fields}
    for settings in (Policy, ConnectionSettings, PoolSettings, HealthSettings):
        known |= set(settings.__dataclass_fields__)
    for document in (DetailedHealth, Database, Pending, Cache, Provider):
        known |= set(document.model_fields)
    assert words - OF_OTHERS <= known


EVENTS = {
    "JournalFailed",
    "PrimaryFailed",
    "PendingDropped",
    "TimeoutError",
    "PendingFullError",
    "KeyLister",
    "TokenVerifier",
    "TimeoutStopSec",
}
"""Names of log lines, of errors, and of the code; and one of systemd."""

OF_OTHERS = {
    "cooldown_duration",  # Of PyJWT's PyJWKClient.
    "key_id",
    "request_id",
    "wait_max_s",
    "max_connections",
    "wait_event_type",
    "failed_count",
    "pg_drop_replication_slot",
    "pg_signal_backend",
    "pg_wal",
}
"""Fields of the log and of the pool's statistics, and what PostgreSQL calls its own."""


def test_the_example_of_health_is_one() -> None:
    """It is what a service answered, and what one still would."""
    (example,) = blocks("json")
    assert Health.model_validate_json(example).status == "degraded"


def test_the_examples_of_settings_can_be_used(tmp_path: Path) -> None:
    """Each is read by the service, together with the little that it needs besides."""
    for example in blocks("toml"):
        values = tomllib.loads(example)
        ServiceSettings(folder=tmp_path, audiences=("orders",), **values)


def test_the_unit_waits_for_an_orderly_end() -> None:
    """Systemd kills later than the service needs at its longest, and finds the command."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(blocks("ini")[0])
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) > stopping_s(ServerSettings())
    assert service["Environment"].partition("=")[0] in SECRET_FILES
    _, _, arguments = service["ExecStart"].partition(" -m ftrepo ")
    _parser("serve").parse_args(shlex.split(arguments))


def test_the_pod_is_probed_and_stopped_as_the_service_wants() -> None:
    """Liveness is not readiness, variables are settings, and the grace period is long enough."""
    (text,) = blocks("yaml")
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    plain = {name: value for name, value in variables.items() if name not in SECRET_FILES}
    server: dict[str, Any] = {
        name.removeprefix("FTREPO_SERVER__").lower(): json.loads(value)
        for name, value in plain.items()
    }
    settings = ServerSettings.model_validate(server)
    assert pod["terminationGracePeriodSeconds"] > stopping_s(settings)
    assert settings.stop_delay_s > container["readinessProbe"]["periodSeconds"]
    for probe, path in (("startup", LIVE), ("liveness", LIVE), ("readiness", READY)):
        assert container[f"{probe}Probe"]["httpGet"]["path"] == path


def stopping_s(server: ServerSettings) -> float:
    """How long an orderly end takes at the longest."""
    return server.stop_delay_s + server.shutdown_timeout_s + Policy().drain_timeout_s


@pytest.mark.parametrize("line", sorted(set(re.findall(r"python -m ftrepo ([^`#\n]+)", GUIDE))))
def test_every_command_is_one(line: str) -> None:
    """Each is accepted by the command line, up to a redirection."""
    arguments = shlex.split(line.partition(">")[0])
    assert _parser(arguments[0]).parse_args(arguments).command
