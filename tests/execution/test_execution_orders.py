"""The order table: every move on it, every move off it, and ids that repeat themselves."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import OrderState
from hydra_core.execution.orders import DONE, LIVE, MOVES, UNRESOLVED, IllegalMove, Word, client_order_id, move

STORIES = {
    "a market order": ([Word.SENT, Word.WORKING, Word.PART_FILLED, Word.FILLED], OrderState.FILLED),
    "an answer is lost, the order is found filled": ([Word.SENT, Word.NO_ANSWER, Word.FILLED], OrderState.FILLED),
    "an answer is lost, the order was never there": ([Word.SENT, Word.NO_ANSWER, Word.ABSENT], OrderState.REJECTED),
    "look-ups fail again and again": ([Word.SENT] + [Word.NO_ANSWER] * 9, OrderState.UNKNOWN),
    "the exchange refuses": ([Word.SENT, Word.REFUSED], OrderState.REJECTED),
    "a fill overtakes its cancel": ([Word.SENT, Word.WORKING, Word.CANCELED, Word.FILLED], OrderState.FILLED),
    "a part fill, then a cancel": ([Word.SENT, Word.PART_FILLED, Word.CANCELED], OrderState.CANCELED),
    "a cancel is refused, for it was filled": (
        [Word.SENT, Word.WORKING, Word.CANCEL_REFUSED, Word.FILLED], OrderState.FILLED
    ),
    "a cancel's answer is lost": ([Word.SENT, Word.WORKING, Word.NO_ANSWER, Word.CANCELED], OrderState.CANCELED),
    "a listing lags behind": ([Word.SENT, Word.WORKING, Word.ABSENT, Word.WORKING], OrderState.OPEN),
    "a look-up came too early": ([Word.SENT, Word.NO_ANSWER, Word.ABSENT, Word.FILLED], OrderState.FILLED),
    "messages out of order": ([Word.SENT, Word.PART_FILLED, Word.WORKING], OrderState.PARTIAL),
    "a fill overtakes the cancel on its way": (
        [Word.SENT, Word.WORKING, Word.CANCEL_SENT, Word.PART_FILLED, Word.FILLED, Word.CANCEL_REFUSED], OrderState.FILLED
    ),
    "a cancel leaves what was filled before": (
        [Word.SENT, Word.WORKING, Word.CANCEL_SENT, Word.PART_FILLED, Word.CANCELED], OrderState.CANCELED
    ),
    "the cancel of a silent order settles nothing": ([Word.SENT, Word.NO_ANSWER, Word.CANCEL_SENT], OrderState.UNKNOWN),
    "and its refusal settles nothing either": (
        [Word.SENT, Word.NO_ANSWER, Word.CANCEL_SENT, Word.CANCEL_REFUSED], OrderState.UNKNOWN
    ),
    "a look-up overtakes the refusal of its cancel": (
        [Word.SENT, Word.NO_ANSWER, Word.CANCEL_SENT, Word.ABSENT, Word.CANCEL_REFUSED], OrderState.REJECTED
    ),
    "given up before it was sent": ([Word.WITHDRAWN], OrderState.CANCELED),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_stories(story):
    words, end = STORIES[story]
    state = OrderState.NEW
    for word in words:
        state = move(state, word)
    assert state is end


def test_whatever_is_not_on_the_table_is_an_error_that_names_both_ends():
    for state, word in product(OrderState, Word):
        if (state, word) in MOVES:
            assert move(state, word) is MOVES[state, word]
        else:
            with pytest.raises(IllegalMove) as caught:
                move(state, word)
            assert state.value in str(caught.value)
            assert word.value in str(caught.value)


def test_silence_never_ends_an_order_and_only_the_exchange_does():
    ours = {Word.SENT, Word.WITHDRAWN, Word.NO_ANSWER, Word.CANCEL_SENT}
    for (state, word), then in MOVES.items():
        if word in ours and state is not OrderState.NEW:
            assert then in {OrderState.UNKNOWN, OrderState.PENDING, OrderState.CANCELING, state}


def test_one_missing_line_in_a_listing_ends_nothing_that_was_seen_working():
    for state in (OrderState.OPEN, OrderState.PARTIAL, OrderState.CANCELING):
        assert MOVES[state, Word.ABSENT] is OrderState.UNKNOWN


def test_a_filled_order_stays_filled():
    assert all(then is OrderState.FILLED for (state, _), then in MOVES.items() if state is OrderState.FILLED)


def test_states_are_either_new_live_or_done():
    assert {OrderState.NEW} | LIVE | DONE == set(OrderState)
    assert not LIVE & DONE
    assert UNRESOLVED <= LIVE


@given(st.text(min_size=1), st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.integers(0, 10_000), st.text())
def test_client_ids_fit_the_exchange_and_repeat(plan, pair, index, purpose):
    made = client_order_id(plan, Pair(pair), index, purpose)
    assert re.fullmatch(r"[A-Za-z0-9-]{1,36}", made)
    assert made == client_order_id(plan, Pair(pair), index, purpose)


def test_client_ids_differ_in_every_part():
    parts = product(("a", "b"), ("BTCUSDT", "ETHUSDT"), range(4), ("slice", "close", "stop"))
    ids = [client_order_id(plan, Pair(pair), index, purpose) for plan, pair, index, purpose in parts]
    assert len(set(ids)) == len(ids)
