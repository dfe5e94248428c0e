"""What a champion reads is held against what it was taught on; what cannot be held is said; losses that rise are noticed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_panel import planted_panel
from typer.testing import CliRunner

from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster import artifact
from hydra_core.alpha.forecaster.calibration import LEVELS, Calibration
from hydra_core.alpha.forecaster.families import FamilyModel
from hydra_core.alpha.forecaster.linear import LinearModel
from hydra_core.alpha.forecaster.windows import WindowShape
from hydra_core.alpha.models import FORECASTER
from hydra_core.alpha.registry import Card, write_card
from hydra_core.cli.main import app
from hydra_core.domain.errors import ArtifactInvalid
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import LONG_SHORT, Panel
from hydra_core.home import Home
from hydra_core.report.research import latest_research
from hydra_core.report.sections import research_sections
from hydra_core.research import drift, driftlook, featuretable
from hydra_core.research.bench import Bench
from hydra_core.research.drift import Drift, feature_drift, horizon_losses, loss_turns
from hydra_core.research.trials import Journal
from hydra_core.risk.limits import Limits
from hydra_core.settings import Settings, TrainingSettings
from hydra_core.statistics.shift import Reference

DAYS, LEARNT = 40, 20
PANEL, BEST = planted_panel(31, DAYS, 0.3, pairs=3)
NAMES = ("vol_ratio_12_288", "body_share_12", "long_short_level", "hour_sin")
UNTIL_MS = int(PANEL.close_ms[-1])


def known_then(shift: float = 0.0) -> dict[str, Reference]:
    """The features' references over the first days, or of columns that lay elsewhere."""
    columns = FeatureSet(NAMES).compute(PANEL)[2_000 : LEARNT * 288].astype(float)
    return {name: Reference.of(columns[:, :, k] + shift, stretch=7 * 288) for k, name in enumerate(NAMES)}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    held = {"panel": PANEL}

    def rows(lake: object, pairs: object, start_ms: int, end_ms: int) -> Panel:
        panel = held["panel"]
        first, end = np.searchsorted(panel.ts, (start_ms, end_ms))
        return panel.rows(slice(int(first), int(end)))

    monkeypatch.setattr(driftlook, "load_panel", rows)
    monkeypatch.setattr(driftlook, "newest_close", lambda bench: UNTIL_MS)
    made = Bench(Home(tmp_path, "synthetic-31-0.3").create(), "binanceusdm", PANEL.pairs, TrainingSettings(), Limits())
    object.__setattr__(made, "held", held)
    return made


def seat(bench: Bench, reference: dict[str, Reference] | None, learnt_days: int = LEARNT) -> str:
    """A line through four features in the forecaster's seat, trained until a day."""
    line = LinearModel(np.zeros(4), np.ones(4), np.array([0.0, 0.0, -0.5, 0.0]), 0.0, 1.0, 0.1)
    calibration = Calibration(1.0, 5.0, np.linspace(-3, 3, LEVELS.size), 1.0, 0.0, 0.0014)
    folder = bench.home.path / f"made-{learnt_days}-{bool(reference)}"
    model = FamilyModel("linear", (("linear", 1.0, line),), WindowShape())
    artifact.write(folder, model, NAMES, calibration, 48, reference=reference)
    until = int(PANEL.close_ms[learnt_days * 288 - 1])
    write_card(folder, Card(kind=FORECASTER, inputs=("candles",), lookback=9, horizon_bars=48, trained_until_ms=until))
    version = bench.registry.save(FORECASTER, folder)
    bench.registry.promote(FORECASTER, version, {}, at_ms=until)
    return version


def seen_by(bench: Bench) -> Drift:
    found = driftlook.look(bench)
    assert found is not None
    return found


def words(seen: Drift) -> dict[str, str]:
    return {one.name: one.word for one in seen.features}


