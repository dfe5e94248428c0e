"""By what a span of history is traded: each contract's settlements, filters and margin, as far as a market home knows them.

Here: reading them from the lake and the live state, and saying what is known and what is taken for granted instead. Not here:
what they do to a book (``engine``, ``fills``), the fees, which follow from the cost settings alone.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import HOUR_MS, iso
from hydra_core.domain.market import FUNDING, Floats, MarketRules, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import reading_start_ms
from hydra_core.domain.series import Series
from hydra_core.domain.settlements import ends, holes
from hydra_core.home import Home
from hydra_core.lake.listings import Listings
from hydra_core.lake.panel import series_of
from hydra_core.lake.store import Lake
from hydra_core.ledger.livestate import LiveStateReader
from hydra_core.research.dataset import content_key
from hydra_core.research.engine.inputs import LONGEST_INTERVAL_MS, Settlements
from hydra_core.risk.limits import Limits
from hydra_core.risk.sizing import MAINTENANCE_RATE

GRID_H: Final = LONGEST_INTERVAL_MS // HOUR_MS


@dataclass(frozen=True, eq=False)
class Conditions:
    """What a panel is traded by beside its candles; without anything known, what a backtest assumes.

    Parameters
    ----------
    settlements : over all rows of the panel; None: the usual grid at the panel's rates (``FillRules.funding_interval_ms``)
    rules : filters and margin of the pairs for which they are known; the others are not rounded and have the maintenance
        rate that sizing assumes
    funding, contracts : how funding and the contracts' terms are taken, in words
    """

    settlements: Settlements | None = None
    rules: Mapping[Pair, MarketRules] = field(default_factory=dict)
    funding: str = f"every {GRID_H} h at the rates of the panel"
    contracts: str = f"none known: sizes are not rounded, maintenance margin {MAINTENANCE_RATE:.2%}"

    @property
    def key(self) -> str:
        """Content hash of everything that changes what is traded; empty where nothing is known."""
        if self.settlements is None and not self.rules:
            return ""
        return content_key(self.settled_key, repr(sorted(self.rules.items())))

    @property
    def settled_key(self) -> str:
        """Content hash of the settlements alone; empty where the usual grid is taken."""
        if self.settlements is None:
            return ""
        digest = hashlib.sha256(np.ascontiguousarray(self.settlements.due).data)
        digest.update(np.ascontiguousarray(self.settlements.rate).data)
        return digest.hexdigest()[:16]

    @property
    def paid(self) -> Floats | None:
        """What a long of notional 1 pays in each bar, (T, P), 0 where the rate is not known; None: the usual grid."""
        if self.settlements is None:
            return None
        return np.where(self.settlements.due, np.nan_to_num(self.settlements.rate), 0.0)

    def limits(self, limits: Limits) -> Limits:
        """The limits of the live decision under these rules: sized by the exchange's own margin tables where it shows them."""
        return limits.under(self.rules)

    def until(self, row: int) -> Settlements | None:
        """Settlements of the panel's rows before ``row``."""
        return None if self.settlements is None else self.settlements.rows(slice(0, row))

    def told(self, limits: Limits) -> list[dict[str, Any]]:
        """For people, a line each: funding, contracts, fees."""
        costs = limits.costs
        fees = f"{costs.taker_fee_bp:g} bp a side"
        if costs.fee_tiers:
            steps = (f"{tier.taker_bp:g} bp from {tier.volume:,.0f} USDT" for tier in costs.fee_tiers)
            fees += f", by the volume of 30 days: {', '.join(steps)}"
        return [
            {"what": "funding", "traded by": self.funding},
            {"what": "contracts", "traded by": self.contracts},
            {"what": "fees", "traded by": fees},
        ]


ASSUMED: Final = Conditions()
"""Nothing is known."""


