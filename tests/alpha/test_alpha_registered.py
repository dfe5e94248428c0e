"""What every registered feature, statistic, crowd column and rule must hold to: causality and its declared look-back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import pytest
from example_panel import example_panel

from hydra_core.alpha.analyst.readings import LOOKBACK as READINGS_LOOKBACK
from hydra_core.alpha.analyst.rules import rules_judgement
from hydra_core.alpha.crowd.columns import columns
from hydra_core.alpha.features import FeatureSet, features, registry
from hydra_core.alpha.labels import volatility_scale
from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.market import FIELD_NAMES, FUNDING, Floats, Panel, noise_after
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.statistics.correlation import MATRIX_LOOKBACK, correlations
from hydra_core.statistics.registry import statistics
from hydra_core.statistics.state import LOOKBACK, layer2
from hydra_core.statistics.view import SIGMA_LOOKBACK, View

BARS = 2450


@dataclass(frozen=True)
class Member:
    name: str
    lookback: int
    compute: Callable[[View], Floats]

    def __str__(self) -> str:
        return self.name


def _members() -> list[Member]:
    of_view = [
        Member(f"{kind}:{member.name}", member.lookback, member.compute)
        for kind, found in (("feature", features()), ("statistic", statistics()), ("crowd", columns()))
        for member in found
    ]
    whole = FeatureSet()
    return [
        *of_view,
        Member("volatility_scale", SIGMA_LOOKBACK, lambda view: volatility_scale(view.panel)),
        Member("feature set", whole.lookback, lambda view: whole.compute(view.panel).astype(np.float64)),
        Member("rules:bias", READINGS_LOOKBACK, lambda view: rules_judgement(view.panel).bias),
        Member("rules:crowding", READINGS_LOOKBACK, lambda view: rules_judgement(view.panel).crowding),
        Member("correlation", MATRIX_LOOKBACK, lambda view: correlations(view.panel, np.arange(len(view.panel)))),
    ]


class Seen:
    """A market and what becomes of it; members share each view, as those of one cycle do, so its arrays are made once."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.view = View(panel)
        self.last = cache(lambda rows: View(panel.last(rows)))
        self.noisy_after = cache(lambda row: View(noise_after(panel, row, np.random.default_rng(row))))

    @cached_property
    def scaled(self) -> View:
        """In contracts of a thousandth's size."""
        panel = self.panel
        prices = {name: getattr(panel, name) * 1024.0 for name in ("open", "high", "low", "close")}
        return View(replace(panel, **prices, volume=panel.volume / 1024.0, open_interest=panel.open_interest / 1024.0))


@pytest.fixture(scope="module")
def panel() -> Panel:
    return example_panel(3, BARS)


@pytest.fixture(scope="module")
def whole(panel: Panel) -> Seen:
    return Seen(panel)


@pytest.fixture(scope="module")
def gappy() -> Seen:
    return Seen(example_panel(4, BARS, gaps=0.01))


@pytest.mark.parametrize("member", _members(), ids=str)
def test_a_value_ignores_the_future_and_needs_only_its_lookback(member: Member, whole: Seen, gappy: Seen) -> None:
    """Noise after a row changes nothing up to it, bit for bit; the look-back alone gives the last value; it is finite."""
    for data in (whole, gappy):
        values = member.compute(data.view)
        assert values.shape[0] == BARS
        for row in (BARS - 1, BARS - 37):
            np.testing.assert_array_equal(member.compute(data.noisy_after(row))[:row], values[:row])
        tail = member.compute(data.last(member.lookback))
        np.testing.assert_allclose(tail[-1], values[-1], rtol=1e-9, atol=0)
    assert member.lookback <= MAX_LOOKBACK_BARS
    assert np.isfinite(member.compute(whole.view)[member.lookback - 1 :]).all()


@pytest.mark.parametrize("member", _members(), ids=str)
def test_a_value_does_not_depend_on_the_unit_of_price_or_volume(member: Member, whole: Seen) -> None:
    """A contract of a thousandth's size is the same market (volatility included: it is of log returns)."""
    mine, scaled = member.compute(whole.view), member.compute(whole.scaled)
    np.testing.assert_allclose(scaled[-1], mine[-1], rtol=1e-6, atol=1e-9)


