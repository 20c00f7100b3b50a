"""What stands in for a call that failed: one function after another, until one answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from ftrepo.errors import FallbackFailedError

T = TypeVar("T")

Fallback: TypeAlias = Callable[[Exception], Awaitable[T]]
"""Is given the error of the call and answers in its place, or raises because it cannot."""

Fallbacks: TypeAlias = Fallback[T] | Sequence[Fallback[T]] | None
"""One, or several to be tried in this order; `None` or none: a call that failed has failed."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a call returned, or what stood in for it.

    Attributes:
        value: the answer.
        error: why a fallback was asked; `None` if the call itself answered.
    """

    value: T
    error: Exception | None = None

    @property
    def is_fallback(self) -> bool:
        """Whether a fallback answered. Such an answer is not to be cached."""
        return self.error is not None


async def first_answer(name: str, error: Exception, fallbacks: Fallbacks[T]) -> T:
    """Return what the first fallback returns that does not fail. One that fails is skipped.

    A cancellation is no failure: it ends the search.

    Args:
        name: of the call that failed, for the error.
        error: of the call; each fallback is given it.
        fallbacks: at least one.

    Raises:
        FallbackFailedError: none answered. Its cause is `error`; it carries those of the fallbacks.
    """
    errors: list[Exception] = []
    for fallback in in_order(fallbacks):
        try:
            return await fallback(error)
        except Exception as another:
            errors.append(another)
    failed = ", ".join(type(each).__name__ for each in errors)
    message = f"{name} failed ({type(error).__name__}), and so did what stands in for it ({failed})"
    raise FallbackFailedError(message, errors=tuple(errors)) from error


def in_order(fallbacks: Fallbacks[T]) -> Sequence[Fallback[T]]:
    """Return the fallbacks as a sequence, which may be empty."""
    if fallbacks is None:
        return ()
    return (fallbacks,) if callable(fallbacks) else fallbacks
