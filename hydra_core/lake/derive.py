"""Higher intervals out of lower ones, and how far they differ from the exchange's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import Interval

PRICES: Final = ("open", "high", "low", "close")
VOLUME_TOLERANCE: Final = 1e-9
"""Relative: the exchange sums volume in decimals, this machine in floats."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Derived candles against the exchange's own, over the spans that both cover.

    Parameters
    ----------
    compared : int, candles that both have
    differing : int, of those, with another price or volume
    only_derived, only_exchange : int, candles that one of them lacks inside the common span
    worst : float, largest relative difference of a price
    first_ms : int or None, open time of the first candle that differs or is missing
    """

    compared: int
    differing: int
    only_derived: int
    only_exchange: int
    worst: float
    first_ms: int | None

    @property
    def agree(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.differing or self.only_derived or self.only_exchange)


def resample(frame: pl.DataFrame, to_interval: Interval, base: Interval | None = None) -> pl.DataFrame:
    """Candles of a higher interval; a candle whose parts are not all there is left out, never guessed.

    Parameters
    ----------
    frame : polars.DataFrame, candles ascending, on their grid
    to_interval : Interval, a multiple of the frame's
    base : Interval, optional; by default the least distance between two rows

    Returns
    -------
    polars.DataFrame : the same columns
    """
    if frame.height < 2:
        return frame.clear()
    base_ms = base.ms if base else int(frame["ts"].dt.epoch("ms").diff().min())  # type: ignore[arg-type]
    if to_interval.ms % base_ms:
        raise UsageError(f"{to_interval} candles cannot be made of {base_ms // 60_000} min ones")
    opens = pl.col("ts").dt.epoch("ms") // to_interval.ms * to_interval.ms
    return (
        frame.group_by(opens.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC").alias("bucket"), maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
            pl.len().alias("parts"),
        )
        .filter(pl.col("parts") == to_interval.ms // base_ms)
        .drop("parts")
        .rename({"bucket": "ts"})
    )


def compare(derived: pl.DataFrame, exchange: pl.DataFrame) -> Differences:
    """Differences between derived candles and the exchange's own of the same interval."""
    if not derived.height or not exchange.height:
        return Differences(0, 0, 0, 0, 0.0, None)
    common = pl.col("ts").is_between(
        max(derived["ts"][0], exchange["ts"][0]), min(derived["ts"][-1], exchange["ts"][-1])
    )
    ours, theirs = derived.filter(common), exchange.filter(common)
    both = ours.join(theirs, on="ts", how="inner", suffix="_theirs")
    gaps = [(pl.col(name) / pl.col(f"{name}_theirs") - 1).abs() for name in PRICES]
    volume = (pl.col("volume") - pl.col("volume_theirs")).abs()
    off = pl.max_horizontal(gaps).gt(0) | (volume > VOLUME_TOLERANCE * pl.col("volume_theirs").abs())
    differing = both.filter(off)
    alone = [ours.join(theirs, on="ts", how="anti"), theirs.join(ours, on="ts", how="anti")]
    stamps = [part["ts"].dt.epoch("ms")[0] for part in (differing, *alone) if part.height]
    worst = both.select(pl.max_horizontal(gaps).max()).item() if both.height else 0.0
    return Differences(
        both.height, differing.height, alone[0].height, alone[1].height, float(worst), min(stamps, default=None)
    )
