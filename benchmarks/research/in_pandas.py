"""Sixty registered features once more, in the pandas one would write: rolling windows, shifts, a frame a column.

Written apart from HYDRA's own and used by no part of it: what is measured against must be able to disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from hydra_core.domain.market import Panel

Frame = pd.DataFrame
DAY, WEEK = 288, 2016


def frames(panel: Panel) -> dict[str, Frame]:
    """The panel's columns as frames of time by pair, and what several columns share."""
    names = ("open", "high", "low", "close", "volume", "funding_rate", "open_interest", "long_short")
    index = pd.to_datetime(panel.close_ms, unit="ms", utc=True)
    data = {name: Frame(getattr(panel, name), index=index, columns=list(panel.pairs)) for name in names}
    data["log_close"] = _log(data["close"])
    data["r"] = data["log_close"].diff()
    data["square"] = data["r"] ** 2
    data["range"] = _log(data["high"] / data["low"]) ** 2 / (4 * float(np.log(2)))
    data["log_volume"] = _log((data["volume"] * data["close"]).clip(lower=1.0))
    data["log_oi"], data["log_ls"] = _log(data["open_interest"]), _log(data["long_short"])
    data["sigma"] = _sigma(data)
    return data


def _sigma(data: dict[str, Frame]) -> Frame:
    """The frozen log-HAR: averages of range variance over an hour to five days, at the level of squared returns."""
    means = [_mean(data["range"], bars).clip(lower=1e-12) for bars in (12, 48, DAY, 5 * DAY)]
    level = _mean(data["square"], 5 * DAY).clip(lower=1e-12) / means[-1]
    log_variance = 0.16 + _log(level)
    for mean, weight in zip(means, (0.36, 0.195, 0.27, 0.175), strict=True):
        log_variance = log_variance + weight * _log(mean)
    return cast(Frame, np.exp(0.5 * log_variance))


def _mean(frame: Frame, bars: int) -> Frame:
    return frame.rolling(bars).mean()


def _log(frame: Frame) -> Frame:
    return cast(Frame, np.log(frame))


def _log_ratio(above: Frame, below: Frame) -> Frame:
    return _log(above.clip(lower=1e-12) / below.clip(lower=1e-12))


