"""The synthetic market: eight pairs with a planted, known optimum, a deterministic function of (seed, signal).

Days are generated in order and kept, each from (seed, day) and the state carried in, so that whatever is asked in whatever
order gives the same numbers and the market can be run on as far as its end. What is planted is in :mod:`optimum`, how
it becomes prices and readings in :mod:`prices`, :mod:`cascades` and :mod:`published`.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.domain.errors import Unsupported, UsageError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, MINUTE_MS, Interval, parse_time
from hydra_core.domain.market import INPUTS, Floats, Ints, Liquidation
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.domain.series import Bars, Series
from hydra_core.simulation import cascades as cs
from hydra_core.simulation import optimum as op
from hydra_core.simulation import prices, published
from hydra_core.simulation import processes as pr
from hydra_core.simulation.columns import GridColumns, fold
from hydra_core.simulation.derived import DerivedMarket
from hydra_core.simulation.specs import SPECS, per_unit

ORIGIN_MS: Final = parse_time("2024-06-01")
END_MS: Final = parse_time("2026-06-01")
DEFAULT_DAYS: Final = 150
STRONGEST: Final = 0.6
STAMP_MS: Final = published.STAMP * MINUTE_MS
SETTLEMENT_MS: Final = 8 * HOUR_MS
_READINGS: Final = ("open_interest", "long_short", "predicted_rate")
_STATES: Final = ("alpha_fast", "alpha_slow", "crowding", "vol_market_slow", "vol_market_fast", "vol_own")


@dataclass(frozen=True, slots=True)
class _Carried:
    """Everything that one day hands to the next."""

    hidden: pr.Hidden
    price: prices.PriceState
    published: published.PublishedState


class _PairColumns:
    """All that is stored of one pair."""

    def __init__(self) -> None:
        self.bars = {interval: GridColumns(ORIGIN_MS, interval.ms, 5) for interval in Interval}
        self.readings = GridColumns(ORIGIN_MS, STAMP_MS, len(_READINGS))
        self.hidden = GridColumns(ORIGIN_MS, STAMP_MS, len(_STATES) + 1)
        self.funding = GridColumns(ORIGIN_MS, SETTLEMENT_MS, 1)
        self.forced: list[cs.Forced] = []


class SyntheticMarket(DerivedMarket):
    """A market with planted predictability; implements :class:`~hydra_core.simulation.base.Market`.

    Parameters
    ----------
    seed : int, non-negative
    signal : float in [0, 0.6], correlation of the best causal forecast with the volatility-scaled 4 h return; 0: nothing is
        planted, returns are a martingale given every observable, cascades follow volatility alone
    days : int, length of the history that lies before a venue's first now

    Raises
    ------
    UsageError : a parameter is out of range
    """

    def __init__(self, seed: int, signal: float, days: int = DEFAULT_DAYS) -> None:
        if seed < 0:
            raise UsageError(f"seed {seed} is negative", "Use 0 or more")
        if not 0 <= signal <= STRONGEST:
            raise UsageError(f"signal {signal:g} is out of range", f"Use 0 to {STRONGEST:g}")
        if not 1 <= days < (END_MS - ORIGIN_MS) // DAY_MS:
            raise UsageError(f"{days} days of history", f"Use 1 to {(END_MS - ORIGIN_MS) // DAY_MS - 1}")
        super().__init__(DEFAULT_PAIRS, Interval.M1, seed)
        self.signal = float(signal)
        self._start_ms = ORIGIN_MS + days * DAY_MS
        self._planted = op.plant(self.signal)
        self._columns = {pair: _PairColumns() for pair in DEFAULT_PAIRS}
        self._made_days = 0
        self._lock = threading.Lock()
        hidden = pr.begin(self._rng(0, 0))
        self._carried = _Carried(hidden, prices.first_price(), published.first_state(hidden))

    @property
    def name(self) -> str:
        """``synthetic-<seed>-<signal>``."""
        return f"synthetic-{self._seed}-{self.signal:g}"

    @property
    def origin_ms(self) -> int:
        """2024-06-01, whatever the seed."""
        return ORIGIN_MS

    @property
    def start_ms(self) -> int:
        """Origin plus the asked days of history."""
        return self._start_ms

    @property
    def end_ms(self) -> int:
        """2026-06-01: a local market ends before today."""
        return END_MS

    @property
    def inputs(self) -> frozenset[str]:
        """All of them."""
        return frozenset(INPUTS)

    def _span(self) -> tuple[int, int]:
        return ORIGIN_MS, END_MS

    def _rng(self, stage: int, day: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self._seed, stage, day]))

    def _reach(self, end_ms: int) -> None:
        """Generate every day up to the one that contains the millisecond before ``end_ms``."""
        days = -((ORIGIN_MS - min(end_ms, END_MS)) // DAY_MS)
        if days <= self._made_days:
            return
        with self._lock:
            while self._made_days < days:
                self._make_day(self._made_days)
                self._made_days += 1

    def _make_day(self, day: int) -> None:
        carried = self._carried
        rng = self._rng(1, day)
        paths = pr.advance(rng, carried.hidden)
        names = pr.Hidden.__slots__
        starts = pr.Hidden(*(pr.before(getattr(paths, name), getattr(carried.hidden, name)) for name in names))
        relative = prices.relative_volatility(starts.log_volatility)
        struck = cs.strike(rng, self._planted, starts.crowding, relative)
        made = prices.make_prices(rng, self._planted, starts, relative, struck, carried.price)
        readings = published.publish(rng, starts, struck.drop, carried.published)
        filtered = pr.before(made.filtered, carried.price.filtered)
        minutes = np.stack([made.open, made.high, made.low, made.close, made.volume])
        hidden = np.stack([*(getattr(starts, name) for name in _STATES), filtered])[:, :, :: published.STAMP]
        stamped = np.stack([getattr(readings, name) for name in _READINGS])
        for number, pair in enumerate(DEFAULT_PAIRS):
            columns = self._columns[pair]
            for interval, store in columns.bars.items():
                store.append(fold(minutes[:, number], interval.ms // MINUTE_MS))
            columns.readings.append(stamped[:, number])
            columns.hidden.append(hidden[:, number])
            columns.funding.append(readings.settled_rate[None, number])
            oi_notional = SPECS[pair].open_interest_notional
            start_ms = ORIGIN_MS + day * DAY_MS
            columns.forced.append(cs.forced_orders(rng, start_ms, struck, number, made.surprise[number], oi_notional))
        self._carried = _Carried(paths.last(), made.state, readings.state)

    def candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Bars:
        """Every candle whose open lies in the span (read-only views)."""
        if interval.ms < self._base.ms:
            raise Unsupported(f"{self.name} has no {interval} candles", f"Its base interval is {self._base}")
        self._reach(end_ms)
        return self._columns[pair].bars[interval].bars(start_ms, end_ms)

    def _day_candles(self, pair: Pair, day_ms: int) -> Bars:
        return self.candles(pair, self._base, day_ms, day_ms + DAY_MS)

    def funding(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Settled funding rates by settlement time."""
        self._reach(end_ms)
        return self._columns[pair].funding.series(0, start_ms, end_ms)

    def _reading(self, name: str, pair: Pair, start_ms: int, end_ms: int) -> Series:
        self._reach(end_ms)
        return self._columns[pair].readings.series(_READINGS.index(name), start_ms, end_ms)

    def open_interest(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Open interest in base units by its 5m stamp."""
        return self._reading("open_interest", pair, start_ms, end_ms)

    def long_short(self, pair: Pair, start_ms: int, end_ms: int) -> Series:
        """Ratio of accounts long to accounts short by its 5m stamp."""
        return self._reading("long_short", pair, start_ms, end_ms)

    def _coming_funding(self, pair: Pair, ts_ms: int) -> tuple[float, int]:
        stamp = self._clamp(ts_ms) // STAMP_MS * STAMP_MS
        rate = float(self._reading("predicted_rate", pair, stamp, stamp + STAMP_MS).value[0])
        return rate, (ts_ms // SETTLEMENT_MS + 1) * SETTLEMENT_MS

    def coming_rates(self, pair: Pair, stamps: Ints) -> Floats:
        """See the protocol."""
        if not stamps.size:
            return np.empty(0)
        first = self._clamp(int(stamps[0])) // STAMP_MS * STAMP_MS
        series = self._reading("predicted_rate", pair, first, self._clamp(int(stamps[-1])) + 1)
        return series.value[(np.clip(stamps, ORIGIN_MS, END_MS - 1) - first) // STAMP_MS]

    def liquidations(self, pair: Pair, start_ms: int, end_ms: int) -> list[Liquidation]:
        """Forced orders in order of time, priced on the walk."""
        self._reach(end_ms)
        steps = per_unit(SPECS[pair].step)
        found: list[Liquidation] = []
        first = max(0, (start_ms - ORIGIN_MS) // DAY_MS)
        for forced in self._columns[pair].forced[first : max(first, -((ORIGIN_MS - end_ms) // DAY_MS))]:
            lo, hi = forced.ts.searchsorted((start_ms, end_ms))
            for row in range(int(lo), int(hi)):
                price = self.price(pair, int(forced.ts[row]))
                quantity = max(1.0, round(float(forced.notional[row]) / price * steps)) / steps
                found.append(Liquidation(pair, int(forced.ts[row]), bool(forced.long_side[row]), quantity, price))
        return found

    # The ground truth: for tests and benchmarks, never served.

    def _state(self, pair: Pair, ts: Ints, age: int = 0) -> Floats:
        """Hidden state at the stamps in force at ``ts``, ``age`` stamps older; shape (states + 1, n)."""
        self._reach(int(ts.max()) + STAMP_MS)
        store = self._columns[pair].hidden
        rows = np.maximum((ts - ORIGIN_MS) // STAMP_MS - age, 0)
        _, values = store.between(ORIGIN_MS, ORIGIN_MS + (int(rows.max()) + 1) * STAMP_MS)
        return np.asarray(values[:, rows])

    def _volatility_parts(self, pair: Pair, ts: Ints) -> tuple[Floats, tuple[Floats, Floats, Floats], Floats]:
        state = self._state(pair, ts)
        minute = ((ts - ORIGIN_MS) // MINUTE_MS % pr.MINUTES).astype(np.float64)
        return state, (state[3], state[4], state[5]), minute

    def horizon_volatility(self, pair: Pair, ts: Ints) -> Floats:
        """Expected standard deviation of the log return over the 4 h from ``ts`` (epoch ms on the 5m grid), shape (n,)."""
        _, parts, minute = self._volatility_parts(pair, ts)
        number = self._number[pair]
        sigma = float(op.minute_volatility()[number])
        return np.asarray(op.diffusive_volatility(sigma, parts, minute) * np.sqrt(self._planted.noise[number]))

    def optimal_forecast(self, pair: Pair, ts: Ints) -> Floats:
        """The best causal forecast of the 4 h log return from ``ts``, in units of :meth:`horizon_volatility`.

        It knows candles closed by ``ts`` and readings published by then (the newest is one stamp old); its correlation with
        the return over the horizon volatility is the market's signal. Multiply by :meth:`horizon_volatility` for the log
        return. Shape (n,); ``ts`` are bar closes on the 5m grid.
        """
        if self.signal == 0:
            return np.zeros(ts.shape)
        state, parts, minute = self._volatility_parts(pair, ts)
        number = self._number[pair]
        sigma = float(op.minute_volatility()[number])
        old = self._state(pair, ts, age=1)
        drift = op.drift_ahead(self._planted, number, sigma, (old[0], old[1]), parts, minute)
        returning = -state[-1] * (1 - op.DISPLACEMENT.phi**op.HORIZON)
        return np.asarray((drift + returning) / self.horizon_volatility(pair, ts))

    def expected_cascades(self, pair: Pair, ts: Ints) -> tuple[Floats, Floats]:
        """Expected number of cascades against longs and against shorts in the 4 h from ``ts``, two arrays (n,)."""
        state, parts, minute = self._volatility_parts(pair, ts)
        return op.cascades_ahead(self._planted, state[2], parts, minute)


def synthetic_named(name: str, days: int = DEFAULT_DAYS) -> SyntheticMarket:
    """The market of a name ``synthetic-<seed>-<signal>``; raises UsageError for any other text."""
    match = re.fullmatch(r"synthetic-(\d{1,9})-(\d(?:\.\d+)?)", name)
    if match is None:
        raise UsageError(f"not a synthetic market: {name!r}", "Write synthetic-<seed>-<signal>, e.g. synthetic-7-0.3")
    return SyntheticMarket(int(match[1]), float(match[2]), days)
