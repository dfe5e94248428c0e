"""Coinglass: derivatives summed over exchanges (open-api-v4.coinglass.com).

Answers are ``{"code": "0", "msg": "success", "data": [...]}``; a refusal comes with HTTP 200 and another code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from hydra_core.domain.errors import Refused, UsageError, VenueUnavailable
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from hydra_core.domain.pairs import Pair, base_of
from hydra_core.market.external.http import PAUSE_S, Fetcher, Provider
from hydra_core.market.external.memory import Memory, Quota
from hydra_core.market.external.points import Point, document, number, points_of, whole

NAME: Final = "coinglass"
BASE_URL: Final = "https://open-api-v4.coinglass.com"
KEY_NAME: Final = "HYDRA_COINGLASS_API_KEY"
INTERVALS: Final[Mapping[str, int]] = {"30m": 30 * MINUTE_MS, "1h": HOUR_MS, "4h": 4 * HOUR_MS, "1d": DAY_MS}
DELAY_MS: Final = 5 * MINUTE_MS
KEEP_MS: Final = 10 * MINUTE_MS
LIMIT: Final = 1000
LIMITED: Final = "429"


@dataclass(frozen=True, slots=True)
class Series:
    """One endpoint: its path, parameters of its own, and field -> metric with the factor that makes it our unit."""

    path: str
    fields: Mapping[str, tuple[str, float]]
    extra: Mapping[str, str]


SERIES: Final[Mapping[str, Series]] = {
    "open_interest": Series(
        "/api/futures/open-interest/aggregated-history", {"close": ("open_interest_usd", 1.0)}, {"unit": "usd"}
    ),
    "funding": Series(
        "/api/futures/funding-rate/oi-weight-history",
        {"close": ("funding_weighted", 0.01)},  # given in percent
        {},
    ),
    "liquidations": Series(
        "/api/futures/liquidation/aggregated-history",
        {
            "aggregated_long_liquidation_usd": ("liquidated_long_usd", 1.0),
            "aggregated_short_liquidation_usd": ("liquidated_short_usd", 1.0),
        },
        {"exchange_list": "Binance,OKX,Bybit"},
    ),
}
"""Name in the settings -> endpoint."""


def provider(key: str, base_url: str = "", quota: Quota | None = None) -> Provider:
    """Coinglass with a key, which travels in a header."""
    return Provider(NAME, base_url or BASE_URL, quota or Quota(), {"CG-API-KEY": key}, KEY_NAME)


async def fetch(
    fetcher: Fetcher, who: Provider, pair: Pair, series: str, start_ms: int, now_ms: int, interval: str = "4h"
) -> list[Point]:
    """Values of a series from ``start_ms`` on whose interval is over and out at ``now_ms``.

    Parameters
    ----------
    fetcher, who : Fetcher and :func:`provider`
    pair : Pair, its base asset is asked for
    series : str, one of :data:`SERIES`
    start_ms, now_ms : int, epoch ms
    interval : str, one of :data:`INTERVALS`; the smallest plan allows 4h and longer

    Raises
    ------
    UsageError : unknown series
    Refused : the provider said no, in its own words
    """
    if series not in SERIES:
        raise UsageError(f"unknown Coinglass series {series!r}", f"Known: {', '.join(SERIES)}")
    spec, step = SERIES[series], INTERVALS[interval]
    params = {"symbol": base_of(pair), "interval": interval, "limit": LIMIT, "start_time": start_ms, **spec.extra}
    rows = await fetcher.get(who, spec.path, partial(_data, fetcher.memory), params, keep_ms=KEEP_MS)
    return points_of(NAME, fetcher.memory, rows, _reader(pair, spec, step), now_ms)


def _reader(pair: Pair, spec: Series, step: int) -> Callable[[Any], Iterator[Point]]:
    def read(row: Any) -> Iterator[Point]:
        ts = whole(row["time"])
        values = [(metric, number(row[key]) * factor) for key, (metric, factor) in spec.fields.items()]
        for metric, value in values:
            yield Point(pair, metric, ts, ts + step + DELAY_MS, value)

    return read


def _data(memory: Memory, body: bytes) -> Any:
    """The rows; raises in the provider's own words where its code is not 0."""
    answer = document(NAME, memory, body)
    if not isinstance(answer, dict) or "code" not in answer:
        memory.set_aside(NAME, "no code in the answer", answer)
        raise VenueUnavailable(f"{NAME}: the answer has no code", "It is asked again later")
    code = str(answer["code"])
    if code == LIMITED:
        memory.pause(NAME, PAUSE_S)
    if code != "0":
        raise Refused(
            f"{NAME} refused: code {code}, {str(answer.get('msg', ''))[:200]}", f"Check {KEY_NAME} and its plan"
        )
    return answer.get("data")
