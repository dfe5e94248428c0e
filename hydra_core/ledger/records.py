"""Rows of the ledger as the rest of the platform sees them: frozen, typed, money in Decimal.

What a decision is made of (Plan, Decision, Fill, Position, Portfolio) lives in :mod:`hydra_core.domain.trading`; here
is only what exists because it is booked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Decision, Fill, Mode, OrderState, Pins, Schedule, Side, Target

OrderKind = Literal["market", "limit", "stop"]
ENDED: Final = frozenset({OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED})
"""States in which an order works no more; every other one counts as open."""
LIVE: Final = "live"
"""Kind of an account at an exchange; ``paper`` is the other one."""
EXTERNAL: Final = "external"
"""Plan of an order that another hand placed on the account."""
LIQUIDATION: Final = "liquidation"
ADL: Final = "adl"
DELISTING: Final = "delisting"
"""Plans of orders that the exchange itself placed: a liquidation, an auto-deleveraging, the settlement of a delisted pair."""
TRADER: Final = "trader"
"""Name of the trader's heartbeat."""
STRATEGY: Final = "hydra"
"""Name of the one strategy that decides; part of a decision's key."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account and its running totals, USDT; ``funding``, ``realised`` and ``other`` are signed gains, ``fees`` a cost.

    ``cash == initial_balance + realised - fees + funding + other`` always; ``other`` is what moved without a trade (a
    deposit, an insurance payment). ``terms`` is what a person agreed to before money was at stake, as JSON.
    """

    name: str
    kind: str
    initial_balance: Decimal
    cash: Decimal
    realised: Decimal
    fees: Decimal
    funding: Decimal
    equity: Decimal
    peak_equity: Decimal
    day_start_equity: Decimal
    day_ms: int
    opened_ms: int
    other: Decimal = Decimal(0)
    terms: str = ""

    @property
    def live(self) -> bool:
        """Whether it is an account at an exchange, where orders move money."""
        return self.kind == LIVE


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order as booked; ``order_id`` is the client id, derived from plan, pair and slice."""

    order_id: str
    plan_id: str
    account: str
    pair: Pair
    side: Side
    quantity: Decimal
    kind: OrderKind
    state: OrderState
    created_ms: int
    updated_ms: int
    slice_index: int = 0
    reduce_only: bool = False
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    filled: Decimal = Decimal(0)
    avg_price: Decimal | None = None
    reason: str = ""
    venue_order_id: str | None = None
    time_in_force: str = ""
    """Empty: until it is filled or cancelled; ``IOC``: what does not fill at once expires."""

    @property
    def remaining(self) -> Decimal:
        """Quantity not filled yet, base units."""
        return self.quantity - self.filled

    @property
    def open(self) -> bool:
        """Whether the order may still fill (UNKNOWN counts as open: its worst case)."""
        return self.state not in ENDED


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One move of an order along its table of states."""

    order_id: str
    from_state: str
    to_state: str
    reason: str
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Execution:
    """A target being worked by its schedule, as it must be known again after a restart; (plan id, pair) is its key.

    Parameters
    ----------
    plan_id : str, of the plan that it began with: its orders carry it, also while later plans repeat the target
    start_ms, expires_ms : int, market time of the first slice, and from which nothing more is sent
    initial : Decimal, signed base units held at ``start_ms``
    arrival_ms, arrival_price : market time and middle price (USDT) at which the desk took it up; None: no quote yet
    ended_ms, end_price, end_reason : when, at which price and why it was worked no more; None while it is
    """

    plan_id: str
    account: str
    target: Target
    schedule: Schedule
    start_ms: int
    expires_ms: int
    initial: Decimal
    arrival_ms: int
    arrival_price: Decimal | None = None
    ended_ms: int | None = None
    end_price: Decimal | None = None
    end_reason: str = ""

    @property
    def pair(self) -> Pair:
        """The pair that it trades."""
        return self.target.pair

    @property
    def change(self) -> Decimal:
        """Signed base units that it wants to trade."""
        return Decimal(repr(self.target.quantity)) - self.initial


