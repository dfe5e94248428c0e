"""The weekly retraining on the venue's market, run to its end: from candles to seats, and what its pages tell a person."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster_moment import NOW_MS
from market.served_venue import Host

from hydra_core.alpha.models import CROWD, FORECASTER
from hydra_core.domain.intervals import DAY_MS, month_of
from hydra_core.home import home_named
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.simulation import SyntheticMarket
from hydra_core.venue import VenueConfig
from hydra_dagster import keys
from hydra_dagster.build import build_research_defs
from hydra_dagster.partitions import range_tags
from hydra_dagster.resources import WorkshopResource
from hydra_dagster.schedules import collect_config
from hydra_dagster.versions import latest

PAIRS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
DAYS = 60


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_from_candles_to_seats_in_one_run(instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Collected over sockets from the venue, checked, learnt from, judged; pages hold card, plots, blocks and verdicts."""
    market = SyntheticMarket(7, 0.3)
    now = market.origin_ms + DAYS * DAY_MS
    host = Host(VenueConfig(market, "127.0.0.1", 0, tmp_path / "venue", held=True, start_ms=now))
    url = host.start()
    try:
        home = home_named(tmp_path, "synthetic-7-0.3").create()
        describe_home(home, MarketDescription("synthetic", seed=7, signal=0.3, days=DAYS, start_ms=NOW_MS))
        for name, value in {
            "HYDRA_VENUE_URL": url,
            "HYDRA_PAIRS": str(list(PAIRS)).replace("'", '"'),
            "HYDRA_TRAINING__FORECASTER_TRIALS": "1",
            "HYDRA_TRAINING__POLICY_TRIALS": "1",
            "HYDRA_TRAINING__POLICY_STEPS": "8192",
            "HYDRA_TRAINING__EPOCHS": "1",
            "HYDRA_TRAINING__STRIDE_BARS": "12",
        }.items():
            monkeypatch.setenv(name, value)
        resource = WorkshopResource(data_root=str(home.root), market=home.market)
        months = [month_of(market.origin_ms + day * DAY_MS) for day in (0, DAYS - 1)]
        done = (
            build_research_defs(resource, automation=False)
            .resolve_job_def("retrain")
            .execute_in_process(
                instance=instance,
                run_config=collect_config(now, start_ms=market.origin_ms, end_ms=now),
                tags=range_tags(months, PAIRS),
            )
        )
    finally:
        host.stop()
    assert done.success
    seen = latest(instance, keys.validation(FORECASTER)).metadata
    blocks = [row.data for row in seen["walk-forward"].records]
    assert [row["block"] for row in blocks] == ["1", "2", "3", "lock-box"]
    assert all(row["IC"] > 0 for row in blocks)
    assert "data:image/png;base64" in seen["calibration"]
    verdicts = {row.data["name"]: row.data for row in seen["gates"].records}
    assert {"trades", "sharpe", "dsr", "calibration", "causal", "leak_suite"} <= set(verdicts)
    assert verdicts["causal"]["passed"]
    card = latest(instance, keys.candidate(FORECASTER)).metadata["model card"]
    assert "| pairs | BTCUSDT, ETHUSDT, SOLUSDT |" in card
    for kind in (FORECASTER, CROWD):
        seat = latest(instance, keys.champion(kind)).metadata
        assert seat["action"] in ("promoted", "refused", "kept")
        assert seat["why"]
    report = latest(instance, keys.REPORT).metadata
    assert {row.data["kind"] for row in report["candidates"].records} >= {FORECASTER}
