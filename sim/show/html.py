"""What all pages of a review share: templates, what stands in every page, and where they go."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import jinja2

_TEMPLATES = Path(__file__).parent / "templates"
_GENERATOR = '<meta name="generator" content="ftrepo review">'
_SHOWN_VERSIONS = ("ftrepo", "simpy", "numpy", "scipy", "cryptography")


def rendered(template: str, **parts: object) -> str:
    """Return a page: a template with its parts filled in, each of which it must have."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**parts)


def shared_parts(built: datetime) -> dict[str, object]:
    """Return what every page says of itself, and its looks.

    Args:
        built: the time that it gives.
    """
    return {
        "built": f"{built:%Y-%m-%d %H:%M} {built.tzname() or ''}".strip(),
        "versions": [f"Python {platform.python_version()}"]
        + [f"{name} {version(name)}" for name in _SHOWN_VERSIONS],
        "generator": _GENERATOR,
        "css": (_TEMPLATES / "review.css").read_text(encoding="utf-8"),
    }


def is_review(folder: Path) -> bool:
    """Whether a folder holds a review, which a newer one may take the place of."""
    index = folder / "index.html"
    return index.is_file() and _GENERATOR in index.read_text(encoding="utf-8", errors="replace")


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `out` when the block ends without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as name:
        fresh, old = Path(name, "new"), Path(name, "old")
        fresh.mkdir()
        yield fresh
        if out.exists():
            out.rename(old)
        fresh.rename(out)
