"""What is decided and done: signals, verdicts, votes, targets, plans, decisions, orders, fills, positions.

Quantities in decisions are floats in base units, signed (long positive); from an order on, money and sizes are Decimal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, Final

from hydra_core.domain.pairs import Pair

OWN: Final = "hy-"
"""Beginning of every client order id that HYDRA makes."""


class Side(IntEnum):
    """Direction of a position or an order."""

    LONG = 1
    SHORT = -1


class Mode(StrEnum):
    """What the platform may do; ordered from most to least free."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"
    FLATTEN = "flatten"


class Choice(StrEnum):
    """A seat's word on a proposal; an abstention is not an approval."""

    APPROVE = "approve"
    REJECT = "reject"
    ABSTAIN = "abstain"


class OrderState(StrEnum):
    """Where an order stands in its life."""

    NEW = "new"
    PENDING = "pending"
    UNKNOWN = "unknown"
    OPEN = "open"
    PARTIAL = "partial"
    CANCELING = "canceling"
    """Its cancel was sent and is not answered: it may still fill."""
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Signal:
    """The forecaster's word on one pair at one bar close.

    Parameters
    ----------
    expected_return : float, log return over the horizon, signed; 0.01 is 1 %
    confidence : float, probability in [0, 1] that a trade in the direction of ``expected_return`` wins net of costs
    adverse_excursion : float, expected worst move against the trade inside the horizon, a positive fraction of price
    volatility : float, expected standard deviation of the log return over the horizon
    horizon_ms : int
    bar_close_ms : int, close of the bar that the signal was made on
    """

    pair: Pair
    expected_return: float
    confidence: float
    adverse_excursion: float
    volatility: float
    horizon_ms: int
    bar_close_ms: int

    @property
    def side(self) -> Side:
        """Direction of the expected return (zero counts as long; its confidence is then no approval)."""
        return Side.LONG if self.expected_return >= 0 else Side.SHORT


@dataclass(frozen=True, slots=True)
class Verdict:
    """The risk brain's answer to a signal: a sized position or a refusal with its reason.

    Parameters
    ----------
    notional : float, USDT, unsigned; 0 when refused
    leverage : float, notional over equity that governs the margin asked for
    stop_price : float or None, USDT
    reason : str, why refused or what bound the size
    """

    pair: Pair
    side: Side
    approved: bool
    notional: float
    leverage: float
    stop_price: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Vote:
    """One seat's vote with its reason."""

    seat: str
    choice: Choice
    reason: str


@dataclass(frozen=True, slots=True)
class Target:
    """The position to hold in one pair: signed base quantity, its stop, and why."""

    pair: Pair
    quantity: float
    stop_price: float | None
    reason: str
    urgent: bool = False
    """An exit that is not sliced (stop, kill switch)."""
    shares: tuple[float, ...] = ()
    """Share of the change that is done once each slice is, ascending to 1; empty: equal slices."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a change of position is worked: slices at equal distances over a span of market time.

    Parameters
    ----------
    kind : str, ``twap`` (equal slices), ``vwap`` or ``almgren-chriss`` (sized by the targets' own ``shares``)
    slices : int, at least 1
    duration_ms : int, market time
    participation : float, largest share of the pair's traded volume that its orders may be; 0: no limit
    """

    kind: str = "twap"
    slices: int = 1
    duration_ms: int = 0
    participation: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Target positions of one cycle; a newer plan supersedes it, expiry changes nothing."""

    plan_id: str
    cycle_ms: int
    targets: tuple[Target, ...]
    schedule: Schedule
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Pins:
    """The versions that made a decision."""

    models: Mapping[str, str]
    """Seat -> version (content hash) of its champion; seats without one are absent."""
    settings_hash: str
    code_version: str


@dataclass(frozen=True, slots=True)
class PairDecision:
    """Everything that was said about one pair in one cycle."""

    pair: Pair
    signal: Signal | None
    verdict: Verdict | None
    votes: tuple[Vote, ...]
    outcome: str
    """``hold``, ``enter``, ``enlarge``, ``reduce``, ``close``, ``refused``, ``outvoted``, ``no-signal``, ``blocked``."""
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One cycle through the five layers: a pure function of its inputs.

    Parameters
    ----------
    cycle_ms : int, grid point, market time
    mode : Mode that the kill switches put this cycle in
    trips : switch name -> reason, for every switch that is tripped in this cycle
    pairs : what was said about each pair, in the snapshot's order
    plan : Plan or None, None when nothing is to be changed
    input_faults : what was missing, stale or contradictory
    state : layer 2 numbers worth recording, by name then pair
    data_hash : SHA-256 over the panel and the readings that were read
    """

    cycle_ms: int
    mode: Mode
    trips: Mapping[str, str]
    pairs: tuple[PairDecision, ...]
    plan: Plan | None
    input_faults: tuple[str, ...]
    state: Mapping[str, Mapping[str, float]]
    data_hash: str

    @property
    def faulty(self) -> frozenset[Pair]:
        """Pairs with a fault of their own: ``input_faults`` tells it with the pair's name in front."""
        named = {fault.partition(": ")[0] for fault in self.input_faults}
        return frozenset(said.pair for said in self.pairs if said.pair in named)


@dataclass(frozen=True, slots=True)
class Position:
    """A held position: signed base quantity, average entry price and the stop that protects it."""

    pair: Pair
    quantity: Decimal
    entry_price: Decimal
    opened_ms: int
    stop_price: Decimal | None = None
    realised: Decimal = Decimal(0)
    """Profit of the parts already closed, USDT, before fees and funding."""


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade of ours; (venue, pair, trade_id) is its key."""

    venue: str
    pair: Pair
    trade_id: str
    order_id: str
    account: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    maker: bool
    event_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Portfolio:
    """An account as a decision sees it, marked to the newest mark prices; money in USDT.

    Parameters
    ----------
    cash : float, balance after realised profit, fees and funding
    equity : float, cash plus unrealised profit at marks
    peak_equity : float, highest equity so far
    day_start_equity : float, equity at the start of the current UTC day (market time)
    positions : open positions by pair
    barred : pairs that may not be entered again today
    latched : switch name -> reason, for switches that tripped earlier and were not released
    known : bool, False when positions could not be read: nothing may be entered
    """

    account: str
    cash: float
    equity: float
    peak_equity: float
    day_start_equity: float
    positions: Mapping[Pair, Position]
    barred: frozenset[Pair] = frozenset()
    latched: Mapping[str, str] = field(default_factory=dict)
    known: bool = True


@dataclass(frozen=True, slots=True)
class Analysis:
    """The analyst's structured reading of one pair; it can lower, veto or add one bounded feature, nothing else.

    Parameters
    ----------
    crowding : float in [0, 1]
    trap : ``long``, ``short`` or ``none``: the side that is likely to be trapped
    bias : ``long``, ``short`` or ``neutral``
    confidence : float in [0, 1]
    source : ``rules`` or the language model's name
    expires_ms : market time after which it counts as absent
    """

    pair: Pair
    crowding: float
    trap: str
    bias: str
    confidence: float
    risk_flags: tuple[str, ...]
    forced_exit_zones: tuple[tuple[float, float], ...]
    evidence: tuple[str, ...]
    source: str
    made_ms: int
    expires_ms: int
    state_hash: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