def test_every_feature_really_reads_the_market(panel: Panel) -> None:
    """Another market gives other values, in every column but the time of day."""
    other = FeatureSet().compute(example_panel(99, BARS), 5)
    mine = FeatureSet().compute(panel, 5)
    same = {name for name, a, b in zip(FeatureSet().names, mine.T, other.T, strict=True) if (a == b).any()}
    assert same == {"hour_sin", "hour_cos"}


def test_asking_for_the_last_rows_gives_the_same_as_asking_for_all(panel: Panel) -> None:
    """One implementation: a live cycle's row is a backtest's row."""
    chosen = FeatureSet()
    np.testing.assert_allclose(chosen.compute(panel, 7), chosen.compute(panel)[-7:], rtol=1e-6)
    live, whole = layer2(panel, 7), layer2(panel)
    for name in ("volatility", "variance_ratio", "move_60m", "jump", "hawkes_intensity", "branching", "regimes"):
        np.testing.assert_allclose(getattr(live, name), getattr(whole, name)[-7:], rtol=1e-9)
    np.testing.assert_allclose(live.mean_correlation, whole.mean_correlation[-7:], rtol=1e-9)
    np.testing.assert_allclose(live.correlation, whole.correlation, rtol=1e-9)
    assert live.known.all()
    assert LOOKBACK <= MAX_LOOKBACK_BARS


def test_blocks_in_threads_give_the_bits_of_one_computation(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a long history is cut shows nowhere, nor whether rows before it are missing."""
    close = panel.close.copy()
    close[1003:1009, 1] = np.nan
    gappy = replace(panel, close=close)
    chosen = FeatureSet(member.name for member in features() if member.steady).available(panel.inputs)
    together = [chosen.compute(one) for one in (panel, gappy)]
    monkeypatch.setattr(registry, "_MOST_ROWS", 700)
    monkeypatch.setattr(registry, "_LEAST_ROWS", 300)
    for one, whole in zip((panel, gappy), together, strict=True):
        np.testing.assert_array_equal(chosen.compute(one), whole)
        np.testing.assert_array_equal(chosen.compute(one, 900), whole[-900:])


def test_models_train_on_the_usual_features_and_the_others_must_be_named(panel: Panel) -> None:
    """A set that names nothing is what champions were accepted on; the registry holds more, each with its lag."""
    usual, every = FeatureSet(), FeatureSet.every()
    assert len(usual) == 36
    assert set(usual.names) < set(every.names)
    assert len(every) >= 60
    assert every.names == tuple(member.name for member in features())
    named = FeatureSet(("skewness_288", "return_1", "breadth_48"))
    one = named.compute(panel, 3)
    np.testing.assert_array_equal(one[:, :, 1], usual.compute(panel, 3)[:, :, usual.names.index("return_1")])
    by_name = {member.name: member for member in features()}
    assert by_name["turnover_day"].delay_ms == 60_000
    assert by_name["return_1"].delay_ms == 0


def test_a_set_keeps_to_the_inputs_a_panel_holds() -> None:
    """Without open interest and ratio those columns are gone; asking for them anyway is an error naming them."""
    bare = example_panel(5, 2100, inputs=frozenset({FUNDING}))
    kept = FeatureSet().available(bare.inputs)
    assert "funding_level" in kept.names
    assert not any(name.startswith(("oi_", "long_short")) for name in kept.names)
    assert np.isfinite(kept.compute(bare, 1)).all()
    with pytest.raises(InputMissing, match="open_interest"):
        FeatureSet().compute(bare, 1)
    with pytest.raises(UsageError, match="no_such"):
        FeatureSet(["no_such"])


def test_a_short_panel_is_an_error_or_unknown_never_a_guess() -> None:
    """Three rows give NaN where a week is needed, and no fourth row can be asked for."""
    short = example_panel(6, 3)
    assert np.isnan(layer2(short).volatility).all()
    assert not layer2(short, 1).known.any()
    with pytest.raises(InputMissing, match="last 4 rows"):
        FeatureSet().compute(short, 4)


def test_a_missing_candle_is_unknown_in_its_own_row_only(panel: Panel) -> None:
    """One absent candle blinds the bars that need it, not the five days after it."""
    holed = replace(panel, **{name: getattr(panel, name).copy() for name in FIELD_NAMES})
    for name in ("open", "high", "low", "close", "volume"):
        getattr(holed, name)[-600, 1] = np.nan
    state = layer2(holed)
    assert not state.known[-600, 1]
    assert state.known[-1].all()
    assert np.isfinite(FeatureSet().compute(holed, 1)).all()