@dataclass(frozen=True, slots=True)
class Posting:
    """One line of the journal: an amount (USDT; debits positive) on one book; an event's lines add up to zero."""

    account: str
    event: str
    line: int
    book: str
    amount: Decimal
    ts_ms: int


@dataclass(frozen=True, slots=True)
class BookedFill:
    """A fill with what it did: profit realised by it (USDT, before fees) and the signed position after it."""

    fill: Fill
    realised: Decimal
    position_after: Decimal


@dataclass(frozen=True, slots=True)
class FundingPayment:
    """One settlement on one position; ``amount`` in USDT, positive when received."""

    account: str
    pair: Pair
    settlement_ms: int
    rate: Decimal
    quantity: Decimal
    mark_price: Decimal
    amount: Decimal


BY_HAND: Final = ("TRANSFER", "DEPOSIT", "WITHDRAW")
"""Words in the kinds under which exchanges tell of money that a person moved."""


@dataclass(frozen=True, slots=True)
class CashEntry:
    """Cash that moved without a trade or a settlement; ``entry_id`` is the exchange's id of it, ``amount`` in USDT."""

    account: str
    entry_id: str
    kind: str
    amount: Decimal
    ts_ms: int
    note: str = ""

    @property
    def by_hand(self) -> bool:
        """Whether a person brought or took it: no profit, and no loss that a switch counts."""
        return any(word in self.kind for word in BY_HAND)


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """The account's worth at one moment, USDT."""

    ts_ms: int
    equity: Decimal
    cash: Decimal
    unrealised: Decimal


@dataclass(frozen=True, slots=True)
class Latch:
    """A kill switch that tripped; it stands until ``released_ms``."""

    switch: str
    mode: Mode
    reason: str
    latched_ms: int
    released_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A word from the command line to the trader."""

    id: int
    kind: str
    args: Mapping[str, Any]
    created_wall_ms: int
    done_wall_ms: int | None = None
    result: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A process's last sign of life, wall time, with what it said of itself."""

    who: str
    wall_ms: int
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeaseClaim:
    """What a holder shows to commit: the lease's name, its run id and the fencing number it was given."""

    name: str
    run_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease as it stands; free when ``run_id`` is empty or ``expires_wall_ms`` has passed."""

    name: str
    run_id: str
    fence: int
    acquired_wall_ms: int
    renewed_wall_ms: int
    expires_wall_ms: int

    def held(self, wall_ms: int) -> bool:
        """Whether somebody holds it at ``wall_ms``."""
        return bool(self.run_id) and self.expires_wall_ms > wall_ms


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision with everything needed to make it again.

    Parameters
    ----------
    inputs : JSON-able mapping, what was read besides the candles: watermarks, readings, portfolio, blob hashes
    latency_ms : int, wall time from the grid point (or the start of the cycle) to the commit
    """

    account: str
    strategy: str
    decision: Decision
    pins: Pins
    inputs: Mapping[str, Any]
    run_id: str
    latency_ms: int
    committed_wall_ms: int
    fence: int = 0

    @property
    def cycle_ms(self) -> int:
        """Grid point, market time."""
        return self.decision.cycle_ms


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """A decision in one line: what a listing shows, read without decoding the whole."""

    account: str
    strategy: str
    cycle_ms: int
    mode: Mode
    plan_id: str | None
    outcomes: Mapping[str, int]
    run_id: str
    latency_ms: int
    committed_wall_ms: int


@dataclass(frozen=True, slots=True)
class MissedSpan:
    """Grid points that nobody decided, first to last inclusive, and why."""

    first_ms: int
    last_ms: int
    points: int
    reason: str


@dataclass(frozen=True, slots=True)
class BalanceCheck:
    """The account's books added up again from their entries; ``faults`` is empty when they agree."""

    account: str
    cash: Decimal
    expected_cash: Decimal
    faults: tuple[str, ...] = field(default=())


def lease_name(account: str, strategy: str = STRATEGY) -> str:
    """Name of the lease under which one strategy decides for one account."""
    return f"window/{account}/{strategy}"
