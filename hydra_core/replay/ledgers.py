"""An account as it stood at any moment of its life, added up from its entries: cash, positions and their entry prices.

Not here: the books themselves (``ledger``); this is how a recorded session is taken out of the middle of a longer life.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Position
from hydra_core.ledger.accounting import apply_fill, exact
from hydra_core.ledger.records import BookedFill, CashEntry, FundingPayment
from hydra_core.ledger.store import Ledger

ALL: Final = 10_000_000


@dataclass(frozen=True)
class Entries:
    """What moved money in an account, oldest first."""

    account: str
    initial: Decimal
    fills: Sequence[BookedFill]
    funding: Sequence[FundingPayment]
    other: Sequence[CashEntry]

    @classmethod
    def read(cls, ledger: Ledger, account: str) -> Entries:
        """All entries of an account."""
        return cls(
            account=account,
            initial=ledger.account(account).initial_balance,
            fills=list(reversed(ledger.fills(account, limit=ALL))),
            funding=sorted(ledger.funding_payments(account, limit=ALL), key=lambda one: (one.settlement_ms, one.pair)),
            other=ledger.cash_entries(account),
        )

    def between(self, start_ms: int, end_ms: int) -> Entries:
        """The entries with start <= time < end."""
        return Entries(
            self.account,
            self.initial,
            [one for one in self.fills if start_ms <= one.fill.event_ms < end_ms],
            [one for one in self.funding if start_ms <= one.settlement_ms < end_ms],
            [one for one in self.other if start_ms <= one.ts_ms < end_ms],
        )


@dataclass
class Standing:
    """Cash and positions at one moment."""

    cash: Decimal
    positions: dict[Pair, Position] = field(default_factory=dict)

    @classmethod
    def at(cls, entries: Entries, ts_ms: int) -> Standing:
        """What an account held just before a market time."""
        made = cls(entries.initial)
        made.take(entries.between(-1, ts_ms))
        return made

    def take(self, entries: Entries) -> None:
        """Book entries on it: the same arithmetic as the ledger's, from the fills alone."""
        with exact():
            for one in entries.fills:
                booked = apply_fill(self.positions.get(one.fill.pair), one.fill, one.realised if _stated(one) else None)
                self.cash += booked.cash_change
                if booked.position is None:
                    self.positions.pop(one.fill.pair, None)
                else:
                    self.positions[one.fill.pair] = booked.position
            for payment in entries.funding:
                self.cash += payment.amount
            for moved in entries.other:
                self.cash += moved.amount

    def worth(self, prices: Mapping[Pair, float]) -> float:
        """Equity at prices, USDT; a position without one counts at its entry."""
        open_profit = sum(
            float(held.quantity) * (prices.get(pair, float(held.entry_price)) - float(held.entry_price))
            for pair, held in self.positions.items()
        )
        return float(self.cash) + open_profit


def _stated(one: BookedFill) -> bool:
    """Whether the profit of a fill is the exchange's word, to its own rounding."""
    return bool(one.realised) and one.fill.venue != "paper"


def book_faults(ledger: Ledger, entries: Entries) -> dict[str, float]:
    """Where the account as booked is not what its entries add up to: what, and by how much (USDT, or base units)."""
    booked, held = ledger.account(entries.account), ledger.positions(entries.account)
    added = Standing(entries.initial)
    added.take(entries)
    faults: dict[str, float] = {}
    if booked.cash != added.cash:
        faults["cash"] = float(booked.cash - added.cash)
    for pair in sorted(held.keys() | added.positions.keys()):
        ours = held[pair].quantity if pair in held else Decimal(0)
        theirs = added.positions[pair].quantity if pair in added.positions else Decimal(0)
        if ours != theirs:
            faults[f"position of {pair}"] = float(ours - theirs)
    return faults
