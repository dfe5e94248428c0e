"""Launching from outside: what a request becomes, and the whole way through a real platform."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import DAY_MS, months_between
from hydra_core.home import home_named
from hydra_core.ledger.store import Ledger
from hydra_core.market.venue_clock import read_anchor
from hydra_core.platform.control import Platform
from hydra_core.platform.failures import FailureLine, failures, note_failure
from hydra_core.platform.markets import default_market, describe_home
from hydra_core.platform.runs import RunEvent
from hydra_core.platform.status import look
from hydra_core.settings import PlatformSettings, Settings
from hydra_dagster import tags
from hydra_dagster.launch import Request, serve
from hydra_dagster.reporting import progress_in


def test_a_request_is_put_into_dagsters_words() -> None:
    request = Request(
        "collect",
        "hydra_research",
        config={"market/*": {"as_of_ms": 5}, "research/dataset": {"as_of_ms": 6}},
        tags={"why": "test"},
        months=["2024-07", "2024-06"],
        pairs=["BTC", "ethusdt"],
    )
    ops = request.run_config()["ops"]
    assert ops["market__candles"] == ops["market__liquidations"] == {"config": {"as_of_ms": 5}}
    assert ops["research__dataset"] == {"config": {"as_of_ms": 6}}
    assert request.run_tags() == {
        "why": "test",
        tags.RANGE_START: "2024-06-01|BTCUSDT",
        tags.RANGE_END: "2024-07-01|ETHUSDT",
    }
    assert Request("research", "hydra_research", config={}, tags={}).run_tags() == {}


@pytest.mark.parametrize(
    ("message", "told"), [("progress 3/40 candles", (3, 40)), ("progress 40/40", (40, 40)), ("in progress 1/2", None)]
)
def test_progress_is_read_from_its_lines_alone(message: str, told: tuple[int, int] | None) -> None:
    assert progress_in(message) == told


def test_a_request_that_is_no_request_is_refused_and_the_next_one_is_served(monkeypatch) -> None:
    from contextlib import contextmanager

    class Nobody:
        def launch(self, request: Request) -> str:
            return "run-1"

        def wait(self, run_id, tell):
            return {"run_id": run_id, "status": "SUCCESS", "error": "", "seconds": 0.0, "steps": {}}

    @contextmanager
    def connected(workspace_file: Path) -> Iterator[Nobody]:
        yield Nobody()

    monkeypatch.setattr("hydra_dagster.launch.Launcher.connected", connected)
    good = json.dumps({"job": "collect", "location": "hydra_research", "config": {}, "tags": {}})
    answers = io.StringIO()
    serve(io.StringIO(f'not json\n{{"job": "collect"}}\n{good}\n'), answers, Path("workspace.yaml"))
    said = [json.loads(line)["said"] for line in answers.getvalue().splitlines()]
    assert said == ["refused", "refused", "event", "ended"]


def test_a_failed_run_is_kept_once_and_shown_by_status(home, workshop) -> None:
    line = FailureLine("run-1", "collect", 5, "market__candles: no word from the exchange")
    note_failure(home, line)
    note_failure(home, line)
    assert failures(home) == [line]
    shown = next(each for each in look(home, workshop.settings).lines if each.name == "failed runs")
    assert "no word from the exchange" in shown.detail


@pytest.mark.long
def test_a_whole_platform_collects_and_decides(tmp_path: Path) -> None:
    """Venue, trader, code servers and daemon: three days of two pairs into the lake, checked; then one decision; down."""
    name, market = default_market()
    home = home_named(tmp_path, name).create()
    describe_home(home, market)
    ports = PlatformSettings(
        live_sensor=False, venue_port=25899, research_port=25266, live_port=25267, webserver_port=25300
    )
    settings = Settings(data_root=tmp_path, market=name, platform=ports)
    parts = ["venue", "storage", "research", "live", "trader", "daemon"]
    events: list[RunEvent] = []
    with Platform(home, settings, parts, tied=True) as platform, platform.console() as console:
        record = platform.running()
        assert record is not None
        now = read_anchor(record.venue_url).market_ms
        start = now - 3 * DAY_MS
        collected = console.run(
            "collect",
            "hydra_research",
            config={"market/*": {"as_of_ms": now, "start_ms": start, "end_ms": now}},
            months=months_between(start, now),
            pairs=["BTCUSDT", "ETHUSDT"],
            on_event=events.append,
        )
        assert collected.succeeded, collected.error
        blocking = [event.passed for event in events if event.kind == "asset_check_evaluation" and event.blocking]
        assert blocking == [True] * 5
        assert any(event.progress for event in events)
        with pytest.raises(UsageError, match="nonsense"):
            console.run("nonsense", "hydra_research")
        decided = console.run("live_window", "hydra_live", config={"live/decisions": {"cycles": 1}})
        assert decided.succeeded, decided.error
        with Ledger.open(home.ledger_url) as ledger:
            account = ledger.current_account()
            assert account is not None
            assert ledger.count_decisions(account.name) == 1
        assert look(home, platform.settings).healthy
