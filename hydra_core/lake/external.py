"""The lake's tables of what comes from elsewhere: written with three times, read as they were known at one.

A figure has the time it is of (``ts``), the time it could be known (``published``) and the time it was fetched (``seen``). A
figure that comes later than its provider's rule, or with another value, could be known only when it was seen. So a reader at
a past time gets exactly the rows that were out then, first values included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from hydra_core.domain.intervals import DAY_MS, iso, month_span, utc
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import (
    CROSS_BASIS,
    CROSS_FUNDING,
    DERIVATIVES,
    NEWS,
    NEWS_SENTIMENT,
    ONCHAIN,
    TS,
    empty_frame,
    schema_of,
)
from hydra_core.lake.rows import merge
from hydra_core.lake.store import Lake
from hydra_core.market.external.news import EVERY, Headline
from hydra_core.market.external.points import Point
from hydra_core.market.external.sentiment import WINDOW_MS, Mood, mood_of, score_of

KEYS: Final[dict[str, tuple[str, ...]]] = {
    ONCHAIN: ("ts", "metric"),
    DERIVATIVES: ("ts", "metric"),
    NEWS: ("id",),
    NEWS_SENTIMENT: ("id",),
    CROSS_FUNDING: ("ts", "exchange"),
    CROSS_BASIS: ("ts", "exchange"),
}
"""What makes two rows the same thing, one of them perhaps revised."""
SAME_STORY_MS: Final = 3 * DAY_MS
"""A title that was seen so lately is the same story, whichever feed carries it."""
NEWS_VENUE: Final = "feeds"
CROSS_VENUE: Final = "cross"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a writing did: rows that were new, rows that revised others, new rows that came later than they should."""

    added: int = 0
    revised: int = 0
    late: int = 0

    def __add__(self, other: Recorded) -> Recorded:
        return Recorded(self.added + other.added, self.revised + other.revised, self.late + other.late)


def record_points(lake: Lake, table: str, points: Iterable[Point], seen_ms: int, source: str) -> Recorded:
    """Add figures to ``onchain`` or ``derivatives``; what is there with the same value is left alone.

    Parameters
    ----------
    lake : Lake of the provider, ``Lake(home.lake, "glassnode")``
    table : str
    points : iterable of Point
    seen_ms : int, market time of the look, epoch ms
    source : str, for the manifest
    """
    by_pair: dict[Pair, list[Point]] = {}
    for point in points:
        by_pair.setdefault(point.pair, []).append(point)
    total = Recorded()
    for pair, its in sorted(by_pair.items()):
        rows = {(one.ts_ms, one.metric): one for one in its}
        found = frame_of(
            table,
            {
                "ts": [ts for ts, _ in rows],
                "published": [one.published_ms for one in rows.values()],
                "seen": [seen_ms] * len(rows),
                "metric": [metric for _, metric in rows],
                "value": [one.value for one in rows.values()],
            },
        )
        total += record(lake, table, pair, found, source)
    return total


def record(lake: Lake, table: str, pair: Pair, found: pl.DataFrame, source: str) -> Recorded:
    """Add rows of one look to a table: only what is new or differs, each with the time it could be known.

    Parameters
    ----------
    found : polars.DataFrame in the table's columns, ``seen`` the same in every row, each key once

    Raises
    ------
    DataCorrupt, HydraError : see :meth:`hydra_core.lake.store.Lake.write`
    """
    if not found.height:
        return Recorded()
    keys = list(KEYS[table])
    seen = found["seen"][0]
    for month in lake.months(table, pair):
        if not lake.healthy(table, pair, month):
            lake.quarantine(table, pair, month)  # told in the log; what its source still has comes back with this look
    old = lake.read(table, pair)
    values = [name for name in schema_of(table) if name not in {*keys, "ts", "published", "seen"}]
    newest = latest(old, table)
    joined = found.join(newest.select([*keys, *values]), on=keys, how="left", suffix="_old", coalesce=True)
    known = joined.join(newest.select(keys), on=keys, how="semi")
    fresh = found.join(newest.select(keys), on=keys, how="anti")
    differs = pl.any_horizontal([pl.col(name).ne_missing(pl.col(f"{name}_old")) for name in values])
    revised = known.filter(differs).select(found.columns).with_columns(published=pl.max_horizontal("published", "seen"))
    series = [key for key in keys if key != "ts"]
    late = 0
    if "ts" in keys and old.height:
        ends = old.group_by(series).agg(pl.col("ts").max().alias("_end"), pl.col("seen").max().alias("_looked"))
        fresh = fresh.join(ends, on=series, how="left")
        is_late = (pl.col("ts") > pl.col("_end")) & (pl.col("published") <= pl.col("_looked"))
        late = fresh.filter(is_late).height
        known_when = pl.when(is_late).then(pl.lit(seen)).otherwise(pl.col("published"))
        fresh = fresh.with_columns(published=known_when.cast(TS)).select(found.columns)
    new = pl.concat([fresh, revised]).sort(*dict.fromkeys(["ts", *keys]))
    for month in new["ts"].dt.strftime("%Y-%m").unique().sort().to_list():
        first, after = month_span(month)
        part = new.filter((pl.col("ts") >= utc(first)) & (pl.col("ts") < utc(after)))
        held = lake.read(table, pair, first, after)
        lake.write(table, pair, month, merge(table, held, part), closed=False, source=source)
    return Recorded(fresh.height, revised.height, late)


