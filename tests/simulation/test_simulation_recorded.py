"""Recorded markets: a folder is served as it is, gaps included, and a file that cannot be believed is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from real_history import FOLDER, needs

from hydra_core.domain.errors import DataCorrupt, HydraError, Unsupported, UsageError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval, parse_time
from hydra_core.domain.pairs import Pair
from hydra_core.simulation import Market, open_market
from hydra_core.simulation.recorded import RecordedMarket

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
START = parse_time("2025-03-03")
DAYS = 20
STEP = Interval.M5.ms
GAP = slice(700, 712)


def write(path: Path, columns: dict[str, object], *, ts: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stamps = pl.Series("ts", ts).cast(pl.Datetime("ms", "UTC"))
    pl.DataFrame({"ts": stamps, **columns}).write_parquet(path)


def candles(interval: Interval, start: int, count: int, seed: int) -> tuple[np.ndarray, dict[str, object]]:
    rng = np.random.default_rng(seed)
    close = np.round(1_000 * np.exp(np.cumsum(rng.normal(0, 2e-3, count))), 1)
    opens = np.concatenate([[1_000.0], close[:-1]])
    high = np.round(np.maximum(opens, close) * (1 + np.abs(rng.normal(0, 1e-3, count))) + 0.05, 1)
    low = np.round(np.minimum(opens, close) * (1 - np.abs(rng.normal(0, 1e-3, count))) - 0.05, 1)
    ts = start + interval.ms * np.arange(count, dtype=np.int64)
    return ts, {
        "open": opens,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.round(rng.uniform(1, 90, count), 3),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "history"
    for seed, pair in enumerate((BTC, ETH)):
        ts, columns = candles(Interval.M5, START, DAYS * 288, seed)
        kept = np.ones(ts.size, bool)
        kept[GAP] = False
        write(root / f"candles/5m/{pair}.parquet", {k: np.asarray(v)[kept] for k, v in columns.items()}, ts=ts[kept])
        ts, columns = candles(Interval.H1, START - 40 * HOUR_MS, 40 + 24 * DAYS, 10 + seed)
        write(root / f"candles/1h/{pair}.parquet", columns, ts=ts)
        ts = START + 8 * HOUR_MS * np.arange(3 * DAYS, dtype=np.int64)
        write(root / f"funding/{pair}.parquet", {"rate": np.linspace(1e-4, 2e-4, ts.size)}, ts=ts)
    ts = START + 400 * DAY_MS + STEP * np.arange(50, dtype=np.int64)
    write(
        root / "open_interest/BTCUSDT.parquet",
        {"open_interest": np.full(50, 9.0), "open_interest_value": np.ones(50)},
        ts=ts,
    )
    return root


def test_a_folder_is_served_as_recorded(folder: Path) -> None:
    market = RecordedMarket(folder)
    assert market.pairs == (BTC, ETH)
    assert market.base_interval is Interval.M5
    assert (market.origin_ms, market.end_ms) == (START, START + DAYS * DAY_MS)
    assert START < market.start_ms < market.end_ms
    assert market.inputs == {"candles", "funding"}
    assert len(market.open_interest(BTC, 0, 2**50)) == 0
    assert market.liquidations(BTC, 0, 2**50) == []
    recorded = pl.read_parquet(folder / "candles/5m/BTCUSDT.parquet")
    told = market.candles(BTC, Interval.M5, START, market.end_ms)
    assert told.close.tolist() == recorded["close"].to_list()
    assert len(market.funding(BTC, START, START + DAY_MS)) == 3
    with pytest.raises(Unsupported, match="base interval is 5m"):
        market.candles(BTC, Interval.M1, START, START + DAY_MS)


def test_the_name_follows_the_contents(folder: Path) -> None:
    before = RecordedMarket(folder).name
    (folder / "README.md").write_text("not data")
    assert RecordedMarket(folder).name == before
    path = folder / "funding/BTCUSDT.parquet"
    pl.read_parquet(path).with_columns(rate=pl.lit(0.0)).write_parquet(path)
    assert RecordedMarket(folder).name != before


def test_longer_candles_come_from_the_base_and_before_it_from_their_files(folder: Path) -> None:
    market = RecordedMarket(folder)
    hours = market.candles(ETH, Interval.H1, 0, 2**50)
    files = pl.read_parquet(folder / "candles/1h/ETHUSDT.parquet")
    assert hours.close[:40].tolist() == files["close"].to_list()[:40]
    base = market.candles(ETH, Interval.M5, START, START + HOUR_MS)
    row = int(hours.ts.searchsorted(START))
    assert (hours.open[row], hours.high[row], hours.low[row]) == (base.open[0], base.high.max(), base.low.min())
    assert hours.volume[row] == pytest.approx(base.volume.sum())
    missing = START + (GAP.start // 12 + 1) * HOUR_MS
    in_gap = START + GAP.start * STEP
    assert in_gap < missing
    four = market.candles(ETH, Interval.H4, 0, 2**50)
    assert (four.ts % Interval.H4.ms == 0).all()
    assert four.ts[0] >= START - 40 * HOUR_MS
    assert four.ts[-1] + Interval.H4.ms <= market.end_ms


def test_a_gap_stays_a_gap_and_the_price_stands_still_in_it(folder: Path) -> None:
    market = RecordedMarket(folder)
    first, after = START + GAP.start * STEP, START + GAP.stop * STEP
    assert len(market.candles(BTC, Interval.M5, first, after)) == 0
    last = market.candles(BTC, Interval.M5, first - STEP, first).close[0]
    assert market.price(BTC, first + 123_456) == last
    assert len(market.trades(BTC, first, after)) == 0
    assert market.running(BTC, Interval.M5, first + 60_000) is None
    assert market.quote(BTC, first + 60_000).bid < market.quote(BTC, first + 60_000).ask


def test_the_path_walks_inside_each_candle(folder: Path) -> None:
    market = RecordedMarket(folder)
    bars = market.candles(BTC, Interval.M5, START + DAY_MS, START + DAY_MS + 20 * STEP)
    for row, opened in enumerate(bars.ts):
        path = market.path(BTC, int(opened), int(opened) + STEP)
        assert (path.value.max(), path.value.min()) == (bars.high[row], bars.low[row])
        assert (path.value[0], path.value[-1]) == (bars.open[row], bars.close[row])
    again = RecordedMarket(folder)
    later = again.path(BTC, START + 3 * DAY_MS, START + 4 * DAY_MS).value
    assert (market.path(BTC, START + 3 * DAY_MS, START + 4 * DAY_MS).value == later).all()


def test_fewer_days_move_the_origin_but_not_the_paper_part(folder: Path) -> None:
    whole, part = RecordedMarket(folder), RecordedMarket(folder, days=5)
    assert part.start_ms == whole.start_ms
    assert part.origin_ms == part.start_ms - 5 * DAY_MS
    assert len(part.candles(BTC, Interval.M5, 0, part.origin_ms)) == 0
    assert len(part.candles(BTC, Interval.H1, START, part.origin_ms)) > 0
    with pytest.raises(UsageError, match="days of history"):
        RecordedMarket(folder, days=300)


def test_inputs_recorded_for_every_pair_over_the_span_are_offered(folder: Path) -> None:
    ts = START + STEP * np.arange(DAYS * 288, dtype=np.int64)
    for pair in (BTC, ETH):
        write(folder / f"open_interest/{pair}.parquet", {"open_interest": np.full(ts.size, 7.0)}, ts=ts)
        sides = ["long", "short"] * (ts.size // 2)
        columns = {"side": sides, "quantity": np.ones(ts.size), "price": np.full(ts.size, 9.0)}
        write(folder / f"liquidations/{pair}.parquet", columns, ts=ts)
    market = RecordedMarket(folder)
    assert market.inputs == {"candles", "funding", "open_interest", "liquidations"}
    assert market.open_interest(BTC, START, START + DAY_MS).value.tolist() == [7.0] * 288
    assert [event.long_side for event in market.liquidations(ETH, START, START + 2 * STEP)] == [True, False]


def change(column: str, row: int, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def changed(frame: pl.DataFrame) -> pl.DataFrame:
        values = frame[column].to_list()
        values[row] = value
        return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column], strict=False))

    return changed


@pytest.mark.parametrize(
    ("table", "harm", "words"),
    [
        ("candles/5m", lambda frame: frame.drop("close"), "lacks the column 'close'"),
        ("candles/5m", change("high", 5, 1.0), "impossible"),
        ("candles/5m", change("volume", 9, None), "volume is nan in row 9"),
        ("candles/5m", lambda frame: frame.reverse(), "does not come after"),
        ("candles/5m", lambda frame: pl.concat([frame.head(3), frame]), "does not come after"),
        ("candles/5m", lambda frame: frame.with_columns(pl.col("ts").dt.offset_by("1m")), "not on the 5m grid"),
        ("candles/5m", lambda frame: frame.with_columns(ts=pl.col("ts").cast(pl.String)), "ts is String"),
        ("candles/5m", lambda frame: frame.clear(), "has no rows"),
        ("candles/1h", change("low", 2, -1.0), "impossible"),
        ("funding", lambda frame: frame.rename({"rate": "funding"}), "lacks the column 'rate'"),
        ("funding", lambda frame: frame.with_columns(rate=pl.lit("high")), "holds no numbers"),
    ],
)
def test_a_file_that_cannot_be_believed_is_named(
    folder: Path, table: str, harm: Callable[[pl.DataFrame], pl.DataFrame], words: str
) -> None:
    path = folder / table / "BTCUSDT.parquet"
    harm(pl.read_parquet(path)).write_parquet(path)
    with pytest.raises(DataCorrupt) as caught:
        RecordedMarket(folder)
    assert words in str(caught.value)
    assert "BTCUSDT.parquet" in str(caught.value)
    assert caught.value.remedy


def test_a_torn_file_is_named(folder: Path) -> None:
    path = folder / "candles/5m/ETHUSDT.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataCorrupt, match="not a readable Parquet file"):
        RecordedMarket(folder)


@pytest.mark.parametrize("made", ["absent", "empty", "strangers"])
def test_a_folder_without_candles_says_what_was_expected(tmp_path: Path, made: str) -> None:
    root = tmp_path / "nothing"
    if made != "absent":
        root.mkdir()
    if made == "strangers":
        ts, columns = candles(Interval.M5, START, 20, 1)
        write(root / "candles/5m/PEPEUSDT.parquet", columns, ts=ts)
    with pytest.raises(UsageError) as caught:
        RecordedMarket(root)
    error: HydraError = caught.value
    assert str(root) in str(error)
    assert error.remedy


@needs(FOLDER)
def test_the_real_history_is_readable() -> None:
    market = RecordedMarket(FOLDER)
    assert len(market.pairs) == 8
    assert market.base_interval is Interval.M5
    assert market.inputs == {"candles", "funding"}
    for pair in market.pairs:
        assert len(market.candles(pair, Interval.M5, market.origin_ms, market.end_ms)) == 87_840
        assert len(market.candles(pair, Interval.H1, 0, market.origin_ms)) > 10_000
        at = parse_time("2025-10-10T21:22")
        bar = market.candles(pair, Interval.M5, at - at % STEP, at)
        assert bar.low[0] <= market.price(pair, at) <= bar.high[0]
    assert len(market.trades(BTC, parse_time("2025-08-29T06:20"), parse_time("2025-08-29T06:25"))) == 0


def test_markets_open_by_name(folder: Path) -> None:
    name = RecordedMarket(folder).name
    for spelling in ("recorded", name):
        market: Market = open_market(spelling, folder, 5)
        assert (market.name, market.origin_ms) == (name, market.start_ms - 5 * DAY_MS)
    assert open_market("synthetic-3-0", days=40).name == "synthetic-3-0"
    for wrong, where in (("recorded-00000000", folder), (name, None), ("synthetic-3-0", folder), ("binanceusdm", None)):
        with pytest.raises(UsageError):
            open_market(wrong, where)
