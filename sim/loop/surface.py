"""The parts of asyncio's loop interface that time has no part in."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from itertools import count
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from sim.loop.bridges import set_error
from sim.loop.errors import InputOutputError

_log = logging.getLogger("asyncio")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Context = dict[str, Any]
ExceptionHandler = Callable[[asyncio.AbstractEventLoop, Context], object]


def _refused(name: str) -> Any:
    def refuse(_self: object, *_args: object, **_kwargs: object) -> NoReturn:
        raise InputOutputError(
            f"no real input or output in virtual time: {name}() was called on the simulation's"
            " loop; give the program a simulated counterpart instead"
        )

    refuse.__name__ = name
    refuse.__doc__ = "Raise `InputOutputError`: there is no real world in virtual time."
    return refuse


class LoopSurface(asyncio.AbstractEventLoop):
    """Debug flag, error reports, task factory, asynchronous generators, and all that is refused."""

    def __init__(self) -> None:
        self.set_debug(False)
        self._exception_handler: ExceptionHandler | None = None
        self._task_factory: Any = None
        # By number, in the order of their first use, so that they are closed in that order.
        self._asyncgens: weakref.WeakValueDictionary[int, AsyncGenerator[Any, Any]]
        self._asyncgens = weakref.WeakValueDictionary()
        self._asyncgen_numbers = count()

    def get_debug(self) -> bool:
        """Return the debug flag. With it, futures and tasks remember where they were made."""
        return self._debug

    def set_debug(self, enabled: bool) -> None:
        """Set the debug flag."""
        self._debug = enabled
        # Each future and task asks: this is the same answer, without a call into Python.
        self.get_debug = enabled.__bool__  # type: ignore[method-assign]

    def get_task_factory(self) -> Any:
        """Return what makes tasks, or `None` for the loop itself."""
        return self._task_factory

    def set_task_factory(self, factory: Any) -> None:
        """Let this callable ``(loop, coro, **kwargs)`` make all tasks; `None` for the loop itself.

        Tasks of another class than `sim.loop.handles.Task` may be cancelled in another order in
        every process: see there.
        """
        if factory is not None and not callable(factory):
            raise TypeError(f"a task factory must be callable or None, not {factory!r}")
        self._task_factory = factory

    def get_exception_handler(self) -> ExceptionHandler | None:
        """Return the handler of errors that nobody awaits, or `None` for the default."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Set the handler of errors that nobody awaits; `None` for the default."""
        if handler is not None and not callable(handler):
            raise TypeError(f"an exception handler must be callable or None, not {handler!r}")
        self._exception_handler = handler

    def default_exception_handler(self, context: Context) -> None:
        """Log the error, as asyncio does, to the logger `asyncio`."""
        details = (f"{key}: {context[key]!r}" for key in sorted(context.keys() - {"message"}))
        message = context.get("message") or "Unhandled exception in event loop"
        _log.error("\n".join([message, *details]), exc_info=context.get("exception"))

    def call_exception_handler(self, context: Context) -> None:
        """Report an error that nobody awaits. Only `SystemExit` and the like leave this method.

        A handler runs in the context of the task or the handle, where Python tells it (from 3.12).
        """
        handler = self._exception_handler
        source = context.get("task") or context.get("future") or context.get("handle")
        try:
            if handler is None:
                self.default_exception_handler(context)
            elif source is not None and hasattr(source, "get_context"):
                source.get_context().run(handler, self, context)
            else:
                handler(self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            _log.exception("the exception handler failed on %r", context)

    def _asyncgen_started(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._asyncgens[next(self._asyncgen_numbers)] = generator

    def _asyncgen_finalized(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close, in a task, a generator that was dropped half-way."""
        if not self.is_closed():
            self.call_soon(self._create_closing_task, generator)

    def _create_closing_task(self, generator: AsyncGenerator[Any, Any]) -> None:
        self.create_task(generator.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Close every asynchronous generator that is still suspended, oldest first."""
        generators = list(self._asyncgens.values())
        self._asyncgens.clear()
        closing = (generator.aclose() for generator in generators)
        results = await asyncio.gather(*closing, return_exceptions=True)
        for generator, result in zip(generators, results, strict=True):
            if isinstance(result, Exception):
                message = f"an error occurred while closing asynchronous generator {generator!r}"
                self.call_exception_handler(
                    {"message": message, "exception": result, "asyncgen": generator}
                )

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function at this instant in this thread, whatever the executor."""
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_run_inline, future, func, args)
        return future

    def set_default_executor(self, executor: Executor) -> None:
        """Do nothing: what `run_in_executor` is given runs in the simulation's own thread."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Do nothing: there is no executor."""

    getaddrinfo = _refused("getaddrinfo")
    getnameinfo = _refused("getnameinfo")
    create_connection = _refused("create_connection")
    create_server = _refused("create_server")
    create_unix_connection = _refused("create_unix_connection")
    create_unix_server = _refused("create_unix_server")
    create_datagram_endpoint = _refused("create_datagram_endpoint")
    connect_accepted_socket = _refused("connect_accepted_socket")
    connect_read_pipe = _refused("connect_read_pipe")
    connect_write_pipe = _refused("connect_write_pipe")
    start_tls = _refused("start_tls")
    sendfile = _refused("sendfile")
    subprocess_exec = _refused("subprocess_exec")
    subprocess_shell = _refused("subprocess_shell")
    add_reader = _refused("add_reader")
    remove_reader = _refused("remove_reader")
    add_writer = _refused("add_writer")
    remove_writer = _refused("remove_writer")
    sock_accept = _refused("sock_accept")
    sock_connect = _refused("sock_connect")
    sock_recv = _refused("sock_recv")
    sock_recv_into = _refused("sock_recv_into")
    sock_recvfrom = _refused("sock_recvfrom")
    sock_recvfrom_into = _refused("sock_recvfrom_into")
    sock_sendall = _refused("sock_sendall")
    sock_sendfile = _refused("sock_sendfile")
    sock_sendto = _refused("sock_sendto")
    add_signal_handler = _refused("add_signal_handler")
    remove_signal_handler = _refused("remove_signal_handler")


def _run_inline(future: asyncio.Future[T], func: Callable[[*Ts], T], args: tuple[*Ts]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        set_error(future, error)
