"""A champion is held to its promise on bars since it took its seat; a challenger runs beside it; a seat is given back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from planted_panel import planted_panel
from typer.testing import CliRunner

from hydra_core.alpha.labels import volatility_scale
from hydra_core.alpha.models import CROWD, FORECASTER, POLICY, Forecast, PolicyObservation
from hydra_core.alpha.policy.band import Band
from hydra_core.alpha.registry import Card, ModelRegistry, write_card
from hydra_core.cli.main import app
from hydra_core.domain.errors import ArtifactInvalid
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Floats, Panel
from hydra_core.home import Home
from hydra_core.research import shadow
from hydra_core.research.bench import Bench
from hydra_core.research.bootstrap import Interval
from hydra_core.research.trials import Journal
from hydra_core.risk.limits import Limits
from hydra_core.settings import TrainingSettings

DAYS = 24
PANEL, BEST = planted_panel(21, DAYS, 0.3, pairs=3)
SEATED_MS = int(PANEL.ts[10 * 288])
UNTIL_MS = int(PANEL.close_ms[-1])
BAND = Band(1.0, 0.0)


@dataclass(frozen=True)
class Says:
    """A sealed forecaster that says a fixed share of the best forecast, or the opposite of it."""

    share: float
    horizon_bars: int = 48

    def forecast(self, panel: Panel, last: int) -> Forecast:
        sigma = volatility_scale(panel)[-last:] * np.sqrt(48)
        first = int(np.searchsorted(PANEL.ts, panel.ts[0])) + len(panel) - last
        expected = self.share * BEST[first : first + last] * sigma
        sure = np.where(np.abs(expected) > 0.001, 0.7, 0.5)
        return Forecast(expected, sure, 0.5 * sigma, sigma)


@dataclass(frozen=True)
class Times:
    """A sealed policy that wants what its band wants, or never to hold anything."""

    follows: bool
    band: Band

    def target(self, observation: PolicyObservation) -> Floats:
        return self.band.target(observation) if self.follows else np.zeros_like(observation.position)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    said = {
        "good": Says(1.0),
        "turned": Says(-1.0),
        "fair": Says(0.8),
        "band": Times(True, BAND),
        "idle": Times(False, BAND),
    }

    def rows(lake: object, pairs: object, start_ms: int, end_ms: int) -> Panel:
        first, end = np.searchsorted(PANEL.ts, (start_ms, end_ms))
        return PANEL.rows(slice(int(first), int(end)))

    monkeypatch.setattr(shadow, "load_panel", rows)
    monkeypatch.setattr(shadow, "load_artifact", lambda kind, folder, version: said[(folder / "model.txt").read_text()])
    home = Home(tmp_path, "synthetic-21-0.3").create()
    return Bench(home, "binanceusdm", PANEL.pairs, TrainingSettings(), Limits())


def sealed(bench: Bench, content: str, promised: Interval | None, kind: str = FORECASTER, until_ms: int = 0) -> str:
    folder = bench.home.path / f"made-{kind}-{content}"
    folder.mkdir()
    (folder / "model.txt").write_text(content)
    card = Card(kind=kind, inputs=("candles",), lookback=10, horizon_bars=48, trained_until_ms=until_ms)
    write_card(folder, card.model_copy(update={"settings": {"base_rate": 0.02}}))
    version = bench.registry.save(kind, folder)
    if promised is not None:
        name = {FORECASTER: "correlation", CROWD: "ratio", POLICY: "gain_bp_a_day"}[kind]
        told = {name: promised.value, f"{name}_low": promised.low, f"{name}_high": promised.high}
        bench.registry.attach(kind, version, "validation.json", json.dumps({"metrics": told}).encode())
    return version


PROMISED = Interval(0.28, 0.22, 0.34)


def test_a_champion_that_keeps_its_promise_stays(bench: Bench) -> None:
    version = sealed(bench, "good", PROMISED)
    bench.registry.promote(FORECASTER, version, {}, at_ms=SEATED_MS)
    seen = shadow.watch(bench, FORECASTER, UNTIL_MS)
    assert seen is not None
    assert seen.word == shadow.STAYS
    assert seen.live is not None
    assert seen.live.value > 0.15
    assert (seen.from_ms, seen.challenger) == (SEATED_MS, "")
    assert bench.registry.champion(FORECASTER) == version


def test_one_whose_skill_has_left_its_interval_loses_the_seat_and_the_history_says_why(bench: Bench) -> None:
    version = sealed(bench, "turned", PROMISED)
    bench.registry.promote(FORECASTER, version, {}, at_ms=SEATED_MS)
    looked = shadow.watch(bench, FORECASTER, UNTIL_MS, act=False)
    assert looked is not None
    assert (looked.word, looked.gone) == (shadow.WOULD_GO, True)
    assert bench.registry.champion(FORECASTER) == version
    seen = shadow.watch(bench, FORECASTER, UNTIL_MS)
    assert seen is not None
    assert seen.word == shadow.DEMOTED
    assert bench.registry.champion(FORECASTER) is None
    last = bench.registry.history(FORECASTER)[-1]
    assert (last["action"], last["at_ms"]) == ("demote", UNTIL_MS)
    assert "below the promised" in last["verdict"]["reason"]
    assert shadow.watch(bench, FORECASTER, UNTIL_MS) is None
    words = [row["word"] for row in Journal(bench.home.studies / shadow.JOURNAL).records()]
    assert words == [shadow.WOULD_GO, shadow.DEMOTED]


def test_a_challenger_runs_beside_the_champion_on_the_same_bars(bench: Bench) -> None:
    champion = sealed(bench, "turned", None)
    challenger = sealed(bench, "good", PROMISED, until_ms=SEATED_MS)
    bench.registry.promote(FORECASTER, champion, {}, at_ms=SEATED_MS)
    seen = shadow.watch(bench, FORECASTER, UNTIL_MS)
    assert seen is not None
    assert seen.challenger == challenger
    assert seen.word == shadow.STAYS  # nothing was promised, so nothing was broken
    assert seen.shadow is not None
    assert seen.live is not None
    assert seen.shadow.low > seen.live.high
    assert seen.lead is not None
    assert seen.daily["challenger"] - seen.daily["champion"] == pytest.approx(seen.lead.value)
    assert bench.registry.champion(FORECASTER) == champion
    json.dumps(seen.to_json())


def test_a_few_days_are_too_early_to_judge(bench: Bench) -> None:
    version = sealed(bench, "turned", PROMISED)
    bench.registry.promote(FORECASTER, version, {}, at_ms=UNTIL_MS - 3 * DAY_MS)
    seen = shadow.watch(bench, FORECASTER, UNTIL_MS)
    assert seen is not None
    assert (seen.word, seen.gone) == (shadow.EARLY, False)
    assert "3.0 days" in seen.why
    assert bench.registry.champion(FORECASTER) == version


def test_an_altered_champion_is_an_error_and_an_altered_challenger_is_left_out(bench: Bench) -> None:
    champion = sealed(bench, "good", PROMISED)
    challenger = sealed(bench, "fair", None, until_ms=5)
    bench.registry.promote(FORECASTER, champion, {}, at_ms=SEATED_MS)
    (bench.registry.root / FORECASTER / challenger / "model.txt").write_text("else")
    seen = shadow.watch(bench, FORECASTER, UNTIL_MS)
    assert seen is not None
    assert (seen.word, seen.shadow) == (shadow.STAYS, None)
    (bench.registry.root / FORECASTER / champion / "model.txt").write_text("else")
    with pytest.raises(ArtifactInvalid):
        shadow.watch(bench, FORECASTER, UNTIL_MS)


@pytest.mark.parametrize(("ratio", "word"), [((1.5, 1.3, 1.8), shadow.STAYS), ((0.9, 0.8, 1.0), shadow.DEMOTED)])
def test_the_crowd_is_held_to_its_ratio(bench: Bench, monkeypatch: pytest.MonkeyPatch, ratio, word) -> None:
    @dataclass(frozen=True)
    class Figures:
        ratio: float
        ratio_low: float
        ratio_high: float

    def judged(model: object, panel: Panel, rows: Floats, base_rate: float, seed: int) -> Figures:
        assert base_rate == 0.02
        assert panel.ts[rows[0]] == SEATED_MS
        return Figures(*ratio)

    monkeypatch.setattr(shadow, "evaluate_crowd", judged)
    version = sealed(bench, "good", Interval(1.6, 1.2, 2.2), kind=CROWD)
    bench.registry.promote(CROWD, version, {}, at_ms=SEATED_MS)
    seen = shadow.watch(bench, CROWD, UNTIL_MS)
    assert seen is not None
    assert seen.word == word
    assert bench.registry.champion(CROWD) == (version if word == shadow.STAYS else None)


def test_a_policy_is_held_to_its_gain_on_the_forecasts_that_it_times(bench: Bench) -> None:
    """An idle policy loses all that the band earns on good forecasts, and gains all that it loses on turned ones."""
    idle = sealed(bench, "idle", Interval(0.0, -0.5, 1.0), kind=POLICY)
    band = sealed(bench, "band", None, kind=POLICY, until_ms=5)
    bench.registry.promote(POLICY, idle, {}, at_ms=SEATED_MS)
    nobody = shadow.watch(bench, POLICY, UNTIL_MS)
    assert nobody is not None
    assert nobody.word == shadow.EARLY
    assert "no forecaster" in nobody.why
    bench.registry.promote(FORECASTER, sealed(bench, "turned", None), {}, at_ms=SEATED_MS)
    seen = shadow.watch(bench, POLICY, UNTIL_MS)
    assert seen is not None
    assert (seen.word, seen.challenger) == (shadow.STAYS, band)
    assert seen.live is not None
    assert seen.live.value > 0
    assert seen.shadow == Interval(0.0, 0.0, 0.0)
    assert seen.lead is not None
    assert seen.lead.value * 1e4 == pytest.approx(-seen.live.value)
    bench.registry.promote(FORECASTER, sealed(bench, "good", None, until_ms=7), {}, at_ms=SEATED_MS + 1)
    fallen = shadow.watch(bench, POLICY, UNTIL_MS)
    assert fallen is not None
    assert fallen.word == shadow.DEMOTED
    assert "gain over the no-trade band" in fallen.why
    assert bench.registry.champion(POLICY) is None


def test_a_seat_is_given_back_in_one_command(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(bench.home.root))
    first, second = sealed(bench, "good", None), sealed(bench, "fair", None, until_ms=9)
    registry = ModelRegistry(bench.home.models)
    for at, version in enumerate((first, second)):
        registry.promote(FORECASTER, version, {}, at_ms=SEATED_MS + at)

    def hydra(*words: str) -> tuple[int, str]:
        said = CliRunner().invoke(app, ["models", *words, "--market", bench.home.market])
        return said.exit_code, said.output

    code, said = hydra("rollback", FORECASTER, "--json")
    assert (code, json.loads(said.splitlines()[-1])["champion"]) == (0, first)
    assert registry.champion(FORECASTER) == first
    assert hydra("rollback", FORECASTER, "--version", second[:8])[0] == 0
    assert registry.champion(FORECASTER) == second
    code, said = hydra("rollback", FORECASTER, "--version", "ffff")
    assert code == 1
    assert "names 0 former forecaster champions" in " ".join(said.split())
    assert hydra("rollback", "oracle")[0] == 2
    code, said = hydra("list", "--json")
    told = json.loads(said.splitlines()[-1])
    assert told["champions"] == {FORECASTER: second}
    assert [row["action"] for row in told["history"]] == ["promote", "promote", "rollback", "promote"]
    assert second[:12] in hydra("list")[1]
    assert hydra("demote", FORECASTER)[0] == 0
    assert registry.champions() == {}
