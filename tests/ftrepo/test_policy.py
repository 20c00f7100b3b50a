"""Policy: its defaults, its refusals, and its way to and from TOML."""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftrepo.errors import PolicyError
from ftrepo.policy import Policy, settings_table

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [field.name for field in dataclasses.fields(Policy)]
OPTIONAL = [row.name for row in settings_table() if "none" in row.allowed]
NUMBERS = [row.name for row in settings_table() if " number" in row.allowed]
ZERO_MEANS_SOMETHING = [
    "absent_ttl_s",
    "breaker_count_interval_s",
    "breaker_open_jitter",
    "drain_timeout_s",
    "publish_lead_s",
    "ramp_up_s",
]


def policies() -> st.SearchStrategy[Policy]:
    """Any possible policy."""

    def values(row: Any) -> st.SearchStrategy[object]:
        if row.name in ("read_policy", "write_order"):
            return st.sampled_from(["primary-first", "cache-first", "primary-only"])
        if row.name not in NUMBERS:
            return st.booleans()
        least = 1 if "1 or more" in row.allowed else 0
        most = 1 if re.search(r"up to 1\b", row.allowed) else 1e9
        number: st.SearchStrategy[float] = (
            st.integers(1, 10**12)
            if "whole" in row.allowed
            else st.floats(least, most, exclude_min="above" in row.allowed)
        )
        return st.none() | number if row.name in OPTIONAL else number

    def consistent(settings: dict[str, Any]) -> Policy:
        if settings["write_order"] == "primary-only":
            settings["pending_writes"] = False
        settings["calls_in_flight_max"] += settings["breaker_half_open_max_calls"]
        if (settings["futile_calls_per_s_max"] or 1) * settings["breaker_open_s"] < 1:
            settings["futile_calls_per_s_max"] = None
        if settings["breaker_failure_rate"] is settings["breaker_slow_rate"] is None:
            settings["breaker_failure_threshold"] = 5
        return Policy(**settings)

    return st.fixed_dictionaries({row.name: values(row) for row in settings_table()}).map(
        consistent
    )


