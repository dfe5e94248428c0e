"""The model registry: sealed folders under their content hash, and who holds the seats."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from hydra_core.alpha.models import CROWD, FORECASTER, load_models
from hydra_core.alpha.registry import CHAMPIONS, Card, ModelRegistry, write_card
from hydra_core.domain.errors import ArtifactInvalid


def artifact(folder: Path, content: str = "weights", kind: str = FORECASTER, until: int = 5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_text(content)
    write_card(folder, Card(kind=kind, inputs=("candles",), lookback=10, horizon_bars=48, trained_until_ms=until))
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


def test_a_version_is_its_content_and_saving_again_changes_nothing(registry: ModelRegistry, tmp_path: Path) -> None:
    first = registry.save(FORECASTER, artifact(tmp_path / "a"))
    assert registry.save(FORECASTER, artifact(tmp_path / "b")) == first
    assert registry.save(FORECASTER, artifact(tmp_path / "c", "other")) != first
    assert registry.card(FORECASTER, first).version == first
    assert (registry.path(FORECASTER, first) / "model.bin").read_text() == "weights"
    assert len(registry.list()) == 2


def test_an_altered_artifact_is_refused_and_its_seat_stays_empty(registry: ModelRegistry, tmp_path: Path) -> None:
    version = registry.save(FORECASTER, artifact(tmp_path / "a"))
    (registry.root / FORECASTER / version / "model.bin").write_text("tampered")
    with pytest.raises(ArtifactInvalid, match="altered"):
        registry.path(FORECASTER, version)
    with pytest.raises(ArtifactInvalid):
        registry.promote(FORECASTER, version, {}, at_ms=1)
    models = load_models(registry, {FORECASTER: version})
    assert models.forecaster is None
    assert "altered" in models.absent[FORECASTER]
    assert models.absent[CROWD] == "no crowd champion"


def test_a_champion_that_held_its_seat_too_long_loses_it_until_it_is_promoted_again(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    day = 86_400_000
    version = registry.save(CROWD, artifact(tmp_path / "a", kind=CROWD))
    pins = {CROWD: version}

    def reason(now_ms: int | None) -> str:
        return load_models(registry, pins, now_ms=now_ms, max_age_days=28).absent[CROWD]

    assert "days" not in reason(90 * day)  # it never held the seat: somebody pinned it on purpose
    registry.promote(CROWD, version, {}, at_ms=2 * day)
    assert "has held its seat for 29 days, limit 28" in reason(31 * day)
    assert "days" not in reason(30 * day)
    assert "days" not in reason(None)
    registry.demote(CROWD, "old", at_ms=32 * day)
    registry.promote(CROWD, version, {}, at_ms=33 * day)
    assert registry.seated_ms(CROWD, version) == 33 * day
    assert "days" not in reason(60 * day)


def test_an_altered_card_is_refused_too(registry: ModelRegistry, tmp_path: Path) -> None:
    version = registry.save(FORECASTER, artifact(tmp_path / "a"))
    card = registry.root / FORECASTER / version / "card.json"
    card.write_text(card.read_text().replace('"lookback": 10', '"lookback": 1'))
    with pytest.raises(ArtifactInvalid, match="altered"):
        registry.path(FORECASTER, version)


def test_attachments_are_no_part_of_the_seal(registry: ModelRegistry, tmp_path: Path) -> None:
    version = registry.save(FORECASTER, artifact(tmp_path / "a"))
    registry.attach(FORECASTER, version, "report.html", b"<html>")
    registry.attach(FORECASTER, version, "report.html", b"<html>2")
    assert (registry.path(FORECASTER, version) / "report.html").read_bytes() == b"<html>2"
    with pytest.raises(ArtifactInvalid, match="no attachment"):
        registry.attach(FORECASTER, version, "model.bin", b"")


def test_promotion_rollback_and_demotion_are_remembered(registry: ModelRegistry, tmp_path: Path) -> None:
    old, new = (registry.save(FORECASTER, artifact(tmp_path / name, name)) for name in ("old", "new"))
    registry.promote(FORECASTER, old, {"gates": 17}, at_ms=1)
    registry.promote(FORECASTER, new, {}, at_ms=2)
    registry.promote(FORECASTER, new, {}, at_ms=3)  # holds the seat already: nothing happens
    assert registry.champion(FORECASTER) == new
    assert registry.rollback(FORECASTER, "worse live", at_ms=4) == old
    assert registry.champions() == {FORECASTER: old}
    assert registry.demote(FORECASTER, "drift", at_ms=5) == old
    assert registry.champion(FORECASTER) is None
    assert [row["action"] for row in registry.history(FORECASTER)] == ["promote", "promote", "rollback", "demote"]
    assert registry.history()[0]["verdict"] == {"gates": 17}


def test_a_card_of_another_kind_is_not_saved(registry: ModelRegistry, tmp_path: Path) -> None:
    with pytest.raises(ArtifactInvalid, match="card says kind"):
        registry.save(CROWD, artifact(tmp_path / "a"))


def test_unreadable_champions_are_an_error_not_an_empty_house(registry: ModelRegistry, tmp_path: Path) -> None:
    registry.save(FORECASTER, artifact(tmp_path / "a"))
    (registry.root / CHAMPIONS).write_text("{half")
    with pytest.raises(ArtifactInvalid, match="not readable"):
        registry.champions()


def _promote_many(root: Path, kind_versions: list[tuple[str, str]]) -> None:
    registry = ModelRegistry(root)
    for at, (kind, version) in enumerate(kind_versions):
        registry.promote(kind, version, {}, at_ms=at)


def test_processes_promoting_at_once_lose_nothing(registry: ModelRegistry, tmp_path: Path) -> None:
    versions = {
        kind: [registry.save(kind, artifact(tmp_path / f"{kind}{i}", str(i), kind)) for i in range(2)]
        for kind in (FORECASTER, CROWD)
    }
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_promote_many, args=(registry.root, [(kind, versions[kind][i % 2]) for i in range(10)]))
        for kind in versions
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert registry.champions() == {kind: versions[kind][1] for kind in versions}
    assert len(registry.history(FORECASTER)) == len(registry.history(CROWD)) == 10
