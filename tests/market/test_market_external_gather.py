"""Looks at every source together: what is due, what failed, two exchanges side by side, and what `hydra status` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from provider_servers import DAY_S, KEY, Hosted, Provider, coinglass_answer, glassnode_rows, item, rss
from served_venue import LocalVenue, Serve

from hydra_core.domain.clock import ManualClock
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import CROSS_BASIS, CROSS_FUNDING, DERIVATIVES, NEWS, ONCHAIN
from hydra_core.home import Home, home_named
from hydra_core.lake.external import headlines_at, known_points, mood_at
from hydra_core.lake.gather import (
    Gathered,
    Sources,
    gather_cross_basis,
    gather_cross_funding,
    gather_derivatives,
    gather_news,
    gather_onchain,
    score_gathered_news,
)
from hydra_core.lake.store import Lake
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.external import coinglass, glassnode
from hydra_core.market.external import http as fetching
from hydra_core.platform.external import sources_of, standings
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.platform.processes import settings_environment
from hydra_core.settings import Settings
from hydra_core.simulation import SyntheticMarket

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
FIRST_S = 1_677_715_200
NOW_MS = (FIRST_S + 10 * DAY_S) * 1000 + 7 * HOUR_MS
PATH = "/v1/metrics/addresses/active_count"
METRIC = "addresses/active_count"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "backoff", lambda attempts: iter([0.0] * (attempts - 1)))


@pytest.fixture
def server() -> Iterator[Provider]:
    with Hosted() as provider:
        yield provider


@pytest.fixture
def sources(tmp_path: Path, server: Provider) -> Sources:
    return Sources(
        lake_root=tmp_path / "lake",
        memory=tmp_path / "external.db",
        pairs=(BTC, ETH),
        history_days=20,
        local_only=True,
        glassnode=glassnode.provider(KEY, server.url),
        metrics=(METRIC,),
        coinglass=coinglass.provider(KEY, server.url),
        series=("open_interest",),
        feeds=(f"{server.url}/feed",),
    )


def test_each_metric_of_each_pair_is_asked_for_when_its_next_value_is_out(server: Provider, sources: Sources) -> None:
    def known(query: dict[str, str]) -> list[dict[str, object]]:
        return [row for row in glassnode_rows(FIRST_S, list(range(40))) if row["t"] >= int(query["s"])]

    server.bodies[PATH] = known
    clock = ManualClock(NOW_MS)
    first = gather_onchain(sources, NOW_MS, clock)
    assert (first.recorded.added, first.asked, first.problems) == (2 * 10, 2, ())
    assert {query["a"] for _, query, _ in server.asked} == {"BTC", "ETH"}
    again = gather_onchain(sources, NOW_MS + HOUR_MS, ManualClock(NOW_MS + HOUR_MS))
    assert (again.asked, len(server.asked)) == (0, 2), "nothing new can be out: nothing is asked"
    later_ms = NOW_MS + DAY_MS
    later = gather_onchain(sources, later_ms, ManualClock(later_ms))
    assert (later.asked, later.recorded.added, later.recorded.revised) == (2, 2, 0)
    lake = Lake(sources.lake_root, "glassnode")
    assert known_points(lake, ONCHAIN, ETH, METRIC, later_ms)["value"].to_list() == list(range(11))


def test_a_metric_that_is_refused_for_one_asset_stops_nothing_and_is_not_asked_again_at_once(
    server: Provider, sources: Sources
) -> None:
    sources = replace(sources, metrics=("no/such", METRIC))
    server.bodies[PATH] = glassnode_rows(FIRST_S, [1])
    clock = ManualClock(NOW_MS)
    first = gather_onchain(sources, NOW_MS, clock)
    assert first.recorded.added == 2
    assert len(first.problems) == 2
    assert all("404" in line and "no/such" in line for line in first.problems)
    asked = len(server.asked)
    clock.advance(HOUR_MS)
    gather_onchain(sources, NOW_MS + HOUR_MS, clock)
    assert [path for path, _, _ in server.asked[asked:] if "such" in path] == []
    clock.advance(2 * DAY_MS)
    gather_onchain(sources, NOW_MS + 2 * DAY_MS, clock)
    assert [path for path, _, _ in server.asked[asked:] if "such" in path]


def test_a_revision_keeps_both_values_with_their_times(server: Provider, sources: Sources) -> None:
    path = "/api/futures/open-interest/aggregated-history"
    row = {"time": NOW_MS - 9 * HOUR_MS, "open": "1", "high": "1", "low": "1", "close": "100"}
    server.bodies[path] = coinglass_answer([row])
    sources = replace(sources, pairs=(BTC,))
    assert gather_derivatives(sources, NOW_MS, ManualClock(NOW_MS)).recorded.added == 1
    server.bodies[path] = coinglass_answer([row | {"close": 90}, row | {"time": NOW_MS - 2 * HOUR_MS, "close": "80"}])
    later = NOW_MS + 4 * HOUR_MS
    done = gather_derivatives(sources, later, ManualClock(later)).recorded
    assert (done.added, done.revised) == (1, 1)
    lake = Lake(sources.lake_root, "coinglass")
    name = "open_interest_usd"
    assert known_points(lake, DERIVATIVES, BTC, name, later - 1)["value"].to_list() == [100, 80]
    assert known_points(lake, DERIVATIVES, BTC, name, later)["value"].to_list() == [90, 80]
    assert known_points(lake, DERIVATIVES, BTC, name, later - 1, strict=True)["value"].to_list() == [100]


def test_news_come_in_once_and_are_scored_and_a_broken_feed_stops_no_other(server: Provider, sources: Sources) -> None:
    server.bodies["/feed"] = rss(item("Bitcoin crashes after hack", 1), "<item></item>")
    sources = replace(sources, feeds=(*sources.feeds, f"{server.url}/gone", f"{server.url}/bomb"))
    server.bodies["/bomb"] = '<!DOCTYPE x [<!ENTITY a "b">]><rss/>'
    clock = ManualClock(NOW_MS)
    done = gather_news(sources, NOW_MS, clock)
    assert done.recorded.added == 1
    assert len(done.problems) == 2
    assert done.broken >= 1
    assert not done.failed
    clock.advance(HOUR_MS)
    assert gather_news(sources, NOW_MS + HOUR_MS, clock).recorded.added == 0
    assert score_gathered_news(sources, NOW_MS + HOUR_MS).recorded.added == 1
    lake = Lake(sources.lake_root, "feeds")
    assert headlines_at(lake, BTC, NOW_MS) == ("Bitcoin crashes after hack",)
    assert mood_at(lake, BTC, NOW_MS + MINUTE_MS).score < 0


def test_a_local_market_never_asks_the_world(tmp_path: Path) -> None:
    far = Sources(
        lake_root=tmp_path / "lake",
        memory=tmp_path / "external.db",
        pairs=(BTC,),
        local_only=True,
        glassnode=glassnode.provider(KEY),
        metrics=(METRIC,),
        feeds=("http://10.9.8.7/feed",),
    )
    for done in (gather_onchain(far, NOW_MS), gather_news(far, NOW_MS)):
        assert done.failed
        assert "this machine" in done.problems[0]


@pytest.fixture(scope="module")
def two_venues(serve_market: Serve, tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalVenue, LocalVenue]:
    """Two exchanges: local venues whose markets have different seeds, six days old."""
    markets = [SyntheticMarket(seed, 0.3) for seed in (7, 8)]
    return tuple(  # type: ignore[return-value]
        serve_market(market, tmp_path_factory.mktemp(f"venue{place}"), market.origin_ms + 6 * DAY_MS + 5 * MINUTE_MS)
        for place, market in enumerate(markets)
    )


def test_funding_and_basis_of_two_exchanges_side_by_side(
    two_venues: tuple[LocalVenue, LocalVenue], tmp_path: Path
) -> None:
    home, other = two_venues
    sources = Sources(
        lake_root=tmp_path / "lake",
        memory=tmp_path / "external.db",
        pairs=(BTC, ETH),
        exchanges={"binanceusdm": home.endpoint, "other": other.endpoint},
        reference="binanceusdm",
    )
    done = gather_cross_funding(sources, home.now_ms)
    assert done.problems == ()
    lake = Lake(sources.lake_root, "cross")
    frame = lake.read(CROSS_FUNDING, BTC)
    for name in ("binanceusdm", "other"):
        its = frame.filter(frame["exchange"] == name)
        assert its.height >= 15
        assert its["interval_hours"].unique().to_list() == [8.0]
        assert its["rate_8h"].to_list() == its["rate"].to_list()
        assert its["rate_year"].to_list() == pytest.approx([rate * 1095 for rate in its["rate"].to_list()])
    rates = {name: frame.filter(frame["exchange"] == name)["rate"].to_list() for name in ("binanceusdm", "other")}
    assert rates["binanceusdm"] != rates["other"]
    assert gather_cross_funding(sources, home.now_ms).recorded == Gathered().recorded, "a second look adds nothing"

    assert gather_cross_basis(sources, home.now_ms).problems == ()
    rows = {row["exchange"]: row for row in lake.read(CROSS_BASIS, ETH).iter_rows(named=True)}
    assert set(rows) == {"binanceusdm", "other"}
    for row in rows.values():
        assert row["basis"] == pytest.approx(row["mark"] / row["index"] - 1)
        assert abs(row["basis"]) < 0.05
    assert rows["binanceusdm"]["against_reference"] == 0
    against = rows["other"]["mark"] / rows["binanceusdm"]["mark"] - 1
    assert rows["other"]["against_reference"] == pytest.approx(against)
    assert against != 0


def test_an_exchange_that_is_down_leaves_the_other_and_is_told(two_venues, tmp_path: Path) -> None:
    home, _ = two_venues
    sources = Sources(
        lake_root=tmp_path / "lake",
        memory=tmp_path / "external.db",
        pairs=(BTC,),
        exchanges={"binanceusdm": home.endpoint, "dead": Endpoint("bybit", "http://127.0.0.1:9")},
        reference="binanceusdm",
    )
    done = gather_cross_basis(sources, home.now_ms)
    assert (done.recorded.added, len(done.problems), done.failed) == (1, 1, False)
    assert done.problems[0].startswith("dead BTCUSDT")


def local_home(tmp_path: Path) -> Home:
    home = home_named(tmp_path, "synthetic-7-0.3").create()
    describe_home(home, MarketDescription("synthetic", seed=7, signal=0.3, days=120, start_ms=NOW_MS))
    return home


def settings(tmp_path: Path, **changes: object) -> Settings:
    return Settings(data_root=tmp_path, _env_file=None, **changes)  # type: ignore[arg-type]


def test_without_keys_everything_is_absent_and_says_why(tmp_path: Path) -> None:
    home = local_home(tmp_path)
    words = {name: (healthy, word) for name, healthy, word in standings(home, settings(tmp_path))}
    assert words["on-chain"] == (None, "absent: no HYDRA_GLASSNODE_API_KEY")
    assert words["derivatives"] == (None, "absent: no HYDRA_COINGLASS_API_KEY")
    assert words["news"] == (None, "absent: no HYDRA_EXTERNAL__NEWS_FEEDS")
    assert words["other exchanges"][0] is None
    assert not (home.path / "external.db").exists(), "being asked how it is makes nothing"


def test_keys_come_from_the_environment_and_stay_there(
    tmp_path: Path, server: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_GLASSNODE_API_KEY", KEY)
    monkeypatch.setenv("HYDRA_COINGLASS_API_KEY", KEY)
    home = local_home(tmp_path)
    read = settings(tmp_path, external={"glassnode_url": server.url, "news_feeds": ["https://paper.example/feed"]})
    assert KEY not in repr(read) + str(settings_environment(read))
    assert "HYDRA_GLASSNODE_API_KEY" not in settings_environment(read), "left to be inherited, never overwritten"
    sources = sources_of(home, read)
    assert sources.glassnode is not None
    assert KEY not in repr(sources)
    assert sources.absent[DERIVATIVES].startswith("this market is a local one"), "its address is not on this machine"
    assert sources.absent[NEWS].startswith("this market is a local one")
    server.bodies[PATH] = glassnode_rows(FIRST_S, [1])
    gather_onchain(sources, NOW_MS)
    words = {name: (healthy, word) for name, healthy, word in standings(home, read)}
    healthy, word = words["on-chain"]
    assert healthy is None, "other metrics of the defaults are not served here"
    assert "calls today" in word
    assert "404" in word


def test_exchanges_to_compare_with_are_named_in_the_settings(tmp_path: Path) -> None:
    home = local_home(tmp_path)
    near = settings(tmp_path, external={"exchanges": {"b": "binanceusdm@http://127.0.0.1:9", "real": "okx"}})
    sources = sources_of(home, near, "http://127.0.0.1:8899")
    assert dict(sources.exchanges) == {
        "binanceusdm": Endpoint("binanceusdm", "http://127.0.0.1:8899"),
        "b": Endpoint("binanceusdm", "http://127.0.0.1:9"),
    }, "a real exchange is not compared with a local market"
    with pytest.raises(UsageError, match="mtgox"):
        sources_of(home, settings(tmp_path, external={"exchanges": {"x": "mtgox"}}))
    with pytest.raises(UsageError, match="not on this machine"):
        sources_of(home, settings(tmp_path, external={"exchanges": {"x": "okx@http://10.0.0.1"}}))
