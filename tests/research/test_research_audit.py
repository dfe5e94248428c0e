"""The leak suite: every kind of planted leak is caught, and what is clean raises no alarm."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from planted_panel import planted_panel

from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet, intervals
from hydra_core.alpha.models import Hazard
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, Interval
from hydra_core.domain.market import CANDLES, INPUTS, LIQUIDATIONS, Liquidation, Panel
from hydra_core.domain.panel import build_panel
from hydra_core.domain.series import Bars, Series
from hydra_core.research.audit import canary, causality, learning, suite
from hydra_core.research.audit.lines import CHECKS, leaks
from hydra_core.research.audit.sources import Sources, buildable_then, features_then, universe_as_of
from hydra_core.research.bootstrap import Interval as Range
from hydra_core.research.evaluation import Skill
from hydra_core.research.gates import Caps, plausible_caps
from hydra_core.statistics.registry import statistics

HORIZON = 48


@pytest.fixture(scope="module")
def market() -> Panel:
    return planted_panel(3, 14, 0.3, pairs=2)[0]


@pytest.fixture(scope="module")
def walk() -> Panel:
    """Four pairs of Gaussian walk: nothing to find."""
    rng = np.random.default_rng(8)
    moves = 0.001 * rng.normal(size=(6_000, 2))
    close = 100 * np.exp(np.cumsum(moves, axis=0))
    opened = np.vstack([np.full((1, 2), 100.0), close[:-1]])
    wiggle = np.abs(rng.normal(size=(2, *close.shape))) * 0.0005
    base, _ = planted_panel(3, 1, 0.0, pairs=2)
    none = np.full(close.shape, np.nan)
    return replace(
        base, ts=base.ts[0] + Interval.M5.ms * np.arange(len(close)), open=opened, close=close,
        high=np.maximum(opened, close) * np.exp(wiggle[0]), low=np.minimum(opened, close) * np.exp(-wiggle[1]),
        volume=rng.lognormal(3, 0.3, close.shape), funding_rate=none, open_interest=none, long_short=none,
        liquidated_long=none, liquidated_short=none, inputs=frozenset({CANDLES}),
    )  # fmt: skip


def leaking(change: Any) -> Any:
    honest = FeatureSet.compute

    def compute(self: FeatureSet, panel: Panel, last: int | None = None) -> Any:
        values = honest(self, panel, last)
        change(values, self.names.index("return_1"), panel)
        return values

    return compute


def knows_the_next_bar(values: Any, at: int, panel: Panel) -> None:
    values[:-1, :, at] = values[1:, :, at]


def joined_by_left_label(values: Any, at: int, panel: Panel) -> None:
    """The hour's close at each of its bars, as a join on the hour's open time gives it."""
    hour = (panel.ts[-len(values) :] // 3_600_000).astype(np.int64)
    last = np.searchsorted(hour, hour, side="right") - 1
    values[:, :, at] = panel.close[-len(values) :][last].astype(np.float32)


def test_l1_clears_every_feature_and_statistic_and_draws_what_the_panel_lacks(market: Panel) -> None:
    whole, drawn = causality.with_drawn_inputs(market)
    assert drawn == {LIQUIDATIONS}
    assert whole.inputs == set(INPUTS)
    lines = causality.audit_features(whole, rows=3)
    assert len(lines) == len(FeatureSet.every())
    assert not leaks([*lines, *causality.audit_statistics(whole, rows=2)])


@pytest.mark.parametrize("change", [knows_the_next_bar, joined_by_left_label])
def test_l1_catches_a_feature_that_moves_with_the_future(
    market: Panel, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    monkeypatch.setattr(FeatureSet, "compute", leaking(change))
    found = leaks(causality.audit_features(market, rows=4))
    assert [line.name for line in found] == ["return_1"]
    assert "changed with what came after it" in found[0].detail


def test_l1_catches_a_centred_statistic(market: Panel) -> None:
    def centred(part: Panel) -> dict[str, Any]:
        kernel = np.ones(5) / 5
        return {"slope": np.stack([np.convolve(column, kernel, "same") for column in part.close.T], axis=1)}

    lines = causality.prefix_invariant(centred, market, 10, rows=2, seed=1)
    assert [line.name for line in leaks(lines)] == ["slope"]


@pytest.mark.long
def test_l1_clears_every_feature_and_statistic_at_two_hundred_cuts(market: Panel) -> None:
    """As many as the audit of a history makes; bit for bit, so there is no tolerance."""
    assert suite.HISTORY_ROWS == 200
    whole, _ = causality.with_drawn_inputs(market)
    lines = [
        *causality.audit_features(whole, rows=suite.HISTORY_ROWS),
        *causality.audit_statistics(whole, rows=suite.HISTORY_ROWS),
    ]
    assert len(lines) == len(FeatureSet.every()) + len(statistics())
    assert not leaks(lines)


def test_l1_catches_a_model_that_knows_the_next_bar(market: Panel) -> None:
    """Its word on a row is the move after it; without that peep it is cleared."""

    def hazard(panel: Panel, last: int, peeps: bool) -> Hazard:
        moved = np.diff(np.log(panel.close), axis=0, prepend=np.nan)
        shown = np.append(moved[1:], moved[-1:], axis=0) if peeps else moved
        return Hazard(shown[-last:], -shown[-last:])

    for peeps in (True, False):
        model: Any = SimpleNamespace(lookback=10, hazard=partial(hazard, peeps=peeps))
        assert causality.hazard_ignores_the_future(model, market).clean is not peeps


def test_l1_needs_a_history_longer_than_the_look_back(market: Panel) -> None:
    with pytest.raises(InputMissing, match="Needs"):
        causality.audit_features(market.last(500))


@pytest.fixture(scope="module")
def noise(walk: Panel) -> learning.Problem:
    chosen = FeatureSet().available(walk.inputs)
    features, label = chosen.compute(walk), labels.scaled_return(walk, HORIZON)
    return learning.Problem(features, label, HORIZON, np.arange(2_300, 4_800), np.arange(4_850, 5_940))


def test_l2_learns_nothing_from_shuffled_labels_over_a_purged_border(noise: learning.Problem) -> None:
    assert learning.permuted_labels(noise).clean


def test_l2_catches_a_shuffled_split(noise: learning.Problem) -> None:
    rows = np.random.default_rng(1).permutation(np.arange(2_300, 5_940))
    mixed = replace(noise, train=np.sort(rows[:2_900]), test=np.sort(rows[2_900:]))
    line = learning.permuted_labels(mixed)
    assert not line.clean
    assert line.check == "L2"


def backward(panel: Panel) -> Panel:
    """The panel run backwards: what closed opens."""
    turned = {name: getattr(panel, name)[::-1].copy() for name in ("high", "low", "volume")}
    return replace(panel, open=panel.close[::-1].copy(), close=panel.open[::-1].copy(), **turned)


def test_l4_centred_filters_show_on_the_reversed_series(walk: Panel) -> None:
    def problem(panel: Panel, centred: bool) -> learning.Problem:
        close = np.log(panel.close)
        kernel = np.ones(3) / 3
        smooth = np.stack([np.convolve(column, kernel, "same") for column in close.T], axis=1)
        slope = np.diff(smooth, axis=0, prepend=smooth[:1])
        shown = slope if centred else np.vstack([np.zeros((2, 2)), slope[:-2]])
        moves = np.vstack([np.diff(close, axis=0), np.full((1, 2), np.nan)]) / 0.001
        features = (shown[:, :, None] / 0.001).astype(np.float32)
        return learning.Problem(features, moves, 1, np.arange(10, 4_000), np.arange(4_010, 5_900))

    caught = learning.reversed_time(problem(walk, True), problem(backward(walk), True))
    assert not caught.clean
    assert learning.reversed_time(problem(walk, False), problem(backward(walk), False)).clean


def test_l5_finds_the_canary_and_it_alone(market: Panel) -> None:
    chosen = FeatureSet().available(market.inputs)
    features, moves = chosen.compute(market), canary.next_moves(market)
    lines = canary.sing(features, chosen.names, moves)
    assert [line.name for line in lines] == [canary.CANARY]
    assert lines[0].clean
    assert "found" in lines[0].detail
    told = features.copy()
    told[:, :, 0] = canary.canary(moves, 3)
    assert [line.name for line in leaks(canary.screen(told, chosen.names, moves))] == [chosen.names[0]]


def test_l5_a_blind_screen_is_a_finding(market: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "MOST_IC", 2.0)
    moves = canary.next_moves(market)
    features = np.zeros((*moves.shape, 1), np.float32)
    assert next(str(line) for line in leaks(canary.sing(features, ("nothing",), moves))).startswith(
        "L5 canary: not found"
    )


@pytest.mark.parametrize(
    ("by_lag", "clean"),
    [
        ({0: 0.30, 1: 0.27, 2: 0.24}, True),
        ({0: 0.30, 1: 0.02, 2: 0.0}, False),
        ({0: -0.30, 1: -0.27, 2: -0.2}, True),
        ({0: 0.30, 1: 0.28, 2: -0.2}, False),
        ({0: 0.05, 1: -0.02, 2: 0.0}, True),
    ],
)
def test_l6_skill_fades_and_does_not_fall_off_a_cliff(by_lag: dict[int, float], clean: bool) -> None:
    assert learning.extra_lag(by_lag, 0.02).clean is clean


def test_l7_is_flat_where_labels_end_and_not_where_they_reach_over_the_border() -> None:
    rng = np.random.default_rng(4)
    horizon, rows = 12, 9_000
    path = np.cumsum(rng.normal(size=(rows + 200, 1)), axis=0)
    features = np.concatenate([path[:rows, :, None], np.roll(path, 6, 0)[:rows, :, None]], axis=2).astype(np.float32)
    honest = (path[horizon : rows + horizon] - path[:rows]) / np.sqrt(horizon)
    longer = (path[10 * horizon : rows + 10 * horizon] - path[:rows]) / np.sqrt(10 * horizon)
    assert learning.embargo_sweep(features, honest, horizon).clean
    line = learning.embargo_sweep(features, longer, horizon)
    assert not line.clean
    assert line.check == "L7"


@pytest.fixture(scope="module")
def recorded() -> tuple[Panel, Sources]:
    """Two days of two pairs with their sources: candles, eight-hourly funding, readings every five minutes."""
    rng = np.random.default_rng(5)
    start, count, step = 1_717_200_000_000, 576, Interval.M5.ms
    pairs = planted_panel(3, 1, 0.0, pairs=2)[0].pairs
    ts = start + step * np.arange(count)

    def bars() -> Bars:
        close = 100 * np.exp(np.cumsum(0.001 * rng.normal(size=count)))
        return Bars(ts, close, close * 1.001, close * 0.999, close, np.full(count, 5.0))

    def every(ms: int) -> Series:
        stamps = np.arange(start, start + count * step, ms)
        return Series(stamps, rng.normal(size=stamps.size))

    sources = Sources(
        pairs, {p: bars() for p in pairs}, {p: every(8 * 3_600_000) for p in pairs}, {p: every(step) for p in pairs},
        {p: every(step) for p in pairs},
    )  # fmt: skip
    return sources.panel(start, start + count * step), sources


def test_l8_an_honest_panel_could_have_been_built_then(recorded: tuple[Panel, Sources]) -> None:
    lines = buildable_then(*recorded)
    assert {"close", "funding_rate", "open_interest", "long_short"} <= {line.name for line in lines}
    assert not leaks(lines)


def test_l8_catches_funding_before_its_settlement_and_a_bar_before_its_close(recorded: tuple[Panel, Sources]) -> None:
    panel, sources = recorded
    early = np.vstack([panel.funding_rate[96:], panel.funding_rate[-96:]])
    assert [line.name for line in leaks(buildable_then(replace(panel, funding_rate=early), sources))] == [
        "funding_rate"
    ]
    hourly = np.repeat(panel.close[11::12], 12, axis=0)  # each hour's close, shown from its first bar on
    assert [line.name for line in leaks(buildable_then(replace(panel, close=hourly), sources))] == ["close"]


def test_l8_catches_readings_taken_at_their_stamp(
    recorded: tuple[Panel, Sources], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra_core.domain import panel as joining

    _, sources = recorded
    start, end = int(recorded[0].ts[0]), int(recorded[0].close_ms[-1])
    with monkeypatch.context() as patched:
        patched.setattr(joining, "PUBLICATION_DELAY_MS", {})
        careless = build_panel(
            sources.pairs, Interval.M5, start, end, sources.candles, sources.funding, sources.open_interest,
            sources.long_short, None,
        )  # fmt: skip
    assert {line.name for line in leaks(buildable_then(careless, sources))} == {"open_interest", "long_short"}


LONGER = ("bar_position_15m", "bar_position_1h", "bar_position_4h", "bar_run_1h", "hour_sin", "money_flow_48")


def joined_one_bar_early(view: Any, interval: Interval, values: Any) -> Any:
    """Each row sees the longer bar that is under way, wherever the panel holds all of it."""
    panel = view.panel
    first = -int(panel.ts[0]) % interval.ms // panel.interval.ms
    under_way = (panel.close_ms - int(panel.ts[first])) // interval.ms
    out = np.full(panel.close.shape, np.nan)
    known = (under_way >= 0) & (under_way < len(values))
    out[known] = values[under_way[known]]
    return out


def test_l1_and_l8_catch_a_higher_interval_joined_one_bar_early(
    market: Panel, recorded: tuple[Panel, Sources], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = FeatureSet(LONGER)
    assert [line.check for line in features_then(*recorded, chosen)] == ["L8"]
    assert not leaks([*features_then(*recorded, chosen), *causality.audit_features(market, chosen, rows=2)])
    monkeypatch.setattr(intervals, "_of_rows", joined_one_bar_early)
    for found in (features_then(*recorded, chosen), causality.audit_features(market, chosen, rows=2)):
        assert {line.name for line in leaks(found)} == set(LONGER[:4])


def test_l8_clears_every_feature_of_an_honest_panel_whose_captures_began_late() -> None:
    """Forced orders are unknown before their capture, readings come a minute after their stamp, candles are missing."""
    rng = np.random.default_rng(6)
    market, _ = planted_panel(5, 10, 0.3, pairs=2)
    start, end, step = int(market.ts[0]), int(market.close_ms[-1]), Interval.M5.ms
    names = ("open", "high", "low", "close", "volume")

    def by_pair(make: Any) -> Any:
        return {pair: make(column) for column, pair in enumerate(market.pairs)}

    def bars(column: int) -> Bars:
        there = rng.random(len(market)) > 0.002
        return Bars(market.ts[there], *(getattr(market, name)[there, column] for name in names))

    def series(name: str, every: int) -> Any:
        return lambda column: Series(market.ts[::every], getattr(market, name)[::every, column])

    def forced(column: int) -> list[Liquidation]:
        stamps = np.sort(rng.integers(start, end, 900))
        return [Liquidation(market.pairs[column], int(t), bool(t % 2), 1.0, 50.0 + t % 7) for t in stamps]

    readings = [by_pair(series(*one)) for one in (("funding_rate", 96), ("open_interest", 1), ("long_short", 1))]
    sources = Sources(market.pairs, by_pair(bars), *readings, by_pair(forced))
    panel = build_panel(
        market.pairs, Interval.M5, start, end, sources.candles, sources.funding, sources.open_interest,
        sources.long_short, sources.liquidations, liquidations_from_ms=start + 2_500 * step,
    )  # fmt: skip
    assert panel.inputs == set(INPUTS)
    assert [str(line) for line in leaks(features_then(panel, sources, FeatureSet.every(), rows=40))] == []
    early = replace(panel, funding_rate=np.vstack([panel.funding_rate[96:], panel.funding_rate[-96:]]))
    found = leaks(features_then(early, sources, FeatureSet.every(), rows=4))
    assert "funding_level" in {line.name for line in found}


def test_l8_takes_quiet_bars_of_a_capture_for_what_they_are_and_catches_a_forced_order_that_is_early(
    recorded: tuple[Panel, Sources],
) -> None:
    """A capture in which hardly a bar has a forced order: where none was heard of, nothing was forced."""
    panel, sources = recorded
    start, step = int(panel.ts[0]), panel.interval.ms
    heard = {
        pair: [Liquidation(pair, start + row * step + 7, True, 1.0, 50.0) for row in range(11, len(panel), 400)]
        for pair in panel.pairs
    }
    with_orders = replace(sources, liquidations=heard)
    captured = with_orders.panel(start, int(panel.close_ms[-1]))
    assert LIQUIDATIONS in captured.inputs
    assert not leaks(buildable_then(captured, with_orders, rows=400))
    early = replace(captured, liquidated_long=np.roll(captured.liquidated_long, -1, axis=0))
    found = leaks(buildable_then(early, with_orders, rows=len(panel)))
    assert [line.name for line in found] == ["liquidated_long"]


def test_l8_of_features_needs_a_history_longer_than_the_look_back(recorded: tuple[Panel, Sources]) -> None:
    with pytest.raises(InputMissing, match="Needs 1489"):
        features_then(*recorded, FeatureSet(["return_1"]))


def test_l9_quarantines_what_is_too_good_to_be_true() -> None:
    good = Skill(Range(0.05, 0.03, 0.07), 0.05, 0.52, 4_000, 5.0, 0.0, {0: 0.05, 1: 0.04, 2: 0.04})
    caps = plausible_caps("binanceusdm", 3_600_000)
    assert suite.plausible(good, caps).clean
    assert not suite.plausible(replace(good, accuracy=0.62), caps).clean
    assert not suite.plausible(replace(good, correlation=Range(0.2, 0.15, 0.25)), caps).clean
    assert suite.plausible(replace(good, correlation=Range(0.2, 0.15, 0.25)), Caps(0.33)).clean


def test_l10_the_universe_holds_the_dead(market: Panel) -> None:
    start, end = int(market.ts[0]), int(market.close_ms[-1])
    traded = {pair: (start, end) for pair in market.pairs}
    assert universe_as_of(market, traded).clean
    gone = {**traded, "LUNAUSDT": (start - DAY_MS, start + DAY_MS)}
    line = universe_as_of(market, gone)  # type: ignore[arg-type]
    assert not line.clean
    assert "LUNAUSDT" in line.detail
    assert universe_as_of(market, {**traded, "OLDUSDT": (0, start - DAY_MS)}).clean  # type: ignore[dict-item]


def test_l10_a_pair_that_is_not_listed_yet_changes_nothing(market: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not leaks(causality.late_listing(market))

    def by_all_columns(values: Any, at: int, panel: Panel) -> None:
        values[:, :, at] = np.nan_to_num(values[:, :, at]).sum(axis=1, keepdims=True) / values.shape[1]

    monkeypatch.setattr(FeatureSet, "compute", leaking(by_all_columns))
    assert [line.name for line in leaks(causality.late_listing(market))] == ["return_1"]


def test_the_whole_suite_over_a_clean_history_raises_no_alarm(market: Panel) -> None:
    told: list[str] = []
    traded = {pair: (int(market.ts[0]), int(market.ts[-1])) for pair in market.pairs}
    lines = suite.audit_history(market, None, traded, rows=2, progress=lambda what, *_: told.append(what))
    assert [str(line) for line in leaks(lines)] == []
    assert {line.check for line in lines} == {"L1", "L2", "L5", "L6", "L10"}
    assert {line.check for line in lines} <= set(CHECKS)
    assert told[-1] == "done"
    drawn = next(line for line in lines if "drawn at random" in line.detail) if any(
        LIQUIDATIONS in member.inputs for member in FeatureSet.every().features
    ) else None  # fmt: skip
    assert drawn is None or drawn.check == "L1"
