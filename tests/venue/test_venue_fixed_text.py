"""Rows of numbers written by whole columns: byte for byte what the templates give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hydra_core.venue.fixed_text import Column, joined


def by_templates(values: list[float], digits: int) -> bytes:
    return "".join(f'{place},"{value:.{digits}f}",' for place, value in enumerate(values)).encode()


def by_columns(values: list[float], digits: int) -> bytes:
    places = np.arange(len(values), dtype=np.int64)
    return joined([Column(places), ',"', Column(np.array(values), digits), '",'], len(values))


NUMBERS = st.one_of(
    st.floats(0, 1e16),
    st.integers(0, 10**12).map(lambda number: number / 2_000),  # every second one is a half of a thousandth
    st.integers(0, 10**9).map(lambda number: number / 1_000),
    st.integers(0, 10**6).map(lambda number: number + 0.5),
    st.sampled_from([0.0, 0.005, 0.015, 1.005, 2.675, 9.995, 0.999999999, 4503599627370495.5, 1e300]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=30), st.integers(0, 8))
@example([0.125, 0.375, 2.5, 3.5], 2)
@example([0.5, 1.5, 2.5], 0)
def test_numbers_are_written_as_their_template_writes_them(values: list[float], digits: int) -> None:
    assert by_columns(values, digits) == by_templates(values, digits)


@pytest.mark.parametrize("value", [-1.25, -0.0, float("nan"), float("inf"), -float("inf"), 2.0**53])
def test_numbers_that_have_no_fixed_form_are_written_all_the_same(value: float) -> None:
    assert by_columns([1.5, value, 7.25], 1) == by_templates([1.5, value, 7.25], 1)


def test_whole_numbers_of_different_lengths_and_signs() -> None:
    for stamps in ([0, 9, 10, 99_999, 1_717_200_000_000], [-5, 12]):
        told = joined(["[", Column(np.array(stamps, dtype=np.int64)), "%],"], len(stamps))
        assert told == "".join(f"[{stamp}%]," for stamp in stamps).encode()
