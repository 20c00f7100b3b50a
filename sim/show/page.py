"""Turns an executed notebook into the parts of a page that needs no network to be read.

The order is the reader's: the question, the decision, the figures; code is folded away.
"""

from __future__ import annotations

import ast
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

from markdown_it import MarkdownIt
from markupsafe import Markup
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_MARKDOWN = MarkdownIt("commonmark").enable("table")
_WITHOUT_HTML = MarkdownIt("commonmark", {"html": False}).enable("table")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LOADED_BY_CSS = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""", re.IGNORECASE)
_LOADING_ATTRIBUTES = {"src", "srcset", "href", "xlink:href", "poster", "data", "background"}
_PARAMETER_LENGTH_MAX = 60
_IMAGE_TYPES = ("image/svg+xml", "image/png", "image/jpeg")


@dataclass(slots=True)
class Section:
    """A heading of the first or second level and what follows it.

    Attributes:
        title: the heading as HTML; empty for what precedes the first one.
        blocks: paragraphs, folded code and outputs, in their order.
    """

    title: Markup = field(default_factory=Markup)
    blocks: list[Markup] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """The section's name in a link, without a leading number; empty if it has no title."""
        return re.sub(r"^[\d.]*\W*|\W+$", "", re.sub(r"\W+", "-", self.title.striptags().lower()))


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookPage:
    """What one notebook says.

    Attributes:
        question: the title in plain words.
        sections: everything below the title.
        parameters: what the notebook was run with, as a list; empty if that is not known.
        figure: the first figure, or `None` if there is none.
    """

    question: str
    sections: list[Section]
    parameters: Markup
    figure: Markup | None

    @property
    def decision(self) -> Section:
        """The section called "Decision", or an empty one."""
        return next((s for s in self.sections if s.anchor == "decision"), Section())


def read_page(notebook: NotebookNode, *, name: str, parameters: Mapping[str, str]) -> NotebookPage:
    """Return the parts of an executed notebook.

    Args:
        notebook: with the outputs of its cells.
        name: the question, if the notebook has no title.
        parameters: names and values that the cell tagged `parameters` set.
    """
    settings = _settings(parameters)
    question, sections, figures = name, [Section()], list[Markup]()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for level, title, html in _split(cell.source):
                if level == 1 and question is name:
                    question = title.striptags()
                elif level:
                    sections.append(Section(title))
                sections[-1].blocks.append(html)
        elif cell.cell_type == "code":
            section = sections[-1]
            section.blocks.append(_folded_code(cell))
            if "parameters" in _tags(cell):
                section.blocks.append(settings)
            for output in cell.outputs:
                alt = section.title.striptags() or question
                section.blocks.append(block := _output(output, alt=alt))
                if block.startswith("<figure"):
                    figures.append(block)
    filled = [s for s in sections if s.title or any(block.strip() for block in s.blocks)]
    return NotebookPage(
        question=question,
        sections=filled,
        parameters=settings,
        figure=figures[0] if figures else None,
    )


def text(source: str) -> Markup:
    """Return Markdown as HTML; what looks like HTML in it is text, such as a name of a file."""
    return Markup(_WITHOUT_HTML.render(source))


def picture(
    bundle: tuple[Mapping[str, str], Mapping[str, Mapping[str, object]]], alt: str
) -> Markup:
    """Return a figure that is carried in the page.

    Args:
        bundle: what its `_repr_mimebundle_` returned: the picture, and its size, by type.
        alt: what it shows, for those who cannot see it.
    """
    images, metadata = bundle
    kind = next(each for each in _IMAGE_TYPES if each in images)
    return _figure(kind, images[kind], metadata.get(kind, {}), alt)


