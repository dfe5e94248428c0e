"""The market of leveraged agents: its oracle is right, its liquidations are what was triggered, the crowd model finds them."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import truncnorm

from hydra_core.alpha.crowd import columns as crowd_columns
from hydra_core.alpha.crowd import habits, liquidation_map
from hydra_core.alpha.crowd.habits import Habits
from hydra_core.alpha.crowd.model import load
from hydra_core.alpha.crowd.score import average_precision
from hydra_core.alpha.crowd.train import CrowdCandidate, train_crowd
from hydra_core.domain.market import INPUTS, LIQUIDATIONS, noise_after
from hydra_core.research.truth import agents, forced, observer
from hydra_core.research.truth.agents import (
    FORCED_SHARE,
    HOLDING,
    HOUR,
    AgentMarket,
    agent_market,
    cohorts,
    reach_probability,
    trigger,
)
from hydra_core.research.truth.rows import ROWS
from hydra_core.statistics.view import View


@pytest.fixture(scope="module")
def market() -> AgentMarket:
    return agent_market(24 * 60, 5, pairs=2)


def test_the_panel_is_a_market_that_could_have_been_published(market: AgentMarket) -> None:
    panel = market.panel
    assert panel.inputs == frozenset(INPUTS)
    assert (panel.high >= np.maximum(panel.open, panel.close)).all()
    assert (panel.low <= np.minimum(panel.open, panel.close)).all()
    np.testing.assert_allclose(panel.open[1:], panel.close[:-1])
    assert (panel.open_interest > 0).all()
    assert (panel.liquidated_long >= 0).all()
    assert (panel.long_short > 0).all()
    draws = [agent_market(24 * 10, seed, pairs=1) for seed in (6, 6, 7)]
    np.testing.assert_array_equal(draws[0].panel.close, draws[1].panel.close)
    np.testing.assert_array_equal(draws[0].hazard, draws[1].hazard)
    assert not np.array_equal(draws[0].panel.close, draws[2].panel.close)


def test_a_forced_exit_is_what_the_published_liquidations_say(market: AgentMarket) -> None:
    panel = market.panel
    rows = market.decided[:-1]
    for which, forced_notional in enumerate((panel.liquidated_long, panel.liquidated_short)):
        units = forced_notional / panel.close
        hour = np.stack([units[row + 1 : row + 1 + HOUR].sum(axis=0) for row in rows])
        # Open interest at the decision shows in the row after it.
        seen = (hour > FORCED_SHARE * panel.open_interest[rows + 1]).astype(float)
        np.testing.assert_array_equal(seen, market.forced[which, rows])
    assert np.isnan(market.forced[:, rows[0] + 1]).all()


def test_the_oracle_is_right_on_average_and_bin_by_bin(market: AgentMarket) -> None:
    rows = market.decided[:-1]
    said, came = market.hazard[:, rows].ravel(), market.forced[:, rows].ravel()
    edges = [0.0, 0.01, 0.05, 0.15, 0.4, 1.01]
    for low, high in itertools.pairwise(edges):
        inside = (said >= low) & (said < high)
        error = math.sqrt((said[inside] * (1 - said[inside])).sum()) / inside.sum()
        assert inside.sum() > 20
        assert abs(came[inside].mean() - said[inside].mean()) < 4 * error, (low, high)


def test_the_chance_to_reach_a_price_is_the_reflection_principles() -> None:
    rng = np.random.default_rng(1)
    steps = rng.standard_normal((20_000, 400)) / math.sqrt(400)
    lowest = np.cumsum(steps, axis=1).min(axis=1)
    # A walk of 400 steps stops short of a diffusion's minimum by about 0.58 of a step.
    share = (lowest < -(1.0 - 0.5826 / math.sqrt(400))).mean()
    assert reach_probability(1.0, 1.0) == pytest.approx(share, abs=0.01)
    assert reach_probability(0.0, 1.0) == 1.0
    assert reach_probability(math.inf, 1.0) == 0.0


def test_the_trigger_is_where_one_exit_brings_the_next() -> None:
    """Held against walking the price down in small steps; without pressure it is the level that completes the sum."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        levels = np.sort(-rng.random(30) * 0.1)[::-1]
        sizes, push, needed = rng.lognormal(size=30), 0.002, 12.0
        found = trigger(levels, sizes, needed, push)
        price, out, k = 0.0, 0.0, 0
        while out <= needed and price > -0.5:
            price -= 1e-5
            while k < 30 and price - push * out <= levels[k]:
                out += sizes[k]
                k += 1
        assert found == pytest.approx(price, abs=3e-5)
        plain = trigger(levels, sizes, needed, 0.0)
        assert plain == levels[int(np.argmax(np.cumsum(sizes) > needed))]
        assert found >= plain
    assert trigger(levels, sizes, sizes.sum() + 1, push) == -np.inf