def record_news(lake: Lake, headlines: Iterable[Headline], seen_ms: int) -> list[Headline]:
    """Add headlines that were not seen before, under any address or in other feeds; returns the new ones."""
    old = lake.read(NEWS, EVERY)
    ids = set(old["id"].to_list())
    lately = old.filter(pl.col("ts") >= utc(seen_ms - SAME_STORY_MS))["title"].to_list()
    stories = {Headline("", "", title, "", (), None).words for title in lately}
    fresh: list[Headline] = []
    for one in headlines:
        if one.identifier not in ids and one.words not in stories:
            ids.add(one.identifier)
            stories.add(one.words)
            fresh.append(one)
    found = frame_of(
        NEWS,
        {
            **_seen(seen_ms, len(fresh)),
            "id": [one.identifier for one in fresh],
            "feed": [one.feed for one in fresh],
            "title": [one.title for one in fresh],
            "link": [one.link for one in fresh],
            "pairs": [" ".join(one.pairs) for one in fresh],
            "dated": [iso(one.dated_ms) if one.dated_ms is not None else "" for one in fresh],
        },
    )
    record(lake, NEWS, EVERY, found, "feeds")
    return fresh


def score_news(lake: Lake, pairs: Sequence[Pair], since_ms: int, seen_ms: int) -> Recorded:
    """Score the headlines seen since a time for every pair that they speak of; a headline is scored once."""
    news = as_known(lake.read(NEWS, EVERY, since_ms, seen_ms + 1), NEWS, seen_ms)
    total = Recorded()
    for pair in pairs:
        rows = [
            (ts, identifier, score_of(title), 1.0 if pair in named.split() else 0.5)
            for ts, identifier, title, named in news.select("ts", "id", "title", "pairs").iter_rows()
            if pair in named.split() or EVERY in named.split()
        ]
        stamps = [int(ts.timestamp() * 1000) for ts, *_ in rows]
        found = frame_of(
            NEWS_SENTIMENT,
            {
                "ts": stamps,
                "published": stamps,
                "seen": [seen_ms] * len(rows),
                "id": [identifier for _, identifier, _, _ in rows],
                "score": [score for _, _, score, _ in rows],
                "relevance": [relevance for *_, relevance in rows],
            },
        )
        total += record(lake, NEWS_SENTIMENT, pair, found, "vaderSentiment")
    return total


def as_known(frame: pl.DataFrame, table: str, at_ms: int, *, strict: bool = False) -> pl.DataFrame:
    """The rows of a table as they were known at a time: what was out then, its newest value then, ascending.

    Parameters
    ----------
    frame : polars.DataFrame, rows of the table
    table : str
    at_ms : int, epoch ms
    strict : bool, whether only what HYDRA had itself fetched by then counts: what a live decision could have read
    """
    out = frame.filter(pl.col("published") <= utc(at_ms))
    if strict:
        out = out.filter(pl.col("seen") <= utc(at_ms))
    return latest(out, table)


def latest(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """The newest revision of every row, ascending by ``ts``."""
    keys = list(KEYS[table])
    return frame.sort("published", "seen").unique(keys, keep="last", maintain_order=True).sort("ts", *keys)


def known_points(lake: Lake, table: str, pair: Pair, metric: str, at_ms: int, *, strict: bool = False) -> pl.DataFrame:
    """A metric's values as known at a time: ts, published, seen, metric, value; see :func:`as_known`."""
    rows = lake.read(table, pair, None, at_ms).filter(pl.col("metric") == metric)
    return as_known(rows, table, at_ms, strict=strict)


def mood_at(lake: Lake, pair: Pair, at_ms: int) -> Mood:
    """What the headlines of a pair said at a time, of those that had been seen and scored by then."""
    rows = lake.read(NEWS_SENTIMENT, pair, at_ms - WINDOW_MS, at_ms + 1)
    known = as_known(rows, NEWS_SENTIMENT, at_ms)
    stamps = known["ts"].dt.epoch("ms").to_list()
    return mood_of(zip(stamps, known["score"].to_list(), known["relevance"].to_list(), strict=True), at_ms)


def headlines_at(lake: Lake, pair: Pair, at_ms: int, most: int = 5) -> tuple[str, ...]:
    """Titles about a pair that had been seen at a time, newest first, none older than two days."""
    known = as_known(lake.read(NEWS, EVERY, at_ms - WINDOW_MS, at_ms + 1), NEWS, at_ms)
    rows = known.select("title", "pairs").rows()[::-1]
    return tuple(title for title, named in rows if pair in named.split() or EVERY in named.split())[:most]


def _seen(seen_ms: int, rows: int) -> dict[str, list[int]]:
    """The three times of what is known from when it is seen."""
    return {name: [seen_ms] * rows for name in ("ts", "published", "seen")}


def frame_of(table: str, columns: Mapping[str, Sequence[object]]) -> pl.DataFrame:
    """Columns, times in epoch ms, as a frame of the table."""
    schema = schema_of(table)
    if not next(iter(columns.values())):
        return empty_frame(table)
    series = [
        pl.Series(name, values).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
        if schema[name] == TS
        else pl.Series(name, values, dtype=schema[name])
        for name, values in columns.items()
    ]
    return pl.DataFrame(series).select(list(schema))
