"""What an incident forbids, and that it is booked before the fill that told of it.

Not here: who notices an incident (the brokers), what is done about orders and targets (``trader.guard``).
"""

from __future__ import annotations

from typing import Final

from hydra_core.broker.protocol import Incident, IncidentKind
from hydra_core.domain.intervals import next_day_ms
from hydra_core.domain.trading import Mode
from hydra_core.ledger.store import Ledger

HALTING: Final = frozenset({IncidentKind.LIQUIDATION, IncidentKind.FOREIGN})
"""Incidents after which nothing is traded until a person has looked."""


def forbid(ledger: Ledger, account: str, incident: Incident, now_ms: int) -> None:
    """Latch the halt that an incident asks for, and bar its pair for the rest of the day; doing it again changes nothing.

    Called before the incident's fill is booked: a process that ends between the two, or before the guard's next round, must
    not forget what is forbidden.

    Parameters
    ----------
    now_ms : int, market time
    """
    if incident.kind in HALTING:
        ledger.latch(account, incident.kind.value, incident.reason, Mode.HALTED, now_ms)
    if incident.pair:
        ledger.bar_pair(account, incident.pair, next_day_ms(now_ms), incident.reason)
