"""Where SimPy's events and asyncio's futures meet."""
# SimPy's own processes touch these members of events; so does whoever runs events in its place.
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import simpy

from sim.loop.errors import CopyError


def settle(event: Any) -> None:
    """Run the callbacks of a SimPy event, as `simpy.Environment.step` does.

    Unlike there, a failure that nobody defused is raised itself and not as a copy, which would
    lack its attributes; and a cancellation, which came from asyncio, is as silent as it is there.
    """
    callbacks, event.callbacks = event.callbacks, None
    try:
        for callback in callbacks:
            callback(event)
    except simpy.core.StopSimulation:
        # The end of an earlier `env.run(until=...)` that failed before it. Here it stops nothing.
        event.callbacks = callbacks[callbacks.index(callback) + 1 :]
        event.env.schedule(event, priority=-1)
        return
    if not event._ok and not hasattr(event, "_defused"):
        error: BaseException = event._value
        if not isinstance(error, asyncio.CancelledError):
            raise error


def future_of(event: simpy.Event, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
    """Return a future with the outcome of a SimPy event: see `VirtualTimeLoop.as_future`."""
    future = loop.create_future()
    waiting = event.callbacks
    if waiting is None:
        _hand_over(event, future)
        return future

    def fire(fired: simpy.Event) -> None:
        _hand_over(fired, future)

    def let_go(done: asyncio.Future[Any]) -> None:
        if done.cancelled() and fire in waiting:
            waiting.remove(fire)

    waiting.append(fire)
    future.add_done_callback(let_go)
    return future


def event_of(awaitable: Awaitable[Any], loop: asyncio.AbstractEventLoop, env: Any) -> simpy.Event:
    """Return a SimPy event with the outcome of an awaitable: see `VirtualTimeLoop.as_event`."""
    event = simpy.Event(env)

    def fire(done: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            event.succeed(done.result())
        else:
            event.fail(_copyable(error))

    asyncio.ensure_future(awaitable, loop=loop).add_done_callback(fire)
    return event


def set_error(future: asyncio.Future[Any], error: Exception) -> None:
    """Fail a future, even with `StopIteration`, which futures refuse."""
    if isinstance(error, StopIteration):
        wrapped = RuntimeError(f"raised {error!r}")
        wrapped.__cause__ = error
        error = wrapped
    future.set_exception(error)


def _hand_over(event: simpy.Event, future: asyncio.Future[Any]) -> None:
    """Give a future the outcome of an event that has happened, unless it was cancelled."""
    if future.done():
        return
    if event._ok:
        future.set_result(event._value)
    elif isinstance(event._value, asyncio.CancelledError):
        future.cancel()
    elif isinstance(event._value, Exception):
        event.defused = True
        set_error(future, event._value)
    # Anything else, such as KeyboardInterrupt, stays undefused and ends the run.


def _copyable(error: BaseException) -> Any:
    """Return the error in a form that survives SimPy, which copies exceptions from their `args`."""
    try:
        type(error)(*error.args)
    except Exception:
        wrapped = CopyError(f"an awaitable failed with {error!r}")
        wrapped.__cause__ = error
        return wrapped
    return error