def _channel(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        high, low = data["high"].rolling(bars).max(), data["low"].rolling(bars).min()
        return (data["close"] - low) / (high - low).clip(lower=1e-9 * high) - 0.5

    return compute


def _deviation(name: str, bars: int) -> Callable[[dict[str, Frame]], Frame]:
    return lambda data: data[name] - _mean(data[name], bars)


def _z(name: str, bars: int, least: float) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        window = data[name].rolling(bars)
        return (data[name] - window.mean()) / window.std(ddof=0).clip(lower=least)

    return compute


def _width(data: dict[str, Frame]) -> Frame:
    return (data["high"] - data["low"]).clip(lower=1e-9 * data["close"])


def _scaled(data: dict[str, Frame], bars: int) -> Frame:
    return data["log_close"].diff(bars) / (data["sigma"] * bars**0.5)


def _return(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    return lambda data: _scaled(data, bars)


def _spread(values: Any, like: Frame) -> Frame:
    """One value a row, repeated for every pair."""
    return Frame(np.repeat(values.to_numpy()[:, None], like.shape[1], axis=1), index=like.index, columns=like.columns)


def _market(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        scaled = _scaled(data, bars)
        return _spread(scaled.mean(axis=1), scaled)

    return compute


def _relative(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        scaled = _scaled(data, bars)
        return scaled.sub(scaled.mean(axis=1), axis=0)

    return compute


def _displacement(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        typical = (data["high"] + data["low"] + data["close"]) / 3
        paid = _mean(typical * data["volume"], bars) / _mean(data["volume"], bars)
        return _log(data["close"] / paid) / (data["sigma"] * bars**0.5)

    return compute


def _autocorrelation(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    return lambda d: _mean(d["r"] * d["r"].shift(1), bars) / _mean(d["square"], bars).clip(lower=1e-16)


def _semivariance(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        falling = data["square"].where(data["r"] < 0, data["square"] * 0).rolling(bars).sum()
        return falling / data["square"].rolling(bars).sum().clip(lower=1e-12) - 0.5

    return compute


def _signed_volume(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        signed = cast(Frame, np.sign(data["r"])) * data["volume"]
        return _mean(signed, bars) / _mean(data["volume"], bars).clip(lower=1e-12)

    return compute


def _efficiency(bars: int) -> Callable[[dict[str, Frame]], Frame]:
    return lambda d: d["log_close"].diff(bars) / (bars * _mean(d["r"].abs(), bars)).clip(lower=1e-9)


def _kurtosis(data: dict[str, Frame]) -> Frame:
    variance = _mean(data["square"], DAY).clip(lower=1e-12)
    return _log((_mean(data["square"] ** 2, DAY) / (3 * variance**2)).clip(lower=1e-3))


def _illiquidity(data: dict[str, Frame]) -> Frame:
    moved = data["r"].abs() * cast(Frame, np.exp(-data["log_volume"]))
    return _log(_mean(moved, 48).clip(lower=1e-18) / _mean(moved, WEEK).clip(lower=1e-18))


def _money_flow(data: dict[str, Frame]) -> Frame:
    place = (2 * data["close"] - data["high"] - data["low"]) / _width(data)
    return _mean(place * data["volume"], 48) / _mean(data["volume"], 48)


def _volume_with_move(data: dict[str, Frame]) -> Frame:
    apart = cast(Frame, np.sqrt(_mean(data["square"], 48) * _mean(data["volume"] ** 2, 48)))
    return _mean(data["r"].abs() * data["volume"], 48) / apart.clip(lower=1e-18)


def _beta(data: dict[str, Frame]) -> Frame:
    market = _spread(data["r"].mean(axis=1), data["r"])
    return _mean(data["r"] * market, DAY) / _mean(market**2, DAY).clip(lower=1e-16)


def _relative_volume(data: dict[str, Frame]) -> Frame:
    ratio = _mean(data["log_volume"], 12) - _mean(data["log_volume"], DAY)
    return ratio.sub(ratio.mean(axis=1), axis=0)


def _clock(turn: Callable[[Any], Any]) -> Callable[[dict[str, Frame]], Frame]:
    def compute(data: dict[str, Frame]) -> Frame:
        moments: Any = data["close"].index
        angle = (moments - moments.normalize()) / pd.Timedelta(days=1) * 2 * np.pi
        return _spread(pd.Series(turn(angle.to_numpy())), data["close"])

    return compute


COLUMNS: dict[str, Callable[[dict[str, Frame]], Frame]] = {
    **{f"return_{bars}": _return(bars) for bars in (1, 3, 6, 12, 48, 288)},
    **{f"channel_position_{bars}": _channel(bars) for bars in (48, 288)},
    **{f"autocorrelation_{bars}": _autocorrelation(bars) for bars in (48, 288)},
    **{f"efficiency_{bars}": _efficiency(bars) for bars in (48, 288)},
    "below_high_288": lambda d: _log(d["close"] / d["high"].rolling(DAY).max()) / (d["sigma"] * DAY**0.5),
    "above_low_288": lambda d: _log(d["close"] / d["low"].rolling(DAY).min()) / (d["sigma"] * DAY**0.5),
    "close_location_12": lambda d: _mean((d["close"] - 0.5 * (d["high"] + d["low"])) / _width(d), 12),
    "body_share_12": lambda d: _mean((d["close"] - d["open"]) / _width(d), 12),
    **{f"displacement_{bars}": _displacement(bars) for bars in (6, 12, 48, 288)},
    "vol_ratio_12_288": lambda d: _log_ratio(_mean(d["range"], 12), _mean(d["range"], DAY)),
    "vol_ratio_48_1440": lambda d: _log_ratio(_mean(d["range"], 48), _mean(d["range"], 5 * DAY)),
    "vol_ratio_288_2016": lambda d: _log_ratio(_mean(d["range"], DAY), _mean(d["range"], WEEK)),
    "range_close_ratio_48": lambda d: _log_ratio(_mean(d["range"], 48), _mean(d["square"], 48)),
    **{f"semivariance_share_{bars}": _semivariance(bars) for bars in (48, 288)},
    "jump_share_48": lambda d: (
        1 - np.pi / 2 * _mean(d["r"].abs() * d["r"].abs().shift(1), 48) / _mean(d["square"], 48).clip(lower=1e-12)
    ),
    "skewness_288": lambda d: _mean(d["r"] ** 3, DAY) / _mean(d["square"], DAY).clip(lower=1e-12) ** 1.5,
    "log_kurtosis_288": _kurtosis,
    "vol_of_vol_288": lambda d: _log(d["range"].clip(lower=1e-12)).rolling(DAY).std(ddof=0),
    "volume_ratio_12_288": lambda d: _mean(d["log_volume"], 12) - _mean(d["log_volume"], DAY),
    "volume_ratio_48_2016": lambda d: _mean(d["log_volume"], 48) - _mean(d["log_volume"], WEEK),
    "volume_z_288": _z("log_volume", DAY, 0.05),
    **{f"signed_volume_{bars}": _signed_volume(bars) for bars in (12, 48, 288)},
    "money_flow_48": _money_flow,
    "illiquidity_ratio_48_2016": _illiquidity,
    "volume_with_move_48": _volume_with_move,
    "funding_level": lambda d: cast(Frame, np.arcsinh(d["funding_rate"] / 1e-4)),
    "funding_z_week": _z("funding_rate", WEEK, 2e-5),
    "funding_relative": lambda d: cast(
        Frame, np.arcsinh(d["funding_rate"].sub(d["funding_rate"].mean(axis=1), axis=0) / 1e-4)
    ),
    "funding_mean_3_days": lambda d: cast(Frame, np.arcsinh(_mean(d["funding_rate"], 3 * DAY) / 1e-4)),
    "oi_deviation_day": _deviation("log_oi", DAY),
    "oi_deviation_3_days": _deviation("log_oi", 3 * DAY),
    "oi_deviation_week": _deviation("log_oi", WEEK),
    "oi_change_12": lambda d: d["log_oi"].diff(12) / 0.01,
    "oi_change_with_return_48": lambda d: d["log_oi"].diff(48) / 0.01 * _scaled(d, 48),
    "long_short_level": lambda d: d["log_ls"],
    "long_short_deviation_day": _deviation("log_ls", DAY),
    "long_short_deviation_week": _deviation("log_ls", WEEK),
    "long_short_change_12": lambda d: d["log_ls"].diff(12),
    **{f"market_return_{bars}": _market(bars) for bars in (12, 48)},
    **{f"relative_return_{bars}": _relative(bars) for bars in (12, 48)},
    "beta_288": _beta,
    "relative_volume_12_288": _relative_volume,
    "hour_sin": _clock(np.sin),
    "hour_cos": _clock(np.cos),
}
"""Registered name -> the same column from the frames."""


def compute(panel: Panel) -> list[npt.NDArray[np.float64]]:
    """All columns, float64 of shape (T, P); they are not laid side by side, which would cost pandas time of ours alone."""
    data = frames(panel)
    return [one(data).to_numpy() for one in COLUMNS.values()]
