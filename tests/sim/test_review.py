"""The review: pages that can be read anywhere, and that say what went wrong."""

from __future__ import annotations

import io
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from rich.console import Console

from sim.show.page import assigned_names, loaded_from_elsewhere, read_page
from sim.show.review import ReviewError, build_review

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
"""The smallest picture there is."""

EXTERNAL = re.compile(
    r"""(?:src|href|srcset|data)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?\s*(?:https?:)?//|@import""",
    re.IGNORECASE,
)
"""Any attribute or style that names another host, written without regard to how pages are made."""


def tagged(source: str, tag: str) -> nbformat.NotebookNode:
    """A code cell with one tag."""
    return new_code_cell(source, metadata={"tags": [tag]})


def write(path: Path, *cells: nbformat.NotebookNode) -> Path:
    """A notebook file of these cells."""
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


class Built(NamedTuple):
    out: Path
    error: str
    index: str
    good: str
    failing: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """One review of three notebooks, in fast mode, over an older one."""
    folder = tmp_path_factory.mktemp("review")
    good = write(
        folder / "01_good.ipynb",
        new_markdown_cell("# Does it *hold*?\n\n## Decision\n\nIt holds at **99.9%**."),
        tagged("import os\nseed = 7\nfast = os.environ['FTREPO_FAST']", "parameters"),
        new_markdown_cell("## Figures"),
        new_code_cell(f"import IPython.display as d, base64\nd.Image(base64.b64decode({PNG!r}))"),
        new_code_cell("d.SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')"),
        tagged("assert seed == 7\nassert fast", "regression"),
    )
    failing = write(
        folder / "02_failing.ipynb",
        new_markdown_cell("# Does it fail?\n\n## Decision\n\nIt was thought not to."),
        new_code_cell("lag_s = 7\nassert lag_s < 5, 'the lag <moved>'"),
    )
    external = write(
        folder / "03_external.ipynb", new_markdown_cell('<img src="https://example.org/x.png">')
    )
    out = folder / "build" / "review"
    out.mkdir(parents=True)
    (out / "index.html").write_text('<meta name="generator" content="ftrepo review">')
    (out / "stale.html").write_text("from last time")
    with pytest.raises(ReviewError) as failure:
        build_review(
            [good, failing, external], out, fast=True, built=datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        )
    assert failure.value.index == out / "index.html"
    pages = ((out / name).read_text() for name in ("index.html", "01_good.html", "02_failing.html"))
    return Built(out, str(failure.value), *pages)


def test_a_page_names_no_other_host(built: Built) -> None:
    """Nothing in the index or in a page is fetched from, or linked to, another host."""
    for html in (built.index, built.good, built.failing):
        assert EXTERNAL.search(html) is None


def test_figures_are_in_the_page(built: Built) -> None:
    """Bitmaps and drawings are carried in the page, and the first one in the index as well."""
    assert f'src="data:image/png;base64,{PNG}"' in built.good
    assert 'src="data:image/svg+xml;base64,' in built.good
    assert PNG in built.index


def test_the_index_gives_question_and_decision(built: Built) -> None:
    """A reader of the index alone learns what was asked and what was decided."""
    assert "Does it hold?" in built.index
    assert "It holds at <strong>99.9%</strong>." in built.index
    assert 'href="01_good.html"' in built.index


def test_pages_say_how_they_were_built(built: Built) -> None:
    """The time, the versions, the parameters as they were set, and fast mode are on the page."""
    for html in (built.index, built.good):
        assert "2026-01-02 03:04 UTC" in html
        assert "simpy 4" in html
        assert "<dt>seed</dt><dd>7</dd>" in html
        assert "<dt>fast</dt><dd>1</dd>" in html
        assert "fast mode" in html


def test_code_is_folded_and_checks_are_named(built: Built) -> None:
    """Code is there on request, and the regression cell says that it passed."""
    assert "<summary>Regression checks, 2 lines: all passed</summary>" in built.good
    assert "<details open>" not in built.good


