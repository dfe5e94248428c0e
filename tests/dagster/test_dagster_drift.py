"""The drift check as a person sees it: a warning on the feature store with a table, never a run that fails."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from hydra_core.alpha.models import FORECASTER
from hydra_core.alpha.registry import Card, write_card
from hydra_core.domain.errors import ArtifactInvalid
from hydra_core.research import driftlook, pipeline
from hydra_core.research.drift import ELSEWHERE, MISSING, SAME, Drift, FeatureDrift, LossTurn
from hydra_dagster import keys
from hydra_dagster.build import build_research_defs

FEATURES = (
    FeatureDrift("return_1", 0.01, 0.02, 0.99, 0.98, SAME),
    FeatureDrift("funding_level", 0.4, 0.1, 0.99, 1.0, ELSEWHERE),
    FeatureDrift("long_short_level", None, None, 0.9, 0.0, MISSING),
)
MOVED = Drift("c" * 64, "the quantiles sealed with it", 1, 2, FEATURES, 3, 0.71, (LossTurn(5, 0.66, 0.72),))


def evaluated(instance, resource) -> dg.AssetCheckEvaluation:
    """The drift check's word in a run of the job ``watch``, which succeeds whatever it is."""
    job = build_research_defs(resource, automation=False).resolve_job_def("watch")
    done = job.execute_in_process(instance=instance)
    assert done.success
    (word,) = [one for one in done.get_asset_check_evaluations() if one.check_name == keys.DRIFT]
    assert (word.asset_key, word.severity) == (keys.DATASET, dg.AssetCheckSeverity.WARN)
    return word


@pytest.fixture(autouse=True)
def newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "newest_close", lambda bench: 77)


def test_what_moved_is_a_warning_with_a_table_and_its_limits(instance, resource, monkeypatch) -> None:
    monkeypatch.setattr(driftlook, "look", lambda bench: MOVED)
    word = evaluated(instance, resource)
    assert not word.passed
    assert word.description == MOVED.verdict
    assert (
        "2 of 3 features are not what they were: long_short_level (missing), funding_level (moved 0.40)"
        in MOVED.verdict
    )
    rows = [record.data for record in word.metadata["features"].records]
    assert [row["feature"] for row in rows] == ["long_short_level", "funding_level", "return_1"]
    assert (rows[1]["PSI"], rows[1]["largest while training"], rows[0]["PSI"]) == ("0.4000", "0.1000", "")
    assert (word.metadata["features from 0.1"].value, word.metadata["features from 0.25"].value) == (1, 1)
    assert [record.data["word"] for record in word.metadata["changes of the losses"].records] == ["worse"]
    assert "Siddiqi" in word.metadata["limits"].value
    assert "Bifet" in word.metadata["limits"].value


def test_what_is_as_it_was_passes(instance, resource, monkeypatch) -> None:
    calm = Drift("c" * 64, "sealed", 1, 2, FEATURES[:1], 3, 0.68, (LossTurn(5, 0.72, 0.66),))
    monkeypatch.setattr(driftlook, "look", lambda bench: calm)
    word = evaluated(instance, resource)
    assert word.passed
    assert "1 features as they were, the farthest return_1 at 0.01" in word.description


def test_a_vacant_seat_passes_and_an_unreadable_champion_warns(
    instance, resource, workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vacant = evaluated(instance, resource)
    assert vacant.passed
    assert "nobody holds the forecaster's seat" in vacant.description
    folder = tmp_path / "made"
    write_card(folder, Card(kind=FORECASTER, inputs=("candles",), lookback=9, horizon_bars=48))
    version = workshop.registry.save(FORECASTER, folder)

    def altered(bench: object) -> None:
        raise ArtifactInvalid(f"forecaster {version[:12]} was altered", "Promote another version")

    monkeypatch.setattr(driftlook, "look", altered)
    word = evaluated(instance, resource)
    assert not word.passed
    assert "was altered" in word.description
