"""The book's limits hold for any input: expected shortfall, caps, slots; and Kelly is cut where the edge may be an error."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_core.decision import rules
from hydra_core.risk.exposure import SHORTFALL_SIGMAS, expected_shortfall, gross_cap, tail_fits, tail_room
from hydra_core.risk.limits import Limits
from hydra_core.risk.sizing import size, sure_fraction
from hydra_core.settings import RiskSettings

PAIRS = 6
ANY = st.one_of(st.floats(-0.5, 0.5), st.just(math.nan), st.just(0.0))
positive = st.one_of(st.floats(1e-4, 0.5), st.just(math.nan))


def correlation(seed: int, holes: int) -> list[list[float]]:
    """A sound matrix, some entries of which are unknown."""
    rng = np.random.default_rng(seed)
    loads = rng.normal(size=(PAIRS, 2))
    matrix = np.corrcoef(loads @ loads.T + np.diag(rng.uniform(0.1, 2, PAIRS)))
    for _ in range(holes):
        i, j = rng.integers(0, PAIRS, 2)
        if i != j:
            matrix[i, j] = matrix[j, i] = math.nan
    return matrix.tolist()


def test_the_shortfall_of_one_position_is_that_of_student_s_t() -> None:
    """10,000 USDT at 2 %: the mean of the worst 2.5 % of a t(4) of that deviation."""
    got = expected_shortfall([10_000.0], [[1.0]], [0.02])
    draws = np.random.default_rng(3).standard_t(4, 2_000_000) / math.sqrt(2) * 0.02 * 10_000
    worst = np.sort(draws)[: draws.size // 40]
    assert got == pytest.approx(-worst.mean(), rel=0.02)
    assert pytest.approx(2.8239, abs=1e-4) == SHORTFALL_SIGMAS


def test_copies_add_up_hedges_take_away_and_what_is_unknown_is_the_worst() -> None:
    one = expected_shortfall([100.0, 0.0], [[1, 1], [1, 1]], [0.1, 0.1])
    assert expected_shortfall([100.0, 100.0], [[1, 1], [1, 1]], [0.1, 0.1]) == pytest.approx(2 * one)
    assert expected_shortfall([100.0, -100.0], [[1, 1], [1, 1]], [0.1, 0.1]) == pytest.approx(0.0, abs=1e-9)
    assert expected_shortfall([100.0, 100.0], [[1, 0], [0, 1]], [0.1, 0.1]) == pytest.approx(math.sqrt(2) * one)
    unknown = [[1, math.nan], [math.nan, 1]]
    assert expected_shortfall([100.0, -100.0], unknown, [0.1, 0.1]) == pytest.approx(2 * one)
    assert tail_room(1, -1.0, [100.0, 0.0], unknown, [0.1, 0.1], 0, 1.5 * one) == pytest.approx(50.0)


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 10**6), st.integers(0, 5), st.lists(st.floats(-9e4, 9e4), min_size=PAIRS, max_size=PAIRS),
    st.lists(st.floats(1e-4, 0.3), min_size=PAIRS, max_size=PAIRS), st.integers(0, PAIRS - 1), st.sampled_from([-1.0, 1.0]),
    st.floats(0, 5e4),
)  # fmt: skip
def test_with_the_largest_position_that_is_granted_the_book_is_at_its_limit(seed, holes, held, sigmas, i, side, limit):
    rho = correlation(seed, holes)
    room = tail_room(i, side, held, rho, sigmas, 0, limit)
    book = [n if j != i else side * room for j, n in enumerate(held)]
    empty = [n if j != i else 0.0 for j, n in enumerate(held)]
    assert room >= 0
    if room > 0:
        assert expected_shortfall(book, rho, sigmas) <= limit * (1 + 1e-6) + 1e-6
    elif not any(math.isnan(x) for row in rho for x in row):
        grown = [n if j != i else side * 1.0 for j, n in enumerate(held)]
        assert expected_shortfall(grown, rho, sigmas) >= min(limit, expected_shortfall(empty, rho, sigmas)) - 1e-3


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 10**6), st.integers(0, 5), st.lists(st.floats(-900, 900), min_size=PAIRS, max_size=PAIRS),
    st.lists(st.floats(1e-4, 0.3), min_size=PAIRS, max_size=PAIRS), st.integers(0, PAIRS - 1), st.sampled_from([-1.0, 1.0]),
    st.floats(1, 500), st.sampled_from([0.5, 0.999, 1.001, 2.0]),
)  # fmt: skip
def test_what_fits_whatever_the_correlations_is_within_the_room(seed, holes, held, sigmas, i, side, asked, share):
    notionals = [asked if j == i else abs(n) for j, n in enumerate(held)]
    limit = share * SHORTFALL_SIGMAS * sum(n * s for n, s in zip(notionals, sigmas, strict=True))
    fits = tail_fits(i, asked, held, sigmas, 0, limit)
    assert fits == (share > 1.0)
    if fits:
        assert tail_room(i, side, held, correlation(seed, holes), sigmas, 0, limit) >= asked
    assert not tail_fits(i, asked, held, [math.nan if j == i else s for j, s in enumerate(sigmas)], 0, 10 * limit)


def row_of(numbers: np.ndarray) -> SimpleNamespace:
    """A row of signals with any numbers in it, sized as a decision would."""
    expected, confidence, volatility, adverse = numbers
    sized = size(
        expected, confidence, adverse, volatility, np.ones(PAIRS), np.full(PAIRS, 3.0), np.full(PAIRS, 0.01), Limits()
    )
    fields = {name: getattr(sized, name).tolist() for name in sized.__dataclass_fields__}
    none = [math.nan] * PAIRS
    return SimpleNamespace(
        expected_return=expected.tolist(), confidence=confidence.tolist(), volatility=volatility.tolist(),
        hazard_long=none, hazard_short=none, bias=none, trap=none, **fields,
    )  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 10**6),
    st.integers(0, 4),
    st.lists(ANY, min_size=PAIRS, max_size=PAIRS),
    st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=PAIRS, max_size=PAIRS),
    st.lists(positive, min_size=PAIRS, max_size=PAIRS),
    st.lists(st.one_of(st.just(0.0), st.floats(-300, 300)), min_size=PAIRS, max_size=PAIRS),
    st.floats(-100, 100_000),
    st.floats(0.005, 0.2),
    st.integers(1, PAIRS),
)
def test_whatever_comes_in_the_limits_hold_after_a_decision(
    seed, holes, expected, confidence, volatility, quantity, equity, shortfall, slots
):
    """Any signals, any book, any matrix: no cap is left by an entry, and none makes a book that is over its limit worse."""
    risk = RiskSettings(max_positions=slots, max_expected_shortfall=shortfall)
    terms, out = rules.Terms.of(Limits(risk=risk)), rules.Verdicts.lists(PAIRS)
    volatility, rho = np.array(volatility), correlation(seed, holes)
    row = row_of(np.array([expected, confidence, volatility, volatility]))
    price = [100.0] * PAIRS
    book = SimpleNamespace(
        quantity=quantity, age_ms=[0] * PAIRS, stop=[math.nan] * PAIRS, price=price, fault=[False] * PAIRS,
        barred=[False] * PAIRS, step=[0.001] * PAIRS, min_quantity=[0.001] * PAIRS, min_notional=[5.0] * PAIRS,
    )  # fmt: skip
    count = rules.review(row, 0, book, [rules.NONE] * PAIRS, equity, terms, rules.ACTIVE, True, out)
    before = [q * p for q, p in zip(out.target, price, strict=True)]
    yes = rules.Assumed(True, True, True, True)
    rules.propose(row, 0, rho, book, equity, terms, [math.nan] * PAIRS, yes, count, True, out)
    after = [q * p for q, p in zip(out.target, price, strict=True)]
    grown = [i for i in range(PAIRS) if out.outcome[i] in (rules.ENTER, rules.ENLARGE)]
    assert all(math.isfinite(notional) for notional in after)
    assert all(abs(after[i]) <= risk.max_position_notional * (1 + 1e-9) for i in range(PAIRS))
    assert sum(map(abs, after)) <= gross_cap(equity, risk) * (1 + 1e-9) + 1e-6
    assert sum(n != 0 for n in after) <= max(slots, sum(n != 0 for n in before))
    assert all(math.isfinite(out.stop[i]) and (price[i] - out.stop[i]) * after[i] > 0 for i in grown)
    if grown:
        known = np.nan_to_num(volatility, nan=float(np.nanmax(volatility)))
        limit = shortfall * equity
        assert expected_shortfall(after, rho, known.tolist()) <= max(
            limit, expected_shortfall(before, rho, known.tolist())
        ) * (1 + 1e-6)


def test_beside_a_position_without_a_price_nothing_is_entered() -> None:
    terms, out = rules.Terms.of(Limits()), rules.Verdicts.lists(PAIRS)
    row = row_of(np.array([[0.1] * PAIRS, [0.9] * PAIRS, [0.02] * PAIRS, [0.02] * PAIRS]))
    nothing = [0.0] * PAIRS
    book = SimpleNamespace(
        quantity=[3.0, *nothing[1:]], age_ms=[0] * PAIRS, stop=[math.nan] * PAIRS, price=[math.nan, *[100.0] * (PAIRS - 1)],
        fault=[False] * PAIRS, barred=[False] * PAIRS, step=nothing, min_quantity=nothing, min_notional=nothing,
    )  # fmt: skip
    count = rules.review(row, 0, book, [rules.NONE] * PAIRS, 10_000.0, terms, rules.ACTIVE, True, out)
    yes = rules.Assumed(True, True, True, True)
    rules.propose(row, 0, correlation(1, 0), book, 10_000.0, terms, [math.nan] * PAIRS, yes, count, True, out)
    assert count == PAIRS - 1
    assert out.target == [3.0, *nothing[1:]]
    assert set(out.reason[1:]) == {rules.NO_ROOM}


def test_kelly_is_cut_where_the_edge_is_small_against_its_error() -> None:
    """The growth of a bet on an estimated mean, averaged over the error of the estimate, is largest at that fraction."""
    assert sure_fraction(0.5, 0.25, 0.0) == 0.25
    assert sure_fraction(0.5, 0.25, 200) == 0.25
    assert sure_fraction(0.02, 0.25, 200) == pytest.approx(0.08 / 1.08)
    assert sure_fraction(0.0, 0.25, 200) == 0.0
    rng = np.random.default_rng(11)
    mean, sigma, observations = 0.02, 1.0, 2_500
    estimates = mean + sigma / math.sqrt(observations) * rng.standard_normal(400_000)
    fractions = np.linspace(0, 1, 201)
    growth = [(c * estimates * mean - 0.5 * (c * estimates) ** 2 * sigma**2).mean() for c in fractions]
    assert fractions[int(np.argmax(growth))] == pytest.approx(sure_fraction(mean, 1.0, observations), abs=0.01)
