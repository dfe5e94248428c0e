"""How a headline reads to a holder, -1 to 1, and what many of them say together. What is made of it is not decided here.

The score is VADER's (Hutto and Gilbert, 2014), whose lexicon comes inside its package: nothing is downloaded, and the same
words score the same for ever. Words of this trade that VADER does not know are added below, on its own scale of -4 to 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from hydra_core.domain.intervals import HOUR_MS

WORDS: Final[Mapping[str, float]] = {
    "bullish": 2.5, "bearish": -2.5, "rally": 2.0, "rallies": 2.0, "rallied": 2.0, "rallying": 2.0, "surge": 2.0,
    "surges": 2.0, "surged": 2.0, "soars": 2.3, "soared": 2.3, "soar": 2.3, "jumps": 1.5, "jumped": 1.5, "rebounds": 1.5,
    "rebound": 1.5, "inflows": 1.5, "inflow": 1.5, "outflows": -1.5, "outflow": -1.5, "adoption": 1.0, "approval": 1.5,
    "approved": 1.5, "approves": 1.5, "upgrade": 1.0, "halving": 0.5, "high": 0.8, "record": 0.5,
    "plunge": -2.5, "plunges": -2.5, "plunged": -2.5, "plummets": -2.7, "plummeted": -2.7, "tumbles": -2.0,
    "tumbled": -2.0, "slumps": -2.0, "slump": -2.0, "sinks": -2.0, "dumps": -2.0, "dump": -2.0, "selloff": -2.2,
    "crash": -3.0, "crashes": -3.0, "crashed": -3.0, "liquidation": -1.8, "liquidations": -1.8, "liquidated": -2.0,
    "hack": -3.0, "hacked": -3.2, "hackers": -2.8, "exploit": -2.5, "exploited": -2.8, "exploits": -2.5, "drained": -2.5,
    "drains": -2.5, "stolen": -3.0, "rugpull": -3.5, "scam": -3.0, "phishing": -2.5, "depeg": -3.0, "depegs": -3.0,
    "depegged": -3.0, "insolvent": -3.2, "insolvency": -3.2, "bankruptcy": -3.2, "bankrupt": -3.2, "halts": -2.0,
    "halted": -2.0, "outage": -2.2, "delist": -2.5, "delists": -2.5, "delisted": -2.5, "delisting": -2.5, "ban": -2.2,
    "bans": -2.2, "banned": -2.4, "sues": -2.2, "sued": -2.2, "lawsuit": -2.0, "probe": -1.5, "subpoena": -2.0,
    "fud": -1.5, "crackdown": -2.3, "sanctions": -1.8, "indicted": -2.8, "fined": -2.0, "unregistered": -1.0,
    "securities": 0.0, "security": 0.0, "share": 0.0, "shares": 0.0, "interest": 0.0, "token": 0.0,
}  # fmt: skip
"""Word -> rating on VADER's scale; ratings of 0 undo everyday meanings that are wrong here."""

HALF_LIFE_MS: Final = 6 * HOUR_MS
WINDOW_MS: Final = 48 * HOUR_MS
PRIOR: Final = 2.0
"""So many neutral headlines are taken as read: one loud voice alone moves little."""


@dataclass(frozen=True, slots=True)
class Mood:
    """What the headlines of a pair say together.

    Parameters
    ----------
    score : float, -1 to 1; 0 where there is nothing to go by
    headlines : int
    newest_ms : int, epoch ms; 0 where there is none
    """

    score: float
    headlines: int
    newest_ms: int


def score_of(title: str) -> float:
    """A title's score, -1 (bad for holders) to 1 (good); 0 for words that say neither."""
    return float(_analyser().polarity_scores(title)["compound"])


def mood_of(readings: Iterable[tuple[int, float, float]], at_ms: int) -> Mood:
    """The mood at a time from (seen, score, relevance) of headlines; what was seen later, or long ago, does not count.

    A weighted mean, weights being relevance halved every :data:`HALF_LIFE_MS`, drawn to 0 by :data:`PRIOR`.
    """
    total, weight, count, newest = 0.0, PRIOR, 0, 0
    for seen_ms, score, relevance in readings:
        age = at_ms - seen_ms
        if not 0 <= age < WINDOW_MS:
            continue
        share = relevance * 0.5 ** (age / HALF_LIFE_MS)
        total += share * max(-1.0, min(1.0, score))
        weight += share
        count += 1
        newest = max(newest, seen_ms)
    return Mood(total / weight, count, newest)


@lru_cache(maxsize=1)
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyser = SentimentIntensityAnalyzer()
    analyser.lexicon.update(WORDS)
    return analyser
