"""Small markets and doubles that the tests of decisions and backtests share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hydra_core.alpha.models import Forecast, Hazard
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.market import CANDLES, FUNDING, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.statistics.state import MarketState

START_MS = 1_719_792_000_000  # 2024-07-01T00:00Z
BAR_MS = FORECAST_INTERVAL.ms


def random_panel(rows: int, pairs: Sequence[Pair] = DEFAULT_PAIRS, seed: int = 7, sigma: float = 0.002) -> Panel:
    """Correlated random walks with wicks, volume and a constant funding rate."""
    rng = np.random.default_rng(seed)
    shape = (rows, len(pairs))
    moves = sigma * (0.6 * rng.standard_normal((rows, 1)) + 0.8 * rng.standard_normal(shape))
    close = 100.0 * np.exp(np.cumsum(moves, axis=0))
    opening = np.vstack([np.full(len(pairs), 100.0), close[:-1]])
    wick = 1 + np.abs(rng.normal(0, sigma / 2, shape))
    return panel_of(opening, np.maximum(opening, close) * wick, np.minimum(opening, close) / wick, close, pairs, 1e-4)


def panel_of(
    opening: Floats, high: Floats, low: Floats, close: Floats, pairs: Sequence[Pair], funding: float | None = None
) -> Panel:
    """A panel from its candles, (T, P) each."""
    none = np.full(close.shape, np.nan)
    return Panel(
        pairs=tuple(pairs),
        interval=FORECAST_INTERVAL,
        ts=START_MS + BAR_MS * np.arange(close.shape[0], dtype=np.int64),
        open=opening,
        high=high,
        low=low,
        close=close,
        volume=np.full(close.shape, 1e6),
        funding_rate=none if funding is None else np.full(close.shape, funding),
        open_interest=none,
        long_short=none,
        liquidated_long=none,
        liquidated_short=none,
        inputs=frozenset({CANDLES} if funding is None else {CANDLES, FUNDING}),
    )


def calm_state(rows: int, pairs: int, **fields: Floats) -> MarketState:
    """A market in which no switch trips."""
    ones = np.ones((rows, pairs))
    values = {
        name: ones * 0.0 for name in ("move_15m", "move_60m", "jump", "jump_rate", "hawkes_intensity", "branching")
    }
    return MarketState(
        **{
            **values,
            "volatility": ones * 0.002,
            "variance_ratio": ones,
            "regimes": np.broadcast_to(np.array([1.0, 0.0, 0.0]), (rows, pairs, 3)).copy(),
            "mean_correlation": np.full(rows, 0.3),
            "correlation": np.eye(pairs),
            **fields,
        }
    )


def forecast_of(expected: Floats, confidence: float | Floats = 0.7, volatility: float = 0.014) -> Forecast:
    """A forecast with constant uncertainty."""
    ones = np.ones_like(expected)
    return Forecast(expected, ones * confidence, ones * volatility * 0.8, ones * volatility)


class FixedForecaster:
    """A forecaster whose words were written before; row k belongs to panel row k."""

    version = "fixed-forecaster"
    lookback = 1
    horizon_bars = 48

    def __init__(self, forecast: Forecast, panel: Panel, inputs: frozenset[str] = frozenset({CANDLES})) -> None:
        self._forecast, self._first = forecast, int(panel.ts[0])
        self.inputs = inputs

    def forecast(self, panel: Panel, last: int) -> Forecast:
        end = int((panel.ts[-1] - self._first) // panel.interval.ms) + 1
        return self._forecast.rows(slice(end - last, end))


class FixedCrowd:
    """The same hazard on both sides, always."""

    version = "fixed-crowd"
    lookback = 1
    inputs = frozenset({CANDLES})

    def __init__(self, hazard: float) -> None:
        self._hazard = hazard

    def hazard(self, panel: Panel, last: int) -> Hazard:
        shape = (last, len(panel.pairs))
        return Hazard(np.full(shape, self._hazard), np.full(shape, self._hazard))


class SignPolicy:
    """Wants the side of the forecast."""

    version = "sign-policy"

    def target(self, observation):
        return np.sign(observation.forecast_z)
