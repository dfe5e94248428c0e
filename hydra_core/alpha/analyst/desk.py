"""Where the live loop picks up analyses: asked beside the cycle on one thread, read without ever waiting.

The rules analysis needs no desk: it is computed inline (rules.py). What lies here is a language model's word that has
not expired; while there is none, the rules' word stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from types import TracebackType
from typing import Protocol, Self

from loguru import logger

from hydra_core.alpha.analyst.facts import AnalystFacts, facts_from
from hydra_core.alpha.analyst.rules import SOURCE
from hydra_core.domain.errors import HydraError, InputMissing
from hydra_core.domain.market import Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Analysis


class Analyst(Protocol):
    """Who answers: the Groq client, or another."""

    @property
    def available(self) -> bool:
        """Whether asking makes sense now."""
        ...

    def analyse(self, facts: AnalystFacts) -> Analysis:
        """An analysis of the facts; falls back to the rules instead of raising."""
        ...


class AnalystDesk:
    """The newest analysis of every pair.

    Parameters
    ----------
    analyst : Analyst or None; with None the desk stays empty and the rules analyst sits in the seat
    ttl_ms : market milliseconds that an analysis stays valid
    news : (pair, market time in epoch ms) -> headlines that had been seen by then; untrusted, and shown as such. What a
        decision gets of them is the analysis alone, which it stores
    """

    def __init__(
        self,
        analyst: Analyst | None,
        ttl_ms: int = 900_000,
        news: Callable[[Pair, int], tuple[str, ...]] | None = None,
    ) -> None:
        self._analyst = analyst
        self._ttl_ms = ttl_ms
        self._news = news
        self._lock = Lock()
        self._newest: dict[Pair, Analysis] = {}
        self._asked: dict[Pair, Future[None]] = {}
        self._worker = ThreadPoolExecutor(1, "analyst") if analyst is not None else None

    def consider(self, panel: Panel, pairs: Iterable[Pair] | None = None) -> int:
        """Ask about pairs whose state has changed or whose analysis has passed half its life; returns how many.

        Never waits: at most one question a pair is under way.
        """
        if self._worker is None or self._analyst is None or not self._analyst.available:
            return 0
        asked = 0
        for pair in panel.pairs if pairs is None else pairs:
            under_way = self._asked.get(pair)
            if under_way is not None and not under_way.done():
                continue
            try:
                facts = facts_from(panel, pair, ttl_ms=self._ttl_ms, news=self._headlines(panel, pair))
            except InputMissing:
                continue  # nothing to ask about yet; the pair's absence is already a fault of the snapshot
            known = self.latest(pair, facts.close_ms)
            fresh = known is not None and known.expires_ms - facts.close_ms > self._ttl_ms // 2
            if known is not None and fresh and known.state_hash == facts.state_hash:
                continue
            self._asked[pair] = self._worker.submit(self._answer, facts)
            self._asked[pair].add_done_callback(_report)
            asked += 1
        return asked

    def _headlines(self, panel: Panel, pair: Pair) -> tuple[str, ...]:
        """What was in the news at the panel's last close; none where that cannot be read, which is told."""
        if self._news is None or not len(panel):
            return ()
        try:
            return self._news(pair, int(panel.close_ms[-1]))
        except HydraError as error:
            logger.warning("analyst: no news of {}: {}", pair, error)
            return ()

    def latest(self, pair: Pair, now_ms: int) -> Analysis | None:
        """The language model's newest word on a pair, or None where there is none or it has expired by market time."""
        with self._lock:
            known = self._newest.get(pair)
        return known if known is not None and known.made_ms <= now_ms < known.expires_ms else None

    def all(self, now_ms: int) -> Mapping[Pair, Analysis]:
        """Every unexpired analysis by pair."""
        with self._lock:
            return {pair: a for pair, a in self._newest.items() if a.made_ms <= now_ms < a.expires_ms}

    def close(self) -> None:
        """Drop what is waiting and let what is under way run out."""
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, facts: AnalystFacts) -> None:
        if self._analyst is None:
            return
        analysis = self._analyst.analyse(facts)
        if analysis.source == SOURCE:
            return  # the rules are computed inline and fresher
        with self._lock:
            self._newest[facts.pair] = analysis


def _report(answer: Future[None]) -> None:
    """A fault inside the worker is told, not lost with its future; the rules' word stands meanwhile."""
    error = None if answer.cancelled() else answer.exception()
    if error is not None:
        logger.opt(exception=error).error("analyst: a question failed")
