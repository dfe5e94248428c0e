"""Running the engine: a span of history through one parameter set in detail, or through many in summary.

Here: from panel, signals and limits to the engine's arrays and back. Not here: the loop (``loop``), the row-by-row backtest
whose results it equals (``research.backtest``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.decision.assessment import Assessment, maintenance_rates, multipliers
from hydra_core.decision.step import OUTCOMES, REASON_NAMES
from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Bools, Floats, Ints, MarketRules, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Choice, Side
from hydra_core.execution.committee import SEATS
from hydra_core.research.backtest import BacktestResult, filled_forward
from hydra_core.research.engine import loop, state
from hydra_core.research.engine.compiled import run
from hydra_core.research.engine.inputs import Market, Settlements, Signals, arrays
from hydra_core.research.engine.parameters import Contracts, Parameters, Variant, assumed, contracts
from hydra_core.research.engine.quiet import Cubes
from hydra_core.research.fills import END, LIQUIDATION, FillRules, Trade
from hydra_core.risk import switches
from hydra_core.risk.limits import Limits

_WHY: Final = (*REASON_NAMES, LIQUIDATION, END)
_TRIPS: Final = (
    switches.DAY_LOSS,
    switches.DRAWDOWN,
    switches.POSITION_LOSS,
    switches.UNREADABLE_INPUT,
    switches.CORRELATION_SPIKE,
    switches.EXTREME_REGIME,
)
_CHOICES: Final = (Choice.REJECT, Choice.ABSTAIN, Choice.APPROVE)
_RECORDS: Final = 4096


@dataclass(frozen=True, eq=False)
class Prepared:
    """A span ready to be traded, made once for any number of runs; build with :meth:`of`.

    Parameters
    ----------
    start, end : rows of the panel
    """

    panel: Panel
    start: int
    end: int
    market: Market
    signals: Signals
    contracts: Contracts
    fills: FillRules
    pair_multipliers: Mapping[str, float]
    maintenance: Mapping[Pair, float]

    @classmethod
    def of(
        cls,
        panel: Panel,
        signals: Assessment,
        limits: Limits,
        start_row: int = 0,
        end_row: int | None = None,
        *,
        fills: FillRules | None = None,
        rules: Mapping[Pair, MarketRules] | None = None,
        settlements: Settlements | None = None,
    ) -> Prepared:
        """Lay a span's arrays flat.

        Parameters
        ----------
        limits : only the pairs' size multipliers and maintenance rates are read
        fills : only the margin tiers and the funding interval are read
        settlements : over all rows of the panel

        Raises
        ------
        InputMissing : the span is empty or leaves the panel, or signals and panel have other pairs
        """
        end = len(panel) if end_row is None else end_row
        if not 0 <= start_row < end <= len(panel):
            raise InputMissing(f"backtest of rows [{start_row}, {end}) of a panel of {len(panel)} rows")
        fills = fills or FillRules()
        due = settlements or Settlements.on_grid(panel, fills.funding_interval_ms)
        by_pair = multipliers(panel.pairs, limits), maintenance_rates(panel.pairs, limits)
        market, said = arrays(panel, signals, *by_pair, due, start_row, end)
        asked = contracts(panel.pairs, fills, rules or {})
        sized_by = dict(limits.risk.pair_multipliers), dict(limits.maintenance)
        return cls(panel, start_row, end, market, said, asked, fills, *sized_by)

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What K parameter sets earned on one span, in the order handed in.

    Parameters
    ----------
    days : int64 (D,), start of each UTC day, epoch ms; ``daily`` : (K, D), simple return of equity over each
    equity : (K,), USDT at the end; ``drawdown`` : (K,), deepest fall from the highest equity, a fraction
    fees, funding : (K,), USDT; ``trades``, ``liquidations`` : int64 (K,)
    complete : bool (K,), False where a funding rate that was due is missing
    """

    days: Ints
    daily: Floats
    equity: Floats
    drawdown: Floats
    fees: Floats
    funding: Floats
    trades: Ints
    liquidations: Ints
    complete: Bools


