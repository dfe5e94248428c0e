"""Tables held against each other: what one says must follow from what another does, within a tolerance.

A check compares what both have; where one of them has nothing it has nothing to say and passes with no row compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from hydra_core.domain.intervals import HOUR_MS, Interval, iso
from hydra_core.domain.market import CANDLES, FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import (
    CANDLE_TABLES,
    CAPTURES,
    INDEX,
    MARK,
    PREMIUM,
    REFERENCE_PRICES,
    TRADES,
    candle_table,
    reference_table,
)
from hydra_core.lake.derive import compare, resample
from hydra_core.lake.expectations import CheckLine
from hydra_core.lake.rules import CRITICAL, WARNING
from hydra_core.lake.spool import read_spool
from hydra_core.lake.store import Lake

MARK_FAR: Final = 0.02
"""Relative distance of mark and last price at a bar's close that is worth a look."""
MARK_BROKEN: Final = 0.5
"""Distance at which one of the two is no price of this contract."""
INTEREST_PER_8H: Final = 1e-4
DAMPER: Final = 5e-4
FUNDING_APART: Final = 1e-3
"""Difference between a settled rate and the one that the premium makes that is worth a look: caps and other interest rates."""

TRADED_APART: Final = 1e-6
"""Relative difference of a candle and what its trades make of it that is worth a look: forced trades may be told apart."""

Read = Callable[[str], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """One comparison: its name, the market asset it belongs to, and what it does with a reader of tables."""

    name: str
    group: str
    run: Callable[[Read], CheckLine]


def higher_interval(read: Read) -> CheckLine:
    """The exchange's 1h candles against those that its 5m candles make."""
    hourly, fine = candle_table(Interval.H1), candle_table(Interval.M5)
    found = compare(resample(read(fine), Interval.H1, Interval.M5), read(hourly))
    words = (
        f"{found.differing} of {found.compared} candles differ, {found.only_derived + found.only_exchange} on one side only, "
        f"first {iso(found.first_ms or 0)}"
    )
    return _line(
        "hours_are_made_of_5m",
        hourly,
        found.differing + found.only_derived + found.only_exchange,
        WARNING,
        words,
    )


def mark_against_last(read: Read, limit: float = MARK_FAR, severity: str = WARNING) -> CheckLine:
    """Mark price and last price at the close of each 5m bar that traded."""
    mark, last = reference_table(MARK, Interval.M5), read(candle_table(Interval.M5))
    both = read(mark).join(last.filter(pl.col("volume") > 0), on="ts", suffix="_last")
    far = both.filter((pl.col("close") / pl.col("close_last") - 1).abs() > limit)
    words = f"{far.height} of {both.height} closes lie over {limit:.0%} from the last price, first {_first(far)}"
    return _line(
        "mark_is_near_last" if severity == WARNING else "mark_is_a_price_of_it", mark, far.height, severity, words
    )


def premium_against_prices(read: Read) -> CheckLine:
    """Premium index against mark over index less one, at the close of each 5m bar."""
    premium = reference_table(PREMIUM, Interval.M5)
    made = read(reference_table(MARK, Interval.M5)).join(
        read(reference_table(INDEX, Interval.M5)), on="ts", suffix="_index"
    )
    both = read(premium).join(made, on="ts", suffix="_mark")
    apart = both.filter((pl.col("close_mark") / pl.col("close_index") - 1 - pl.col("close")).abs() > MARK_FAR)
    words = (
        f"{apart.height} of {both.height} closes lie over {MARK_FAR:.0%} from mark over index, first {_first(apart)}"
    )
    return _line("premium_is_mark_over_index", premium, apart.height, WARNING, words)


def funding_against_premium(read: Read) -> CheckLine:
    """Settled rates against what the premium of their own interval makes of them.

    F = P + clamp(I - P, -0.05 %, 0.05 %), P the mean premium of the interval weighted by time (later minutes count more),
    I 0.01 % per 8 h, all scaled to the interval: Binance's published formula for perpetual funding.
    """
    rates, premium = read(FUNDING), read(reference_table(PREMIUM, Interval.M5))
    stamps = premium["ts"].dt.epoch("ms").to_numpy() + Interval.M5.ms
    closes = premium["close"].to_numpy()
    far, compared, first = 0, 0, 0
    for ts, rate, hours in rates.with_columns(pl.col("ts").dt.epoch("ms")).iter_rows():
        lo, hi = np.searchsorted(stamps, [ts - hours * HOUR_MS, ts], side="right")
        if hi - lo < 0.9 * hours * HOUR_MS / Interval.M5.ms:
            continue
        weights = np.arange(1, hi - lo + 1)
        mean = float(np.average(closes[lo:hi], weights=weights))
        interest = INTEREST_PER_8H
        due = (mean + min(max(interest - mean, -DAMPER), DAMPER)) * hours / 8
        compared += 1
        if abs(rate - due) > FUNDING_APART:
            far, first = far + 1, first or int(ts)
    words = (
        f"{far} of {compared} settlements lie over {FUNDING_APART:.2%} from what the premium makes, first {iso(first)}"
    )
    return _line("funding_follows_premium", FUNDING, far, WARNING, words)


def trades_against_candles(read: Read) -> CheckLine:
    """Captured trades against the 1m candles that they make, in minutes whose trades' numbers follow one another throughout."""
    minute = candle_table(Interval.M1)
    trades = read(TRADES).sort("trade_id").with_columns(pl.col("ts").dt.truncate("1m").alias("minute"))
    hole = (pl.col("trade_id").diff() != 1).fill_null(True)
    made = (
        trades.with_columns(hole.alias("before"), hole.shift(-1, fill_value=True).alias("after"))
        .group_by("minute", maintain_order=True)
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("quantity").sum().alias("volume"),
            (pl.col("before").any() | pl.col("after").last()).alias("holed"),
        )
        .filter(~pl.col("holed"))
        .rename({"minute": "ts"})
    )
    both = made.join(read(minute), on="ts", suffix="_told")
    names = ("open", "high", "low", "close", "volume")
    apart = both.filter(pl.any_horizontal((pl.col(n) / pl.col(f"{n}_told") - 1).abs() > TRADED_APART for n in names))
    words = f"{apart.height} of {both.height} minutes of captured trades make another candle, first {_first(apart)}"
    return _line("trades_make_the_candle", TRADES, apart.height, WARNING, words)