def test_the_estimated_map_knows_where_the_agents_wait(market: AgentMarket) -> None:
    """Rank correlation of the estimated trigger with the oracle's hazard; a price traded since holds nobody."""
    near = liquidation_map.trigger_distance(liquidation_map.waiting(View(market.panel)))
    rows = market.decided[market.decided >= crowd_columns.MAP_ROWS][:-1]
    estimated, true = near[:, rows].ravel(), np.log(market.hazard[:, rows] + 1e-9).ravel()
    assert np.isfinite(estimated).all()
    ranks = [np.argsort(np.argsort(values)) for values in (-estimated, true)]
    assert np.corrcoef(*ranks)[0, 1] > 0.5
    assert ((estimated >= 0) & (estimated <= liquidation_map.REACH)).all()


def test_a_trigger_is_interpolated_and_far_ones_are_all_alike() -> None:
    shares = np.zeros((3, liquidation_map.STEPS))
    shares[0, 4] = 2 * liquidation_map.FORCED_SHARE
    shares[2] = np.nan
    found = liquidation_map.trigger_distance(shares)
    assert found[0] == pytest.approx(liquidation_map.STEP * 4.5)
    assert found[1] == liquidation_map.REACH
    assert np.isnan(found[2])


def test_what_a_crowd_usually_does_is_learned_from_what_is_published(market: AgentMarket) -> None:
    """Holding time and distances of agents, nowhere published, from the reported liquidations of sixty days and two pairs."""
    longs, shorts = liquidation_map.published(View(market.panel))
    found = habits.learned([*longs, *shorts], liquidation_map.MAP_BARS)
    assert 2**-0.5 < found.half_life / (HOLDING * HOUR) < 2**0.5
    assert sum(found.shares) == pytest.approx(1.0, abs=0.25)
    assert all(near < far for far, near in itertools.pairwise(found.distances))
    distances, mix = cohorts()
    learned, assumed = [
        max(abs(_within(known, limit) - mix[distances <= limit].sum()) for limit in (0.04, 0.07, 0.12))
        for known in (found, habits.USUAL)
    ]
    assert learned < 0.1
    assert learned < assumed
    assert Habits.from_json(json.loads(json.dumps(found.to_json()))) == found


def _within(known: Habits, limit: float) -> float:
    """Share of positions that are liquidated within a log distance from entry."""
    shares = np.array(known.shares)
    return float(shares[np.array(known.distances) <= limit].sum() / shares.sum())


def test_where_nothing_was_forced_out_the_habits_are_the_usual_ones(market: AgentMarket) -> None:
    longs, _ = liquidation_map.published(View(market.panel))
    silent = [replace(side, forced=np.zeros_like(side.forced)) for side in longs]
    assert habits.learned(silent, liquidation_map.MAP_BARS) == habits.USUAL


@pytest.mark.parametrize("broken", [{"shares": [1.0]}, {"half_life": 0.0}, {"windows": [12]}])
def test_habits_of_which_no_map_can_be_drawn_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no map"):
        Habits.from_json({**habits.USUAL.to_json(), **broken})