def test_a_market_that_goes_on_as_it_was_is_calm_and_the_look_is_kept(bench: Bench) -> None:
    assert driftlook.look(bench) is None  # nobody holds the seat
    version = seat(bench, known_then())
    seen = seen_by(bench)
    assert seen.calm, seen.verdict
    assert seen.held_against == "the quantiles sealed with it"
    assert (seen.from_ms, seen.until_ms) == (int(PANEL.close_ms[LEARNT * 288 - 1]), UNTIL_MS)
    assert set(words(seen)) == set(NAMES)
    assert max(one.index for one in seen.features if one.index is not None) < 0.25
    assert seen.loss is not None
    assert 0.6 < seen.loss < 0.75
    kept = drift.newest(bench.home.studies, version)
    assert kept is not None
    assert kept["verdict"] == seen.verdict
    assert drift.newest(bench.home.studies, "another") is None
    seen_by(bench)
    assert len(Journal(bench.home.studies / drift.JOURNAL).records()) == 1


def test_the_look_in_one_command(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(bench.home.root))
    asked = ["models", "drift", "--market", bench.home.market]
    assert "nobody holds" in CliRunner().invoke(app, asked).output
    version = seat(bench, known_then())
    told = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output.splitlines()[-1])["drift"]
    assert (told["champion"], told["calm"]) == (version, True)
    assert "log loss" in CliRunner().invoke(app, asked).output


def test_the_report_shows_the_newest_look(bench: Bench) -> None:
    seat(bench, known_then())
    assert not latest_research(bench.home).drift
    seen = seen_by(bench)
    table = research_sections(bench.home, latest_research(bench.home), Settings())[0].tables[-1]
    assert seen.verdict in table.title
    assert {row[0] for row in table.rows} == set(NAMES)


def test_features_that_moved_are_named_with_how_far(bench: Bench) -> None:
    reference = known_then()
    reference["body_share_12"] = known_then(shift=2.0)["body_share_12"]
    seat(bench, reference)
    seen = seen_by(bench)
    assert [one.name for one in seen.alarms] == ["body_share_12"]
    assert seen.ordered[0].index > 0.25
    assert seen.above(0.25) == 1
    assert not seen.calm
    assert "1 of 4 features are not what they were: body_share_12 (moved" in seen.verdict


def test_an_input_that_is_collected_no_more_or_holds_no_numbers_is_missing_not_zero(bench: Bench) -> None:
    seat(bench, known_then())
    bench.held["panel"] = replace(PANEL, inputs=PANEL.inputs - {LONG_SHORT})
    gone = seen_by(bench)
    assert (words(gone)["long_short_level"], gone.loss, gone.calm) == (drift.MISSING, None, False)
    bench.held["panel"] = replace(PANEL, long_short=np.full_like(PANEL.long_short, np.nan))
    silent = seen_by(bench)
    assert (words(silent)["long_short_level"], silent.loss) == (drift.MISSING, None)
    assert words(silent)["hour_sin"] == drift.SAME
    assert "long_short_level (missing)" in silent.verdict


def test_constant_prices_and_one_silent_pair_are_told(bench: Bench) -> None:
    seat(bench, known_then())
    still = {name: np.full_like(PANEL.close, 100.0) for name in ("open", "high", "low", "close")}
    bench.held["panel"] = replace(PANEL, **still)
    flat = seen_by(bench)
    assert words(flat)["vol_ratio_12_288"] in drift.ALARMS
    assert flat.loss is None, "without a move there is nothing to be right about"
    silent = {name: np.where([[True, True, False]], getattr(PANEL, name), np.nan) for name in still}
    bench.held["panel"] = replace(PANEL, **silent)
    two = seen_by(bench)
    by_name = {one.name: one for one in two.features}
    assert by_name["vol_ratio_12_288"].known == pytest.approx(2 / 3, abs=0.01)
    assert by_name["vol_ratio_12_288"].word == drift.SAME
    assert two.loss is not None


def test_too_few_days_and_a_lake_without_them_are_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_core.domain.errors import InputMissing

    seat(bench, known_then(), learnt_days=DAYS - 3)
    early = seen_by(bench)
    assert (early.calm, early.features) == (True, ())
    assert early.verdict.startswith("3.0 days since the newest bar")
    seat(bench, known_then())

    def nothing(*_: object) -> Panel:
        raise InputMissing("no candles_5m", "Run `hydra backfill`")

    monkeypatch.setattr(driftlook, "load_panel", nothing)
    empty = seen_by(bench)
    assert not empty.calm
    assert "nothing to look at: no candles_5m" in empty.verdict