def _engine(
    prepared: Prepared, parameters: Parameters, seats: Set[str], cash: float, records: int
) -> tuple[state.Books, state.Log]:
    market, pairs = prepared.market, len(prepared.panel.pairs)
    sets = parameters.place.size
    slots = int(parameters.numbers[:, -1].max()) + 1
    first, last = ((market.close_ms[at] - 1) // DAY_MS for at in (0, -1))
    books = state.Books.opened(sets, pairs, slots, cash, parameters.fees[:, 0])
    log = state.Log.blank(sets, int(last - first) + 1, len(OUTCOMES), len(prepared), pairs, records)
    run(
        market,
        prepared.signals,
        Cubes.of(market, prepared.signals, pairs),
        prepared.contracts,
        parameters.numbers,
        parameters.group,
        parameters.fee_floors,
        parameters.fees,
        assumed(frozenset(seats)),
        cash,
        prepared.panel.interval.ms,
        books,
        state.Work.room(pairs, loop.BLOCK),
        log,
        records > 0,
    )
    return books, log


def sweep(
    prepared: Prepared,
    variants: Sequence[Variant],
    initial_equity: float = 10_000.0,
    *,
    assume_approvals: Set[str] = frozenset(),
) -> SweepResult:
    """Trade a span under many parameter sets at once.

    Raises
    ------
    UsageError : no set, or sets that differ in what the span was prepared by (pair multipliers, maintenance rates, margin
        tiers, funding interval)
    """
    for variant in variants:
        sized_by = variant.limits.risk.pair_multipliers, variant.limits.maintenance
        if sized_by != (prepared.pair_multipliers, prepared.maintenance) or (
            variant.fills.margin_tiers,
            variant.fills.funding_interval_ms,
        ) != (prepared.fills.margin_tiers, prepared.fills.funding_interval_ms):
            raise UsageError(
                "parameter sets differ in pair multipliers, maintenance rates, margin tiers or funding interval",
                "Prepare the span once for each of them",
            )
    parameters = Parameters.of(variants)
    books, log = _engine(prepared, parameters, assume_approvals, initial_equity, 0)
    back = np.argsort(parameters.place)
    first = int(prepared.market.close_ms[0] - 1) // DAY_MS
    midnights = (first + np.arange(log.daily.shape[1] + 1)) * DAY_MS
    bars = np.diff(np.searchsorted(prepared.market.close_ms, midnights, side="right"))
    traded = first + np.flatnonzero(bars)  # days may be partial
    ends = log.daily[back][:, bars > 0]
    before = np.concatenate([np.full((len(variants), 1), initial_equity), ends[:, :-1]], axis=1)
    scalars, counts = books.scalars[back], books.counts[back]
    return SweepResult(
        days=traded * DAY_MS,
        daily=ends / before - 1,
        equity=ends[:, -1],
        drawdown=1.0 - scalars[:, state.LOWEST],
        fees=scalars[:, state.PAID],
        funding=scalars[:, state.FUNDED],
        trades=counts[:, state.TRADES],
        liquidations=counts[:, state.LIQUIDATIONS],
        complete=counts[:, state.INCOMPLETE] == 0,
    )


@dataclass(frozen=True, eq=False)
class Detail:
    """One run in detail.

    Parameters
    ----------
    result : equal to what ``research.backtest`` returns on the same signals
    fills : (n, 5), columns ``state.FILL_COLUMNS``, rows counted from the span's start; a fill never crosses zero
    """

    result: BacktestResult
    fills: Floats


def trade(
    prepared: Prepared,
    limits: Limits,
    initial_equity: float = 10_000.0,
    *,
    fills: FillRules | None = None,
    assume_approvals: Set[str] = frozenset(),
) -> Detail:
    """Trade a span under one parameter set, every bar, fill and round trip written down."""
    parameters = Parameters.of([Variant(limits, fills or prepared.fills)])
    records = _RECORDS
    while True:
        books, log = _engine(prepared, parameters, assume_approvals, initial_equity, records)
        if log.written[0] <= records and log.written[1] <= 2 * records:
            return Detail(_result(prepared, books, log, initial_equity), log.fills[: log.written[1]])
        records = int(max(log.written[0], log.written[1]))


def _result(prepared: Prepared, books: state.Books, log: state.Log, initial: float) -> BacktestResult:
    panel, span = prepared.panel, slice(prepared.start, prepared.end)
    counts = books.counts[0]
    equity, cash, realised, fees, funding = log.lines
    quantity, worth, target = log.tables.reshape(3, len(prepared), len(panel.pairs))
    gross = (np.abs(quantity) * filled_forward(panel.close[span])).sum(axis=1)
    votes: dict[str, dict[str, int]] = {}
    for seat, cast in zip(sorted(SEATS), log.votes.reshape(4, 3)[np.argsort(list(SEATS))], strict=True):
        counted = {choice.value: int(count) for choice, count in zip(_CHOICES, cast, strict=True) if count}
        if counted:
            votes[seat] = dict(sorted(counted.items()))
    return BacktestResult(
        pairs=panel.pairs,
        ts=panel.close_ms[span],
        initial_equity=initial,
        equity=equity,
        cash=cash,
        unrealised=equity - cash,
        realised=realised,
        fees=fees,
        funding=funding,
        exposure=gross / np.where(equity > 0, equity, np.nan),
        quantity=quantity,
        pair_profit=np.diff(worth, axis=0, prepend=np.zeros((1, len(panel.pairs)))),
        target=target,
        outcomes=dict(sorted((OUTCOMES[code], int(n)) for code, n in enumerate(log.outcomes) if n)),
        votes=votes,
        trips=dict(sorted((name, int(n)) for name, n in zip(_TRIPS, counts[state.TRIPS :], strict=True) if n)),
        trades=tuple(_trade(line, panel.pairs, prepared.start) for line in log.trades[: log.written[0]].tolist()),
        liquidations=int(counts[state.LIQUIDATIONS]),
        complete=not counts[state.INCOMPLETE],
    )


def _trade(line: list[float], pairs: Sequence[Pair], start: int) -> Trade:
    at = dict(zip(state.TRADE_COLUMNS, line, strict=True))
    return Trade(
        pair=pairs[int(at["pair"])],
        side=Side(int(at["side"])),
        entered_row=start + int(at["entered_row"]),
        left_row=start + int(at["left_row"]),
        quantity=at["quantity"],
        entered_price=at["bought_value"] / at["bought"],
        left_price=at["sold_value"] / at["sold"] if at["sold"] else np.nan,
        profit=at["profit"],
        fees=at["fees"],
        funding=at["funding"],
        why=_WHY[int(at["why"])],
    )
