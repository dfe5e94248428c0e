"""Who may take a seat: only the candidate whose own validation's own check passed; and how a seat is given back."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster import AssetCheckEvaluation, AssetMaterialization
from dagster_moment import NOW_MS

from hydra_core.alpha.models import CROWD, FORECASTER, KINDS
from hydra_core.alpha.registry import Card, write_card
from hydra_core.domain.errors import ArtifactInvalid
from hydra_core.research.audit import record
from hydra_core.research.audit.lines import BY_KIND, AuditLine
from hydra_core.research.validation import committee_version
from hydra_dagster import keys, versions
from hydra_dagster.assets import champions
from hydra_dagster.assets.champions import ChampionConfig, settle
from hydra_dagster.build import build_research_defs
from hydra_dagster.resources import Workshop


def saved(workshop: Workshop, folder: Path, kind: str, content: str) -> str:
    """A sealed artifact of a kind that its leak suite found clean; its version follows from its content."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.txt").write_text(content)
    write_card(folder, Card(kind=kind, inputs=("candles",), lookback=10, horizon_bars=48))
    version = workshop.registry.save(kind, folder)
    record.keep(workshop.registry, kind, version, "d", suite_lines(kind))
    return version


def suite_lines(kind: str, *, leaking: str = "", without: str = "") -> list[AuditLine]:
    """A line of every check of a kind's suite; one of them may have found something, or not have been run."""
    return [AuditLine("it", check != leaking, "as asked", check) for check in BY_KIND[kind] if check != without]


def made(instance: dg.DagsterInstance, key: dg.AssetKey, **result: object) -> int:
    """Record a materialization with a result; returns its storage id."""
    event = AssetMaterialization(key, metadata={versions.RESULT: dg.MetadataValue.json(result)})
    instance.report_runless_asset_event(event)
    return instance.fetch_materializations(key, limit=1).records[0].storage_id


def judged(instance: dg.DagsterInstance, key: dg.AssetKey, passed: bool) -> None:
    """Record the gates' word on the newest validation."""
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationTargetMaterializationData,
    )

    record = instance.fetch_materializations(key, limit=1).records[0]
    target = AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )
    instance.report_runless_asset_event(
        AssetCheckEvaluation(
            asset_key=key,
            check_name=keys.GATES,
            passed=passed,
            metadata={},
            target_materialization_data=target,
            description="deflated Sharpe 0.2, needs 0.95",
        )
    )


def research_run(instance: dg.DagsterInstance, kind: str, version: str, passed: bool, *, together: bool = True) -> None:
    """What a research run leaves: candidate, validation of it, gates on that, and the word on the seats together."""
    made(instance, keys.candidate(kind), version=version)
    for each in KINDS:
        own = each == kind
        made(instance, keys.validation(each), version=version if own else "", passed=passed and own)
    judged(instance, keys.validation(kind), passed)
    made(instance, keys.COMMITTEE, version=committee_version({kind: version} if passed else {}), passed=together)
    judged(instance, keys.COMMITTEE, together)


@pytest.fixture
def first(workshop: Workshop, tmp_path: Path) -> str:
    return saved(workshop, tmp_path / "a", FORECASTER, "first")


@pytest.fixture
def second(workshop: Workshop, tmp_path: Path) -> str:
    return saved(workshop, tmp_path / "b", FORECASTER, "second")


def seat(instance, workshop, **config):
    return settle(instance, workshop, FORECASTER, ChampionConfig(**config), NOW_MS)


def test_a_candidate_whose_gates_passed_takes_the_seat_once(instance, workshop, first) -> None:
    research_run(instance, FORECASTER, first, passed=True)
    assert seat(instance, workshop).action == "promoted"
    assert workshop.registry.champion(FORECASTER) == first
    assert seat(instance, workshop).action == "kept"
    assert len(workshop.registry.history(FORECASTER)) == 1


def test_a_forecaster_that_the_seats_together_do_not_bear_out_is_refused(instance, workshop, first) -> None:
    research_run(instance, FORECASTER, first, passed=True, together=False)
    refused = seat(instance, workshop)
    assert (refused.holder, refused.action) == (None, "refused")
    assert "the seats together" in refused.why


def test_the_seats_together_must_have_been_judged_with_this_very_forecaster(instance, workshop, first, second) -> None:
    research_run(instance, FORECASTER, first, passed=True)
    made(instance, keys.candidate(FORECASTER), version=second)
    made(instance, keys.validation(FORECASTER), version=second, passed=True)
    judged(instance, keys.validation(FORECASTER), passed=True)
    assert "the seats together: the newest validation is of" in seat(instance, workshop).why


def test_failed_gates_leave_the_seat_as_it_was_and_are_named(instance, workshop, first, second) -> None:
    research_run(instance, FORECASTER, first, passed=True)
    seat(instance, workshop)
    research_run(instance, FORECASTER, second, passed=False)
    refused = seat(instance, workshop)
    assert (refused.holder, refused.action) == (first, "refused")
    assert "deflated Sharpe" in refused.why


def test_a_newer_candidate_does_not_ride_on_the_older_ones_gates(instance, workshop, first, second) -> None:
    """Training ran again on its own: the newest validation is of another version."""
    research_run(instance, FORECASTER, first, passed=True)
    made(instance, keys.candidate(FORECASTER), version=second)
    refused = seat(instance, workshop)
    assert (refused.holder, refused.action) == (None, "refused")
    assert "newest validation is of" in refused.why