def test_forced_orders_bring_the_trigger_nearer() -> None:
    """The map's trigger under pressure is the oracle's of the same positions, to within a step of the map."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        levels, sizes = np.sort(-rng.random(300) * liquidation_map.REACH)[::-1], rng.random(300) * 6e-4
        steps = np.minimum((-levels / liquidation_map.STEP).astype(int), liquidation_map.STEPS - 1)
        shares = np.bincount(steps, sizes, liquidation_map.STEPS)
        for push in (0.0, 8.0, 25.0):
            true = -trigger(levels, sizes, FORCED_SHARE, push)
            found = float(liquidation_map.trigger_distance(shares, push))
            assert found == pytest.approx(min(true, liquidation_map.REACH), abs=liquidation_map.STEP)


@pytest.mark.long
def test_the_crowd_model_finds_most_of_it_and_far_more_than_volatility() -> None:
    made = forced.crowd_found(3, 30)
    assert made.value > 0.6
    assert made.ours < made.reference < made.notes["oracle"]
    assert abs(made.notes["observer lost by drawing"]) < 0.01
    assert made.notes["over volatility"] > 2
    assert made.notes["Brier skill"] > 0
    assert 0 < made.error < 0.2
    assert made.notes["direction"] >= 0.85 * made.notes["direction by the oracle"] > 0.7


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_the_crowd_model_reaches_nine_tenths_of_the_best_observer() -> None:
    """The row of the table at its full length, on a seed that it does not use."""
    spec = next(one for one in ROWS if one.key == "crowd")
    assert (spec.size, spec.goal, spec.sense) == (365, 0.90, "least")
    assert spec.measure is not None
    made = spec.measure(70_106, spec.size)
    assert made.value >= spec.goal, made
    assert made.notes["direction"] >= 0.85 * made.notes["direction by the observer"]


def test_the_observer_is_right_on_average_and_bin_by_bin(market: AgentMarket) -> None:
    """Held against what came and, far more sharply, against the oracle: what is hidden from the observer averages out."""
    rows = market.decided[market.decided > 12 * HOUR][:-1]
    said = observer.observed_hazard(market, rows, 1).ravel()
    oracle, came = market.hazard[:, rows].ravel(), market.forced[:, rows].ravel()
    for low, high in itertools.pairwise([0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.01]):
        inside = (said >= low) & (said < high)
        assert inside.sum() > 20
        error = math.sqrt((said[inside] * (1 - said[inside])).sum()) / inside.sum()
        assert abs(came[inside].mean() - said[inside].mean()) < 4 * error, (low, high)
        apart = oracle[inside] - said[inside]
        assert abs(apart.mean()) < 4 * apart.std() / math.sqrt(inside.sum()), (low, high)
    assert average_precision(said, came) < average_precision(oracle, came)


def test_the_observer_is_the_oracle_where_nothing_is_scattered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries, holding, sizes and who is left are exactly the market's: without scatter one draw is the truth."""
    # Compiled functions keep the constants that they saw first, so both are run as plain Python here.
    monkeypatch.setattr(agents, "SCATTER", 1e-12)
    monkeypatch.setattr(observer, "SCATTER", 1e-12)
    for name in ("_foretold", "_who_may_wait", "_held", "normal_beyond"):
        monkeypatch.setattr(observer, name, getattr(observer, name).py_func)
    made = agent_market(24 * 3, 8, pairs=1)
    rows = made.decided[:-1]
    said, oracle = observer.observed_hazard(made, rows, 1, draws=1), made.hazard[:, rows]
    reachable = oracle > 1e-5
    assert reachable.sum() > 10
    np.testing.assert_allclose(said[reachable], oracle[reachable], rtol=1e-6)


