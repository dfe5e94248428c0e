"""Intervals that hold what they promise whatever the distribution: split conformal, and adaptive where it changes.

A score is the distance of a realised return from its forecast, in standard deviations expected for the horizon. Not here:
expected returns and confidences (``calibration``). Sources: Lei et al. (2018), distribution-free predictive inference;
Gibbs and Candes (2021), adaptive conformal inference. Nothing here needs a learning library: the live plane runs it.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats

LEVEL: Final = 0.9
"""Share of returns that an interval is to hold."""
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
    """

    def __init__(self, level: float = LEVEL, rate: float = RATE, window: int = WINDOW) -> None:
        self.level, self.rate = level, rate
        self._miss = 1.0 - level
        self._scores: deque[float] = deque()
        self._ordered: list[float] = []
        self._window = window

    @property
    def width(self) -> float:
        """Half width of the next interval; inf before there is a score, or where only that would hold the promise."""
        if not self._scores or self._miss <= 0.0:
            return math.inf
        if self._miss >= 1.0:
            return 0.0
        return self._ordered[math.ceil((len(self._ordered) - 1) * (1.0 - self._miss))]

    def update(self, score: float) -> bool:
        """Take the score of the interval that was said; returns whether it held."""
        held = score <= self.width
        self._miss += self.rate * ((1.0 - self.level) - (0.0 if held else 1.0))
        self._scores.append(score)
        bisect.insort(self._ordered, score)
        if len(self._scores) > self._window:
            self._ordered.pop(bisect.bisect_left(self._ordered, self._scores.popleft()))
        return held


def adaptive_widths(scores: Floats, level: float = LEVEL, rate: float = RATE, window: int = WINDOW) -> Floats:
    """Half width before each score, made of earlier ones alone, shape (n,); those not finite change nothing."""
    follower = AdaptiveWidth(level, rate, window)
    out = np.empty(scores.size)
    for at, score in enumerate(scores):
        out[at] = follower.width
        if math.isfinite(score):
            follower.update(float(score))
    return out