def test_one_sealed_without_quantiles_is_held_against_the_dataset_it_names_or_nobody_can_tell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat(bench, None)
    seen = seen_by(bench)
    assert not seen.calm
    assert "sealed without its training window's quantiles" in seen.verdict
    assert set(words(seen).values()) == {drift.UNHELD}
    asked: list[str] = []
    monkeypatch.setattr(driftlook, "open_dataset", lambda root, version: asked.append(version))
    monkeypatch.setattr(driftlook, "references_of", lambda dataset: known_then())
    assert set(words(seen_by(bench)).values()) != {drift.UNHELD}
    assert asked == [""]


def test_an_altered_champion_is_an_error(bench: Bench) -> None:
    version = seat(bench, known_then())
    (bench.registry.root / FORECASTER / version / artifact.REFERENCE).write_text("{}")
    with pytest.raises(ArtifactInvalid, match="altered"):
        driftlook.look(bench)
    folder = bench.home.path / "broken"
    folder.mkdir()
    (folder / artifact.REFERENCE).write_text(json.dumps({"hour_sin": {"edges": [1]}}))
    with pytest.raises(ArtifactInvalid, match="says nothing"):
        artifact.references(folder)


def test_few_values_are_no_verdict_and_restless_features_are_told_as_that() -> None:
    rng = np.random.default_rng(1)
    reference = Reference.of(rng.normal(size=(5_000, 2)), stretch=1_000)
    assert feature_drift("a", reference, rng.normal(size=(20, 2))).word == drift.TOO_FEW
    assert feature_drift("a", reference, 0.4 + rng.normal(size=(900, 2))).word == drift.SHIFTED
    wandering = Reference.of(rng.normal(size=(5_000, 2)) + 2 * np.sin(np.arange(5_000) / 600)[:, None], stretch=1_000)
    assert feature_drift("a", wandering, 1.0 + rng.normal(size=(900, 2))).word == drift.RESTLESS
    never = Reference.of(np.full((500, 2), np.nan), stretch=100)
    assert feature_drift("a", never, rng.normal(size=(900, 2))).word == drift.NEVER


def losses(seed: int, days: int, turned_at: int, rho: float = 0.3, pairs: int = 8) -> np.ndarray:
    """Of the best forecast of a planted 4 h return that is the wrong way round from a day on."""
    rng = np.random.default_rng(seed)
    rows = days * 6  # one row a horizon: what overlaps is one observation
    common = np.sqrt(0.5) * rng.standard_normal((rows, 1)) + np.sqrt(0.5) * rng.standard_normal((rows, pairs))
    signal = rng.standard_normal((rows, pairs))
    came = rho * signal + np.sqrt(1 - rho**2) * common
    z = rho * np.where(np.arange(rows) < turned_at * 6, 1.0, -1.0)[:, None] * signal
    return horizon_losses(z, came, 1)


def test_losses_of_a_turned_signal_rise_within_four_weeks_and_others_stay() -> None:
    starts = np.arange(90 * 6, dtype=np.int64) * DAY_MS // 6
    quiet = [loss_turns(losses(seed, 90, 90), starts) for seed in range(5)]
    assert sum(len(found) for found in quiet) <= 1
    for seed in range(5):
        found = [one for one in loss_turns(losses(seed, 90, 45), starts) if one.after > one.before]
        assert found, seed
        assert 45 * DAY_MS < found[0].at_ms <= 73 * DAY_MS


def test_a_horizons_loss_is_the_mean_of_what_is_known_in_it() -> None:
    z = np.array([[0.0, np.nan], [1.0, 1.0], [0.5, np.nan], [np.nan, np.nan]])
    came = np.array([[1.0, 1.0], [1.0, 0.0], [np.nan, 1.0], [1.0, 1.0]])
    found = horizon_losses(z, came, 2)
    assert found[0] == pytest.approx((np.log(2) - np.log(0.8413447)) / 2)
    assert np.isnan(found[1])


def test_the_feature_store_tells_what_its_columns_are_like() -> None:
    told = featuretable.described(("funding_z_week", "hour_sin"))
    assert told["funding_z_week"].startswith("funding; looks back 2016 bars; from candles, funding; known")
