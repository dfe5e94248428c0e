"""What could have come instead: paths made of resampled days, and costs drawn around what was assumed.

A path strings whole UTC days of the span together, in blocks, drawn with replacement: candles are chained by their returns,
each bar keeps the signals that were made on it, so that whatever link there is between signal and return inside a block
survives, and luck in the order and choice of days does not. Costs are drawn for each path. Not here: the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.engine.inputs import CLOSE, HIGH, LAST, LOW, OPEN, Market, Signals, last_known
from hydra_core.research.engine.parameters import Variant
from hydra_core.research.engine.results import Prepared, sweep
from hydra_core.research.fills import FillRules
from hydra_core.risk.limits import Limits

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class CostDraws:
    """How costs are drawn, path by path.

    Parameters
    ----------
    least, most : the cost factor is uniform between them
    delays : extra bars between decision and fill, each equally likely
    """

    least: float = 0.75
    most: float = 2.0
    delays: tuple[int, ...] = (0, 0, 1)


@dataclass(frozen=True, eq=False)
class MonteCarlo:
    """What n paths led to.

    Parameters
    ----------
    net_return : (n,), equity at the end over the beginning, less one; ``drawdown`` : (n,), deepest fall, a fraction
    cost_factor : (n,); ``delay`` : int64 (n,), as drawn
    liquidated : share of paths with a liquidation
    """

    net_return: Floats
    drawdown: Floats
    cost_factor: Floats
    delay: Ints
    liquidated: float

    def summary(self) -> dict[str, float]:
        """Plain figures: quantiles of return and drawdown, the chance of a loss."""
        told = {f"net_return_q{q:.2f}": float(np.quantile(self.net_return, q)) for q in QUANTILES}
        told |= {f"drawdown_q{q:.2f}": float(np.quantile(self.drawdown, q)) for q in QUANTILES}
        return told | {"chance_of_loss": float((self.net_return < 0).mean()), "liquidated": self.liquidated}


def simulate_paths(
    prepared: Prepared,
    limits: Limits,
    paths: int,
    rng: np.random.Generator,
    *,
    block_days: int = 5,
    draws: CostDraws | None = None,
    initial_equity: float = 10_000.0,
    assume_approvals: Set[str] = frozenset(),
) -> MonteCarlo:
    """Trade ``paths`` resampled histories, each under its own draw of costs.

    Raises
    ------
    UsageError : no path or no day to a block
    InputMissing : the span has fewer than two whole UTC days
    """
    if paths < 1 or block_days < 1:
        raise UsageError(f"{paths} paths of blocks of {block_days} days", "Ask for at least one of each")
    draws = draws or CostDraws()
    factors = rng.uniform(draws.least, draws.most, paths)
    delays = rng.choice(np.array(draws.delays, np.int64), paths)
    net, fall, forced = np.empty(paths), np.empty(paths), 0
    for path in range(paths):
        fills = replace(prepared.fills, cost_factor=float(factors[path]), delay_bars=int(delays[path]))
        rows = resampled_rows(prepared.market.close_ms, block_days, rng)
        seen = sweep(
            resampled(prepared, rows), [Variant(limits, fills)], initial_equity, assume_approvals=assume_approvals
        )
        net[path], fall[path] = seen.equity[0] / initial_equity - 1, seen.drawdown[0]
        forced += int(seen.liquidations[0] > 0)
    return MonteCarlo(net, fall, factors, delays, forced / paths)


def resampled_rows(close_ms: Ints, block_days: int, rng: np.random.Generator) -> Ints:
    """Rows of a history of the same number of whole days, made of blocks of days drawn with replacement.

    Raises
    ------
    InputMissing : fewer than two whole UTC days
    """
    day = (close_ms - 1) // DAY_MS
    _, first, length = np.unique(day, return_index=True, return_counts=True)
    whole = np.flatnonzero(length == length.max())
    if whole.size < 2:
        raise InputMissing(f"a span of {whole.size} whole days cannot be resampled", "Hand in at least two")
    starts = rng.integers(0, whole.size, -(-whole.size // block_days))
    chosen = (starts[:, None] + np.arange(block_days)).reshape(-1)[: whole.size] % whole.size
    begins = first[whole[chosen]]
    return np.asarray((begins[:, None] + np.arange(int(length.max()))).reshape(-1), np.int64)


def resampled(prepared: Prepared, rows: Ints) -> Prepared:
    """The span made of these of its rows: prices chained by each bar's returns, everything else carried along."""
    market, said = prepared.market, prepared.signals
    pairs = said.multiplier.size
    shape = (-1, pairs)
    flat = (rows[:, None] * pairs + np.arange(pairs)).reshape(-1)
    # np.take keeps rows contiguous where indexing would not: another layout would have the engine compiled once more
    numbers = np.take(market.numbers, flat, axis=1)
    close = market.numbers[CLOSE].reshape(shape)
    before = np.vstack([market.numbers[OPEN].reshape(shape)[:1], close[:-1]])
    move = np.log(close / before)[rows]
    level = np.exp(np.cumsum(np.nan_to_num(move, nan=0.0), axis=0)) * np.nan_to_num(before[0], nan=1.0)
    earlier = np.vstack([np.nan_to_num(before[:1], nan=1.0), level[:-1]])
    with np.errstate(invalid="ignore"):
        scale = (earlier / before[rows]).reshape(-1)
    for price in (OPEN, HIGH, LOW, CLOSE):
        numbers[price] = market.numbers[price][flat] * scale
    numbers[LAST] = last_known(numbers[CLOSE].reshape(shape)).reshape(-1)
    first_ms = int(market.close_ms[0])
    step_ms = prepared.panel.interval.ms
    close_ms = first_ms + step_ms * np.arange(rows.size, dtype=np.int64)
    close_ms += int((market.close_ms[rows[0]] - close_ms[0]) % DAY_MS)  # days begin where they began
    drawn = Market(
        numbers,
        market.due[flat],
        market.missing[flat],
        close_ms,
        market.correlation,
        market.correlation_at[rows],
        np.ascontiguousarray(market.stress[:, rows]),
    )
    signals = Signals(np.take(said.numbers, flat, axis=1), said.multiplier, said.maintenance)
    return replace(prepared, start=0, end=rows.size, market=drawn, signals=signals)


def cost_stress(
    prepared: Prepared,
    limits: Limits,
    stresses: Mapping[str, FillRules],
    initial_equity: float = 10_000.0,
    *,
    assume_approvals: Set[str] = frozenset(),
) -> dict[str, float]:
    """Net return of the span as it was under each of several ways of filling, by name."""
    variants = [Variant(limits, fills) for fills in stresses.values()]
    seen = sweep(prepared, variants, initial_equity, assume_approvals=assume_approvals)
    return {name: float(equity / initial_equity - 1) for name, equity in zip(stresses, seen.equity, strict=True)}
