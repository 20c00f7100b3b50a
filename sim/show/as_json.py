"""Results as JSON, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sim.study.comparisons import simultaneous
from sim.study.experiment import Experiment
from sim.study.intervals import Interval


def run_json(experiment: Experiment, policy: str) -> dict[str, Any]:
    """One policy's figures as plain values; a figure that does not exist is `null`."""
    return {
        "scenario": experiment.scenario.name,
        "policy": policy,
        "seed": experiment.seed,
        "replications": experiment.replications,
        "precision": [
            {"asked": str(each.precision), "widest": each.widest, "reached": each.reached}
            for each in experiment.precision
        ],
        "measures": {
            name: _interval(interval) for name, interval in experiment.intervals(policy).items()
        },
        "settings": {
            "scenario": experiment.scenario.as_dict(),
            "policy": asdict(experiment.policies[policy]),
        },
    }


def comparison_json(experiment: Experiment) -> dict[str, Any]:
    """Every policy's figures, and the paired differences of each to the first.

    `differences` is the second policy minus the first; `differences_to_first` has one such table
    for every policy but the first. The intervals of one measure hold all at once.
    """
    first, *others = experiment.policies
    confidence = simultaneous(len(others))
    to_first = {
        name: {
            measure: _interval(interval)
            for measure, interval in experiment.differences(
                first, name, confidence=confidence
            ).items()
        }
        for name in others
    }
    return {
        "runs": {name: run_json(experiment, name) for name in experiment.policies},
        "differences": to_first[others[0]],
        "differences_to_first": to_first,
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that is the same to the byte for the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _interval(interval: Interval) -> dict[str, float | None]:
    return {
        "mean": _plain(interval.mean),
        "low": _plain(interval.low),
        "high": _plain(interval.high),
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
