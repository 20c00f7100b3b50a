"""The designs that have a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftrepo.designs import DESIGNS, named_policies, policy_named_or_file
from ftrepo.errors import PolicyError
from ftrepo.policy import Policy

NAMED = named_policies()


def test_the_names() -> None:
    """Every design is a named policy, `default` is the default, and no two are alike."""
    assert set(DESIGNS) <= set(NAMED)
    assert DESIGNS[-1] == "default"
    assert NAMED["default"] == Policy()
    assert len(set(NAMED.values())) == len(NAMED)


def test_primary_only_has_no_fault_tolerance() -> None:
    """It neither remembers, waits to write, breaks nor refuses."""
    baseline = NAMED["primary-only"]
    assert (baseline.read_policy, baseline.write_order) == ("primary-only", "primary-only")
    assert not baseline.pending_writes
    assert not baseline.breaker
    assert baseline.refresh_interval_s is None
    assert baseline.select_timeout_s == 30


def test_mark_down_forgets_what_it_missed() -> None:
    """One error marks the primary as down for 30 s, and nothing waits to be written."""
    design = NAMED["mark-down"]
    assert not design.pending_writes
    assert (design.breaker_failure_threshold, design.breaker_open_s) == (1, 30.0)


def test_the_buffer_comes_before_the_breaker() -> None:
    """`pending-writes` calls a dead primary each time; `breaker` differs by nothing else."""
    assert NAMED["pending-writes"].pending_writes
    assert not NAMED["pending-writes"].breaker
    assert NAMED["pending-writes"].futile_calls_per_s_max is None
    differing = [
        name
        for name in Policy.__slots__
        if getattr(NAMED["breaker"], name) != getattr(NAMED["pending-writes"], name)
    ]
    assert differing == ["breaker"]


def test_by_name_or_file(tmp_path: Path) -> None:
    """A policy is found by its name, or by the path of its file."""
    assert policy_named_or_file("cache-first") == NAMED["cache-first"]
    path = tmp_path / "mine.toml"
    path.write_text("breaker = false")
    assert policy_named_or_file(str(path)) == Policy(breaker=False)
    bare = tmp_path / "mine"
    bare.write_text("breaker = false")
    assert policy_named_or_file(str(bare)) == Policy(breaker=False)


def test_neither_name_nor_file() -> None:
    """An unknown name is refused with the list of names; a missing file as a file."""
    with pytest.raises(PolicyError, match=r"no policy is named 'defualt'.*default, cache"):
        policy_named_or_file("defualt")
    with pytest.raises(PolicyError, match=r"missing\.toml: cannot be read"):
        policy_named_or_file("missing.toml")
    with pytest.raises(PolicyError, match="no policy is named"):
        policy_named_or_file("a\0b")
