"""Arrays that begin on cache lines, and numbers asked for before they are read."""

from __future__ import annotations

import numpy as np
import pytest
from engine_market import LIMITS, market
from numba import njit

from hydra_core.research.engine.memory import ABREAST, LINE, fetch, on_lines
from hydra_core.research.engine.results import Prepared
from hydra_core.research.engine.state import Books, Work


def starts_a_line(values):
    return values.ctypes.data % LINE == 0


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (8, 1000), (2, 3, 4)])
def test_an_array_begins_a_line_and_keeps_its_shape(shape):
    made = [on_lines(shape, float(at)) for at in range(20)]  # many, so that none is there by luck
    for at, one in enumerate(made):
        assert starts_a_line(one)
        assert one.flags.c_contiguous
        np.testing.assert_array_equal(one, np.full(shape, float(at)))
    assert on_lines(shape).shape == shape


def test_every_bar_of_eight_pairs_is_one_line_of_a_column():
    panel, signals = market(1, rows=ABREAST * 5)
    prepared = Prepared.of(panel, signals, LIMITS)
    for numbers in (prepared.market.numbers, prepared.signals.numbers):
        bars = numbers.reshape(len(numbers), -1, ABREAST)
        assert all(starts_a_line(bars[column, bar]) for column in range(len(bars)) for bar in range(bars.shape[1]))
    work, books = Work.room(8, 16), Books.opened(3, 8, 1, 1e4, np.zeros(3))
    for values in (work.sizes, work.shared, work.cube, work.bounds, work.worth, books.numbers, books.coming):
        assert starts_a_line(values)


def test_asking_for_a_number_changes_nothing_and_is_no_more_than_an_instruction():
    values = np.arange(24.0).reshape(2, 3, 4)

    @njit(error_model="numpy", _nrt=False)
    def ask(values):
        fetch(values, (1, 2, 3))
        fetch(values[0, 0], (0,))
        return values[1, 2, 3]

    assert ask(values) == 23.0
    fetch(values, (1, 2, 3))  # plain Python asks for nothing
    np.testing.assert_array_equal(values, np.arange(24.0).reshape(2, 3, 4))
    assert "llvm.prefetch" in next(iter(ask.inspect_llvm().values()))
