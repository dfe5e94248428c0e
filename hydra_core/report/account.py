"""An account as people want to see it: worth, flows, positions with their stops and liquidation prices, switches."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import DataCorrupt, InputMissing, UsageError
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Position
from hydra_core.home import Home
from hydra_core.ledger.livestate import LiveStateClock, LiveStateReader
from hydra_core.ledger.store import Ledger
from hydra_core.platform.markets import SYNTHETIC, described
from hydra_core.risk.margin import liquidation_price, maintenance, table_of
from hydra_core.risk.switches import combine, manual_name
from hydra_core.settings import Settings
from hydra_core.trader.guard import manual_switch


@dataclass(frozen=True, slots=True)
class PositionLine:
    """One open position; prices in USDT, quantity signed in base units."""

    pair: Pair
    quantity: float
    entry: float
    mark: float
    stop: float | None
    liquidation: float | None
    """Mark at which the account's margin would be used up by this position alone, the others standing still."""
    distance: float | None
    """From mark to liquidation, as a fraction of the mark; 0 where it is passed."""
    profit: float
    opened_ms: int

    def to_json(self) -> dict[str, Any]:
        """The line as a JSON-able object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account marked to the newest known prices; money in USDT, shares as fractions."""

    market: str
    synthetic: bool
    account: str
    equity: float
    cash: float
    unrealised: float
    realised: float
    fees: float
    funding: float
    initial_balance: float
    drawdown: float
    exposure: float
    maintenance: float
    """Maintenance margin that the positions bind at their marks."""
    mode: str
    latched: Mapping[str, str]
    positions: tuple[PositionLine, ...]

    @property
    def net_return(self) -> float:
        """Equity over the opening balance, less one."""
        return self.equity / self.initial_balance - 1

    def to_json(self) -> dict[str, Any]:
        """The view as a JSON-able object."""
        return {**asdict(self), "net_return": self.net_return}


def view_account(home: Home, ledger: Ledger, name: str, settings: Settings) -> AccountView:
    """Read an account and mark it to the live state; a pair without a mark counts at its entry price."""
    booked = ledger.account(name)
    marks, rules = live_prices(home)
    portfolio = ledger.portfolio(name, marks, market_now(home))
    held = sorted(portfolio.positions.items())
    bound = {pair: _maintenance(position, marks.get(pair), rules.get(pair)) for pair, position in held}
    total = sum(bound.values())
    lines = tuple(
        _line(position, marks.get(pair), portfolio.equity - (total - bound[pair]), rules.get(pair))
        for pair, position in held
    )
    latched = dict(portfolio.latched)
    pulled = manual_switch(home)
    if pulled is not None:
        latched.setdefault(manual_name(pulled), f"{home.kill_file} is there")
    return AccountView(
        market=home.market,
        synthetic=is_synthetic(home),
        account=name,
        equity=portfolio.equity,
        cash=portfolio.cash,
        unrealised=portfolio.equity - portfolio.cash,
        realised=float(booked.realised),
        fees=float(booked.fees),
        funding=float(booked.funding),
        initial_balance=float(booked.initial_balance),
        drawdown=max(0.0, 1 - portfolio.equity / portfolio.peak_equity),
        exposure=sum(abs(line.quantity) * line.mark for line in lines),
        maintenance=total,
        mode=combine(latched).value,
        latched=latched,
        positions=lines,
    )


def live_prices(home: Home) -> tuple[dict[Pair, float], Mapping[Pair, MarketRules]]:
    """Newest marks and the exchange's filters as the trader last wrote them; nothing where it never ran."""
    with contextlib.suppress(InputMissing), LiveStateReader(home.live_state, ()) as reader:
        reader.refresh()
        readings = reader.readings()
        return {pair: mark.mark for pair, mark in readings.marks.items()}, readings.rules
    return {}, {}


def market_now(home: Home) -> int:
    """Market time as the trader last passed it on, or as the market opens, or wall time on a real exchange."""
    with contextlib.suppress(InputMissing), LiveStateClock(home.live_state) as clock:
        return clock.market_ms()
    with contextlib.suppress(UsageError, DataCorrupt):
        market = described(home)
        if market.local and market.start_ms is not None:
            return market.start_ms
    return SystemClock().wall_ms()


def is_synthetic(home: Home) -> bool:
    """Whether the home's market is made, so that its profits prove the machinery and nothing else."""
    with contextlib.suppress(UsageError, DataCorrupt):
        return described(home).kind == SYNTHETIC
    return False


def _maintenance(position: Position, mark: float | None, rules: MarketRules | None) -> float:
    """Maintenance margin of a position at its mark, USDT; 0 where the pair's rate is unknown."""
    if rules is None:
        return 0.0
    notional = abs(float(position.quantity)) * (mark if mark is not None else float(position.entry_price))
    return maintenance(notional, table_of(rules))


def _line(position: Position, mark: float | None, behind: float, rules: MarketRules | None) -> PositionLine:
    """A position's line; ``behind`` is the equity that stands behind it: cross margin, what the others bind taken off."""
    quantity, entry = float(position.quantity), float(position.entry_price)
    at = mark if mark is not None else entry
    liquidation = distance = None
    if rules is not None:
        wallet = behind - quantity * (at - entry)
        liquidation = liquidation_price(quantity, entry, wallet, table_of(rules))
    if liquidation is not None:
        distance = max(0.0, (at - liquidation) / at * (1 if quantity > 0 else -1))
    return PositionLine(
        pair=position.pair,
        quantity=quantity,
        entry=entry,
        mark=at,
        stop=None if position.stop_price is None else float(position.stop_price),
        liquidation=liquidation,
        distance=distance,
        profit=quantity * (at - entry),
        opened_ms=position.opened_ms,
    )
