"""What `hydra status` says of the seats: who holds them, who would abstain and why, whether what they read has drifted."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_core.alpha.models import FORECASTER
from hydra_core.alpha.registry import Card, ModelRegistry, write_card
from hydra_core.domain.intervals import DAY_MS
from hydra_core.home import Home, home_named
from hydra_core.platform import status
from hydra_core.platform.status import Line, look
from hydra_core.research.drift import ELSEWHERE, JOURNAL, Drift, FeatureDrift
from hydra_core.research.trials import Journal
from hydra_core.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_named(tmp_path, "synthetic-7-0.3").create()


@pytest.fixture
def champion(home: Home, tmp_path: Path) -> str:
    """A sealed forecaster in its seat since day 2."""
    registry, folder = ModelRegistry(home.models), tmp_path / "made"
    folder.mkdir()
    (folder / "model.bin").write_text("weights")
    write_card(folder, Card(kind=FORECASTER, inputs=("candles",), lookback=9, horizon_bars=48))
    version = registry.save(FORECASTER, folder)
    registry.promote(FORECASTER, version, {}, at_ms=2 * DAY_MS)
    return version


def line(home: Home, name: str) -> Line | None:
    return next((one for one in look(home, Settings(data_root=home.root)).lines if one.name == name), None)


@pytest.mark.parametrize(
    ("day", "healthy", "says"), [(20, True, ""), (31, None, "held its seat for 29 days, limit 28")]
)
def test_a_champion_past_its_age_is_said_to_abstain(home, champion, monkeypatch, day, healthy, says) -> None:
    monkeypatch.setattr(status, "_market_ms", lambda home: day * DAY_MS)
    seen = line(home, "champions")
    assert seen is not None
    assert (seen.healthy, says in seen.detail, "abstains" in seen.detail) == (healthy, True, bool(says))
    assert champion[:12] in seen.detail
    assert "crowd vacant" in seen.detail


def test_an_altered_champion_is_a_fault_even_before_any_market_time_is_known(home: Home, champion: str) -> None:
    assert line(home, "champions") == Line(
        "champions", True, f"forecaster {champion[:12]}, crowd vacant, policy vacant"
    )
    (home.models / FORECASTER / champion / "model.bin").write_text("others")
    seen = line(home, "champions")
    assert seen is not None
    assert seen.healthy is False
    assert "was altered" in seen.detail


def test_the_newest_look_at_drift_is_told_where_there_was_one(home: Home, champion: str) -> None:
    assert line(home, "drift") is None
    for until, feature in ((1, ()), (2 * DAY_MS, (FeatureDrift("return_1", 0.4, 0.1, 1.0, 1.0, ELSEWHERE),))):
        seen = Drift(champion, "the quantiles sealed with it", 0, until, feature)
        Journal(home.studies / JOURNAL).add(f"{champion}/{until}", seen.to_json())
    told = line(home, "drift")
    assert told is not None
    assert told.healthy is None
    assert "1 of 1 features are not what they were: return_1 (moved 0.40)" in told.detail
    (home.studies / JOURNAL).write_text("{broken\n{}\n")
    broken = line(home, "drift")
    assert broken is not None
    assert "line 1 is no record" in broken.detail
