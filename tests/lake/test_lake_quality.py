"""Tables against each other, what is kept of checks, figures of completeness, and the page that shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hydra_core.domain.intervals import HOUR_MS, MINUTE_MS, Interval, month_span
from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import TRADES, TS
from hydra_core.home import home_named
from hydra_core.lake import crosschecks
from hydra_core.lake.crosschecks import CROSS_CHECKS, funding_against_premium, run_cross_checks
from hydra_core.lake.expectations import CheckLine, SuiteReport
from hydra_core.lake.gaps import Gap, GapState
from hydra_core.lake.quality import completeness, record, record_lines, verdicts
from hydra_core.lake.store import Lake
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.report.quality import quality_sections
from hydra_core.settings import Settings

BTC = Pair("BTCUSDT")
JUNE = month_span("2024-06")[0]
STEP = Interval.M5.ms
HOURS = 48
SPAN = {BTC: (JUNE, JUNE + HOURS * HOUR_MS)}


def bars(close: np.ndarray, step: int = STEP, volume: bool = False) -> pl.DataFrame:
    ts = JUNE + np.arange(close.size, dtype=np.int64) * step
    frame = pl.DataFrame({"ts": pl.Series(ts).cast(TS), "open": close, "high": close, "low": close, "close": close})
    return frame.with_columns(pl.lit(2.0).alias("volume")) if volume else frame


def put(lake: Lake, table: str, frame: pl.DataFrame, **options: object) -> None:
    lake.write(table, BTC, "2024-06", frame, closed=False, source="test", **options)  # type: ignore[arg-type]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two days in which every table follows from the others."""
    made = Lake(tmp_path / "lake", "binanceusdm")
    flat = np.full(HOURS * 12, 100.0)
    premium = np.full(flat.size, 2e-4)
    put(made, "candles_5m", bars(flat, volume=True))
    put(made, "candles_1h", bars(flat[:HOURS], HOUR_MS, volume=True).with_columns(pl.lit(24.0).alias("volume")))
    put(made, "mark_5m", bars(flat * 1.0002))
    put(made, "index_5m", bars(flat))
    put(made, "premium_5m", bars(premium))
    ts = JUNE + np.arange(8, HOURS + 1, 8, dtype=np.int64) * HOUR_MS
    due = 2e-4 + max(1e-4 - 2e-4, -5e-4)
    rates = pl.DataFrame({"ts": pl.Series(ts).cast(TS), "rate": np.full(ts.size, due)})
    put(made, FUNDING, rates.with_columns(pl.lit(8.0).alias("interval_hours")))
    put(made, "candles_1m", bars(flat[:10], MINUTE_MS, volume=True))
    number = np.arange(20)
    heard = {"ts": pl.Series(JUNE + number * MINUTE_MS // 2).cast(TS), "trade_id": number + 5.0, "price": flat[:20]}
    put(made, TRADES, pl.DataFrame(heard).with_columns(pl.lit(1.0).alias("quantity"), pl.lit("buy").alias("side")))
    return made


def failed(lake: Lake) -> dict[str, str]:
    groups = {check.group for check in CROSS_CHECKS}
    lines = [line for group in groups for line in run_cross_checks(lake, group, SPAN)[BTC]]
    return {line.name: line.severity for line in lines if not line.passed}


def test_tables_that_follow_from_each_other_pass(lake: Lake) -> None:
    assert failed(lake) == {}


@pytest.mark.parametrize(
    ("table", "column", "factor", "found"),
    [
        ("candles_1h", "high", 1.001, {"hours_are_made_of_5m": "warning"}),
        ("mark_5m", "close", 1.03, {"mark_is_near_last": "warning", "premium_is_mark_over_index": "warning"}),
        ("mark_5m", "close", 1.9, {
            "mark_is_near_last": "warning", "mark_is_a_price_of_it": "critical", "premium_is_mark_over_index": "warning",
        }),
        ("premium_5m", "close", 300.0, {"premium_is_mark_over_index": "warning"}),
        (FUNDING, "rate", 40.0, {"funding_follows_premium": "warning"}),
        (TRADES, "quantity", 1.1, {"trades_make_the_candle": "warning"}),
        (TRADES, "price", 0.99, {"trades_make_the_candle": "warning"}),
    ],
)  # fmt: skip
def test_one_table_that_says_otherwise_is_found(
    lake: Lake, table: str, column: str, factor: float, found: dict[str, str]
) -> None:
    frame = lake.read(table, BTC)
    spoiled = pl.when(pl.int_range(pl.len()) == 3).then(pl.col(column) * factor).otherwise(pl.col(column))
    put(lake, table, frame.with_columns(spoiled.alias(column)))
    assert failed(lake) == found


@pytest.mark.parametrize("hours", [8, 4, 1])
@pytest.mark.parametrize(
    ("early", "late", "rate"),
    [
        (0.0, 0.0, 0.0001),
        (0.0002, 0.0002, 0.0001),
        (0.0006, 0.0006, 0.0001),
        (0.0007, 0.0007, 0.0002),
        (0.0020, 0.0020, 0.0015),
        (-0.0004, -0.0004, 0.0001),
        (-0.0005, -0.0005, 0.0),
        (-0.0020, -0.0020, -0.0015),
        (0.0, 0.0020, None),
    ],
)
def test_a_funding_rate_is_the_premium_and_the_interest_within_a_twentieth_of_a_percent(
    monkeypatch: pytest.MonkeyPatch, early: float, late: float, rate: float | None, hours: int
) -> None:
    """F = P + clamp(.01 % - P, -.05 %, +.05 %) by hand, inside, at both ends and beyond, scaled to the interval; P counts each
    bar by its number, so of n bars whose second half stands at .2 % it is .2 % x (3 n + 2) / (4 n + 4). To 1e-12, far above
    the rounding of a mean."""
    monkeypatch.setattr(crosschecks, "FUNDING_APART", 1e-12)
    count = hours * 12
    due = (late * (3 * count + 2) / (4 * count + 4) - 0.0005 if rate is None else rate) * hours / 8
    premium = bars(np.repeat([early, late], count // 2))
    settled = pl.Series([JUNE + hours * HOUR_MS]).cast(TS)

    def said(rate: float) -> CheckLine:
        rates = pl.DataFrame({"ts": settled, "rate": [rate], "interval_hours": [float(hours)]})
        return funding_against_premium({FUNDING: rates, "premium_5m": premium}.__getitem__)

    assert said(due).passed
    assert [said(due + apart).unexpected for apart in (-2e-12, 2e-12)] == [1, 1]


def test_a_bar_without_a_trade_says_nothing_of_the_mark(lake: Lake) -> None:
    frame = lake.read("candles_5m", BTC)
    quiet = pl.int_range(pl.len()) == 3
    put(lake, "candles_5m", frame.with_columns(volume=pl.when(quiet).then(0.0).otherwise(2.0)))
    mark = lake.read("mark_5m", BTC)
    put(lake, "mark_5m", mark.with_columns(close=pl.when(quiet).then(103.0).otherwise(pl.col("close"))))
    assert "mark_is_near_last" not in failed(lake)


def test_a_minute_in_which_trades_were_missed_is_not_compared(lake: Lake) -> None:
    """Without its third trade the second minute makes another candle, and so might the first, whose end nobody heard."""
    heard = lake.read(TRADES, BTC)
    put(lake, TRADES, heard.filter(pl.int_range(pl.len()) != 2))
    assert failed(lake) == {}
    put(
        lake,
        TRADES,
        heard.filter(pl.int_range(pl.len()) != 2).with_columns(trade_id=pl.int_range(pl.len()).cast(pl.Float64)),
    )
    assert failed(lake) == {"trades_make_the_candle": "warning"}


def test_without_a_partner_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert failed(Lake(tmp_path / "empty", "binanceusdm")) == {}


def test_figures_verdicts_and_the_page(lake: Lake, tmp_path: Path) -> None:
    holed = lake.read("candles_5m", BTC).filter(~pl.int_range(pl.len()).is_in([7, 8]))
    gap = Gap(JUNE + 7 * STEP, JUNE + 9 * STEP)
    put(lake, "candles_5m", holed, span=SPAN[BTC], gaps=[gap], as_of_ms=JUNE + HOURS * HOUR_MS)
    figures = {one.table: one for one in completeness(lake)}
    five = figures["candles_5m"]
    assert (five.rows, five.expected, five.count(GapState.UNRESOLVED)) == (HOURS * 12 - 2, HOURS * 12, 1)
    assert [(revision.withdrawn, month) for _, month, revision in five.revisions] == [(2, "2024-06")]
    assert figures[FUNDING].share is None
    line = CheckLine("no_holes", "ts", False, "warning", 2, "2 rows missing")
    record(lake, "candles_5m", {BTC: SuiteReport("candles_5m", five.rows, (line,))}, {BTC: five.newest_ms})
    broken = CheckLine("mark_is_a_price_of_it", "mark_5m", False, "critical", 1, "<script>1</script>")
    record_lines(lake, "reference_prices", {BTC: [broken]})
    said = {verdict.table: verdict for verdict in verdicts(lake)}
    assert said["candles_5m"].passed
    assert not said["cross-reference_prices"].passed
    home = home_named(tmp_path, "synthetic-7-0.3").create()
    describe_home(home, MarketDescription("synthetic", seed=7, signal=0.3, days=120, start_ms=JUNE))
    lake.root.rename(home.path / "gone")
    home.lake.rmdir()
    (home.path / "gone").rename(home.lake)
    (section,) = quality_sections(home, Settings(data_root=tmp_path, market=home.market))
    titles = {table.title.partition(" (")[0]: table for table in section.tables}
    assert set(titles) == {
        "tables", "expectations and comparisons", "what did not hold", "gaps", "corrections after the fact",
    }  # fmt: skip
    assert titles["gaps"].rows[0][:4] == ("candles_5m", BTC, "2024-06-01T00:35:00Z", "2024-06-01T00:45:00Z")
    assert {row[-1] for row in titles["tables"].rows} == {"held"}
    assert [row[0] for row in titles["expectations and comparisons"].rows if row[-1] == "failed"] == [
        "cross-reference_prices"
    ]
