"""A calibration renewed on bars that the weights never saw: a new version where it is better, nothing where it is not."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_panel import planted_panel
from typer.testing import CliRunner

from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.calibration import fit_calibration
from hydra_core.alpha.forecaster.families import FamilyModel
from hydra_core.alpha.forecaster.linear import fit_linear
from hydra_core.alpha.forecaster.windows import WindowShape
from hydra_core.alpha.models import FORECASTER, load_models
from hydra_core.alpha.registry import Card, write_card
from hydra_core.cli.main import app
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import FIELD_NAMES, Panel
from hydra_core.home import Home
from hydra_core.research import pipeline, recalibration
from hydra_core.research.audit import record
from hydra_core.research.audit.lines import BY_KIND, AuditLine
from hydra_core.research.bench import Bench
from hydra_core.research.trials import trial_ledger
from hydra_core.risk.limits import Limits
from hydra_core.settings import TrainingSettings

BEFORE, AFTER = 45, 60
LEARNT = BEFORE * 288


def followed(first: Panel, then: Panel) -> Panel:
    """One history after another, prices going on where they were."""
    factor = first.close[-1] / then.open[0]
    values = {}
    for name in FIELD_NAMES:
        scaled = getattr(then, name) * (factor if name in ("open", "high", "low", "close") else 1.0)
        values[name] = np.concatenate([getattr(first, name), scaled])
    return replace(first, ts=first.ts[0] + 300_000 * np.arange(len(first) + len(then), dtype=np.int64), **values)


def seated(folder: Path, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> tuple[Bench, str]:
    """A linear forecaster of the first weeks, calibrated on them, in its seat a day later."""
    chosen = FeatureSet().available(panel.inputs)
    features = chosen.compute(panel)
    rows = np.arange(chosen.lookback, LEARNT - 60)
    label, sigma = labels.scaled_return(panel, 48), labels.volatility_scale(panel) * math.sqrt(48)
    known = np.asarray(np.isfinite(features).all(axis=2))
    linear = fit_linear(features, label, known, rows[: int(0.8 * rows.size)], rows[int(0.85 * rows.size) :])
    long, short = (each / sigma for each in labels.adverse_excursion(panel, 48))
    days = panel.close_ms // DAY_MS
    calibration = fit_calibration(
        linear.predict(features, rows), label[rows], long[rows], short[rows], sigma[rows], days[rows], 0.0014
    )
    assert calibration.slope > 0.5
    home = Home(folder, "synthetic-22-0.4").create()
    bench = Bench(home, "binanceusdm", panel.pairs, TrainingSettings(), Limits())
    made = folder / "made"
    artifact.write(
        made, FamilyModel("linear", (("linear", 1.0, linear),), WindowShape()), chosen.names, calibration, 48, width=1.6
    )
    until = int(panel.close_ms[LEARNT - 1])
    card = Card(kind=FORECASTER, inputs=("candles",), lookback=9, horizon_bars=48, trained_until_ms=until)
    write_card(made, card)
    version = bench.registry.save(FORECASTER, made)
    verdict = {"passed": True, "gates": [], "metrics": {"correlation": 0.3}, "version": version}
    bench.registry.attach(FORECASTER, version, "validation.json", json.dumps(verdict).encode())
    clean = [AuditLine("forecast", True, "", check) for check in BY_KIND[FORECASTER]]
    record.keep(bench.registry, FORECASTER, version, "d", clean)
    bench.registry.promote(FORECASTER, version, {}, at_ms=until + DAY_MS)

    def held(lake: object, pairs: object, start_ms: int, end_ms: int) -> Panel:
        first, end = np.searchsorted(panel.ts, (start_ms, end_ms))
        return panel.rows(slice(int(first), int(end)))

    monkeypatch.setattr(recalibration, "load_panel", held)
    return bench, version


def test_a_signal_that_has_gone_loses_its_slope_under_a_new_version_of_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = followed(planted_panel(22, BEFORE, 0.4, pairs=3)[0], planted_panel(23, AFTER, 0.0, pairs=3)[0])
    bench, before = seated(tmp_path, gone, monkeypatch)
    until = int(gone.close_ms[-1])
    told = recalibration.recalibrate(bench, until, act=False)
    assert told is not None
    assert (told.version, told.why.split(":")[0]) == ("", "would be renewed")
    assert bench.registry.champion(FORECASTER) == before
    done = recalibration.recalibrate(bench, until)
    assert done is not None
    assert done.slope_after < 0.3 * done.slope_before
    assert bench.registry.champion(FORECASTER) == done.version != before
    old, new = (artifact.load(bench.registry.path(FORECASTER, each), each) for each in (before, done.version))
    np.testing.assert_array_equal(new.parts[0][2].weights, old.parts[0][2].weights)  # type: ignore[attr-defined]
    assert new.calibration.slope == done.slope_after
    said = json.loads((bench.registry.path(FORECASTER, done.version) / "validation.json").read_text())
    assert (said["version"], said["metrics"]["correlation"]) == (done.version, 0.3)
    assert [gate["name"] for gate in said["gates"]][:3] == ["renewal: weights", "renewal: better", "renewal: net"]
    assert "calibration renewed" in bench.registry.card(FORECASTER, done.version).notes[-1]
    studies = {row["study"] for row in trial_ledger(bench.home.studies).records()}
    assert studies == {f"recalibration-{before[:12]}"}, "every try counts"

    limit = (until - (int(gone.close_ms[LEARNT - 1]) + DAY_MS)) / DAY_MS
    aged = load_models(bench.registry, bench.registry.champions(), now_ms=until, max_age_days=limit - 1)
    assert aged.forecaster is None, "renewing makes no weights younger"
    assert load_models(bench.registry, bench.registry.champions(), now_ms=until, max_age_days=limit + 1).forecaster
    late = recalibration.recalibrate(bench, until, max_age_days=limit - 1)
    assert late is not None
    assert "retrain" in late.why
    assert bench.registry.rollback(FORECASTER, "by hand", at_ms=until) == before


def test_a_calibration_that_still_holds_stays_and_without_new_weeks_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = planted_panel(22, BEFORE + AFTER, 0.4, pairs=3)[0]
    bench, before = seated(tmp_path, same, monkeypatch)
    kept = recalibration.recalibrate(bench, int(same.close_ms[-1]))
    assert kept is not None
    assert "the calibration in force stays" in kept.why
    assert "better" in kept.why
    early = recalibration.recalibrate(bench, int(same.close_ms[LEARNT + 16 * 288]))
    assert early is not None
    assert "never saw" in early.why
    assert bench.registry.champion(FORECASTER) == before
    file = bench.registry.path(FORECASTER, before) / record.FILE
    told = file.read_bytes()
    file.unlink()
    unseen = recalibration.recalibrate(bench, int(same.close_ms[-1]))
    assert unseen is not None
    assert "weights: the weights have no verdict of their own gates and leak suite" in unseen.why
    file.write_bytes(told)
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(bench.home.root))
    monkeypatch.setenv("HYDRA_DECISION__MAX_CHAMPION_AGE_DAYS", "100")
    monkeypatch.setattr(pipeline, "newest_close", lambda bench: int(same.close_ms[-1]))
    said = CliRunner().invoke(app, ["models", "recalibrate", "--market", bench.home.market, "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.output.splitlines()[-1])["recalibration"]["why"] == kept.why
    bench.registry.demote(FORECASTER, "by hand", at_ms=1)
    assert recalibration.recalibrate(bench, int(same.close_ms[-1])) is None
