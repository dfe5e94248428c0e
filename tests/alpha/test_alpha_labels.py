"""Labels against hand-computed futures; a label never reads the past it is joined to, nor anything beyond its horizon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from example_panel import example_panel

from hydra_core.alpha import labels
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import FUNDING, Panel

HORIZON = 48


@pytest.fixture(scope="module")
def panel() -> Panel:
    return example_panel(7, 1900, pairs=2)


def test_a_forward_return_runs_from_the_next_open_to_the_one_after_the_horizon(panel: Panel) -> None:
    got = labels.forward_return(panel, HORIZON)
    assert got[100, 1] == pytest.approx(np.log(panel.open[149, 1] / panel.open[101, 1]), rel=1e-12)
    assert np.isnan(got[-HORIZON - 1 :]).all()
    assert np.isfinite(got[: -HORIZON - 1]).all()
    scaled = labels.scaled_return(panel, HORIZON)
    assert np.nanstd(scaled) == pytest.approx(1.0, abs=0.25)


def test_an_excursion_is_the_worst_price_inside_the_horizon(panel: Panel) -> None:
    against_long, against_short = labels.adverse_excursion(panel, HORIZON)
    entry = panel.open[201, 0]
    assert against_long[200, 0] == pytest.approx(np.log(entry / panel.low[201:249, 0].min()), rel=1e-12)
    assert against_short[200, 0] == pytest.approx(np.log(panel.high[201:249, 0].max() / entry), rel=1e-12)
    assert np.isnan(against_long[-HORIZON:]).all()


def with_cascade(panel: Panel, at: int, move: float, oi_fall: float) -> Panel:
    """The panel with a jump of price in one bar and a fall of open interest from the next reading on, pair 0."""
    factor = np.ones(len(panel))
    factor[at:] = np.exp(move)
    changed = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close", "open_interest")}
    for name in ("high", "low", "close"):
        changed[name][:, 0] *= factor
    changed["open"][:, 0] *= np.concatenate([[1.0], factor[:-1]])
    changed["high"][at, 0], changed["low"][at, 0] = (
        max(changed["open"][at, 0], changed["close"][at, 0]) * 1.0001,
        min(changed["open"][at, 0], changed["close"][at, 0]) * 0.9999,
    )
    changed["open_interest"][:] = 1000.0
    changed["open_interest"][at + 1 :, 0] *= 1 - oi_fall
    return replace(panel, **changed)


@pytest.mark.parametrize(
    ("move", "oi_fall", "longs", "shorts"),
    [(-0.08, 0.07, True, False), (0.08, 0.07, False, True), (-0.08, 0.01, False, False), (-0.0005, 0.07, False, False)],
)
def test_a_forced_exit_is_a_large_move_with_falling_open_interest(
    panel: Panel, move: float, oi_fall: float, longs: bool, shorts: bool
) -> None:
    """Both are needed; the side that loses is the one forced out; exactly the rows whose future holds it are marked."""
    at = 1700
    long, short = labels.forced_exit(with_cascade(panel, at, move, oi_fall), HORIZON)
    for got, forced in ((long, longs), (short, shorts)):
        marked = np.flatnonzero(got[:, 0] == 1.0)
        if forced:
            assert marked.min() == at - HORIZON
            assert marked.max() == at - 1
            assert marked.size == HORIZON
        else:
            assert not marked.size
        assert not (got[:, 1] == 1.0).any()


def test_labels_of_a_row_are_deaf_to_its_past_and_to_what_lies_beyond(panel: Panel) -> None:
    """Other values after the horizon leave the label as it is, and an incomplete future is unknown, not zero."""
    long, _ = labels.forced_exit(panel, HORIZON)
    row = 1750
    shorter, _ = labels.forced_exit(panel.rows(slice(0, row + HORIZON + 2)), HORIZON)
    assert shorter[row, 0] == long[row, 0]
    assert np.isnan(shorter[row + 2 :]).all()
    cut = labels.forward_return(panel.rows(slice(row, len(panel))), HORIZON)
    np.testing.assert_array_equal(cut, labels.forward_return(panel, HORIZON)[row:])


def test_without_open_interest_there_is_no_label_at_all() -> None:
    with pytest.raises(InputMissing, match="open interest"):
        labels.forced_exit(example_panel(8, 60, inputs=frozenset({FUNDING})), HORIZON)
    with pytest.raises(InputMissing, match="shorter than an event"):
        labels.forced_exit(example_panel(8, 60), 2)
