"""What an operator asks of a running account beyond its worth: switches, refusals, signs of life, what execution cost.

Here: rows read from the ledger, for the dashboard, the command line and the report alike. Not here: worth and positions
(``account``), how any of it is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import OrderState
from hydra_core.execution.shortfall import Shortfall, shortfall
from hydra_core.home import Home
from hydra_core.ledger.records import TRADER, Execution, Latch
from hydra_core.ledger.store import Ledger
from hydra_core.risk.switches import MANUAL, MANUAL_FLATTEN, SWITCHES, manual_name
from hydra_core.trader.guard import manual_switch

CLEAR: Final = "clear"
TRIPPED: Final = "tripped"
LATCHED: Final = "latched"
UNJUDGED: Final = "not judged"
"""State of every switch that is not latched while the trader gives no sign of life."""
REFUSED: Final = frozenset({"refused", "outvoted", "blocked"})
"""Outcomes of a pair's decision in which something was wanted and not done."""
FRESH_S: Final = 5.0
READ: Final = 200
"""Newest orders that ended without effect, among which refusals are looked for."""


@dataclass(frozen=True, slots=True)
class SwitchLine:
    """One kill switch as it stands; ``since_ms`` (market time) where it is latched."""

    name: str
    does: str
    state: str
    reason: str = ""
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """A process's sign of life: its age in wall seconds, and whether that is young enough."""

    who: str
    age_s: float
    streams: Mapping[str, bool]

    @property
    def fresh(self) -> bool:
        """Whether the process can be taken as alive."""
        return self.age_s < FRESH_S


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was wanted and not done, how often in the cycles looked at, and when last (market time)."""

    pair: Pair
    outcome: str
    reason: str
    times: int
    last_ms: int


def beats(ledger: Ledger, wall_ms: int) -> list[Beat]:
    """Every process's last sign of life, by name."""
    return [
        Beat(who, (wall_ms - beat.wall_ms) / 1000, beat.payload.get("streams", {}))
        for who, beat in sorted(ledger.heartbeats().items())
    ]


def switch_lines(ledger: Ledger, account: str, home: Home, wall_ms: int) -> list[SwitchLine]:
    """Every kill switch: latched ones from the ledger, passing ones as the trader last told, the manual one by its file."""
    beat = ledger.heartbeats().get(TRADER)
    alive = beat is not None and (wall_ms - beat.wall_ms) / 1000 < FRESH_S
    told: Mapping[str, str] = {}
    if beat is not None and alive and beat.payload.get("account") == account:
        told = beat.payload.get("trips", {})
    latched = ledger.latched(account)
    asked = manual_switch(home)
    pulled = None if asked is None else manual_name(asked)
    names = [*SWITCHES, *sorted({*told, *latched} - SWITCHES.keys())]
    return [_switch(name, latched.get(name), told.get(name), alive=alive, pulled=pulled) for name in names]


def _switch(name: str, latch: Latch | None, told: str | None, *, alive: bool, pulled: str | None) -> SwitchLine:
    switch = SWITCHES.get(name)
    does = "reducing" if switch is None else switch.mode.value
    if switch is not None and name == "position_loss":
        does = "closes the position"
    if latch is not None:
        return SwitchLine(name, does, LATCHED, latch.reason, latch.latched_ms)
    if told is not None:
        return SwitchLine(name, does, TRIPPED, told)
    if name == pulled:
        return SwitchLine(name, does, TRIPPED, "the kill file is there")
    if name in (MANUAL, MANUAL_FLATTEN):
        return SwitchLine(name, does, CLEAR)
    return SwitchLine(name, does, CLEAR if alive else UNJUDGED)


def refusals(ledger: Ledger, account: str, cycles: int = 1) -> list[Refusal]:
    """What the newest decisions wanted and did not do, newest first; the same reason of a pair is one line."""
    found: dict[tuple[Pair, str, str], Refusal] = {}
    for record in ledger.decision_records(account, limit=cycles):
        for said in record.decision.pairs:
            if said.outcome not in REFUSED:
                continue
            key = (said.pair, said.outcome, said.reason)
            earlier = found.get(key)
            times, last = (earlier.times + 1, earlier.last_ms) if earlier else (1, record.cycle_ms)
            found[key] = Refusal(*key, times, last)
    return list(found.values())


def refused_orders(ledger: Ledger, account: str, limit: int = 20) -> list[Refusal]:
    """The newest orders that the exchange refused, and those that were held back here, by its filters or for a block."""
    ended = ledger.orders(account, states=[OrderState.REJECTED, OrderState.CANCELED], limit=READ)
    refused = [
        one for one in ended if one.state is OrderState.REJECTED or (one.venue_order_id is None and not one.filled)
    ]
    return [
        Refusal(order.pair, f"order {order.order_id}", order.reason, 1, order.updated_ms) for order in refused[:limit]
    ]


def costs(ledger: Ledger, executions: Iterable[Execution]) -> list[tuple[Execution, Shortfall | None]]:
    """Executions with their implementation shortfall; None for one that never had a price at arrival."""
    return [(one, cost(ledger, one)) for one in executions]


def cost(ledger: Ledger, execution: Execution) -> Shortfall | None:
    """Implementation shortfall of one execution against its arrival price."""
    if execution.arrival_price is None:
        return None
    fills = ledger.executed(execution.plan_id, execution.pair)
    return shortfall(execution.arrival_price, execution.change, fills, execution.end_price)


@dataclass(frozen=True, slots=True)
class MeanCost:
    """What the executions of one kind cost on average, basis points of their notional at arrival."""

    kind: str
    executions: int
    price_bp: float
    fees_bp: float
    opportunity_bp: float

    @property
    def total_bp(self) -> float:
        """All of it."""
        return self.price_bp + self.fees_bp + self.opportunity_bp


def mean_costs(lines: Iterable[tuple[Execution, Shortfall | None]]) -> list[MeanCost]:
    """Mean cost of the executions that filled, weighted by notional, by schedule; exits at once count as ``urgent``."""
    kinds: dict[str, list[Shortfall]] = {}
    for one, spent in lines:
        if spent is not None and spent.filled:
            kinds.setdefault("urgent" if one.target.urgent else one.schedule.kind, []).append(spent)
    made = []
    for kind, spents in sorted(kinds.items()):
        notional = float(sum(abs(one.wanted) * one.arrival for one in spents)) or 1.0
        parts = (
            sum(one.price_cost for one in spents),
            sum(one.fees for one in spents),
            sum(one.opportunity for one in spents),
        )
        made.append(MeanCost(kind, len(spents), *(float(part) / notional * 1e4 for part in parts)))
    return made