def test_a_newer_validation_without_its_own_check_promotes_nothing(instance, workshop, first) -> None:
    """The validation was materialized again, its check was not: the old word is about another materialization."""
    research_run(instance, FORECASTER, first, passed=True)
    made(instance, keys.validation(FORECASTER), version=first, passed=False)
    assert "another validation" in seat(instance, workshop).why
    assert workshop.registry.champion(FORECASTER) is None


def test_gates_that_were_never_evaluated_are_not_passed(instance, workshop, first) -> None:
    made(instance, keys.candidate(FORECASTER), version=first)
    made(instance, keys.validation(FORECASTER), version=first, passed=True)
    assert "never evaluated" in seat(instance, workshop).why


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_its_gates_say_a_leak_of_this_very_candidate_keeps_it_from_the_seat(
    instance, workshop, tmp_path, kind
) -> None:
    """The checks failed in one run; another validated the same candidate and its gates passed."""
    version = saved(workshop, tmp_path / kind, kind, "first")
    research_run(instance, kind, version, passed=True)

    def settled():
        return settle(instance, workshop, kind, ChampionConfig(), NOW_MS)

    record.keep(workshop.registry, kind, version, "d", suite_lines(kind, leaking="L1"))
    assert (settled().holder, settled().action) == (None, "refused")
    assert "found: L1 it: as asked" in settled().why
    record.keep(workshop.registry, kind, version, "d", suite_lines(kind, without="L9"))
    assert "not run in full: L9 are missing" in settled().why
    (workshop.registry.root / kind / version / record.FILE).unlink()
    assert "was never run" in settled().why
    assert f"checks of models/{kind}_candidate" in settled().why, "it says what to run"
    record.keep(workshop.registry, kind, version, "d", suite_lines(kind))
    assert settled().action == "promoted"


def test_a_clean_record_of_another_version_is_none(instance, workshop, first, second) -> None:
    research_run(instance, FORECASTER, first, passed=True)
    folder = workshop.registry.root / FORECASTER
    (folder / first / record.FILE).write_bytes((folder / second / record.FILE).read_bytes())
    assert f"the record beside it is of forecaster {second[:12]}" in seat(instance, workshop).why
    (folder / first / record.FILE).write_text("{")
    assert "no readable record" in seat(instance, workshop).why
    assert workshop.registry.champion(FORECASTER) is None


def test_a_kind_that_could_not_be_trained_keeps_its_champion(instance, workshop, first) -> None:
    workshop.registry.promote(FORECASTER, first, {}, at_ms=NOW_MS)
    made(instance, keys.candidate(FORECASTER), version="", absent="open_interest is not recorded")
    kept = seat(instance, workshop)
    assert (kept.holder, kept.action) == (first, "kept")
    assert "open_interest" in kept.why


def test_without_any_research_run_the_asset_says_what_to_run(instance, workshop) -> None:
    with pytest.raises(dg.Failure, match="was never made"):
        seat(instance, workshop)


def test_a_roll_back_gives_the_seat_to_the_one_before_or_to_a_named_former_champion(
    instance, workshop, first, second
) -> None:
    for version in (first, second):
        research_run(instance, FORECASTER, version, passed=True)
        seat(instance, workshop)
    assert seat(instance, workshop, action="rollback").holder == first
    assert seat(instance, workshop, action="rollback", version=second[:10]).holder == second
    with pytest.raises(ArtifactInvalid, match="names 0 former"):
        seat(instance, workshop, action="rollback", version="ffff")
    assert seat(instance, workshop, action="vacate", reason="under review").holder is None
    assert workshop.registry.champion(FORECASTER) is None


def test_the_asset_records_holder_reason_and_history(instance, workshop, resource, first, monkeypatch) -> None:
    """As a person sees it in the web UI: also when the venue is down."""
    research_run(instance, FORECASTER, first, passed=True)
    asset = next(each for each in champions.ASSETS if each.key == keys.champion(FORECASTER))
    done = dg.materialize([asset], instance=instance, resources={"workshop": resource})
    metadata = done.asset_materializations_for_node(keys.op_name(asset.key))[0].metadata
    assert (metadata["holder"].value, metadata["action"].value) == (first, "promoted")
    event = instance.get_latest_materialization_event(asset.key)
    assert event.asset_materialization.tags["dagster/data_version"] == first
    crowd = next(each for each in champions.ASSETS if each.key == keys.champion(CROWD))
    rolled = dg.materialize(
        [crowd],
        instance=instance,
        resources={"workshop": resource},
        run_config={"ops": {keys.op_name(crowd.key): {"config": {"action": "vacate"}}}},
    )
    assert rolled.success


def test_the_job_gives_a_seat_back_and_the_asset_tells_of_it(instance, workshop, resource, first, second) -> None:
    """Launched with nothing filled in it rolls the forecaster back; it never promotes."""
    for at, version in enumerate((first, second)):
        workshop.registry.promote(FORECASTER, version, {}, at_ms=NOW_MS + at)
    job = build_research_defs(resource, automation=False).resolve_job_def("rollback")
    assert job.execute_in_process(instance=instance).success
    assert workshop.registry.champion(FORECASTER) == first
    told = versions.latest(instance, keys.champion(FORECASTER))
    assert (told.metadata["holder"], told.metadata["action"]) == (first, "rolled back")
    config = {"ops": {"give_seat_back": {"config": {"version": second[:9], "reason": "it was better"}}}}
    assert job.execute_in_process(instance=instance, run_config=config).success
    assert workshop.registry.champion(FORECASTER) == second
    config["ops"]["give_seat_back"]["config"]["version"] = "ffff"
    refused = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert not refused.success
    assert workshop.registry.champion(FORECASTER) == second
