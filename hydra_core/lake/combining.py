"""Changes to one thing that threads make at the same time, made in one go: whoever has its turn makes those of all who wait.

A change that costs a rewrite of the whole and its way to the disk then costs one for a crowd, and nobody waits longer than he
would have for his own turn. Not here: what a change is, and other processes (:mod:`files` has the locks).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

C = TypeVar("C")
R = TypeVar("R")


@dataclass(eq=False, slots=True)
class _Waiting(Generic[C, R]):
    """A change, and what came of it once it is made."""

    change: C
    made: tuple[R] | None = None


class Combined(Generic[C, R]):
    """Makes changes one by one or many at once, in the order in which they were asked for.

    Parameters
    ----------
    make : callable, handed changes in their order; returns what came of each. It is never run twice at the same time. What it
        raises is raised to the one whose turn it was: the others have a turn of their own then
    """

    def __init__(self, make: Callable[[Sequence[C]], Sequence[R]]) -> None:
        self._make = make
        self._turn = threading.Lock()
        self._waiting: deque[_Waiting[C, R]] = deque()

    @property
    def waiting(self) -> int:
        """Changes that are asked for and that nobody has begun to make."""
        return len(self._waiting)

    def do(self, change: C) -> R:
        """Have a change made; returns what came of it when it is."""
        mine = _Waiting[C, R](change)
        self._waiting.append(mine)
        with self._turn:
            if mine.made is None:
                together = [self._waiting.popleft() for _ in range(len(self._waiting))]
                try:
                    results = self._make([one.change for one in together])
                except BaseException:
                    self._waiting.extendleft(one for one in reversed(together) if one is not mine)
                    raise
                for one, result in zip(together, results, strict=True):
                    one.made = (result,)
        assert mine.made is not None
        return mine.made[0]
