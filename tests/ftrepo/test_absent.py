"""Ids that the primary does not have, told the time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ftrepo.absent import AbsentIds


def test_an_id_is_forgotten_after_its_time() -> None:
    """It is known to be absent until the time is over, and a second no begins it anew."""
    absent = AbsentIds(ids_max=10, ttl_s=1.0)
    absent.note("a", 0.0, as_of=0)
    assert absent.has("a", 0.0)
    assert absent.has("a", 0.99)
    assert not absent.has("a", 1.0)
    assert not absent.has("b", 0.0)
    absent.note("a", 0.9, as_of=0)
    assert absent.has("a", 1.8)


def test_zero_remembers_nothing() -> None:
    """With a time of zero every question is a new one."""
    absent = AbsentIds(ids_max=10, ttl_s=0.0)
    absent.note("a", 0.0, as_of=0)
    assert not absent.has("a", 0.0)
    assert len(absent) == 0


def test_a_key_that_appears_is_not_absent() -> None:
    """What was forgotten on purpose is gone at once; what was never there may be forgotten too."""
    absent = AbsentIds(ids_max=10, ttl_s=1.0)
    absent.note("a", 0.0, as_of=0)
    absent.forget("a")
    absent.forget("b")
    assert not absent.has("a", 0.0)


def test_a_no_that_is_older_than_a_key_is_not_noted() -> None:
    """Whoever asked before an id was forgotten knows nothing of what has come since."""
    absent = AbsentIds(ids_max=10, ttl_s=1.0)
    as_of = absent.forgotten
    absent.forget("a")
    absent.note("a", 0.0, as_of=as_of)
    assert not absent.has("a", 0.0)
    absent.note("a", 0.0, as_of=absent.forgotten)
    assert absent.has("a", 0.0)


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0.0, 0.6)), max_size=60),
)
def test_like_a_list_of_the_latest(ids_max: int, notes: list[tuple[str, float]]) -> None:
    """It holds the last so many ids of the last second, and never more."""
    absent, now, said = AbsentIds(ids_max=ids_max, ttl_s=1.0), 0.0, []
    for key_id, pause_s in notes:
        now += pause_s
        absent.note(key_id, now, as_of=0)
        said = [each for each in said if each[0] != key_id] + [(key_id, now + 1.0)]
        said = said[-ids_max:]
        assert len(absent) <= ids_max
        for name in "abcdefgh":
            assert absent.has(name, now) == any(
                each == name and now < until_s for each, until_s in said
            )
