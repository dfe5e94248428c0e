"""A panel that grows bar by bar: the same bits as one made at once, and as what is computed of it from scratch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from example_panel import example_panel

from hydra_core.alpha.analyst.readings import NAMES, readings_from
from hydra_core.alpha.features import FeatureSet, features
from hydra_core.domain.growing import GrowingPanel
from hydra_core.domain.market import FIELD_NAMES, Liquidation, Panel
from hydra_core.domain.panel import Sources, build_panel, reading_start_ms
from hydra_core.domain.rowmemory import memory_of
from hydra_core.domain.series import Bars, Series
from hydra_core.statistics.state import MEMBERS, layer2

LENGTH, GROWTH = 2420, 7


class History:
    """Columns of an example market, of which some rows come late, are revised or are missing."""

    def __init__(self, gaps: float, bars: int = LENGTH + GROWTH) -> None:
        self.whole = example_panel(8, bars, gaps=gaps)
        self.step = self.whole.interval.ms
        rng = np.random.default_rng(3)
        self.funding = {
            pair: Series(self.whole.ts[::96].copy(), rng.normal(0, 1e-4, self.whole.ts[::96].size))
            for pair in self.whole.pairs
        }
        self.forced: list[Liquidation] = []

    def sources(self, start: int, end: int) -> Sources:
        """As a reader hands them out: candles of the span, readings from a day before on, stamps before its end."""
        whole = self.whole
        early = (whole.ts >= reading_start_ms(start)) & (whole.ts < end)
        inside = (whole.ts >= start) & (whole.ts < end)
        candles, open_interest, long_short = {}, {}, {}
        for column, pair in enumerate(whole.pairs):
            rows = inside & np.isfinite(whole.close[:, column])
            names = ("open", "high", "low", "close", "volume")
            candles[pair] = Bars(whole.ts[rows], *(getattr(whole, name)[rows, column] for name in names))
            open_interest[pair] = Series(whole.ts[early], whole.open_interest[early, column])
            long_short[pair] = Series(whole.ts[early], whole.long_short[early, column])
        funding = {
            pair: Series(paid.ts[paid.ts < end], paid.value[paid.ts < end]) for pair, paid in self.funding.items()
        }
        forced = {pair: [e for e in self.forced if e.pair == pair and e.event_ms < end] for pair in whole.pairs}
        return Sources(candles, funding, open_interest, long_short, forced)

    def made_at_once(self, start: int, end: int) -> Panel:
        return build_panel(self.whole.pairs, self.whole.interval, start, end, *self.sources(start, end))


def same(grown: Panel, made: Panel) -> None:
    """Every bit, the hash and the inputs."""
    assert grown.inputs == made.inputs
    np.testing.assert_array_equal(grown.ts, made.ts)
    for name in FIELD_NAMES:
        np.testing.assert_array_equal(getattr(grown, name).view(np.int64), getattr(made, name).view(np.int64), name)
    assert grown.content_hash() == made.content_hash()


def test_a_grown_panel_has_the_bits_and_the_hash_of_one_made_at_once() -> None:
    """Its start moves, rows are revised, holes are filled, forced orders come and fall out of the span again."""
    history = History(0.02, 260)
    whole, step = history.whole, history.step
    growing = GrowingPanel(whole.pairs, whole.interval)
    rng = np.random.default_rng(1)
    changed, start, held, seen = 0, int(whole.ts[0]), None, set()
    for bar in range(70, 240):
        end = int(whole.ts[bar])
        start = max(start, end - 60 * step)
        if bar % 11 == 0:
            row = bar - int(rng.integers(1, 30))
            whole.close[row, 1] = whole.high[row, 1]
            changed = min(changed, int(whole.ts[row]))
        if bar in (90, 91, 130):
            history.forced.append(Liquidation(whole.pairs[1], end - 5 * step + 1, True, 2.0, 3.0))
            changed = min(changed, end - 5 * step)
        panel = growing.panel(start, end, changed, history.sources, None)
        seen.add("liquidations" in panel.inputs)
        if bar % 5 == 0 or bar in (90, 91, 130, 186):
            same(panel, history.made_at_once(start, end))
            assert growing.panel(start, end, end, history.sources, None) is panel, (
                "the same object while nothing changes"
            )
        if bar % 13 == 0:
            if held is not None:
                np.testing.assert_array_equal(held[0].close, held[1], "what was handed out is never written again")
            held = (panel, panel.close.copy())
        changed = end
    assert seen == {True, False}
    assert "liquidations" not in panel.inputs, "the last forced order has left the span"


@pytest.mark.parametrize("gaps", [0.0, 0.01])
def test_what_is_remembered_of_a_panels_rows_has_the_bits_of_what_is_computed_anew(gaps: float) -> None:
    history = History(gaps)
    whole, step = history.whole, history.step
    growing, chosen = GrowingPanel(whole.pairs, whole.interval), FeatureSet()
    every = FeatureSet.every().available({"candles", "funding", "open_interest", "long_short"})
    changed = 0
    for bar in range(LENGTH, LENGTH + GROWTH):
        end = int(whole.ts[bar])
        if bar == LENGTH + 4:  # a bar is revised after its features were computed
            whole.close[bar - 2, 0] = whole.low[bar - 2, 0]
            changed = int(whole.ts[bar - 2])
        panel = growing.panel(end - 2304 * step, end, changed, history.sources, None)
        changed = end
        alone = replace(panel, memory=None)
        assert memory_of(panel) is not None
        assert memory_of(alone) is None
        for last in (1, 94):
            np.testing.assert_array_equal(bits(chosen.compute(panel, last)), bits(chosen.compute(alone, last)))
        np.testing.assert_array_equal(bits(every.compute(panel, 3)), bits(every.compute(alone, 3)))
        live, cold = layer2(panel, 1), layer2(alone, 1)
        for name in (*MEMBERS, "correlation"):
            np.testing.assert_array_equal(bits(getattr(live, name)), bits(getattr(cold, name)), name)
        for name in NAMES:
            remembered, computed = (getattr(readings_from(one, 1), name) for one in (panel, alone))
            np.testing.assert_array_equal(bits(remembered), bits(computed), name)


def test_a_steady_features_row_has_the_same_bits_however_many_rows_are_asked_for() -> None:
    """Only then may a row that was computed when it was the newest stand for itself later."""
    panel = example_panel(5, 2500, gaps=0.01)
    for member in features():
        if member.steady and member.inputs <= panel.inputs:
            one = FeatureSet([member.name])
            few, many = one.compute(panel, 2), one.compute(panel, 97)
            np.testing.assert_array_equal(bits(few), bits(many[-2:]), member.name)


def test_a_panel_that_was_altered_or_copied_has_no_memory() -> None:
    history = History(0.0, 300)
    whole, step = history.whole, history.step
    growing = GrowingPanel(whole.pairs, whole.interval)
    end = int(whole.ts[250])
    panel = growing.panel(end - 200 * step, end, 0, history.sources, None)
    assert memory_of(panel.last(50)) is memory_of(panel) is not None
    assert memory_of(replace(panel, close=panel.close.copy())) is None
    assert memory_of(replace(panel, close=panel.open)) is None
    assert memory_of(replace(panel, ts=panel.ts + step)) is None
    assert memory_of(history.made_at_once(end - 200 * step, end)) is None


def bits(values: np.ndarray) -> np.ndarray:
    """Floats by their bits, so that NaN equals NaN and nothing else does."""
    return np.ascontiguousarray(values).view(np.int32 if values.dtype == np.float32 else np.int64)