def test_a_failing_notebook_is_named_and_shown(built: Built) -> None:
    """The error names the notebook; its page has the traceback; the others are complete."""
    assert "02_failing (AssertionError: the lag <moved>)" in built.error
    assert "AssertionError: the lag &lt;moved&gt;" in built.index
    assert '<pre class="traceback">' in built.failing
    assert "AssertionError: the lag &lt;moved&gt;</pre>" in built.failing
    assert "01_good" not in built.error


def test_a_page_that_is_not_self_contained_fails(built: Built) -> None:
    """A picture on another host would be missing from an archived page, so it is an error."""
    assert "03_external (its page would load https://example.org/x.png)" in built.error


def test_the_folder_is_replaced_as_a_whole(built: Built) -> None:
    """No page of an older review survives, and nothing temporary is left beside the folder."""
    assert {path.name for path in built.out.iterdir()} == {
        "index.html",
        "01_good.html",
        "02_failing.html",
        "03_external.html",
    }
    assert list(built.out.parent.iterdir()) == [built.out]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """A mistyped --out never deletes anybody's files."""
    notebook = write(tmp_path / "n.ipynb", new_markdown_cell("# A question"))
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ReviewError, match="holds no review"):
        build_review([notebook], tmp_path, fast=True)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("content", [None, "not JSON"])
def test_what_is_not_a_notebook_is_named(tmp_path: Path, content: str | None) -> None:
    """A missing or damaged notebook ends in one sentence that names it."""
    path = tmp_path / "n.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ReviewError, match=r"cannot read .*n\.ipynb"):
        build_review([path], tmp_path / "out", fast=True)


def test_an_interrupt_stops_the_kernels(tmp_path: Path) -> None:
    """Ctrl-C ends the kernel that runs, blames nobody and leaves no half-written review."""
    notebook = write(
        tmp_path / "n.ipynb",
        new_code_cell(
            "import os, pathlib, signal, threading\n"
            "pathlib.Path('pid').write_text(str(os.getpid()))\n"
            "os.kill(os.getppid(), signal.SIGINT)\n"
            "threading.Event().wait()"
        ),
    )
    said = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        build_review(
            [notebook], tmp_path / "out" / "review", fast=True, progress=Console(file=said)
        )
    assert not said.getvalue().strip(), "an interrupt is not a failure of the notebook"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("html", "loaded"),
    [
        ('<script src="//cdn.example/x.js"></script>', ["//cdn.example/x.js"]),
        ('<link rel="stylesheet" href="style.css">', ["style.css"]),
        ("<style>@import 'a.css'; p { background: url(b.png) }</style>", ["a.css", "b.png"]),
        ('<p style="background: url(&quot;c.png&quot;)">', ["c.png"]),
        ('<img src="data:image/png;base64,AA"><a href="https://example.org">source</a>', []),
        ('<svg><use href="#glyph"/></svg><p>url(in-the-text)</p>', []),
    ],
)
def test_what_a_page_would_load_is_found(html: str, loaded: list[str]) -> None:
    """Scripts, style sheets and pictures count; links to follow and the page itself do not."""
    assert loaded_from_elsewhere(html) == loaded


def test_sections_come_from_headings_and_not_from_code() -> None:
    """A `#` in code or in a quotation opens no section, and several may share a cell."""
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Q\nlead\n\n## 1. Decision\n```\n# no\n```\n> # no\n\n## Limits")
        ]
    )
    page = read_page(notebook, name="n", parameters={})
    assert page.question == "Q"
    assert [section.anchor for section in page.sections] == ["", "decision", "limits"]


def test_parameters_are_what_the_cell_assigns() -> None:
    """Public names of plain and annotated assignments, once each; none of a cell with magics."""
    assert assigned_names("a = 1\nb: int = 2\n_c = 3\na = 4\nimport os") == ["a", "b"]
    assert assigned_names("%matplotlib inline\na = 1") == []
