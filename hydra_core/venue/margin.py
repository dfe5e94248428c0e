"""What the account's positions and resting orders ask for in margin, and what is left to trade with.

Pure functions over the account, its open orders and the marks; refusing an order on their strength is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from hydra_core.domain.intervals import MINUTE_MS
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.venue.account import ZERO, Account, Bracket
from hydra_core.venue.orders import Order


@dataclass(frozen=True, slots=True)
class PairMargin:
    """One pair's claims in USDT: unsigned position notional, its initial margin, and what resting orders add."""

    notional: Decimal
    position_initial: Decimal
    order_initial: Decimal
    bid_notional: Decimal
    ask_notional: Decimal


@dataclass(frozen=True, slots=True)
class MarginState:
    """The whole account in USDT.

    ``balance`` is wallet plus unrealised profit; ``available`` what a new order may claim.
    """

    wallet: Decimal
    unrealised: Decimal
    balance: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    available: Decimal
    pairs: Mapping[Pair, PairMargin]


def pair_margin(
    quantity: Decimal,
    mark: Decimal,
    leverage: int,
    orders: Iterable[tuple[int, Decimal, Decimal]],
) -> PairMargin:
    """Claims of one pair.

    Parameters
    ----------
    quantity : Decimal, signed position in base units
    mark : Decimal, USDT
    leverage : int
    orders : (side, price in USDT, remaining base units) of every resting order that is not reduce-only

    Notes
    -----
    Orders on both sides cannot both enlarge the position: the greater of the two outcomes counts, as on the exchange.
    """
    bid = ask = ZERO
    for side, price, remaining in orders:
        if side > 0:
            bid += price * remaining
        else:
            ask += price * remaining
    signed = quantity * mark
    worst = max(abs(signed), abs(signed + bid), abs(signed - ask))
    initial = abs(signed) / leverage
    return PairMargin(abs(signed), initial, worst / leverage - initial, bid, ask)


def margin_state(
    account: Account,
    open_orders: Iterable[Order],
    marks: Mapping[Pair, Decimal],
    rules: Mapping[Pair, MarketRules],
    tables: Mapping[Pair, tuple[Bracket, ...]],
    extra: tuple[Pair, int, Decimal, Decimal] | None = None,
) -> MarginState:
    """The account at the marks.

    Parameters
    ----------
    marks : mapping that holds every pair with a position or a resting order
    extra : (pair, side, price, quantity), optional
        An order that is not placed yet, counted as if it rested.
    """
    resting: dict[Pair, list[tuple[int, Decimal, Decimal]]] = {}
    for order in open_orders:
        if not order.reduce_only:
            resting.setdefault(order.pair, []).append((order.side, order.price, order.remaining))
    if extra is not None:
        resting.setdefault(extra[0], []).append(extra[1:])
    pairs = {
        pair: pair_margin(
            account.position(pair).quantity,
            marks[pair],
            account.leverage_of(pair, rules[pair]),
            resting.get(pair, ()),
        )
        for pair in {*account.open_pairs(), *resting}
    }
    unrealised = account.unrealised(marks)
    position_initial = sum((claim.position_initial for claim in pairs.values()), ZERO)
    order_initial = sum((claim.order_initial for claim in pairs.values()), ZERO)
    balance = account.wallet + unrealised
    return MarginState(
        wallet=account.wallet,
        unrealised=unrealised,
        balance=balance,
        position_initial=position_initial,
        order_initial=order_initial,
        maintenance=account.maintenance(marks, tables),
        available=max(ZERO, balance - position_initial - order_initial),
        pairs=pairs,
    )


class MarginWatch:
    """Says when the margin has to be worked out again: it is exact but dear, and prices move in small steps.

    Since the last time, the account can have lost at most what the positions lost at the traded prices; while that is
    under half of what the account had to spare, a minute of market time may pass without another look.
    """

    def __init__(self) -> None:
        self._slack: float | None = None
        self._held: Mapping[Pair, float] = {}
        self._reference: Mapping[Pair, float] = {}
        self._losses: dict[Pair, float] = {}
        self._checked_ms = 0

    def reset(self) -> None:
        """Positions or wallet changed: look again."""
        self._slack = None

    def checked(self, slack: float, held: Mapping[Pair, float], reference: Mapping[Pair, float], ts: int) -> None:
        """Remember an exact look: spare margin (USDT), signed positions (base units), marks (USDT), time (epoch ms)."""
        self._slack, self._held, self._reference, self._checked_ms = slack, held, reference, ts
        self._losses = {}

    def due(self, pair: Pair, price: float, ts: int) -> bool:
        """Whether a trade of ``pair`` at ``price`` (USDT) calls for an exact look."""
        if self._slack is None or ts - self._checked_ms >= MINUTE_MS:
            return True
        held = self._held.get(pair)
        if held is None:
            return False
        self._losses[pair] = max(0.0, (self._reference[pair] - price) * held)
        return sum(self._losses.values()) > self._slack / 2
