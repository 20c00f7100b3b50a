from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from ftrepo.__main__ import main
from ftrepo.policy import Policy
from ftrepo.resilience import BreakerSettings
from ftrepo.telemetry.manual import metrics_table
from ftrepo.telemetry.metric import Kind
from ftrepo.telemetry.metrics import METRICS

MANUAL = (Path(__file__).parents[3] / "docs" / "telemetry.md").read_text(encoding="utf-8")


def test_the_manual_has_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Every metric is in the manual as in the code; renew it with `python -m ftrepo metrics`."""
    assert MANUAL.endswith(metrics_table())
    assert main(["metrics"]) == 0
    assert capsys.readouterr().out == metrics_table()
    rows = metrics_table().splitlines()
    assert len(rows) == len(METRICS) + 2
    assert len({row.count(" | ") for row in rows if "---" not in row}) == 1


def test_the_manual_names_only_what_exists() -> None:
    """Each metric and each setting that the text speaks of is there, under that name."""
    known = {metric.prometheus_name for metric in METRICS}
    known |= {m.prometheus_name + "_bucket" for m in METRICS if m.kind is Kind.HISTOGRAM}
    named = set(re.findall(r"`((?:circuit_breaker|ftrepo|retry)_\w+)", MANUAL))
    assert named
    assert named <= known
    settings = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", MANUAL)) - named
    fields = {*Policy.__dataclass_fields__, *BreakerSettings.__dataclass_fields__}
    assert {"failure_rate", "ramp_up_s", "futile_calls_per_s_max"} <= settings & fields


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL))
def test_the_examples_are_python(block: str) -> None:
    """Each example compiles, and what it imports can be imported from there."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(block, "example", "exec", flags)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)
