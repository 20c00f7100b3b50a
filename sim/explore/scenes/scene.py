"""What a scene is, and what makes it worth setting: the policies and worlds that it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sim.explore.stage import Stage


class Scene(NamedTuple):
    """What is set, and in which worlds it has a meaning.

    Attributes:
        play: sets it.
        has_a_meaning: whether the world and its policy are of those in which it shows anything.
        weight: how often it is set in those, as a multiple of the others: more for a scene that
            has a meaning in few worlds.
    """

    play: Callable[[Stage], None]
    has_a_meaning: Callable[[Stage], bool]
    weight: int = 1


def pends(stage: Stage) -> bool:
    """Whether any number of keys may wait to be written."""
    policy = stage.policy
    return policy.pending_writes and policy.pending_max is None


def remembers(stage: Stage) -> bool:
    """Whether memory is ever read."""
    return stage.policy.read_policy != "primary-only"
