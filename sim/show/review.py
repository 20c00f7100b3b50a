"""Runs the notebooks and writes the review: one self-contained page for each, and an index.

A page needs no network, no server and no JavaScript: figures are inside it, code is folded.
"""

from __future__ import annotations

import ast
import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sim.show.html import is_review, rendered, replaced, shared_parts
from sim.show.kernels import FileSocketKernelManager
from sim.show.page import (
    NotebookPage,
    assigned_names,
    highlight_css,
    loaded_from_elsewhere,
    read_page,
)

PARALLEL_NOTEBOOKS = 2
"""Notebooks that run at the same time: each of them waits for its own kernel and imports first."""


class ReviewError(Exception):
    """The review could not be written, or says less than it should; the message says which part.

    Attributes:
        index: the page that lists the rest; `None` if nothing was written.
    """

    def __init__(self, message: str, *, index: Path | None = None) -> None:
        super().__init__(message)
        self.index = index


@dataclass(slots=True)
class _Run:
    """One notebook on its way into the review."""

    path: Path
    notebook: nbformat.NotebookNode
    parameters: dict[str, str] = field(default_factory=dict)
    duration_s: float = 0.0
    error: str = ""

    @property
    def name(self) -> str:
        return self.path.stem


def build_review(
    notebooks: Sequence[Path],
    out: Path,
    *,
    fast: bool,
    progress: Console | None = None,
    built: datetime | None = None,
) -> Path:
    """Run the notebooks, write the review into the folder `out` and return its `index.html`.

    Args:
        notebooks: in the order in which the index lists them.
        out: replaced as a whole, once every page is ready. An existing folder that is not an
            older review is left alone.
        fast: run with `FTREPO_FAST=1`, so that notebooks use few replications; the pages say so.
        progress: the terminal to show progress on; `None` for silence.
        built: the time that the pages give; `None` for now.

    Raises:
        ReviewError: a notebook failed (its page shows where, the others are complete), a page
            would load something from elsewhere, or there is nothing to run or to write to.
        KeyboardInterrupt: Ctrl-C; the kernels have been stopped and `out` is as it was.
    """
    names = [path.stem for path in notebooks]
    if not notebooks or len(set(names)) < len(names):
        raise ReviewError(f"a review needs notebooks of different names, not {names}")
    if out.exists() and any(out.iterdir()) and not is_review(out):
        raise ReviewError(f"{out} is not empty and holds no review: it is not replaced")
    built = built or datetime.now(UTC)  # noqa: TID251 - a fact about this world, not a simulated one
    runs = [_Run(path, _read(path)) for path in notebooks]
    asyncio.run(_execute_all(runs, fast=fast, progress=progress))
    with replaced(out) as folder:
        _write_pages(runs, folder, fast=fast, built=built)
    failed = [f"{run.name} ({run.error})" for run in runs if run.error]
    index = out / "index.html"
    if failed:
        raise ReviewError("failed: " + "; ".join(failed), index=index)
    return index


def _read(path: Path) -> nbformat.NotebookNode:
    try:
        notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        reason = getattr(error, "strerror", None) or "it is not a notebook"
        raise ReviewError(f"cannot read {path}: {reason}") from error
    return notebook


async def _execute_all(runs: Sequence[_Run], *, fast: bool, progress: Console | None) -> None:
    slots = asyncio.Semaphore(PARALLEL_NOTEBOOKS)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = progress or Console(quiet=True)
    live = console.is_terminal
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not live) as bars:

        async def execute(run: _Run) -> None:
            async with slots:
                cells = [c for c in run.notebook.cells if c.cell_type == "code" and c.source]
                # One more: the question at the end.
                bar = bars.add_task(run.name, total=len(cells) + 1)
                await _execute(run, fast=fast, on_cell=lambda **_: bars.advance(bar))
                bars.stop_task(bar)
            if run.error or not live:
                state = f"failed: {run.error}" if run.error else "done"
                console.print(f"{run.name} {state} ({run.duration_s:.0f} s)", markup=False)

        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(execute(run))


async def _execute(run: _Run, *, fast: bool, on_cell: Any) -> None:
    """Execute one notebook in a kernel of its own; a failure is noted, not raised."""
    environment = {name: value for name, value in os.environ.items() if name != "FTREPO_FAST"}
    if fast:
        environment["FTREPO_FAST"] = "1"
    client = _Client(
        run.notebook,
        timeout=None,
        kernel_name="python3",
        kernel_manager_class=FileSocketKernelManager,
        # Not the warning of each start, where it is TCP, that messages are in the clear.
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(run.path.parent)}},
        on_cell_executed=on_cell,
    )
    loop = asyncio.get_running_loop()
    started = loop.time()
    run.notebook.cells.append(_question_to_the_kernel(run.notebook))
    try:
        await client.async_execute(env=environment)
    except CellExecutionError as error:
        run.error = f"{error.ename}: {error.evalue}".splitlines()[0]
    except RuntimeError as error:
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError from error  # nbclient takes Ctrl-C for a dead kernel.
        run.error = str(error)  # The kernel died or never started.
    finally:
        answer = run.notebook.cells.pop()
    run.duration_s = loop.time() - started
    for output in answer.outputs:
        run.parameters = ast.literal_eval(output.data["text/plain"])


class _Client(NotebookClient):
    """Leaves Ctrl-C to whoever runs several notebooks, instead of taking it for this one alone."""

    @asynccontextmanager
    async def async_setup_kernel(self, **kwargs: Any) -> AsyncIterator[None]:
        self.km = self.create_kernel_manager()
        try:
            await self.async_start_new_kernel(**kwargs)
            await self.async_start_new_kernel_client()
            yield
        except BaseException:
            self.shutdown_kernel = "immediate"
            raise
        finally:
            await self._async_cleanup_kernel()


def _question_to_the_kernel(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a cell that answers with the values of what the parameters cell assigns."""
    names: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            names += assigned_names(cell.source)
    answer = ", ".join(f"{name!r}: str({name})" for name in names)
    question: nbformat.NotebookNode = nbformat.v4.new_code_cell(f"{{{answer}}}")
    return question


def _write_pages(runs: Sequence[_Run], folder: Path, *, fast: bool, built: datetime) -> None:
    """Write every page; a run whose page is not self-contained counts as failed."""
    shared: Mapping[str, object] = {
        **shared_parts(built),
        "fast": fast,
        "code_css": highlight_css(),
    }

    def write(name: str, template: str, **parts: object) -> list[str]:
        html = rendered(template, **shared, **parts)
        (folder / name).write_text(html, encoding="utf-8")
        return loaded_from_elsewhere(html)

    pages: list[tuple[_Run, NotebookPage]] = []
    for run in runs:
        page = read_page(run.notebook, name=run.name, parameters=run.parameters)
        loaded = write(f"{run.name}.html", "page.html", run=run, page=page)
        if loaded and not run.error:
            run.error = f"its page would load {loaded[0][:80]}"
        pages.append((run, page))
    write("index.html", "index.html", pages=pages)
