"""Months by pairs: keys, ranges, rectangles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_core.domain.errors import UsageError
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_dagster import tags
from hydra_dagster.partitions import PAIR_MONTH, covered, key_of, months_by_pair, range_tags, rectangles

BTC, ETH, SOL = DEFAULT_PAIRS[:3]


def test_a_range_in_tags_covers_exactly_its_rectangle() -> None:
    told = range_tags(["2024-06", "2024-08"], [SOL, ETH])
    assert told == {tags.RANGE_START: "2024-06-01|ETHUSDT", tags.RANGE_END: "2024-08-01|SOLUSDT"}
    assert covered(told) == {ETH: ("2024-06", "2024-07", "2024-08"), SOL: ("2024-06", "2024-07", "2024-08")}
    assert covered({}) == {}


def test_every_default_pair_and_the_present_month_are_partitions() -> None:
    assert PAIR_MONTH.has_partition_key(key_of("2024-06", DEFAULT_PAIRS[-1]))
    assert not PAIR_MONTH.has_partition_key(key_of("2019-12", BTC))
    from hydra_core.domain.clock import SystemClock
    from hydra_core.domain.intervals import month_of

    assert PAIR_MONTH.has_partition_key(key_of(month_of(SystemClock().wall_ms()), BTC))


@given(st.sets(st.sampled_from(DEFAULT_PAIRS), min_size=1))
def test_any_choice_of_pairs_is_covered_once_by_stretches_that_one_run_can_take(chosen: set[Pair]) -> None:
    stretches = rectangles(list(chosen))
    assert [pair for stretch in stretches for pair in stretch] == [pair for pair in DEFAULT_PAIRS if pair in chosen]
    for stretch in stretches:
        assert set(covered(range_tags(["2024-06"], stretch))) == set(stretch)


def test_a_stretch_with_a_gap_and_an_empty_range_are_refused() -> None:
    with pytest.raises(UsageError, match="not neighbours"):
        range_tags(["2024-06"], [BTC, SOL])
    with pytest.raises(UsageError, match="needs a month"):
        range_tags([], [BTC])


def test_keys_are_sorted_into_pairs_and_months() -> None:
    keys = [key_of("2024-07", ETH), key_of("2024-06", ETH), key_of("2024-07-01", BTC)]
    assert months_by_pair(keys) == {BTC: ("2024-07",), ETH: ("2024-06", "2024-07")}
