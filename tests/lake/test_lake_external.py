"""Point in time: a reader at a past moment gets what was out then, not what is known now."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import polars as pl
import pytest

from hydra_core.domain.errors import DataCorrupt, UsageError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.domain.tables import CROSS_BASIS, EXTERNAL_TABLES, NEWS, NEWS_SENTIMENT, ONCHAIN, empty_frame, schema_of
from hydra_core.lake.describe import describe
from hydra_core.lake.external import (
    Recorded,
    headlines_at,
    known_points,
    mood_at,
    record,
    record_news,
    record_points,
    score_news,
)
from hydra_core.lake.gather import basis_of, normalised
from hydra_core.lake.store import Lake
from hydra_core.market.exchanges import PerpReading
from hydra_core.market.external.news import EVERY, Headline
from hydra_core.market.external.points import Point

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
T0 = 1_709_251_200_000
"""2024-03-01T00:00Z"""
METRIC = "addresses/active_count"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path, "glassnode")


def day(number: int, value: float, metric: str = METRIC) -> Point:
    ts = T0 + number * DAY_MS
    return Point(BTC, metric, ts, ts + DAY_MS + HOUR_MS, value)


def look(lake: Lake, at_ms: int, *points: Point) -> Recorded:
    return record_points(lake, ONCHAIN, points, at_ms, "glassnode")


def values(lake: Lake, at_ms: int, *, strict: bool = False) -> list[float]:
    return known_points(lake, ONCHAIN, BTC, METRIC, at_ms, strict=strict)["value"].to_list()


def test_a_figure_is_known_from_its_publication_on(lake: Lake) -> None:
    look(lake, T0 + 9 * DAY_MS, *(day(number, number) for number in range(8)))
    out = T0 + DAY_MS + HOUR_MS
    assert values(lake, out - 1) == []
    assert values(lake, out) == [0]
    assert values(lake, out + DAY_MS) == [0, 1]


def test_a_strict_reader_sees_only_what_was_fetched_by_then(lake: Lake) -> None:
    look(lake, T0 + 9 * DAY_MS, *(day(number, number) for number in range(8)))
    assert values(lake, T0 + 9 * DAY_MS - 1, strict=True) == []
    assert len(values(lake, T0 + 9 * DAY_MS, strict=True)) == 8


def test_the_same_look_twice_changes_nothing(lake: Lake) -> None:
    assert look(lake, T0 + 3 * DAY_MS, day(0, 1), day(1, 2)) == Recorded(2, 0, 0)
    before = lake.entries(ONCHAIN)
    assert look(lake, T0 + 4 * DAY_MS, day(0, 1), day(1, 2)) == Recorded()
    assert lake.entries(ONCHAIN) == before


def test_a_revised_figure_is_known_from_when_it_was_seen_and_the_first_one_before(lake: Lake) -> None:
    look(lake, T0 + 3 * DAY_MS, day(0, 100))
    revised_ms = T0 + 5 * DAY_MS
    assert look(lake, revised_ms, day(0, 90)) == Recorded(0, 1, 0)
    assert values(lake, revised_ms - 1) == [100]
    assert values(lake, revised_ms) == [90]
    assert values(lake, revised_ms, strict=True) == [90]


def test_a_figure_that_came_late_is_known_from_when_it_came(lake: Lake) -> None:
    look(lake, T0 + 4 * DAY_MS, day(0, 1))  # that of day 1 and of day 2 should have been there
    came = T0 + 6 * DAY_MS
    assert look(lake, came, day(0, 1), day(1, 2), day(2, 3), day(4, 5)) == Recorded(3, 0, 2)
    assert values(lake, came - 1) == [1, 5], "that of day 4 came out after the look before: it is not late"
    assert values(lake, came) == [1, 2, 3, 5]


def test_a_first_look_far_back_is_not_late(lake: Lake) -> None:
    look(lake, T0 + 20 * DAY_MS, day(15, 1))
    assert look(lake, T0 + 21 * DAY_MS, day(2, 7), day(3, 8)).late == 0
    assert values(lake, T0 + 5 * DAY_MS) == [7, 8]


def test_metrics_do_not_mix_and_months_are_cut(lake: Lake) -> None:
    look(lake, T0 + 60 * DAY_MS, *(day(number, number) for number in range(45)), day(0, -1, "other"))
    assert lake.months(ONCHAIN, BTC) == ("2024-03", "2024-04")
    assert len(values(lake, T0 + 60 * DAY_MS)) == 45
    assert lake.verify() == []


@pytest.mark.parametrize("seed", range(5))
def test_no_reader_ever_sees_what_came_to_be_known_later(lake: Lake, seed: int) -> None:
    """Whatever looks come after a moment, what a reader at that moment gets stays as it was."""
    rng = random.Random(seed)
    looks = []
    for number in range(1, 13):
        at = T0 + number * DAY_MS + rng.randrange(DAY_MS)
        shown = [day(back, rng.choice([back, back + 0.5])) for back in range(max(0, number - 6), number)]
        looks.append((at, [point for point in shown if point.published_ms <= at and rng.random() < 0.8]))
    strictly: dict[int, list[float]] = {}
    for at, shown in looks:
        look(lake, at, *shown)
        strictly[at] = values(lake, at, strict=True)
    for at, then in strictly.items():
        assert values(lake, at, strict=True) == then
        assert known_points(lake, ONCHAIN, BTC, METRIC, at)["published"].dt.epoch("ms").max() or at >= 0


def test_a_table_without_rows_reads_as_one(lake: Lake) -> None:
    assert record(lake, ONCHAIN, BTC, empty_frame(ONCHAIN), "nobody") == Recorded()
    assert known_points(lake, ONCHAIN, BTC, METRIC, T0).height == 0
    with pytest.raises(UsageError, match="onchain"):
        schema_of("weather")


def headline(number: int, title: str, *pairs: Pair, feed: str = "paper") -> Headline:
    return Headline(
        f"{feed}-{number}", feed, title, f"http://paper.example/{number}", pairs or (BTC,), T0 - 99 * DAY_MS
    )


def test_a_headline_is_known_from_when_it_was_seen_whatever_its_date(lake: Lake) -> None:
    assert len(record_news(lake, [headline(1, "Bitcoin crashes")], T0 + HOUR_MS)) == 1
    assert headlines_at(lake, BTC, T0 + HOUR_MS - 1) == ()
    assert headlines_at(lake, BTC, T0 + HOUR_MS) == ("Bitcoin crashes",)
    assert headlines_at(lake, ETH, T0 + HOUR_MS) == ()
    assert headlines_at(lake, BTC, T0 + 60 * HOUR_MS) == (), "old news is no news"
    row = lake.read(NEWS, EVERY).row(0, named=True)
    assert row["dated"].startswith("2023-11-23"), "the feed's own date is noted"


def test_the_same_story_is_kept_once(lake: Lake) -> None:
    first = [headline(1, "Bitcoin crashes 10%"), headline(2, "Ethereum falls", ETH)]
    assert len(record_news(lake, first, T0)) == 2
    again = [headline(1, "Bitcoin crashes 10% (updated)"), headline(9, "BITCOIN crashes: 10%", feed="other")]
    assert record_news(lake, again, T0 + HOUR_MS) == []
    assert len(record_news(lake, [headline(3, "Bitcoin crashes 10%")], T0 + 4 * DAY_MS)) == 1, (
        "after days it is news again"
    )


def test_scores_are_made_once_per_pair_and_make_a_mood(lake: Lake) -> None:
    record_news(lake, [headline(1, "Bitcoin crashes, hacked"), headline(2, "Crypto crackdown widens", EVERY)], T0)
    assert score_news(lake, DEFAULT_PAIRS, T0 - DAY_MS, T0).added == 1 + len(DEFAULT_PAIRS)
    assert score_news(lake, DEFAULT_PAIRS, T0 - DAY_MS, T0 + HOUR_MS) == Recorded()
    assert lake.read(NEWS_SENTIMENT, BTC)["relevance"].to_list() == [1.0, 0.5]
    worse, bad = mood_at(lake, BTC, T0 + 60_000), mood_at(lake, ETH, T0 + 60_000)
    assert worse.score < bad.score < 0
    assert (worse.headlines, bad.headlines) == (2, 1)
    assert mood_at(lake, BTC, T0 - 1).headlines == 0


def test_funding_of_different_intervals_is_put_on_one_scale() -> None:
    stamps = pl.Series("ts", [T0, T0 + HOUR_MS]).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    rates = pl.DataFrame({"ts": stamps, "rate": [0.0001, -0.00002], "interval_hours": [8.0, 1.0]})
    frame = normalised(rates, "hyperliquid", T0 + DAY_MS)
    assert frame["rate_8h"].to_list() == pytest.approx([0.0001, -0.00016])
    assert frame["rate_year"].to_list() == pytest.approx([0.0001 * 3 * 365, -0.00002 * 24 * 365])
    assert frame["exchange"].to_list() == ["hyperliquid"] * 2


def test_basis_is_against_index_and_reference_and_nan_where_nothing_is_said() -> None:
    readings = {
        "binanceusdm": PerpReading(BTC, mark=100.0, index=99.0),
        "bybit": PerpReading(BTC, mark=101.0, index=100.0),
        "strange": PerpReading(BTC, mark=0.0, index=None),
    }
    rows = {row["exchange"]: row for row in basis_of(readings, "binanceusdm", T0).iter_rows(named=True)}
    assert rows["bybit"]["basis"] == pytest.approx(0.01)
    assert rows["bybit"]["against_reference"] == pytest.approx(0.01)
    assert rows["binanceusdm"]["against_reference"] == 0
    assert math.isnan(rows["strange"]["basis"])
    assert math.isnan(rows["strange"]["mark"])
    alone = basis_of({"bybit": readings["bybit"]}, "binanceusdm", T0)
    assert math.isnan(alone["against_reference"][0])
    assert set(alone.columns) == set(schema_of(CROSS_BASIS))


def test_the_page_on_external_data_says_what_the_tables_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "external.md").read_text()
    found = re.search(r"<!-- tables -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert found
    assert found.group(1) == describe(EXTERNAL_TABLES), "write hydra_core.lake.describe.describe(EXTERNAL_TABLES) there"
    assert all(f"external/{table}" in page for table in EXTERNAL_TABLES)


def test_a_damaged_month_is_set_aside_and_filled_again_as_far_as_the_source_goes(lake: Lake) -> None:
    look(lake, T0 + 3 * DAY_MS, day(0, 1), day(1, 2))
    entry = lake.entry(ONCHAIN, BTC, "2024-03")
    assert entry is not None
    path = lake.path(ONCHAIN, entry)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataCorrupt):
        values(lake, T0 + 9 * DAY_MS)
    assert look(lake, T0 + 4 * DAY_MS, day(1, 2), day(2, 3)).added == 2
    assert values(lake, T0 + 9 * DAY_MS) == [2, 3]
    assert list(path.parent.glob("*.corrupt")), "kept for a person to look at"
