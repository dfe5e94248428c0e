"""Layer 2 that moves on bar by bar: one object a statistic, whose values equal the batch ones to 1e-9.

A resident process that sees every closed bar pays microseconds for what a batch call sums over days of rows. Decisions
use the batch call (state.py): it needs nothing kept between cycles. Not here: streams of single events (cascades.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Floats, Panel
from hydra_core.statistics import correlation as co
from hydra_core.statistics import hawkes, jumps, regimes, state, volatility
from hydra_core.statistics import live_steps as steps
from hydra_core.statistics.sliding import sliding


class Bar(NamedTuple):
    """One closed bar of P pairs, and what all statistics need of it; float64 (P,), NaN where missing.

    Parameters
    ----------
    close_ms : close time, epoch ms
    high, low : prices
    log_close : log of the close
    log_return : to the bar before; NaN at the first
    """

    close_ms: int
    high: Floats
    low: Floats
    log_close: Floats
    log_return: Floats


class Stream(Protocol):
    """A statistic that moves on by one bar."""

    def update(self, bar: Bar) -> dict[str, Floats]:
        """Newest values by name as in :class:`~hydra_core.statistics.state.MarketState`; arrays are reused."""


class VolatilityStream:
    """``volatility``, ``move_15m``, ``move_60m``."""

    def __init__(self, pairs: int) -> None:
        self._ranges = sliding(pairs, volatility.FORECAST_WINDOWS)
        self._squares = sliding(pairs, (volatility.FORECAST_WINDOWS[-1],))
        self._closes, self._sigmas = np.full((2, 12, pairs), np.nan)
        self._seen = 0
        self._sigma, self._moves = np.full(pairs, np.nan), np.full((2, pairs), np.nan)

    def update(self, bar: Bar) -> dict[str, Floats]:
        """Move on by one bar."""
        steps.step_volatility(
            bar.high, bar.low, bar.log_return, bar.log_close, self._seen, self._ranges, self._squares, self._closes,
            self._sigmas, self._sigma, self._moves,
        )  # fmt: skip
        self._seen += 1
        return {"volatility": self._sigma, "move_15m": self._moves[0], "move_60m": self._moves[1]}


class VarianceRatioStream:
    """``variance_ratio``."""

    def __init__(self, pairs: int) -> None:
        spans = ((state.VARIANCE_HALF_LIFE, state.VARIANCE_BARS),)
        self._squares = sliding(pairs, (state.BASE_BARS,), spans)
        self._out = np.full(pairs, np.nan)

    def update(self, bar: Bar) -> dict[str, Floats]:
        """Move on by one bar."""
        steps.step_variance_ratio(bar.log_return, self._squares, self._out)
        return {"variance_ratio": self._out}


class ShockStream:
    """``jump``, ``jump_rate``, ``hawkes_intensity``, ``branching``: all read the locally scaled return."""

    def __init__(self, pairs: int) -> None:
        self._before = np.full((2, pairs), np.nan)
        self._products = sliding(pairs, (jumps.LOCAL_BARS - 2,))
        self._flags = sliding(pairs, (jumps.RATE_BARS,))
        spans = ((hawkes.KERNEL_HALF_LIFE, hawkes.KERNEL_BARS),)
        self._events = sliding(pairs, (hawkes.COUNT_BARS, hawkes.RATE_BARS), spans)
        self._counts = sliding(2 * pairs, (hawkes.RATE_BARS,))
        self._scratch = np.full(2 * pairs, np.nan)
        self._shock = np.full(pairs, np.nan)
        self._jump, self._hawkes = np.full((2, 2, pairs), np.nan)

    def update(self, bar: Bar) -> dict[str, Floats]:
        """Move on by one bar."""
        steps.step_shocks(
            bar.log_return, self._before, self._products, self._flags, self._events, self._counts, self._scratch,
            self._shock, self._jump, self._hawkes,
        )  # fmt: skip
        return {
            "jump": self._jump[0],
            "jump_rate": self._jump[1],
            "hawkes_intensity": self._hawkes[0],
            "branching": self._hawkes[1],
        }


class RegimeStream:
    """``regimes`` of the default model."""

    def __init__(self, pairs: int) -> None:
        self._logs = sliding(pairs, (regimes.BASE_BARS,))
        self._base = np.full(pairs, np.nan)
        self._chains = regimes.FilterStream(regimes.DEFAULT, pairs).chains
        self._out = np.full((pairs, len(regimes.DEFAULT.scales)), np.nan)

    def update(self, bar: Bar) -> dict[str, Floats]:
        """Move on by one bar."""
        steps.step_regimes(
            bar.high, bar.low, bar.log_return, self._logs, self._base, *self._chains, self._out
        )  # fmt: skip
        return {"regimes": self._out}


class CorrelationStream:
    """``mean_correlation`` at every bar, the shrunk ``correlation`` matrix on its UTC grid."""

    def __init__(self, names: Sequence[str], interval: Interval) -> None:
        pairs = len(names)
        self._pairs, self._bar_ms = pairs, interval.ms
        self._prior = co.prior_correlation(names)
        count = pairs + pairs * (pairs - 1) // 2
        self._products = sliding(count, (), ((co.FAST_HALF_LIFE, co.FAST_BARS),))
        self._scratch = np.full(count, np.nan)
        self._returns = np.full((co.MATRIX_BARS, pairs), np.nan)
        self._seen = 0
        self._matrix = np.ones((pairs, pairs))
        self._mean = np.full(1, np.nan)

    def update(self, bar: Bar) -> dict[str, Floats]:
        """Move on by one bar."""
        self._returns[self._seen % co.MATRIX_BARS] = bar.log_return
        self._seen += 1
        self._mean[0] = steps.step_correlation(bar.log_return, self._products, self._scratch)
        if self._pairs < 2:
            self._mean[0] = 0.0
        if self._seen > co.MATRIX_BARS and (bar.close_ms // self._bar_ms) % co.MATRIX_EVERY == 0:
            ordered = np.roll(self._returns, -(self._seen % co.MATRIX_BARS), axis=0)
            self._matrix = co.shrunk_correlation(ordered, self._prior)
        return {"mean_correlation": self._mean, "correlation": self._matrix}


STREAMS: Final = (VolatilityStream, VarianceRatioStream, ShockStream, RegimeStream)


class LiveLayer2:
    """All statistics of layer 2, moved on by one closed bar a call.

    Parameters
    ----------
    names : the pairs, in the order of the arrays
    interval : of the bars
    """

    def __init__(self, names: Sequence[str], interval: Interval) -> None:
        pairs = len(names)
        self._interval, self._bar_ms = interval, interval.ms
        self._streams: tuple[Stream, ...] = (*(kind(pairs) for kind in STREAMS), CorrelationStream(names, interval))
        self._log_close = np.full(pairs, np.nan)
        self._close_ms: int | None = None

    def update(self, close_ms: int, high: Floats, low: Floats, close: Floats) -> dict[str, Floats]:
        """Take the bar that closed at ``close_ms``; newest values by name, in arrays that the next call reuses.

        Parameters
        ----------
        close_ms : epoch ms, one interval after the call before: hand in a missing bar as NaN
        high, low, close : float64 (P,), USDT

        Raises
        ------
        InputMissing : a bar was left out or came twice
        """
        if self._close_ms is not None and close_ms != self._close_ms + self._bar_ms:
            raise InputMissing(
                f"bar that closed at {close_ms} follows the one at {self._close_ms}",
                f"Hand in every {self._interval} bar once and in order, a missing one as NaN",
            )
        self._close_ms = close_ms
        log_close = np.log(close)
        bar = Bar(close_ms, high, low, log_close, log_close - self._log_close)
        self._log_close = log_close
        out: dict[str, Floats] = {}
        for stream in self._streams:
            out.update(stream.update(bar))
        return out

    def warm_up(self, panel: Panel) -> dict[str, Floats]:
        """Take every row of a panel; the values of its last one.

        Raises
        ------
        InputMissing : the panel is empty or does not follow the last bar
        """
        if not len(panel):
            raise InputMissing("warm-up on an empty panel", "Load history first")
        out: dict[str, Floats] = {}
        for t in range(len(panel)):
            out = self.update(int(panel.close_ms[t]), panel.high[t], panel.low[t], panel.close[t])
        return out
