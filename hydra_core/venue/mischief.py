"""Doing what ordered faults say, beyond spoiling answers and messages: what each kind changes, and how it is taken back.

``fault_kinds.py`` lists the kinds. Answer faults are done in the request pipeline, message faults in
``stream_faults.py`` and ``publisher.py``; the account's and the market's own are in ``mischief_account.py`` and
``mischief_market.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from hydra_core.venue.account_formats import listen_key_expired
from hydra_core.venue.fault_kinds import Group
from hydra_core.venue.faults import Fault
from hydra_core.venue.hub import LIFE_MS
from hydra_core.venue.listen_keys import VALID_MS
from hydra_core.venue.mischief_account import AccountMischief
from hydra_core.venue.mischief_market import MarketMischief
from hydra_core.venue.service import Venue

Deed = Callable[[Fault], None]


class Mischief:
    """Carries faults out on one venue.

    Parameters
    ----------
    venue : Venue
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        account, market = AccountMischief(venue), MarketMischief(venue)
        self._acts: dict[str, Deed] = {
            "drop": self._drop,
            "expire_listen_key": self._expire_listen_key,
            "replay": lambda fault: venue.hub.again(fault["count"], fault["event"]),
            **account.acts(),
        }
        self._rules: dict[str, tuple[Deed, Callable[[], None]]] = {
            "limits": (self._limits, venue.limits.restore),
            "ban": (self._ban, venue.limits.restore),
            "clock_drift": (self._drift, lambda: setattr(venue.clock, "drift_ms", 0)),
            "key_life": (self._key_life, lambda: venue.keys.live(VALID_MS)),
            "connection_life": (self._connection_life, lambda: venue.hub.live(LIFE_MS)),
            **account.rules(),
            **market.rules(),
        }
        venue.engine.planner = account.plan

    def order(self, fault: Fault) -> None:
        """Put a fault in force, or do it at once.

        Raises
        ------
        VenueRefusal : its fields name a pair that does not exist, or no number
        """
        if fault.group is Group.ACT and fault.matcher is None:
            self.perform(fault)
            return
        self._venue.faults.arm(fault)
        self._venue.clock.wake()
        if not fault.active or fault.kind not in self._rules:
            return
        self._venue.settle_account()
        try:
            self._rules[fault.kind][0](fault)
        except BaseException:
            self._venue.faults.withdraw(fault.number)
            raise

    def perform(self, fault: Fault) -> None:
        """Do an act now, or put a waiting rule in force."""
        self._venue.settle_account()
        self._venue.faults.note(fault)
        if fault.group is Group.ACT:
            self._acts[fault.kind](fault)
        elif not fault.active:
            fault.active = True
            if fault.kind in self._rules:
                self._rules[fault.kind][0](fault)

    def withdraw(self, number: int | None) -> None:
        """Take one fault, or all, back; what they changed is as it was, but for other faults still in force."""
        self._venue.settle_account()
        gone = self._venue.faults.withdraw(number)
        for kind in {fault.kind for fault in gone if fault.kind in self._rules}:
            apply, restore = self._rules[kind]
            restore()
            for fault in self._venue.faults.in_force(kind):
                apply(fault)
        self._venue.hub.let_go()

    # -- limits and time ---------------------------------------------------------------------------------------------

    def _limits(self, fault: Fault) -> None:
        self._venue.limits.change(
            fault["weight_limit"],
            fault["order_limit"],
            int(fault["window_s"] * 1000),
            int(fault["ban_s"] * 1000),
            fault["calls_before_ban"],
        )

    def _ban(self, fault: Fault) -> None:
        self._venue.limits.ban(int(fault["seconds"] * 1000), fault["retry_after"])

    def _drift(self, fault: Fault) -> None:
        self._venue.clock.drift_ms = fault["ms"]

    def _key_life(self, fault: Fault) -> None:
        self._venue.keys.live(int(fault["seconds"] * 1000))

    def _connection_life(self, fault: Fault) -> None:
        self._venue.hub.live(int(fault["seconds"] * 1000), int(fault["stagger_s"] * 1000))

    # -- connections -----------------------------------------------------------------------------------------------

    def _drop(self, fault: Fault) -> None:
        for connection in self._venue.hub.chosen(fault["private"], fault["streams"]):
            connection.end(fault["code"], fault["reason"], abort=fault["abort"])

    def _expire_listen_key(self, fault: Fault) -> None:
        key = self._venue.keys.expire()
        message = listen_key_expired(key, self._venue.clock.market_ms()) if fault["event"] else b""
        self._venue.hub.end_key(key, message, close=fault["close"])
