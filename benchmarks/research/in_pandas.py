"""Eighteen registered features once more, in the pandas one would write: rolling windows, shifts, a frame a column.

Written apart from HYDRA's own and used by no part of it: what is measured against must be able to disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from hydra_core.domain.market import Panel

Frame = pd.DataFrame
DAY, WEEK = 288, 2016


def frames(panel: Panel) -> dict[str, Frame]:
    """The panel's columns as frames of time by pair."""
    names = ("open", "high", "low", "close", "volume", "funding_rate", "open_interest", "long_short")
    index = pd.to_datetime(panel.close_ms, unit="ms", utc=True)
    return {name: Frame(getattr(panel, name), index=index, columns=list(panel.pairs)) for name in names}


def _mean(frame: Frame, bars: int) -> Frame:
    return frame.rolling(bars).mean()


def _log(frame: Frame) -> Frame:
    return cast(Frame, np.log(frame))


def _log_ratio(above: Frame, below: Frame) -> Frame:
    return _log(above.clip(lower=1e-12) / below.clip(lower=1e-12))


def _range_variance(data: dict[str, Frame]) -> Frame:
    return _log(data["high"] / data["low"]) ** 2 / (4 * float(np.log(2)))


def _squared_return(data: dict[str, Frame]) -> Frame:
    return _log(data["close"]).diff() ** 2


def _channel(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        high, low = data["high"].rolling(bars).max(), data["low"].rolling(bars).min()
        return (data["close"] - low) / (high - low).clip(lower=1e-9 * high) - 0.5

    return compute


def _deviation(name: str, bars: int) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        level = _log(data[name])
        return level - _mean(level, bars)

    return compute


def _width(data: dict[str, Frame]) -> Frame:
    return (data["high"] - data["low"]).clip(lower=1e-9 * data["close"])


def _autocorrelation(data: dict[str, Frame]) -> Frame:
    r = _log(data["close"]).diff()
    return _mean(r * r.shift(1), 48) / _mean(r * r, 48).clip(lower=1e-16)


def _semivariance(data: dict[str, Frame]) -> Frame:
    r = _log(data["close"]).diff()
    square = r * r
    falling = square.where(r < 0, square * 0).rolling(48).sum()
    return falling / square.rolling(48).sum().clip(lower=1e-12) - 0.5


def _signed_volume(data: dict[str, Frame]) -> Frame:
    signed = cast(Frame, np.sign(_log(data["close"]).diff())) * data["volume"]
    return _mean(signed, 48) / _mean(data["volume"], 48).clip(lower=1e-12)


def _volume_ratio(data: dict[str, Frame]) -> Frame:
    level = _log((data["volume"] * data["close"]).clip(lower=1.0))
    return _mean(level, 12) - _mean(level, DAY)


def _funding_z(data: dict[str, Frame]) -> Frame:
    rate = data["funding_rate"]
    week = rate.rolling(WEEK)
    return (rate - week.mean()) / week.std(ddof=0).clip(lower=2e-5)


COLUMNS: dict[str, Callable[[dict[str, Frame]], Frame]] = {
    "close_location_12": lambda d: _mean((d["close"] - 0.5 * (d["high"] + d["low"])) / _width(d), 12),
    "body_share_12": lambda d: _mean((d["close"] - d["open"]) / _width(d), 12),
    "channel_position_48": _channel(48),
    "channel_position_288": _channel(288),
    "autocorrelation_48": _autocorrelation,
    "vol_ratio_12_288": lambda d: _log_ratio(_mean(_range_variance(d), 12), _mean(_range_variance(d), DAY)),
    "vol_ratio_48_1440": lambda d: _log_ratio(_mean(_range_variance(d), 48), _mean(_range_variance(d), 5 * DAY)),
    "range_close_ratio_48": lambda d: _log_ratio(_mean(_range_variance(d), 48), _mean(_squared_return(d), 48)),
    "semivariance_share_48": _semivariance,
    "volume_ratio_12_288": _volume_ratio,
    "signed_volume_48": _signed_volume,
    "funding_level": lambda d: cast(Frame, np.arcsinh(d["funding_rate"] / 1e-4)),
    "funding_z_week": _funding_z,
    "oi_deviation_day": _deviation("open_interest", DAY),
    "oi_deviation_week": _deviation("open_interest", WEEK),
    "oi_change_12": lambda d: _log(d["open_interest"]).diff(12) / 0.01,
    "long_short_deviation_day": _deviation("long_short", DAY),
    "long_short_change_12": lambda d: _log(d["long_short"]).diff(12),
}
"""Registered name -> the same column from the frames."""


def compute(panel: Panel) -> npt.NDArray[np.float32]:
    """All columns, float32 of shape (T, P, F), as training wants them."""
    data = frames(panel)
    out = np.empty((len(panel), len(panel.pairs), len(COLUMNS)), np.float32)
    for column, one in enumerate(COLUMNS.values()):
        out[:, :, column] = one(data).to_numpy()
    return out
