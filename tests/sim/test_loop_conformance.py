from __future__ import annotations

import asyncio
import importlib
import io
import unittest
import warnings

import pytest
import simpy

from sim.loop import VirtualTimeLoop

DIFFERENT = {
    # Two time-outs for the very same instant: asyncio fires all timers of an instant before their
    # consequences, so both expire. Here the outer one does, and what it cancels ends first.
    "test_nested_timeouts",
}


@pytest.mark.parametrize("module", ["locks", "queues", "taskgroups", "timeouts", "waitfor"])
def test_pythons_own_tests_of_asyncio_pass(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python promises of its primitives, it tests; on this loop those tests pass too."""
    made: list[VirtualTimeLoop] = []

    def new_event_loop() -> VirtualTimeLoop:
        made.append(VirtualTimeLoop(simpy.Environment()))
        return made[-1]

    monkeypatch.setattr(asyncio.events, "new_event_loop", new_event_loop)
    output = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tests = importlib.import_module(f"test.test_asyncio.test_{module}")
        except ImportError:
            pytest.skip("this Python comes without its tests")
        suite = unittest.defaultTestLoader.loadTestsFromModule(tests)
        result = unittest.TextTestRunner(output, verbosity=0).run(suite)
    failed = {test.id().rpartition(".")[2] for test, _ in result.failures + result.errors}
    assert failed <= DIFFERENT, output.getvalue()
    assert len(made) >= 10