class TestDefaults:
    def test_required_defaults(self) -> None:
        """The defaults that the requirements fix have those values."""
        policy = Policy()
        assert policy.insert_timeout_s == policy.select_timeout_s == policy.delete_timeout_s == 0.5
        assert (policy.read_policy, policy.write_order) == ("primary-first", "cache-first")
        assert policy.pending_max is None
        assert policy.max_staleness_s is None
        assert policy.breaker_failure_threshold == 5
        assert policy.breaker_count_interval_s == 60
        assert policy.breaker_half_open_max_calls == 2

    def test_every_setting_is_documented(self) -> None:
        """Each setting has a meaning, what it allows and a source; a number has a unit."""
        assert [row.name for row in settings_table()] == NAMES
        for row in settings_table():
            assert row.doc.endswith(".")
            assert row.source
            assert row.default == getattr(Policy(), row.name)
            share_or_factor = row.name.endswith(("_rate", "_factor", "_jitter"))
            choice = isinstance(row.default, str | bool)
            assert bool(row.unit) == (not choice and not share_or_factor)
            assert (row.name.endswith("_s")) == (row.unit == "s")

    def test_is_frozen_hashable_and_picklable(self) -> None:
        """A policy is a value: it does not change, compares by content and crosses processes."""
        policy = Policy()
        with pytest.raises(dataclasses.FrozenInstanceError):
            policy.breaker = False  # type: ignore[misc]
        assert {policy: 1}[Policy()] == 1
        assert pickle.loads(pickle.dumps(policy)) == policy

    def test_a_whole_number_of_seconds_is_a_number(self) -> None:
        """Ints and numpy numbers are taken, and kept in the setting's own type."""
        policy = Policy(insert_timeout_s=1, flush_batch_max=np.int64(7))  # type: ignore[arg-type]
        assert (type(policy.insert_timeout_s), policy.insert_timeout_s) == (float, 1.0)
        assert (type(policy.flush_batch_max), policy.flush_batch_max) == (int, 7)
        assert type(replace(policy, flush_interval_s=np.float64(0.5)).flush_interval_s) is float


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("read_policy", "cache", 'allowed: "primary-first" or "cache-first" or "primary-only"'),
            ("read_policy", None, 'read_policy = "none" is not possible'),
            ("read_policy", 1, "read_policy = 1 is not"),
            ("breaker", 1, "breaker = 1 is not possible; allowed: true or false"),
            ("breaker", "yes", 'breaker = "yes"'),
            ("insert_timeout_s", 0, "allowed: a number of seconds above 0, up to 1e.09, or"),
            ("insert_timeout_s", -1, "insert_timeout_s = -1 is not possible"),
            ("insert_timeout_s", True, "insert_timeout_s = true is not possible"),
            ("insert_timeout_s", "1", 'insert_timeout_s = "1" is not possible'),
            ("insert_timeout_s", math.nan, "insert_timeout_s = nan"),
            ("insert_timeout_s", math.inf, "insert_timeout_s = inf"),
            ("insert_timeout_s", 1e12, "insert_timeout_s = 1000000000000.0"),
            ("insert_timeout_s", 10**400, "insert_timeout_s = 1000"),
            ("flush_interval_s", None, 'flush_interval_s = "none" is not possible'),
            ("flush_interval_s", [1], r"flush_interval_s = \[1\]"),
            ("drain_timeout_s", -0.1, "allowed: a number of seconds, 0 or more, up to 1e.09"),
            ("flush_batch_max", 0, "allowed: a whole number of keys, 1 or more"),
            ("flush_batch_max", 1.5, "flush_batch_max = 1.5"),
            ("flush_batch_max", False, "flush_batch_max = false"),
            ("pending_max", 0, 'allowed: a whole number of keys, 1 or more, or "none"'),
            ("cache_entries_max", 0, "cache_entries_max = 0"),
            ("calls_in_flight_max", 0, "calls_in_flight_max = 0"),
        ],
    )
    def test_an_impossible_value(self, name: str, value: object, says: str) -> None:
        """An impossible value is refused by setting and value, with what is allowed."""
        with pytest.raises(PolicyError, match=says) as caught:
            Policy(**{name: value})  # type: ignore[arg-type]
        assert str(caught.value).startswith(f"{name} = ")

    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize("value", [True, "1", math.nan, math.inf, -1, 1j])
    def test_no_number_takes_nonsense(self, name: str, value: object) -> None:
        """No numeric setting takes a bool, text, NaN, infinity, a negative or a complex number."""
        with pytest.raises(PolicyError, match=name):
            Policy(**{name: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", NUMBERS)
    def test_none_only_where_it_means_something(self, name: str) -> None:
        """`None` is taken exactly where the documentation says so."""
        if name in OPTIONAL:
            rest = {"breaker": name != "breaker_failure_threshold"}
            assert getattr(Policy(**rest, **{name: None}), name) is None  # type: ignore[arg-type]
        else:
            with pytest.raises(PolicyError, match=name):
                Policy(**{name: None})  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", NUMBERS)
    def test_zero_only_where_it_means_something(self, name: str) -> None:
        """Zero is taken only by the settings that say what it means."""
        if name in ZERO_MEANS_SOMETHING:
            assert getattr(Policy(**{name: 0}), name) == 0  # type: ignore[arg-type]
        else:
            with pytest.raises(PolicyError, match=f"{name} = 0"):
                Policy(**{name: 0})  # type: ignore[arg-type]

    def test_contradictions(self) -> None:
        """Two settings that exclude each other are refused, and the message names both."""
        with pytest.raises(PolicyError, match='pending_writes = true contradicts write_order = "p'):
            Policy(write_order="primary-only")
        with pytest.raises(PolicyError, match="max_calls = 3 contradicts calls_in_flight_max = 2"):
            Policy(breaker_half_open_max_calls=3, calls_in_flight_max=2)
        Policy(breaker=False, breaker_half_open_max_calls=3, calls_in_flight_max=2)
        with pytest.raises(PolicyError, match="breaker_failure_rate = .* nothing would trip it"):
            Policy(breaker_failure_threshold=None)
        Policy(breaker_failure_threshold=None, breaker_failure_rate=0.5)
        with pytest.raises(PolicyError, match="would be fewer calls than probes"):
            Policy(futile_calls_per_s_max=0.1, breaker_open_s=5.0)
        Policy(futile_calls_per_s_max=0.2, breaker_open_s=5.0)


class TestMapping:
    def test_an_unknown_setting(self) -> None:
        """An unknown name is refused by name, with the nearest known one."""
        with pytest.raises(PolicyError) as caught:
            Policy.from_mapping({"flush_intervall_s": 1}, source="mine")
        assert str(caught.value) == (
            "mine: unknown setting 'flush_intervall_s'; did you mean 'flush_interval_s'?"
        )
        with pytest.raises(PolicyError, match=r"unknown setting 'zzz'$"):
            Policy.from_mapping({"zzz": 1})
        with pytest.raises(PolicyError, match="unknown setting 7"):
            Policy.from_mapping({7: 1})  # type: ignore[dict-item]

    def test_errors_say_where(self) -> None:
        """A wrong value and a contradiction name the mapping that they are in."""
        with pytest.raises(PolicyError, match=r"^mine: flush_batch_max = 0"):
            Policy.from_mapping({"flush_batch_max": 0}, source="mine")
        with pytest.raises(PolicyError, match=r"^mine: pending_writes = true contradicts"):
            Policy.from_mapping({"write_order": "primary-only"}, source="mine")

    def test_none_is_a_word(self) -> None:
        """The word "none" stands for `None`, where that is allowed and nowhere else."""
        assert Policy.from_mapping({"cache_entries_max": "none"}).cache_entries_max is None
        assert Policy.from_mapping({"cache_entries_max": None}).cache_entries_max is None
        with pytest.raises(PolicyError, match='flush_interval_s = "none"'):
            Policy.from_mapping({"flush_interval_s": "none"})


class TestToml:
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(policy=policies(), comments=st.booleans())
    def test_round_trip(self, policy: Policy, comments: bool) -> None:
        """What a policy writes is read back as an equal policy, with and without comments."""
        assert Policy.from_mapping(tomllib.loads(policy.to_toml(comments=comments))) == policy

    def test_comments_are_made_from_the_settings(self) -> None:
        """Each setting is preceded by its meaning, what it allows, its default and the source."""
        lines = Policy(pending_max=5).to_toml().splitlines()
        assert max(map(len, lines)) <= 100
        assert lines[-1] == "breaker_probe_timeout_s = 5.0"
        above = lines[lines.index("pending_max = 5") - 4 : lines.index("pending_max = 5")]
        assert above[0].startswith("# The most keys that may wait")
        assert above[2] == '# Allowed: a whole number of keys, 1 or more, or "none".'
        assert above[3] == '# Default: "none" (the requirements: unbounded by default).'
        bare = Policy().to_toml(comments=False).splitlines()
        assert [line.split(" = ")[0] for line in bare] == NAMES

    def test_a_file(self, tmp_path: Path) -> None:
        """A file gives some of the settings; the others keep their defaults."""
        path = tmp_path / "policy.toml"
        path.write_text('read_policy = "cache-first"\nmax_staleness_s = 60\n')
        expected = Policy(read_policy="cache-first", max_staleness_s=60)
        assert Policy.from_toml(path) == Policy.from_toml(str(path)) == expected
        path.write_text("")
        assert Policy.from_toml(path) == Policy()

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("breaker = true\nbreaker = ", "line 2: not valid TOML: "),
            ("breaker = true\nbreaker = true\n", "line 2: not valid TOML: "),
            ("\n\nflush_interval_s = 0\n", "line 3: flush_interval_s = 0 is not possible"),
            ("#\nflush_interval = 1\n", "line 2: unknown setting 'flush_interval'; did you mean"),
            ("'pending_maxx' = 1\n", "line 1: unknown setting 'pending_maxx'"),
            ("[breaker]\nopen_s = 1\n", "breaker = {'open_s': 1} is not possible"),
            ("breaker.open_s = 1\n", "line 1: breaker = {'open_s': 1} is not possible"),
            ('write_order = "primary-only"', "policy.toml: pending_writes = true contradicts"),
            ("flush_interval_s = 2026-01-01", "line 1: flush_interval_s = datetime.date"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, text: str, says: str) -> None:
        """A file that is not a policy is refused in one sentence with file, line and setting."""
        path = tmp_path / "policy.toml"
        path.write_text(text)
        with pytest.raises(PolicyError) as caught:
            Policy.from_toml(path)
        assert str(caught.value).startswith(str(path))
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        """A missing file, a folder and a file that is not text are refused by name."""
        with pytest.raises(PolicyError, match=r"absent\.toml: cannot be read: No such file"):
            Policy.from_toml(tmp_path / "absent.toml")
        with pytest.raises(PolicyError, match="cannot be read: "):
            Policy.from_toml(tmp_path)
        with pytest.raises(PolicyError, match="not a file name"):
            Policy.from_toml("a\0b")
        path = tmp_path / "binary.toml"
        path.write_bytes(b"breaker = true\n\xff\n")
        with pytest.raises(PolicyError, match=r"binary\.toml, line 2: not UTF-8 text"):
            Policy.from_toml(path)