def conditions_of(home: Home, lake: Lake, panel: Panel) -> Conditions:
    """What a market home knows of the contracts of a panel.

    Funding is due at the settlements of the lake's table, so an interval that a contract changed is honoured. From the first
    settlement that is missing in it until the next one, settlements are due on the usual grid at an unknown rate: whoever
    holds the pair then has a result that is not complete. A pair without any row has the grid at the panel's rates.

    Rules are those by which the trader rounds and liquidates, else the exchange's newest listing in the lake; either is
    today's word on the whole history.

    Raises
    ------
    DataCorrupt : a file of the lake, or the live state, cannot be read
    """
    settlements, funding = _settlements(lake, panel)
    rules = _rules(home, lake, panel.pairs)
    return Conditions(settlements, rules, funding, _contracts(rules, panel.pairs))


def settled_rates(frame: pl.DataFrame) -> Series:
    """Settlements of a contract with their rates, and NaN where the first one of a hole was due.

    Parameters
    ----------
    frame : rows of the lake's funding table, ascending
    """
    rates = series_of(frame, "rate")
    if not len(rates):
        return rates
    hours = frame["interval_hours"].to_numpy()
    due = [first for first, _ in holes(rates.ts, hours)]
    due.append(int(ends(rates.ts[-1:], hours[-1:])[0]))  # nothing is known of what comes after the newest
    stamps = np.concatenate([rates.ts, np.array(due, np.int64)])
    order = np.argsort(stamps, kind="stable")
    return Series(stamps[order], np.concatenate([rates.value, np.full(len(due), np.nan)])[order])


def _settlements(lake: Lake, panel: Panel) -> tuple[Settlements | None, str]:
    early, end = reading_start_ms(int(panel.ts[0])), int(panel.close_ms[-1])
    frames = {pair: lake.read(FUNDING, pair, early, end + 1) for pair in panel.pairs}
    known = {pair: frame for pair, frame in frames.items() if frame.height}
    if not known:
        lacking = "not known, none is paid" if FUNDING not in panel.inputs else f"{ASSUMED.funding}: the lake has none"
        return None, lacking
    recorded = Settlements.recorded(panel, {pair: settled_rates(frame) for pair, frame in known.items()})
    grid = Settlements.on_grid(panel, LONGEST_INTERVAL_MS)
    without = np.array([pair not in known for pair in panel.pairs])
    due, rate = np.where(without, grid.due, recorded.due), np.where(without, grid.rate, recorded.rate)
    hours = sorted({float(one) for frame in known.values() for one in frame["interval_hours"].unique()})
    said = [f"each contract's own settlements, every {' or '.join(f'{one:g}' for one in hours)} h"]
    if without.any():
        said.append(f"{ASSUMED.funding} for {_names(pair for pair in panel.pairs if pair not in known)}")
    for column, pair in enumerate(panel.pairs):
        rows = np.flatnonzero(due[:, column] & np.isnan(rate[:, column]) & np.isfinite(panel.close[:, column]))
        if rows.size:
            first, last = (iso(int(panel.close_ms[row])) for row in (rows[0], rows[-1]))
            said.append(f"{pair}: {rows.size} without a known rate between {first} and {last}, on the {GRID_H} h grid")
    return Settlements(due, rate), "; ".join(said)


def _rules(home: Home, lake: Lake, pairs: tuple[Pair, ...]) -> dict[Pair, MarketRules]:
    known = {pair: one.rules for pair, one in Listings(lake).read().items()}
    with contextlib.suppress(InputMissing), LiveStateReader(home.live_state, ()) as reader:
        reader.refresh()
        known.update(reader.readings().rules)
    return {pair: known[pair] for pair in pairs if pair in known}


def _contracts(rules: Mapping[Pair, MarketRules], pairs: tuple[Pair, ...]) -> str:
    if not rules:
        return ASSUMED.contracts
    said = [f"filters as the exchange lists them now: {_names(rules)}"]
    if tables := [pair for pair, one in rules.items() if one.margin_steps]:
        said.append(f"its margin tables: {_names(tables)}")
    if rates := [pair for pair, one in rules.items() if not one.margin_steps]:
        said.append(f"its one public margin rate: {_names(rates)}")
    if without := [pair for pair in pairs if pair not in rules]:
        said.append(f"{ASSUMED.contracts}: {_names(without)}")
    return "; ".join(said)


def _names(pairs: Iterable[Pair]) -> str:
    return ", ".join(sorted(pairs))
