"""A fault put into the code that is imported already, for the length of a block.

Quicker than a copy of the checkout and a process of its own, and enough where a fault lies within
methods: those of the changed module's classes are exchanged, and put back in the end.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

from tests.mutants.mutants import ROOT, Mutant

METHODS = (FunctionType, property, classmethod, staticmethod)


@contextmanager
def imported_with(mutant: Mutant) -> Iterator[None]:
    """Let every method of the mutant's module be that of the changed text.

    Raises:
        StaleMutantError: the mutant does not fit the code.
    """
    module = importlib.import_module(mutant.file.removesuffix(".py").replace("/", "."))
    changed = ModuleType(module.__name__)
    text = mutant.applied_to((ROOT / mutant.file).read_text("utf-8"))
    exec(compile(text, mutant.file, "exec"), changed.__dict__)
    kept = []
    for name, theirs in _classes(changed).items():
        ours = _classes(module)[name]
        kept.append((ours, _methods(ours)))
        _exchange(ours, _methods(theirs))
    try:
        yield
    finally:
        for ours, methods in kept:
            _exchange(ours, methods)


def _classes(module: ModuleType) -> dict[str, type]:
    return {
        name: each
        for name, each in vars(module).items()
        if isinstance(each, type) and each.__module__ == module.__name__
    }


def _methods(owner: type) -> dict[str, Any]:
    return {name: each for name, each in vars(owner).items() if isinstance(each, METHODS)}


def _exchange(owner: type, methods: dict[str, Any]) -> None:
    for name, method in methods.items():
        setattr(owner, name, method)
