"""The leak suite over models: whoever peeks is caught, be it in a forecast, a hazard, a decision or a crowd's learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from planted_panel import planted_panel

from hydra_core.alpha.crowd import CrowdArtifact, CrowdMetrics, train_crowd
from hydra_core.alpha.crowd import columns as crowd_columns
from hydra_core.alpha.crowd.train import exit_labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.models import Forecast, Hazard, PolicyObservation
from hydra_core.alpha.policy.band import Lanes
from hydra_core.domain.intervals import DAY_MS, Interval
from hydra_core.domain.market import Floats, Panel
from hydra_core.domain.panel import build_panel
from hydra_core.research.audit import crowd as crowd_audit
from hydra_core.research.audit.canary import next_moves
from hydra_core.research.audit.causality import (
    decisions_ignore_the_future,
    forecast_ignores_the_future,
    hazard_ignores_the_future,
)
from hydra_core.research.audit.learning import extra_lag
from hydra_core.research.audit.lines import leaks
from hydra_core.research.audit.plausibility import plausible_hazard, plausible_sharpe
from hydra_core.research.audit.policy import observation_canary
from hydra_core.research.gates import MOST_PR_RATIO, Caps, crowd_gates, plausible_pr_ratio, plausible_precision
from hydra_core.research.policies import held_by_lag
from hydra_core.simulation.synthetic import SyntheticMarket

HORIZON = 48
Said = Callable[[Floats], Floats]
"""Log prices (T, P) to a number for every row, of the same shape."""


@pytest.fixture(scope="module")
def market() -> Panel:
    return planted_panel(3, 14, 0.3, pairs=2)[0]


def last_hour(price: Floats) -> Floats:
    out = np.zeros_like(price)
    out[12:] = price[12:] - price[:-12]
    return out


def next_bar(price: Floats) -> Floats:
    return np.diff(price, axis=0, append=price[-1:])


def centred(price: Floats) -> Floats:
    """How far a smoother stands above the price that takes as many bars after a row as before it."""
    return np.stack([np.convolve(column, np.ones(5) / 5, "same") for column in price.T], axis=1) - price


def of_all_rows(price: Floats) -> Floats:
    """Standardised over the whole batch, which holds rows still to come."""
    hour = last_hour(price)
    return (hour - hour.mean(axis=0)) / hour.std(axis=0)


PEEKING = [next_bar, centred, of_all_rows]


@dataclass
class Model:
    """A forecaster and a crowd model whose word is a function of prices."""

    say: Said
    version: str = "v"
    inputs: frozenset[str] = frozenset()
    lookback: int = 300
    horizon_bars: int = HORIZON

    def forecast(self, panel: Panel, last: int) -> Forecast:
        said = self.say(np.log(panel.close))[-last:]
        usual = np.full_like(said, 0.01)
        return Forecast(said, 0.5 + 0 * said, usual, usual)

    def hazard(self, panel: Panel, last: int) -> Hazard:
        chance = 1 / (1 + np.exp(3 - 100 * self.say(np.log(panel.close))[-last:]))
        return Hazard(chance, 1 - chance)


@dataclass
class Policy:
    """Buys what is foretold to rise, unless its rule says otherwise."""

    rule: Callable[[PolicyObservation], Floats] = lambda seen: np.sign(seen.forecast_z)
    version: str = "v"

    def target(self, observation: PolicyObservation) -> Floats:
        return self.rule(observation)


def test_l1_clears_models_that_look_back_alone(market: Panel) -> None:
    honest = Model(last_hour)
    assert forecast_ignores_the_future(honest, market).clean
    assert hazard_ignores_the_future(honest, market).clean
    line = decisions_ignore_the_future(Policy(), honest, market, 14.0)
    assert (line.clean, line.check) == (True, "L1")


@pytest.mark.parametrize("say", PEEKING)
def test_l1_catches_a_forecaster_that_peeks(market: Panel, say: Said) -> None:
    line = forecast_ignores_the_future(Model(say), market)
    assert not line.clean
    assert "expected_return at row" in line.detail


@pytest.mark.parametrize("say", PEEKING)
def test_l1_catches_a_crowd_model_that_peeks(market: Panel, say: Said) -> None:
    line = hazard_ignores_the_future(Model(say), market)
    assert not line.clean
    assert "long at row" in line.detail


@pytest.mark.parametrize("say", PEEKING)
def test_l1_catches_a_policy_whose_forecasts_peek(market: Panel, say: Said) -> None:
    line = decisions_ignore_the_future(Policy(), Model(say), market, 14.0)
    assert not line.clean
    assert "forecast_z at row" in line.detail


def by_the_next_forecast(seen: PolicyObservation) -> Floats:
    return np.asarray(np.sign(np.roll(seen.forecast_z, -3, axis=0)))


def by_the_best_of_all_rows(seen: PolicyObservation) -> Floats:
    return np.asarray((seen.displacement_z < seen.displacement_z.min(axis=0) + 0.5) * 1.0)


def only_where_it_holds(seen: PolicyObservation) -> Floats:
    return np.asarray(np.where(seen.position > 0, by_the_next_forecast(seen), 0.0))


@pytest.mark.parametrize("rule", [by_the_next_forecast, by_the_best_of_all_rows, only_where_it_holds])
def test_l1_catches_a_policy_that_looks_over_the_rows_of_its_batch(market: Panel, rule: Any) -> None:
    line = decisions_ignore_the_future(Policy(rule), Model(last_hour), market, 14.0, rows=12)
    assert not line.clean
    assert "decision holding" in line.detail


def test_l1_catches_a_policy_whose_observation_peeks(market: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = FeatureSet.compute

    def shifted(self: FeatureSet, panel: Panel, last: int | None = None) -> Any:
        values = honest(self, panel, last)
        values[:-1, :, 0] = values[1:, :, 0]
        return values

    monkeypatch.setattr(FeatureSet, "compute", shifted)
    line = decisions_ignore_the_future(Policy(), Model(last_hour), market, 14.0)
    assert not line.clean
    assert "displacement_z at row" in line.detail


@pytest.fixture(scope="module")
def crowded() -> Panel:
    """Two months of the synthetic market, on which crowding tells of forced exits."""
    made = SyntheticMarket(7, 0.3)
    start, end = made.origin_ms, made.origin_ms + 60 * DAY_MS
    pairs = made.pairs[:4]
    return build_panel(
        pairs, Interval.M5, start, end, {pair: made.candles(pair, Interval.M5, start, end) for pair in pairs},
        {pair: made.funding(pair, start, end) for pair in pairs},
        {pair: made.open_interest(pair, start, end) for pair in pairs},
        {pair: made.long_short(pair, start, end) for pair in pairs}, None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stretch(crowded: Panel) -> crowd_audit.Stretch:
    label = np.concatenate(exit_labels(crowded, HORIZON), axis=1)
    return crowd_audit.Stretch(crowded, label, HORIZON, np.arange(2_400, 11_000), np.arange(11_400, len(crowded) - 60))


@pytest.fixture(scope="module")
def artifact(stretch: crowd_audit.Stretch) -> CrowdArtifact:
    return train_crowd(stretch.panel, stretch.train, stretch.judged, 7, horizon=HORIZON).artifact


def test_an_honest_crowd_model_raises_no_alarm(artifact: CrowdArtifact, stretch: crowd_audit.Stretch) -> None:
    by_lag = crowd_audit.skill_by_lag(*crowd_audit.words(artifact, stretch), stretch.label[stretch.judged])
    lines = [
        *crowd_audit.shuffled_exits(artifact, stretch),
        *crowd_audit.column_canary(artifact, stretch),
        extra_lag(by_lag, stretch.error),
    ]
    assert [str(line) for line in leaks(lines)] == []
    assert [line.name for line in lines] == ["labels", "own learning", "canary", "canary of size", "skill"]


def test_l2_catches_crowd_labels_that_reach_over_the_border(
    artifact: CrowdArtifact, stretch: crowd_audit.Stretch
) -> None:
    """A shuffled split: every judged row has neighbours that were trained on."""
    rows = np.random.default_rng(1).permutation(np.arange(2_400, 8_400))
    mixed = replace(stretch, train=np.sort(rows[:4_800]), judged=np.sort(rows[4_800:]))
    found = crowd_audit.shuffled_exits(artifact, mixed)
    assert [line.name for line in leaks(found)] == ["labels"]


def test_l2_catches_crowd_learning_that_remembers_what_it_is_judged_on(
    artifact: CrowdArtifact, stretch: crowd_audit.Stretch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remembering(panel: Panel, train: Any, judged: Any, seed: int, *, horizon: int, labels: Any) -> Any:
        def hazard(part: Panel, last: int) -> Hazard:
            return Hazard(*(0.04 + 0.1 * np.nan_to_num(side[-last:]) for side in labels))

        def baseline(part: Panel, last: int) -> Hazard:
            return Hazard(*(np.full_like(side[-last:], 0.04) for side in labels))

        return SimpleNamespace(artifact=SimpleNamespace(hazard=hazard, baseline_hazard=baseline))

    monkeypatch.setattr(crowd_audit, "train_crowd", remembering)
    found = leaks(crowd_audit.shuffled_exits(artifact, stretch))
    assert [(line.name, line.check) for line in found] == [("own learning", "L2")]


@pytest.mark.parametrize(("size", "name"), [(False, "return_hour"), (True, "return_hour of size")])
def test_l5_catches_a_crowd_column_that_knows_the_next_bar(
    artifact: CrowdArtifact, stretch: crowd_audit.Stretch, monkeypatch: pytest.MonkeyPatch, size: bool, name: str
) -> None:
    honest = crowd_columns.compute

    def peeking(panel: Panel, chosen: Any, last: Any = None, habits: Any = None) -> Floats:
        values = honest(panel, chosen, last, habits)
        moves = next_moves(panel)[-len(values) :]
        at = [str(column) for column in chosen].index("return_hour")
        values[:, :, at] = np.abs(moves) if size else moves
        return values

    monkeypatch.setattr(crowd_columns, "compute", peeking)
    found = leaks(crowd_audit.column_canary(artifact, stretch))
    assert [line.name for line in found] == [name]


def test_l6_catches_a_hazard_that_knows_the_next_bar() -> None:
    rng = np.random.default_rng(3)
    struck = (rng.random((4_000, 4)) < 0.003).astype(np.float64)  # an exit in the next bar
    label = np.maximum.accumulate(struck[::-1], axis=0)[::-1] * 0.0
    for ahead in range(HORIZON):
        label[: len(label) - ahead] = np.maximum(label[: len(label) - ahead], struck[ahead:])
    usual = np.full_like(label, label.mean())
    peeking = crowd_audit.skill_by_lag(usual + 0.5 * struck, usual, label * (1 - np.roll(struck, 1, axis=0)))
    assert not extra_lag(peeking, 0.01).clean
    honest = crowd_audit.skill_by_lag(usual + 0.2 * label, usual, label)
    assert extra_lag(honest, 0.01).clean
    assert honest[0] > honest[1] > honest[2] > 0.8


def test_l6_catches_positions_that_know_the_bar_that_they_are_held_in() -> None:
    rng = np.random.default_rng(4)
    returns = 0.001 * rng.normal(size=(5_000, 2))
    slow = np.sign(np.convolve(rng.normal(size=5_100), np.ones(100), "valid")[:5_000])[:, None] * np.ones(2)
    none = np.zeros_like(returns)
    blank = PolicyObservation(none, none, none, none, none, none)

    def by_lag(returns: Floats, held: Floats) -> dict[int, float]:
        book = Lanes(blank, returns, none, 0.0, np.arange(5_000) // 288)
        return dict(enumerate(held_by_lag(book, held).tolist()))

    assert not extra_lag(by_lag(returns, np.sign(returns)), 0.01).clean
    assert extra_lag(by_lag(returns + 0.0004 * slow, slow), 0.01).clean


def test_l5_finds_an_observation_that_knows_the_next_bar(market: Panel) -> None:
    moves = next_moves(market)
    noise = np.random.default_rng(2).normal(size=(5, *moves.shape))
    seen = PolicyObservation(noise[0], noise[1], 0 * moves, noise[2], noise[3], noise[4])
    folds = SimpleNamespace(out_of_sample=SimpleNamespace(start=0))
    dataset: Any = SimpleNamespace(panel=market, folds=folds)
    assert [line.name for line in observation_canary(dataset, seen)] == ["canary"]
    peeking = replace(seen, displacement_z=np.nan_to_num(moves))
    assert [line.name for line in leaks(observation_canary(dataset, peeking))] == ["displacement_z"]


def metrics(**changes: float) -> CrowdMetrics:
    usual = dict(rows=9_000, events=300, base_rate=0.033, pr_auc=0.15, baseline_pr_auc=0.1, ratio=1.5, ratio_low=1.2,
                 ratio_high=1.9, brier_skill=0.03, brier_skill_low=0.01, brier_skill_over_baseline=0.02,
                 calibration_slope=1.0, mean_hazard=0.03, top_decile_rate=0.12, pr_auc_low=0.1)  # fmt: skip
    return CrowdMetrics(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("base_rate", "said"), [(0.01, 0.411), (0.02, 0.507), (0.05, 0.667)])
def test_l9_the_believable_precision_is_that_of_normal_scores(base_rate: float, said: float) -> None:
    """Figures of a simulation with two normal classes of ROC area 0.95."""
    assert plausible_precision(base_rate) == pytest.approx(said, abs=0.012)


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({}, ""),
        ({"pr_auc": 0.7, "pr_auc_low": 0.65}, "plausible"),
        ({"pr_auc": 0.7, "pr_auc_low": 0.5}, ""),
        ({"ratio": 7.0, "ratio_low": MOST_PR_RATIO + 0.1}, "plausible_ratio"),
        ({"pr_auc_low": float("nan")}, "plausible"),
    ],
)
def test_l9_quarantines_a_crowd_model_beyond_belief(changes: dict[str, float], gate: str) -> None:
    seen = metrics(**changes)
    assert plausible_hazard(seen, plausible_pr_ratio("binanceusdm")).clean == (not gate)
    assert plausible_hazard(seen, plausible_pr_ratio("synthetic-7-0.3")).clean == (gate != "plausible")
    assert [one.name for one in crowd_gates(seen, MOST_PR_RATIO) if not one.passed] == ([gate] if gate else [])


def test_l9_quarantines_a_net_sharpe_ratio_beyond_belief() -> None:
    real, synthetic = Caps(0.1, sharpe=5.0), Caps(0.33)
    assert plausible_sharpe(4.0, 1.0, real).clean
    assert plausible_sharpe(6.0, 1.0, real).clean, "a short stretch may be lucky"
    assert not plausible_sharpe(9.0, 1.0, real).clean
    assert not plausible_sharpe(float("nan"), 1.0, real).clean
    assert plausible_sharpe(27.0, 1.0, synthetic).clean
