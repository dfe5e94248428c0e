"""Assets of what comes from elsewhere: absent without keys, made with them, and no failure of theirs stops a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_moment import NOW_MS

from hydra_core.domain.errors import VenueUnavailable
from hydra_core.domain.tables import EXTERNAL_TABLES
from hydra_core.lake.external import headlines_at, mood_at
from hydra_core.lake.store import Lake
from hydra_core.settings import Settings
from hydra_dagster import keys
from hydra_dagster.assets import external
from hydra_dagster.resources import Workshop
from hydra_dagster.schedules import external_request

sys.path.append(str(Path(__file__).parents[1] / "market"))
from provider_servers import Hosted, Provider, item, rss


@pytest.fixture
def paper() -> Iterator[Provider]:
    with Hosted() as provider:
        yield provider


@pytest.fixture(autouse=True)
def market_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workshop, "market_now", lambda self: NOW_MS)
    for name in ("HYDRA_GLASSNODE_API_KEY", "HYDRA_COINGLASS_API_KEY", "HYDRA_EXTERNAL"):
        monkeypatch.delenv(name, raising=False)


def run(workshop: Workshop, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize(external.ASSETS, instance=instance, resources={"workshop": workshop}, raise_on_error=False)


def of(done: dg.ExecuteInProcessResult, table: str) -> tuple[dict[str, object], dg.AssetCheckEvaluation]:
    (made,) = done.asset_materializations_for_node(keys.op_name(keys.external(table)))
    (check,) = (each for each in done.get_asset_check_evaluations() if each.asset_key == keys.external(table))
    return {name: value.value for name, value in made.metadata.items()}, check


def test_without_keys_and_lists_every_asset_is_made_empty_and_says_why(workshop, instance) -> None:
    done = run(workshop, instance)
    assert done.success
    for table in EXTERNAL_TABLES:
        metadata, check = of(done, table)
        assert str(metadata["absent"]).startswith("no HYDRA_")
        assert check.passed
        assert check.description == metadata["absent"]


def test_news_and_their_sentiment_are_made_and_a_dead_feed_is_a_warning(home, instance, paper) -> None:
    paper.bodies["/feed"] = rss(item("Bitcoin plunges after hack", 1), item("Weather stays fine", 2))
    feeds = (f"{paper.url}/feed", f"{paper.url}/gone")
    settings = Settings(data_root=home.root, market=home.market, external={"news_feeds": feeds})
    done = run(Workshop(home, settings), instance)
    assert done.success
    metadata, check = of(done, "news")
    assert (metadata["rows_added"], metadata["questions"]) == (2, 2)
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert "1 of 2" in str(check.description)
    assert of(done, "news_sentiment")[0]["rows_added"] == 1
    lake = Lake(home.lake, "feeds")
    assert headlines_at(lake, "BTCUSDT", NOW_MS) == ("Bitcoin plunges after hack",)
    assert mood_at(lake, "BTCUSDT", NOW_MS + 1).score < 0
    version = done.asset_materializations_for_node(keys.op_name(keys.external("news")))[0].tags
    again = run(Workshop(home, settings), instance)
    same = again.asset_materializations_for_node(keys.op_name(keys.external("news")))[0].tags
    assert version["dagster/data_version"] == same["dagster/data_version"], "nothing new: the same data"


def test_the_schedule_starts_nothing_where_there_is_nothing_to_ask(workshop) -> None:
    skipped = external_request(workshop)
    assert isinstance(skipped, dg.SkipReason)
    assert "HYDRA_GLASSNODE_API_KEY" in str(skipped.skip_message)


def test_the_schedule_hands_market_time_to_every_asset(home, paper, monkeypatch) -> None:
    settings = Settings(data_root=home.root, market=home.market, external={"news_feeds": (f"{paper.url}/feed",)})
    request = external_request(Workshop(home, settings))
    assert isinstance(request, dg.RunRequest)
    configs = [op["config"]["as_of_ms"] for op in request.run_config["ops"].values()]
    assert configs == [NOW_MS] * len(EXTERNAL_TABLES)

    def silent(self: Workshop) -> int:
        raise VenueUnavailable("no clock from http://127.0.0.1:8899", "Start the venue")

    monkeypatch.setattr(Workshop, "market_now", silent)
    assert "no clock" in str(external_request(Workshop(home, settings)).skip_message)
