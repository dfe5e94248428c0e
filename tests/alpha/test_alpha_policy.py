"""The policy: the band, the book it is compared on, the lanes it learns in, the sealed artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from walk_panel import walk

from hydra_core.alpha.models import Forecast, PolicyObservation
from hydra_core.alpha.policy import artifact
from hydra_core.alpha.policy.band import Band, Lanes, band_target, lanes, trade, tune_band
from hydra_core.alpha.policy.observation import policy_inputs
from hydra_core.alpha.policy.timing import canonical, timed_target
from hydra_core.domain.errors import ArtifactInvalid, InputMissing
from hydra_core.execution.committee import ABSTAINED, REJECTED, policy_choice


def observation(z: np.ndarray, displacement: np.ndarray | None = None) -> PolicyObservation:
    zero = np.zeros_like(z)
    return PolicyObservation(
        z, 0.5 + 0.2 * np.abs(z), zero, zero if displacement is None else displacement, zero, zero + 0.1
    )


def displaced_book(seed: int, rows: int, pairs: int = 4, *, depth: float = 25e-4) -> Lanes:
    """Slow forecasts that come true, and a displacement of the price that reverts: only waiting earns it."""
    rng = np.random.default_rng(seed)
    slow, short = np.zeros((rows + 1, pairs)), np.zeros((rows + 1, pairs))
    for t in range(rows):
        slow[t + 1] = 0.99 * slow[t] + np.sqrt(1 - 0.99**2) * rng.normal(size=pairs)
        short[t + 1] = 0.8 * short[t] + 0.6 * rng.normal(size=pairs)
    noise = 8e-4 * rng.normal(size=(rows, pairs))
    returns = 1e-4 * slow[:-1] + depth * np.diff(short, axis=0) + noise
    return Lanes(
        observation(0.3 * slow[:-1], 0.25 * short[:-1]),
        returns,
        np.zeros((rows, pairs)),
        7e-4,
        np.arange(rows) // 288.0,
    )


@pytest.mark.parametrize(
    ("worth", "held", "wanted"),
    [(1.6, 0, 1), (1.4, 0, 0), (0.3, 1, 1), (-0.4, 1, 1), (-0.6, 1, 0), (-1.6, 1, -1), (-1.6, 0, -1), (np.nan, 1, 0)],
)
def test_band_table(worth: float, held: float, wanted: float) -> None:
    """Enter beyond 1.5 round trips, leave below -0.5 of the direction held, turn when the other side is worth entering."""
    assert band_target(np.array([worth]), np.array([float(held)]), 1.5, -0.5)[0] == wanted


def test_the_book_pays_costs_on_changes_and_funding_while_held() -> None:
    """One pair by hand: long for two bars, then short for one."""
    seen = observation(np.array([[0.2], [0.2], [-0.2]]))
    book = Lanes(seen, np.array([[0.01], [-0.02], [0.03]]), np.array([[0.0], [0.001], [0.0]]), 7e-4, np.zeros(3))
    net, held = trade(book, Band(1.5, 0.0).target)
    assert_array_equal(held[:, 0], [1, 1, -1])
    assert_allclose(net[:, 0], [0.01 - 7e-4, -0.021, -0.03 - 14e-4], atol=1e-15)


def test_lanes_trade_at_the_next_open() -> None:
    panel = walk(3, 2_400)
    forecast = Forecast(*(np.full((300, 3), value) for value in (0.001, 0.6, 0.01, 0.012)))
    seen = policy_inputs(panel, forecast, 14.0, 300)
    book = lanes(panel, seen, 7e-4)
    assert len(book) == 298
    at = len(panel) - 300
    assert_allclose(book.returns[0], panel.open[at + 2] / panel.open[at + 1] - 1)
    assert seen.cost_bp_over_sigma[0, 0] == pytest.approx(14e-4 / 0.012)
    settles = (panel.close_ms % 28_800_000 == 0)[:, None]
    usual = np.where(settles, np.nan_to_num(panel.funding_rate), 0.0)
    assert_array_equal(book.funding, usual[at + 1 : -1])
    hourly = np.random.default_rng(1).normal(size=panel.close.shape)
    assert_array_equal(lanes(panel, seen, 7e-4, hourly).funding, hourly[at + 1 : -1])
    live = policy_inputs(panel.last(2_350), forecast.rows(slice(-1, None)), 14.0, 1)
    assert_array_equal(live.displacement_z[0], seen.displacement_z[-1])


def test_both_sides_of_a_move_look_alike_to_the_network() -> None:
    seen = observation(np.array([0.3, -0.3]), np.array([0.2, -0.2]))
    columns = canonical(seen, np.array([2.0, -2.0]))
    assert_array_equal(columns[0], columns[1])
    assert (np.abs(columns) <= 3).all()


def test_the_timing_moves_only_where_the_band_wishes_and_never_blindly() -> None:
    seen = observation(np.array([0.3, 0.3, 0.05, np.nan, 0.3]))
    held = PolicyObservation(**{**seen.__dict__, "position": np.array([-0.5, 0.7, 0.0, 1.0, 0.0]),
                                "volatility_ratio": np.array([0, 0, 0, 0, np.nan])})  # fmt: skip
    band = Band(1.5, -1.0)
    assert_array_equal(timed_target(held, band, lambda c: np.tile([0.0, 1.0], (len(c), 1))), [1, 1, 0, 0, 0])
    assert_array_equal(timed_target(held, band, lambda c: np.tile([1.0, 0.0], (len(c), 1))), [-1, 1, 0, 0, 0])


def test_a_band_over_silent_forecasts_never_wishes() -> None:
    from hydra_core.alpha.policy.train import PolicyHyper, train_policy

    book = displaced_book(1, 600)
    silent = Lanes(observation(np.zeros((600, 4))), book.returns, book.funding, book.side_cost, book.days)
    with pytest.raises(InputMissing, match="never wishes"):
        train_policy(silent, PolicyHyper(steps=1_000), seed=1)


def test_waiting_is_rewarded_by_what_the_move_would_have_lost() -> None:
    from hydra_core.alpha.policy.env import REWARD_UNIT, TimingLanes

    book = displaced_book(2, 2_000)
    env = TimingLanes(book, Band(1.0, -1.0), count=16, seed=3)
    env.reset()
    row, pair, move = env._row.copy(), env._pair.copy(), env._move.copy()
    assert (move != 0).all()
    env.step_async(np.zeros(16, np.int64))
    _, rewards, _, _ = env.step_wait()
    quiet = book.returns - book.returns.mean(axis=1, keepdims=True)
    assert_allclose(rewards, -move * quiet[row, pair] / REWARD_UNIT, rtol=1e-5)
    env.step_async(np.ones(16, np.int64))
    _, rewards, done, infos = env.step_wait()
    assert done.all()
    assert (rewards == 0).all()
    assert all("terminal_observation" in info for info in infos)


@pytest.fixture(scope="module")
def trained() -> object:
    from hydra_core.alpha.policy.train import PolicyHyper, train_policy

    return train_policy(displaced_book(4, 9_000), PolicyHyper(steps=25_000), seed=1)


def test_ppo_learns_to_wait_for_the_displacement(trained: object) -> None:
    """On unseen rows it earns more than the band whose moves it times, days drawn in blocks."""
    from hydra_core.research.bootstrap import mean_interval

    book = displaced_book(5, 9_000)
    own, held = trade(book, trained.target)  # type: ignore[attr-defined]
    beside, reference = trade(book, trained.band.target)  # type: ignore[attr-defined]
    days = book.days.astype(int)
    gain = np.bincount(days, (own - beside).mean(axis=1))
    assert mean_interval(gain, level=0.95).low > 0
    assert 0 < (held != reference).mean() < 0.2


def test_the_sealed_policy_says_what_the_trained_one_says(trained: object, tmp_path: Path) -> None:
    artifact.write(tmp_path, trained)  # type: ignore[arg-type]
    sealed = artifact.load(tmp_path, "v1")
    book = displaced_book(6, 400)
    for row in (0, 100, 399):
        seen = PolicyObservation(**{name: values[row] for name, values in book.observation.__dict__.items()})
        assert_array_equal(sealed.target(seen), trained.target(seen))  # type: ignore[attr-defined]
    (tmp_path / "model.onnx").write_bytes(b"no")
    with pytest.raises(ArtifactInvalid, match="cannot be loaded"):
        artifact.load(tmp_path, "v1")


def test_a_sealed_policy_has_no_word_on_what_it_cannot_see_and_its_book_goes_on(
    trained: object, tmp_path: Path
) -> None:
    """An unknown input is an abstention in the vote, never a target of zero; on paper it keeps what it holds."""
    artifact.write(tmp_path, trained)  # type: ignore[arg-type]
    sealed = artifact.load(tmp_path, "v")
    seen = observation(np.full(4, 3.0))
    blind = PolicyObservation(**{**seen.__dict__, "displacement_z": np.array([0.0, np.nan, 0.0, 0.0]),
                                 "forecast_z": np.array([3.0, 3.0, np.nan, 3.0])})  # fmt: skip
    said = sealed.target(blind)
    assert_array_equal(np.isnan(said), [False, True, True, False])
    assert policy_choice(1.0, said[1]) == ABSTAINED != REJECTED
    book = displaced_book(5, 300)
    gone = {name: np.array(getattr(book.observation, name)) for name in ("displacement_z", "forecast_z")}
    gone["displacement_z"][100:200] = np.nan
    gone["forecast_z"][150:160] = np.nan
    holes = Lanes(PolicyObservation(**{**book.observation.__dict__, **gone}), book.returns, book.funding, book.side_cost,
                  book.days)  # fmt: skip
    net, held = trade(holes, sealed.target)
    assert np.isfinite(net).all()
    assert (held[100:150] == held[99]).all()
    assert (held[150:160] == 0).all()


def test_tuning_prefers_the_thresholds_that_earn() -> None:
    band = tune_band(displaced_book(7, 6_000, depth=0.0))
    assert band.leave < band.enter
    best = trade(displaced_book(7, 6_000, depth=0.0), band.target)[0].mean()
    assert best >= trade(displaced_book(7, 6_000, depth=0.0), Band(4.0, 1.0).target)[0].mean()
