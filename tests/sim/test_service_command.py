"""The command `python -m sim service`: what is wrong is said before anything is started."""

from __future__ import annotations

import pytest

from sim.__main__ import main


def test_a_policy_that_is_not_compared_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With those that are."""
    assert main(["service", "predict", "--only", "primary-only", "none"]) == 2
    said = capsys.readouterr().err
    assert "--only 'none'" in said
    assert "'default, no peers'" in said


def test_a_policy_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """As by every command that takes one."""
    assert main(["service", "verify", "--policy", "none"]) == 2
    assert "no policy is named 'none'" in capsys.readouterr().err
