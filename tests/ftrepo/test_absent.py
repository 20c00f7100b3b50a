"""Ids that the primary does not have, told the time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ftrepo.absent import AbsentIds


def test_an_id_is_forgotten_after_its_time() -> None:
    """It is known to be absent until the time is over, and a second no begins it anew."""
    absent = AbsentIds(entries_max=10, ttl_s=1.0)
    absent.note("a", 0.0)
    assert absent.has("a", 0.0)
    assert absent.has("a", 0.99)
    assert not absent.has("a", 1.0)
    assert not absent.has("b", 0.0)
    absent.note("a", 0.9)
    assert absent.has("a", 1.8)


def test_zero_remembers_nothing() -> None:
    """With a time of zero every question is a new one."""
    absent = AbsentIds(entries_max=10, ttl_s=0.0)
    absent.note("a", 0.0)
    assert not absent.has("a", 0.0)
    assert len(absent) == 0


def test_a_key_that_appears_is_not_absent() -> None:
    """What was forgotten on purpose is gone at once; what was never there may be forgotten too."""
    absent = AbsentIds(entries_max=10, ttl_s=1.0)
    absent.note("a", 0.0)
    absent.forget("a")
    absent.forget("b")
    assert not absent.has("a", 0.0)


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0.0, 0.6)), max_size=60),
)
def test_like_a_list_of_the_latest(entries_max: int, notes: list[tuple[str, float]]) -> None:
    """It holds the last so many ids of the last second, and never more."""
    absent, now, said = AbsentIds(entries_max=entries_max, ttl_s=1.0), 0.0, []
    for key_id, pause_s in notes:
        now += pause_s
        absent.note(key_id, now)
        said = [each for each in said if each[0] != key_id] + [(key_id, now + 1.0)]
        said = said[-entries_max:]
        assert len(absent) <= entries_max
        for name in "abcdefgh":
            assert absent.has(name, now) == any(
                each == name and now < until_s for each, until_s in said
            )
