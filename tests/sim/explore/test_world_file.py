"""A case as a file: read as it was written, small, and strict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftrepo.policy import Policy
from sim.explore.happenings import Violation
from sim.explore.hostile_world import HostileWorld
from sim.explore.judging import Case
from sim.explore.world_file import Kept, Origin, read_kept, write_kept
from sim.world.errors import InputError
from tests.sim.explore.cases import crowded_world

KEPT = Kept(
    about="a key is lost: “k1” × 3",
    case=Case(crowded_world(), Policy(pending_max=2, insert_timeout_s=None)),
    origin=Origin(seed=17, scenario="fleet"),
    violation=Violation(invariant="durability", at_s=1.25, said="k1 is nowhere", key_id="k1"),
    digest="ab" * 32,
    code="12" * 8,
)


def test_a_case_is_read_as_it_was_written(tmp_path: Path) -> None:
    """With all that is known of it, or without."""
    for number, kept in enumerate((KEPT, Kept(about="", case=Case(HostileWorld(), Policy())))):
        path = tmp_path / "deep" / f"{number}.json"
        write_kept(path, kept)
        assert read_kept(path) == kept


def test_a_file_holds_each_setting_of_policy_and_primary(tmp_path: Path) -> None:
    """So it means the same when a default has changed; and has one line for each operation."""
    path = tmp_path / "world.json"
    write_kept(path, KEPT)
    text = path.read_text(encoding="utf-8")
    table = json.loads(text)
    assert set(table["policy"]) == set(Policy.__dataclass_fields__)
    assert table["policy"]["insert_timeout_s"] == "none"
    assert table["world"]["primary"]["workers"] == 1
    assert '  {"at_s": 1.0371, "kind": "get", "instance": 1, "key": 1, ' in text
    assert len(text) < 10_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not the file of a world"),
        ('{"world": {}}', "not the file of a world"),
        ('{"world": {}, "policy": {}, "seed": 3}', "'?seed'? is none of about"),
        ('{"world": {"instances": 0}, "policy": {}}', "world.instances must be at least 1"),
        ('{"world": {"instance": 1}, "policy": {}}', "did you mean 'instances'"),
        (
            '{"world": {"keys": [{"expires_s": 9.0, "same_id_as": 0}]}, "policy": {}}',
            r"keys\[0\].same_id_as must be the place of an earlier key, not 0",
        ),
        (
            '{"world": {"disk_faults": [{"start_s": 5, "end_s": 2, "kind":"full"}]},"policy":{}}',
            "a disk fault must end after it begins at 5 s",
        ),
        ('{"world": {}, "policy": {"pending_max": 0}}', "pending_max"),
        ('{"world": {}, "policy": []}', "policy must be a table"),
        ('{"world": {}, "policy": {}, "about": 3}', "about must be a text"),
        (
            '{"world": {}, "policy": {}, "violation": {"said": "x"}}',
            "violation.invariant is missing",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told(text: str, said: str, tmp_path: Path) -> None:
    """In one line, which begins with its path."""
    path = tmp_path / "world.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        read_kept(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By its path."""
    with pytest.raises(InputError, match="cannot be read"):
        read_kept(tmp_path / "none.json")
