"""Intervals that hold what they promise whatever the distribution: split conformal, and adaptive where it changes.

A score is how far an outcome lies from its forecast: of a return the distance, in standard deviations expected for the horizon;
of a variance, whose intervals are not symmetric, the signed distance of the logs, one follower a side
(``variance_intervals``). Not here: expected returns and confidences (``alpha.forecaster.calibration``).

Sources: Lei et al. (2018), distribution-free predictive inference; Gibbs and Candes (2021), adaptive conformal inference.
Nothing here needs a learning library: the live plane runs it.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints

LEVEL: Final = 0.9
"""Share of outcomes that an interval is to hold."""
RATE: Final = 0.01
"""How far one miss moves the adaptive level."""
WINDOW: Final = 2_000
"""Newest scores that the adaptive width is read from."""


def conformal_width(scores: Floats, level: float = LEVEL) -> float:
    """Half width of an interval that holds a new return with at least this probability, if it is drawn as these were.

    The ceil((n + 1) level)-th smallest of n scores.

    Parameters
    ----------
    scores : array (n,), distances of realised returns from forecasts that did not know them; what is not finite is left out

    Raises
    ------
    InputMissing : too few scores for that level
    """
    known = np.sort(scores[np.isfinite(scores)])
    rank = math.ceil((known.size + 1) * level)
    if rank > known.size or not known.size:
        raise InputMissing(f"{known.size} scores for intervals of {level:.0%}", "Collect more history")
    return float(known[rank - 1])


class AdaptiveWidth:
    """Half widths that follow a changing distribution: a miss widens the next interval, a hit narrows it a little.

    The share of misses comes to 1 - level within (max(level, 1 - level) + rate) / (rate n) after n steps, whatever the scores.

    Parameters
    ----------
    level : share to hold
    rate : how far one miss moves the level
    window : newest scores that widths are read from
    overlap : scores whose outcomes share time with one another and so say little more than one of them: the room that a
        few scores leave for what they have not shown yet, as in :func:`conformal_width`, is that many times as large
    """

    def __init__(self, level: float = LEVEL, rate: float = RATE, window: int = WINDOW, overlap: float = 1.0) -> None:
        self.level, self.rate, self.overlap = level, rate, overlap
        self._miss = 1.0 - level
        self._scores: deque[float] = deque()
        self._ordered: list[float] = []
        self._window = window

    @property
    def ready(self) -> bool:
        """Whether there are scores enough for the level that is to be held."""
        return self._rank(self.level) <= len(self._ordered)

    @property
    def width(self) -> float:
        """Half width of the next interval; inf before there are scores enough, or where only that would hold the promise.

        -inf, an empty interval, where even the smallest score would hold more than is promised.
        """
        if self._miss <= 0.0:
            return math.inf
        if self._miss >= 1.0:
            return -math.inf
        rank = self._rank(1.0 - self._miss)
        return self._ordered[rank - 1] if rank <= len(self._ordered) else math.inf

    def update(self, score: float, said: float | None = None) -> bool:
        """Take the score of the interval that was said; returns whether it held.

        Parameters
        ----------
        score : of the interval, now that its outcome is known
        said : half width that was said then, where others were learnt from meanwhile; the present one where None
        """
        held = score <= (self.width if said is None else said)
        self._miss += self.rate * ((1.0 - self.level) - (0.0 if held else 1.0))
        self.learn(score)
        return held

    def learn(self, score: float) -> None:
        """Take a score without an interval that promised anything: it moves no level."""
        self._scores.append(score)
        bisect.insort(self._ordered, score)
        if len(self._scores) > self._window:
            self._ordered.pop(bisect.bisect_left(self._ordered, self._scores.popleft()))

    def _rank(self, share: float) -> int:
        return math.ceil((len(self._ordered) + self.overlap) * share)


def adaptive_widths(
    scores: Floats,
    level: float = LEVEL,
    rate: float = RATE,
    window: int = WINDOW,
    overlap: float = 1.0,
    when: tuple[Ints, Ints] | None = None,
) -> Floats:
    """Half width before each score, made of scores known by then alone, shape (n,); those not finite change nothing.

    Parameters
    ----------
    scores : array (n,), in the order in which their intervals are said
    level, rate, window, overlap : of :class:`AdaptiveWidth`
    when : moments at which each interval is said and its score is known, two ascending arrays (n,); None where each score is
        known before the next interval is said
    """
    follower = AdaptiveWidth(level, rate, window, overlap)
    said_at, known_at = (np.arange(scores.size), np.arange(1, scores.size + 1)) if when is None else when
    out = np.empty(scores.size)
    promised = np.zeros(scores.size, np.bool_)
    learnt = 0
    for row in range(scores.size):
        while learnt < row and known_at[learnt] <= said_at[row]:
            score = float(scores[learnt])
            if math.isfinite(score) and promised[learnt]:
                follower.update(score, float(out[learnt]))
            elif math.isfinite(score):
                follower.learn(score)
            learnt += 1
        out[row], promised[row] = follower.width, follower.ready
    return out
