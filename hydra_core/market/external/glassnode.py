"""Glassnode: on-chain figures by asset (api.glassnode.com, v1).

A value's stamp is the START of its interval; it is out after the interval's end. History may be revised, except that of
metrics whose path ends in ``_pit`` (point in time), which are only ever appended: prefer them for training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from hydra_core.domain.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from hydra_core.domain.pairs import Pair, base_of
from hydra_core.market.external.http import Fetcher, Provider
from hydra_core.market.external.memory import Quota
from hydra_core.market.external.points import Point, document, number, points_of, whole

NAME: Final = "glassnode"
BASE_URL: Final = "https://api.glassnode.com"
KEY_NAME: Final = "HYDRA_GLASSNODE_API_KEY"
RESOLUTIONS: Final[Mapping[str, int]] = {"10m": 10 * MINUTE_MS, "1h": HOUR_MS, "24h": DAY_MS, "1w": 7 * DAY_MS}
"""Resolution, as the provider spells it -> ms."""
DELAY_MS: Final = HOUR_MS
"""Updaters start at the end of the interval; a value is taken as out this long after it."""
KEEP_MS: Final = 30 * MINUTE_MS


def provider(key: str, base_url: str = "", quota: Quota | None = None) -> Provider:
    """Glassnode with a key. The key travels in a header, so it is in no address and no log."""
    return Provider(NAME, base_url or BASE_URL, quota or Quota(), {"X-Api-Key": key}, KEY_NAME)


async def fetch(
    fetcher: Fetcher, who: Provider, pair: Pair, metric: str, start_ms: int, now_ms: int, resolution: str = "24h"
) -> list[Point]:
    """Values of a metric from ``start_ms`` on that are out at ``now_ms``.

    Parameters
    ----------
    fetcher, who : Fetcher and :func:`provider`
    pair : Pair, its base asset is asked for
    metric : str, path below ``/v1/metrics/``, e.g. ``addresses/active_count``
    start_ms, now_ms : int, epoch ms
    resolution : str, one of :data:`RESOLUTIONS`

    Returns
    -------
    list of Point; where an answer has several values a stamp (``o``), one point each, metric ``path.name``
    """
    step = RESOLUTIONS[resolution]
    params = {"a": base_of(pair), "s": start_ms // 1000, "u": _rounded(now_ms) // 1000, "i": resolution, "f": "json"}
    rows = await fetcher.get(
        who, f"/v1/metrics/{metric}", partial(document, NAME, fetcher.memory), params, keep_ms=KEEP_MS
    )

    def read(row: Any) -> Iterator[Point]:
        ts = whole(row["t"]) * 1000
        values = {metric: row["v"]} if "v" in row else {f"{metric}.{name}": part for name, part in row["o"].items()}
        for name, value in values.items():
            if value is not None:  # the provider has no value for that interval
                yield Point(pair, name, ts, ts + step + DELAY_MS, number(value))

    return points_of(NAME, fetcher.memory, rows, read, now_ms)


def _rounded(now_ms: int) -> int:
    """Now, to the hour: equal questions within an hour are one question."""
    return now_ms - now_ms % HOUR_MS + HOUR_MS
