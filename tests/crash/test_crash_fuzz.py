"""The trader is killed after steps that a seed chooses; ``python -m tests.crash --sessions 300 --jobs 2`` is the whole fuzz."""

from __future__ import annotations

import pytest

from tests.crash.session import run_once


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_killed_trader_finds_its_books_again(seed: int) -> None:
    _, told, wrong = run_once(seed)
    assert told is not None, wrong


@pytest.mark.long
@pytest.mark.parametrize("first", range(3, 43, 8))
def test_many_killed_traders_find_their_books_again(first: int) -> None:
    failures = {seed: wrong for seed in range(first, first + 8) if (wrong := run_once(seed)[2])}
    assert not failures