def assigned_names(source: str) -> list[str]:
    """Return the public names that this code assigns at its top level; none if it is not Python."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return []
    targets: list[ast.expr] = []
    for statement in statements:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets.append(statement.target)
    names = (target.id for target in targets if isinstance(target, ast.Name))
    return list(dict.fromkeys(name for name in names if not name.startswith("_")))


def loaded_from_elsewhere(html: str) -> list[str]:
    """Return every address that a browser would load to show this page, in their order.

    Links that a reader may follow (`<a href>`) are not among them, nor is what the page carries
    in itself as `data:` or refers to within itself as `#…`.
    """
    finder = _LoadFinder()
    finder.feed(html)
    finder.close()
    return [address for address in finder.addresses if not address.startswith(("data:", "#"))]


def highlight_css() -> str:
    """Return the colours of code, for a light and a dark page."""
    light = HtmlFormatter(style="friendly").get_style_defs(".code")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".code")
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _split(source: str) -> Iterator[tuple[int, Markup, Markup]]:
    """Cut Markdown at its headings of level 1 and 2: yields level, title and the HTML below.

    Text before the first heading comes with level 0 and no title.
    """
    lines = source.splitlines()
    tokens = _MARKDOWN.parse(source)
    cuts = [(0, 0, 0, Markup())]
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open" and heading.level == 0 and heading.tag in ("h1", "h2"):
            start, end = heading.map or (0, 0)
            title = Markup(_MARKDOWN.renderInline(inline.content).strip())
            cuts.append((start, end, int(heading.tag[1]), title))
    ends = [start for start, *_ in cuts[1:]] + [len(lines)]
    for (_, body, level, title), end in zip(cuts, ends, strict=True):
        text = "\n".join(lines[body:end])
        if level or text.strip():
            yield level, title, Markup(_MARKDOWN.render(text))


def _tags(cell: NotebookNode) -> list[str]:
    tags: list[str] = cell.metadata.get("tags", [])
    return tags


def _settings(parameters: Mapping[str, str]) -> Markup:
    short = [(k, v) for k, v in parameters.items() if len(v) <= _PARAMETER_LENGTH_MAX]
    rows = [Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(*pair) for pair in short]
    return Markup('<dl class="settings">{}</dl>').format(Markup().join(rows)) if rows else Markup()


def _folded_code(cell: NotebookNode) -> Markup:
    if not cell.source.strip():
        return Markup()
    count = len(cell.source.splitlines())
    size = "1 line" if count == 1 else f"{count} lines"
    failed = any(output.output_type == "error" for output in cell.outputs)
    passed = "regression" in _tags(cell) and not failed and cell.execution_count
    label = f"Regression checks, {size}: all passed" if passed else f"Code, {size}"
    state = Markup(" open") if failed else Markup(' class="checks"') if passed else Markup()
    code = highlight(cell.source, PythonLexer(), HtmlFormatter(cssclass="code"))
    return Markup("<details{}><summary>{}</summary>{}</details>").format(state, label, Markup(code))


def _output(output: NotebookNode, *, alt: str) -> Markup:
    if output.output_type == "stream":
        return Markup('<pre class="{}">{}</pre>').format(output.name, _ANSI.sub("", output.text))
    if output.output_type == "error":
        trace = _ANSI.sub("", "\n".join(output.traceback))
        return Markup('<pre class="traceback">{}</pre>').format(trace)
    content: Mapping[str, str] = output.data
    if "text/html" in content:
        return Markup('<div class="table">{}</div>').format(Markup(content["text/html"]))
    if "text/markdown" in content:
        return Markup(_MARKDOWN.render(content["text/markdown"]))
    for kind in _IMAGE_TYPES:
        if kind in content:
            return _figure(kind, content[kind], output.metadata.get(kind, {}), alt)
    return Markup("<pre>{}</pre>").format(_ANSI.sub("", content.get("text/plain", "")))


def _figure(kind: str, image: str, metadata: Mapping[str, object], alt: str) -> Markup:
    # The width that Jupyter notes for a high-resolution picture is that of its display.
    width = Markup(' width="{}"').format(metadata["width"]) if "width" in metadata else Markup()
    if kind == "image/svg+xml":
        address = "data:image/svg+xml;base64," + b64encode(image.encode()).decode()
    else:
        address = f"data:{kind};base64," + "".join(image.split())
    return Markup('<figure><img src="{}" alt="{}"{}></figure>').format(address, alt, width)


class _LoadFinder(HTMLParser):
    """Collects what the tags, style attributes and style sheets of a page load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for name, value in attrs:
            if name == "style":
                self.addresses += _LOADED_BY_CSS.findall(value or "")
            elif name in _LOADING_ATTRIBUTES and not (tag in ("a", "area") and name == "href"):
                self.addresses.append((value or "").strip())

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.addresses += _LOADED_BY_CSS.findall(data)
