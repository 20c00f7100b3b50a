"""What every journal keeps to, the real one and the laboratory's fake alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from ftrepo.errors import JournalError, JournalFullError, JournalLockedError
from ftrepo.interface import Journal
from ftrepo.keys import Algorithm, PublicKey
from tests.ftrepo.journals import JOURNALS, JournalUnderTest
from tests.laboratory import make_key

if TYPE_CHECKING:
    from pathlib import Path

Story = Callable[[Callable[..., Journal]], Awaitable[None]]


@pytest.fixture(params=JOURNALS.values(), ids=JOURNALS.keys())
def kind(request: pytest.FixtureRequest) -> JournalUnderTest:
    """Each kind of journal in turn."""
    return request.param


@pytest.fixture
def impatient(kind: JournalUnderTest) -> dict[str, Any]:
    """The options with which a journal does not wait for another one to let go."""
    return kind.impatient


@pytest.fixture
def play(kind: JournalUnderTest, tmp_path: Path) -> Callable[[Story], None]:
    """Play a story with journals that all are at one place."""

    def play(story: Story) -> None:
        place = kind.place(tmp_path)

        async def main() -> None:
            await story(lambda **options: kind.at(place, **options))

        kind.run(main())

    return play


async def kept(journal: Journal) -> list[str]:
    """Open a journal, close it, and say what it holds."""
    recovered = await journal.open()
    assert (recovered.corrupted, recovered.file_set_aside) == ((), None)
    assert len(journal) == len(recovered.keys)
    await journal.close()
    return [key.id for key in recovered.keys]


def test_it_satisfies_the_protocol(play: Any) -> None:
    """It is a `Journal`, and empty where there was none."""

    async def story(journal: Callable[..., Journal]) -> None:
        assert isinstance(journal(), Journal)
        assert await kept(journal()) == []

    play(story)


def test_what_is_appended_comes_back(play: Any) -> None:
    """Every field of a key is as it was, in the order of appending."""
    keys = [make_key("b", lifetime_s=0.000001), make_key("a", created_s=-1e10 - 1e-6)]
    keys += [PublicKey("~-._", b"\0\xff" * 999, Algorithm.RS256, keys[0].created, keys[0].expires)]

    async def story(journal: Callable[..., Journal]) -> None:
        first = journal()
        await first.open()
        await first.append(keys[:1])
        await first.append(keys[1:])
        await first.close()
        assert (await journal().open()).keys == tuple(keys)

    play(story)


def test_what_is_acknowledged_survives_a_crash(play: Any) -> None:
    """A kill right after the future has its result loses nothing."""

    async def story(journal: Callable[..., Journal]) -> None:
        first = journal()
        await first.open()
        await first.append([make_key("a"), make_key("b")])
        await first.remove(["a"])
        first.kill()
        assert await kept(journal()) == ["b"]

    play(story)


def test_the_last_call_decides_about_an_id(play: Any) -> None:
    """Calls that nobody waits for are carried out in their order, and all of them by `close`."""

    async def story(journal: Callable[..., Journal]) -> None:
        first = journal()
        await first.open()
        for number in range(20):
            first.append([make_key("stays"), make_key(f"n{number}")])
            first.remove(["stays", f"n{number}"])
        first.append([make_key("stays")])
        first.append([make_key("goes")])
        first.remove(["goes", "never was there"])
        await first.close()
        assert len(first) == 1
        assert await kept(journal()) == ["stays"]

    play(story)


def test_a_second_append_takes_the_place_of_the_first(play: Any) -> None:
    """What was acknowledged last under an id is what comes back."""
    newer = make_key("a", material="newer")

    async def story(journal: Callable[..., Journal]) -> None:
        first = journal()
        await first.open()
        await first.append([make_key("a"), make_key("b")])
        await first.append([newer])
        assert len(first) == 2
        await first.close()
        assert (await journal().open()).keys == (make_key("b"), newer)

    play(story)


def test_cancelling_withdraws_nothing(play: Any) -> None:
    """Whoever stops waiting has still asked for it."""

    async def story(journal: Callable[..., Journal]) -> None:
        first = journal(entries_max=2)
        await first.open()
        first.append([make_key("a")]).cancel()
        await first.append([make_key("b")])
        assert len(first) == 2
        first.remove(["b"]).cancel()
        await first.close()
        assert await kept(journal()) == ["a"]

    play(story)


def test_the_bound_is_kept(play: Any) -> None:
    """One key too many is refused, with its whole call; what is there can be replaced."""

    async def story(journal: Callable[..., Journal]) -> None:
        first = journal(entries_max=2)
        await first.open()
        await first.append([make_key("a")])
        with pytest.raises(JournalFullError):
            await first.append([make_key("b"), make_key("c")])
        filling = first.append([make_key("b")])
        with pytest.raises(JournalFullError):
            await first.append([make_key("c")])
        await filling
        await first.append([make_key("a")])
        await first.remove(["b"])
        await first.append([make_key("c")])
        await first.close()
        assert await kept(journal()) == ["a", "c"]

    play(story)


def test_more_than_the_bound_is_still_recovered(play: Any) -> None:
    """A bound that was lowered loses nothing that is there."""

    async def story(journal: Callable[..., Journal]) -> None:
        first = journal()
        await first.open()
        await first.append([make_key("a"), make_key("b")])
        await first.close()
        assert await kept(journal(entries_max=1)) == ["a", "b"]

    play(story)


def test_only_one_may_have_it_open(play: Any, impatient: dict[str, Any]) -> None:
    """The second is refused clearly, and the first goes on undisturbed."""

    async def story(journal: Callable[..., Journal]) -> None:
        first = journal()
        await first.open()
        await first.append([make_key("a")])
        with pytest.raises(JournalLockedError, match="open"):
            await journal(**impatient).open()
        await first.append([make_key("b")])
        await first.close()
        assert await kept(journal()) == ["a", "b"]

    play(story)


def test_calls_after_the_end_fail_and_do_not_raise(play: Any) -> None:
    """Before the opening and after the end a call answers with a failed future."""

    async def story(journal: Callable[..., Journal]) -> None:
        first = journal()
        for _ in ("before", "after"):
            for call in (first.append([make_key("a")]), first.remove(["a"])):
                with pytest.raises(JournalError, match="not open"):
                    await call
            if _ == "before":
                await first.open()
                await first.close()
        assert len(first) == 0
        await first.close()
        first.kill()

    play(story)
