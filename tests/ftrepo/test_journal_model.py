"""The journal against a model: whatever is called in whatever order, with crashes in between."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ftrepo.errors import JournalFullError
from ftrepo.journal import SqliteJournal
from ftrepo.keys import PublicKey
from tests.laboratory import make_key

NAMES = st.sampled_from([f"key-{number}" for number in range(6)])
MATERIALS = st.sampled_from(["one", "two"])
ENTRIES_MAX = 4


class JournalAgainstModel(RuleBasedStateMachine):
    """A dict is the model; it forgets nothing that was acknowledged, and nothing else is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, PublicKey] = {}
        self.on_their_way: list[asyncio.Future[None]] = []
        self.lives = 0
        self._open(self.folder / "journal.sqlite")

    def _open(self, path: Path) -> None:
        self.path = path
        self.journal = SqliteJournal(path, entries_max=ENTRIES_MAX)
        recovered = self.loop.run_until_complete(self.journal.open())
        assert recovered.keys == tuple(self.model.values())
        assert (recovered.corrupted, recovered.file_set_aside) == ((), None)

    def call(self, method: Callable[..., asyncio.Future[None]], argument: Any) -> Any:
        """Call a method on the loop, and do not wait for what it returns."""

        async def calling() -> tuple[asyncio.Future[None]]:
            return (method(argument),)

        return self.loop.run_until_complete(calling())[0]

    @rule(names=st.lists(NAMES, min_size=1, max_size=3, unique=True), material=MATERIALS)
    def append(self, names: list[str], material: str) -> None:
        if len(self.journal) + len(names) > ENTRIES_MAX:
            self.wait()  # until a removal is carried out, its key counts
        keys = [make_key(name, material=material) for name in names]
        fits = len(self.model.keys() | set(names)) <= ENTRIES_MAX
        future = self.call(self.journal.append, keys)
        if fits:
            self.on_their_way.append(future)
            for key in keys:
                self.model.pop(key.id, None)
                self.model[key.id] = key
        else:
            assert isinstance(future.exception(), JournalFullError)

    @rule(names=st.lists(NAMES, max_size=3))
    def remove(self, names: list[str]) -> None:
        self.on_their_way.append(self.call(self.journal.remove, names))
        for name in names:
            self.model.pop(name, None)

    @rule()
    def wait(self) -> None:
        """Let everything called so far be acknowledged."""

        async def all_done() -> None:
            await asyncio.gather(*self.on_their_way)

        self.loop.run_until_complete(all_done())
        self.on_their_way.clear()

    @rule()
    def close_and_open(self) -> None:
        self.loop.run_until_complete(self.journal.close())
        self._open(self.path)

    @rule()
    def crash(self) -> None:
        """Go on with the files as they are on the disk now, the log in the middle of its life."""
        self.wait()
        self.lives += 1
        folder = self.folder / str(self.lives)
        folder.mkdir(mode=0o700)
        # Another process copies: to close the file in this one would give up the lock on it.
        files = [str(path) for path in self.path.parent.glob("journal.sqlite*")]
        subprocess.run(["cp", "-p", *files, str(folder)], check=True)
        self.journal.kill()
        self._open(folder / "journal.sqlite")

    @invariant()
    def counts_at_least_what_it_holds(self) -> None:
        assert len(self.journal) >= len(self.model)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.journal.close())
        self.loop.close()
        shutil.rmtree(self.folder)


TestJournalAgainstModel = JournalAgainstModel.TestCase
TestJournalAgainstModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