def test_what_is_left_waits_beyond_every_price_that_was_reached() -> None:
    """Moments of a normal above a bound, near and far into its tail, are the known ones."""
    rng = np.random.default_rng(4)
    for least in (-np.inf, -1.0, 0.2, 0.5, 3.0):
        drawn = np.array([observer.normal_beyond(least, rng) for _ in range(10_000)])
        assert drawn.min() > least
        assert drawn.mean() == pytest.approx(truncnorm.mean(least, np.inf), abs=0.05)
        assert drawn.std() == pytest.approx(truncnorm.std(least, np.inf), abs=0.05)


def test_a_direction_is_that_of_the_side_that_was_forced_out(market: AgentMarket) -> None:
    """Of the oracle far above a half; of events whose side is drawn by lot a half, within three errors."""
    rows = market.decided[:-1]
    hazard, forced_out = market.hazard[:, rows], market.forced[:, rows]
    assert forced.direction_accuracy(hazard, forced_out) > 0.8
    assert forced.direction_accuracy(forced_out, forced_out) == 1.0
    swapped = np.random.default_rng(1).random(forced_out[0].shape) < 0.5
    by_lot = np.where(swapped, forced_out[::-1], forced_out)
    events = (forced_out.sum(axis=0) == 1).sum()
    assert events > 50
    assert forced.direction_accuracy(hazard, by_lot) == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(events))


@pytest.fixture(scope="module")
def trained(market: AgentMarket) -> CrowdCandidate:
    rows = market.decided[market.decided > 2400][:-1]
    cut = int(rows.size * 0.6)
    labels = (market.forced[0], market.forced[1])
    return train_crowd(market.panel, rows[:cut], rows[cut:], 1, horizon=HOUR, stride=1, labels=labels)


def test_learned_habits_are_saved_and_see_no_future(
    trained: CrowdCandidate, market: AgentMarket, tmp_path: Path
) -> None:
    """Live, from the saved file and its look-back alone, the model says what it said over the whole history."""
    trained.save(tmp_path)
    served = load(tmp_path, "v")
    assert served.habits == trained.artifact.habits != habits.USUAL
    assert served.habits.windows
    panel, last = market.panel, 600
    said = trained.artifact.hazard(panel, last)
    live = served.hazard(panel.last(served.lookback), 1)
    ahead = served.hazard(noise_after(panel, len(panel) - 200, np.random.default_rng(1)), last)
    for side in ("long", "short"):
        np.testing.assert_allclose(getattr(live, side)[0], getattr(said, side)[-1], rtol=1e-9)
        np.testing.assert_array_equal(getattr(ahead, side)[:-200], getattr(said, side)[:-200])
        assert np.isfinite(getattr(said, side)).all()


def test_liquidations_that_began_late_are_left_out_of_the_model(trained: CrowdCandidate, market: AgentMarket) -> None:
    """The stream has no history: where it began in the last third, the model is what it is without it."""
    panel, labels = market.panel, (market.forced[0], market.forced[1])
    rows = market.decided[market.decided > 2400][:-1]
    cut = int(rows.size * 0.6)
    began = int(len(panel) * 0.5)
    late = panel.liquidated_long.copy(), panel.liquidated_short.copy()
    for side in late:
        side[:began] = np.nan
    fields = {name: getattr(panel, name) for name in panel.__dataclass_fields__}
    partly = type(panel)(**{**fields, "liquidated_long": late[0], "liquidated_short": late[1]})
    without = type(panel)(**{**fields, "inputs": panel.inputs - {LIQUIDATIONS}})
    made = [
        train_crowd(each, rows[:cut], rows[cut:], 1, horizon=HOUR, stride=1, labels=labels)
        for each in (partly, without)
    ]
    assert made[0].artifact.hazard_model == made[1].artifact.hazard_model
    assert LIQUIDATIONS not in made[0].artifact.inputs
    assert LIQUIDATIONS in trained.artifact.inputs
    assert trained.metrics.pr_auc > made[1].metrics.pr_auc
