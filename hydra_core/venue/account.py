"""The account's arithmetic: wallet, netted positions, cross margin. Pure Decimal functions of what they are handed.

No orders, no prices of their own, no files: ``engine.py`` brings prices and records what happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair

CENT: Final = Decimal("0.00000001")
"""Money is kept to eight decimals, as the exchange shows it."""
ZERO: Final = Decimal(0)
DEFAULT_LEVERAGE: Final = 20


def money(value: Decimal) -> Decimal:
    """A USDT amount rounded to eight decimals."""
    return value.quantize(CENT)


@dataclass(frozen=True, slots=True)
class Bracket:
    """A step of the leverage table: from ``floor`` to ``cap`` USDT of notional, at most ``leverage``."""

    number: int
    floor: Decimal
    cap: Decimal
    leverage: int
    maintenance: Decimal
    cumulative: Decimal


_STEPS: Final = (
    (0, 50_000, 1, 1),
    (50_000, 250_000, 2, 2),
    (250_000, 1_000_000, 4, 5),
    (1_000_000, 10_000_000, 10, 12),
)
"""Floor, cap (USDT), divisor of the pair's greatest leverage, multiple of its maintenance rate."""


def brackets(rules: MarketRules) -> tuple[Bracket, ...]:
    """The pair's leverage table; ``cumulative`` keeps the maintenance margin continuous over the steps."""
    table: list[Bracket] = []
    cumulative, before = ZERO, ZERO
    for number, (floor, cap, divisor, multiple) in enumerate(_STEPS, 1):
        rate = min(rules.maintenance_margin * multiple, Decimal("0.5"))
        cumulative += floor * (rate - before) if before else ZERO
        before = rate
        leverage = max(1, rules.max_leverage // divisor)
        table.append(Bracket(number, Decimal(floor), Decimal(cap), leverage, rate, cumulative))
    return tuple(table)


def bracket_of(table: tuple[Bracket, ...], notional: Decimal) -> Bracket:
    """The step that an unsigned notional (USDT) lies in."""
    return next((step for step in table if notional < step.cap), table[-1])


def maintenance_margin(table: tuple[Bracket, ...], notional: Decimal) -> Decimal:
    """Maintenance margin (USDT) of an unsigned notional: rate x notional - cumulative of its step."""
    step = bracket_of(table, notional)
    return notional * step.maintenance - step.cumulative


def notional_cap(table: tuple[Bracket, ...], leverage: int) -> Decimal:
    """The greatest notional (USDT) that a position may have at a leverage."""
    return max((step.cap for step in table if step.leverage >= leverage), default=ZERO)


@dataclass(slots=True)
class Position:
    """A netted position: signed base quantity, average entry in USDT, last change in epoch ms."""

    quantity: Decimal = ZERO
    entry: Decimal = ZERO
    updated_ms: int = 0

    def unrealised(self, mark: Decimal) -> Decimal:
        """Profit at a mark price, USDT."""
        return (mark - self.entry) * self.quantity

    def fill(self, signed: Decimal, price: Decimal, ts: int) -> Decimal:
        """Apply a fill of ``signed`` base units at ``price``; returns the realised profit (USDT, fee not included).

        A fill through zero closes the old position at ``price`` and opens the rest there.
        """
        before = self.quantity
        after = before + signed
        realised = ZERO
        if before * signed >= 0:
            self.entry = (self.entry * abs(before) + price * abs(signed)) / abs(after)
        else:
            closed = min(abs(signed), abs(before))
            realised = (price - self.entry) * closed * (1 if before > 0 else -1)
            if before * after <= 0:
                self.entry = price if after else ZERO
        self.quantity, self.updated_ms = after, ts
        return money(realised)


@dataclass(slots=True)
class Account:
    """Wallet (USDT), positions and leverage by pair; one-way mode, cross margin."""

    wallet: Decimal
    positions: dict[Pair, Position] = field(default_factory=dict)
    leverage: dict[Pair, int] = field(default_factory=dict)
    opened_ms: int = 0

    def position(self, pair: Pair) -> Position:
        """The pair's position, flat when there is none."""
        return self.positions.setdefault(pair, Position())

    def open_pairs(self) -> tuple[Pair, ...]:
        """Pairs with a position."""
        return tuple(pair for pair, position in self.positions.items() if position.quantity)

    def leverage_of(self, pair: Pair, rules: MarketRules) -> int:
        """Leverage set for a pair, or the exchange's default."""
        return self.leverage.get(pair, min(DEFAULT_LEVERAGE, rules.max_leverage))

    def unrealised(self, marks: Mapping[Pair, Decimal]) -> Decimal:
        """Profit of all positions at the marks, USDT."""
        return sum((self.positions[pair].unrealised(marks[pair]) for pair in self.open_pairs()), ZERO)

    def maintenance(self, marks: Mapping[Pair, Decimal], tables: Mapping[Pair, tuple[Bracket, ...]]) -> Decimal:
        """Maintenance margin of all positions at the marks, USDT."""
        return sum(
            (
                maintenance_margin(tables[pair], abs(self.positions[pair].quantity) * marks[pair])
                for pair in self.open_pairs()
            ),
            ZERO,
        )

    def to_json(self) -> dict[str, Any]:
        """Everything with Decimals as text."""
        return {
            "wallet": str(self.wallet),
            "opened_ms": self.opened_ms,
            "leverage": dict(self.leverage),
            "positions": {
                pair: [str(held.quantity), str(held.entry), held.updated_ms] for pair, held in self.positions.items()
            },
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Account:
        """The inverse of :meth:`to_json`."""
        positions = {
            Pair(pair): Position(Decimal(quantity), Decimal(entry), updated)
            for pair, (quantity, entry, updated) in values["positions"].items()
        }
        leverage = {Pair(pair): int(times) for pair, times in values["leverage"].items()}
        return cls(Decimal(values["wallet"]), positions, leverage, int(values["opened_ms"]))


def liquidation_price(
    account: Account,
    pair: Pair,
    marks: Mapping[Pair, Decimal],
    tables: Mapping[Pair, tuple[Bracket, ...]],
) -> Decimal:
    """Mark price (USDT) at which the cross-margined account would be liquidated through this pair, 0 if none.

    The exchange's published formula: solve wallet + unrealised of the other positions + (P - entry) q = maintenance of
    the others + rate |q| P - cumulative, in the bracket of today's notional.
    """
    held = account.position(pair)
    if not held.quantity:
        return ZERO
    size = abs(held.quantity)
    step = bracket_of(tables[pair], size * marks[pair])
    others = [other for other in account.open_pairs() if other != pair]
    carried = account.wallet + sum((account.positions[o].unrealised(marks[o]) for o in others), ZERO)
    carried -= sum((maintenance_margin(tables[o], abs(account.positions[o].quantity) * marks[o]) for o in others), ZERO)
    denominator = size * step.maintenance - held.quantity
    price = (carried + step.cumulative - held.entry * held.quantity) / denominator
    return price if price > 0 else ZERO
