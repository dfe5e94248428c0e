"""A signal that turns is noticed within three weeks, one that does not turn hardly ever; a moved column is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.research.truth.optimum import rise_probability
from hydra_core.statistics.shift import MOVED, Adwin, Reference, stability_index

WEEK = 7 * 288
YEAR = 365 * 288
RHO = 0.1
LOSSES = (0.4, 1.1)
"""Between which the log loss of a forecast of this strength lies, but for one in a thousand."""


def log_losses(seed: int, rows: int, turn: int) -> np.ndarray:
    """Of the best forecast of a planted correlation whose sign turns at a row and which is not told."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal(rows)
    rho = np.where(np.arange(rows) < turn, RHO, -RHO)
    rose = rho * signal + np.sqrt(1 - RHO**2) * rng.standard_normal(rows) > 0
    said = rise_probability(signal, RHO)
    return -np.log(np.where(rose, said, 1 - said))


def delays(seeds: range, quiet_weeks: int = 20) -> np.ndarray:
    """Weeks until the first alarm after the turn; none may come before it."""
    found = []
    for seed in seeds:
        turn = quiet_weeks * WEEK
        alarms = Adwin(*LOSSES).run(log_losses(seed, turn + 5 * WEEK, turn))
        assert not (alarms < turn).any()
        found.append((alarms[0] - turn) / WEEK if alarms.size else np.inf)
    return np.array(found)


def test_a_turned_signal_is_noticed_within_three_weeks() -> None:
    """A correlation of .1 on 5m bars changes its sign: its losses tell within 6,048 bars, after ten quiet weeks."""
    assert (delays(range(2), 10) <= 3.0).all()


@pytest.mark.long
def test_every_turned_signal_is_noticed_and_in_quiet_years_there_is_hardly_an_alarm() -> None:
    assert np.mean(delays(range(20)) <= 3.0) >= 0.95
    alarms = [Adwin(*LOSSES).run(log_losses(100 + seed, YEAR, YEAR)).size for seed in range(10)]
    assert np.mean(alarms) <= 1.0


def test_a_quiet_quarter_raises_no_alarm() -> None:
    assert Adwin(*LOSSES).run(log_losses(50, YEAR // 4, YEAR)).size == 0


def test_the_window_forgets_what_was_before_a_step() -> None:
    rng = np.random.default_rng(1)
    window = Adwin(0.0, 1.0)
    found = window.run(np.concatenate([rng.uniform(0.2, 0.4, 3_000), rng.uniform(0.6, 0.8, 600)]))
    assert 3_000 <= found[0] < 3_000 + 3 * 64
    assert window.mean == pytest.approx(0.7, abs=0.02)
    assert len(window) <= 700
    assert not window.update(float("nan"))
    with pytest.raises(InputMissing, match="a range"):
        Adwin(1.0, 1.0)


def test_a_moved_column_passes_the_limit_and_a_drawn_again_one_does_not() -> None:
    """One standard deviation of shift, or twice the spread, is beyond .25; 5,000 draws of the same are at .004."""
    rng = np.random.default_rng(2)
    column = rng.normal(size=20_000)
    assert stability_index(column, rng.normal(size=5_000)) < 0.01
    assert stability_index(column, 1.0 + rng.normal(size=5_000)) > MOVED
    assert stability_index(column, 2.5 * rng.normal(size=5_000)) > MOVED
    assert stability_index(column, 0.2 + rng.normal(size=5_000)) < MOVED
    exact = stability_index(np.repeat([0.0, 1.0], [600, 400]), np.repeat([0.0, 1.0], [300, 700]))
    assert exact == pytest.approx(-0.3 * np.log(0.5) + 0.3 * np.log(1.75))
    with pytest.raises(InputMissing, match="at least"):
        stability_index(column, column[:50])


def test_a_reference_is_enough_to_hold_later_values_against_and_survives_its_file() -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(size=(6_000, 3))
    made = Reference.of(table, stretch=1_000)
    again = Reference.from_json(json.loads(json.dumps(made.to_json())))
    assert again == made
    later = 0.4 + rng.normal(size=4_000)
    assert made.index(later) == stability_index(table.ravel(), later)
    assert 0 < made.usual < 0.02  # six stretches of the same column
    drifting = Reference.of(table + np.linspace(-2, 2, 6_000)[:, None], stretch=1_000)
    assert drifting.usual > MOVED  # what wandered while training is told as that
    for broken in ({"edges": [1.0, 0.0]}, {"counts": [1]}, {"edges": None}):
        with pytest.raises((ValueError, TypeError)):
            Reference.from_json({**made.to_json(), **broken})


@pytest.mark.parametrize("value", [2.0, 4.0])
def test_a_constant_that_is_another_constant_has_moved_either_way(value: float) -> None:
    still = Reference.of(np.full(500, 3.0))
    assert still.index(np.full(300, 3.0)) == 0.0
    assert still.index(np.full(300, value)) > MOVED
    assert Reference.of(np.full(500, 3.0), stretch=100).usual == 0.0


def test_no_numbers_and_too_few_are_told_not_guessed() -> None:
    unknown = Reference.of(np.full((400, 2), np.nan), stretch=100)
    assert (unknown.known, unknown.edges) == (0.0, ())
    assert np.isnan(unknown.usual)
    half = Reference.of(np.where(np.arange(4_000) % 2, 1.0 * np.arange(4_000), np.nan))
    assert half.known == 0.5
    with pytest.raises(InputMissing, match="at least"):
        half.index(np.full(5_000, np.nan))
    with pytest.raises(InputMissing, match="at least"):
        unknown.index(np.arange(500.0))


def test_a_turn_says_from_where_to_where() -> None:
    rng = np.random.default_rng(4)
    (turn, *more) = Adwin(0.0, 1.0).turns(np.r_[rng.uniform(0.2, 0.4, 1_000), rng.uniform(0.6, 0.8, 300)])
    assert 1_000 <= turn.at < 1_200
    assert turn.after > turn.before + 0.1
    assert all(one.after >= one.before for one in more)
    assert Adwin(0.0, 1.0).turns(np.full(500, np.nan)) == []
