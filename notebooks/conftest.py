"""Runs notebooks in the kernels that `make review` uses."""

from __future__ import annotations

from functools import partial

import nbmake.nb_run
from nbclient import NotebookClient

from sim.show.kernels import FileSocketKernelManager


def pytest_configure() -> None:
    """Make nbmake, which has no option for it, start our kernels."""
    nbmake.nb_run.NotebookClient = partial(
        NotebookClient, kernel_manager_class=FileSocketKernelManager
    )