def candles_as_heard(read: Read, heard: Read) -> CheckLine:
    """Closed candles as the stream told them last, corrections included, against what REST tells of the same bars."""
    apart, compared = [], 0
    for table in CANDLE_TABLES:
        said, told = heard(table).unique("ts", keep="last", maintain_order=True), read(table)
        if not said.height or not told.height:
            continue
        inside = said.filter(pl.col("ts").is_between(told["ts"].min(), told["ts"].max()))
        both = inside.join(told, on="ts", how="left", suffix="_told")
        names = ("open", "high", "low", "close", "volume")
        far = [(pl.col(n) - pl.col(f"{n}_told")).abs() > TRADED_APART * pl.col(f"{n}_told").abs() for n in names]
        compared += both.height
        apart.append(both.filter(pl.any_horizontal(pl.col("close_told").is_null(), *far)).select("ts"))
    found = pl.concat(apart).sort("ts") if apart else pl.DataFrame({"ts": []})
    words = f"{found.height} of {compared} captured candles are told otherwise by REST, or not at all, first {_first(found)}"
    return _line("candles_are_as_heard", CANDLES, found.height, WARNING, words)


def mark_is_sane(read: Read) -> CheckLine:
    """As :func:`mark_against_last`, far enough to be an error."""
    return mark_against_last(read, MARK_BROKEN, CRITICAL)


CROSS_CHECKS: Final[tuple[CrossCheck, ...]] = (
    CrossCheck("hours_are_made_of_5m", CANDLES, higher_interval),
    CrossCheck("mark_is_near_last", REFERENCE_PRICES, mark_against_last),
    CrossCheck("mark_is_a_price_of_it", REFERENCE_PRICES, mark_is_sane),
    CrossCheck("premium_is_mark_over_index", REFERENCE_PRICES, premium_against_prices),
    CrossCheck("funding_follows_premium", FUNDING, funding_against_premium),
    CrossCheck("trades_make_the_candle", CAPTURES, trades_against_candles),
)


def run_cross_checks(
    lake: Lake, group: str, pairs: Mapping[Pair, tuple[int, int]], spool: Path | None = None
) -> dict[Pair, list[CheckLine]]:
    """Every comparison of a market asset's tables.

    Parameters
    ----------
    lake : Lake
    group : str, the market asset
    pairs : Pair -> (start, end) in epoch ms
    spool : Path, optional, the home's folder of captures: what was heard is held against the lake too

    Returns
    -------
    Pair -> lines, in the order of :data:`CROSS_CHECKS`
    """
    checks = [check for check in CROSS_CHECKS if check.group == group]
    found = {pair: [check.run(_Reader(lake, pair, *span)) for check in checks] for pair, span in pairs.items()}
    if group == CAPTURES and spool is not None:
        for pair, (start, end) in pairs.items():
            heard = partial(_heard, spool, pair, start, end)
            found[pair].append(candles_as_heard(_Reader(lake, pair, start, end), heard))
    return found


def _heard(spool: Path, pair: Pair, start_ms: int, end_ms: int, table: str) -> pl.DataFrame:
    """A table's captures that are still there."""
    return read_spool(spool, pair, start_ms, end_ms, table)


@dataclass(frozen=True)
class _Reader:
    """Tables of one pair and span."""

    lake: Lake
    pair: Pair
    start_ms: int
    end_ms: int

    def __call__(self, table: str) -> pl.DataFrame:
        return self.lake.read(table, self.pair, self.start_ms, self.end_ms)


def _line(name: str, column: str, unexpected: int, severity: str, words: str) -> CheckLine:
    return CheckLine(name, column, not unexpected, severity, unexpected, words if unexpected else "")


def _first(frame: pl.DataFrame) -> str:
    return iso(int(frame["ts"].dt.epoch("ms")[0])) if frame.height else "none"
