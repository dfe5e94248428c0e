"""Ordered faults of the market: they become bends of the overlay that everything is read through."""

from __future__ import annotations

from collections.abc import Callable

from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair
from hydra_core.venue.faults import Fault
from hydra_core.venue.overlay import Correction, FundingChange, Hole, Shape, Shock
from hydra_core.venue.refusals import VenueRefusal, bad_symbol
from hydra_core.venue.service import Venue

Rule = tuple[Callable[[Fault], None], Callable[[], None]]


class MarketMischief:
    """Faults that bend the market.

    Parameters
    ----------
    venue : Venue
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._overlay = venue.feed.market

    def rules(self) -> dict[str, Rule]:
        """What holds until withdrawn, by kind, with what restores it."""
        overlay = self._overlay
        return {
            "shock": (self._shock, overlay.shocks.clear),
            "book_shape": (self._shape, overlay.shapes.clear),
            "candle_gap": (self._hole, overlay.holes.clear),
            "candle_corrected": (self._correct, overlay.corrections.clear),
            "funding_interval": (self._funding, self._usual_funding),
        }

    def _pair(self, fault: Fault) -> Pair:
        pair = Pair(fault["symbol"])
        if pair not in self._overlay.pairs:
            raise bad_symbol()
        return pair

    def _since(self, fault: Fault) -> int:
        """Market time of the fault's order; the same when it is put in force again."""
        return self._began.setdefault(fault.number, self._venue.clock.market_ms())

    @property
    def _began(self) -> dict[int, int]:
        return self._venue.faults.began

    def _shock(self, fault: Fault) -> None:
        if fault["factor"] <= 0:
            raise VenueRefusal(-1100, "fault shock: factor is above 0.")
        self._overlay.shocks.append(Shock(self._pair(fault), self._since(fault), float(fault["factor"])))

    def _shape(self, fault: Fault) -> None:
        if not 0 <= fault["widen"] < 1 or fault["thin"] < 0:
            raise VenueRefusal(-1100, "fault book_shape: widen lies in 0..1, thin is 0 or more.")
        self._overlay.shapes.append(Shape(self._pair(fault), float(fault["widen"]), float(fault["thin"])))

    def _hole(self, fault: Fault) -> None:
        pair = self._pair(fault)
        self._overlay.holes.append(Hole(pair, fault["interval"], fault["from_ms"], fault["to_ms"]))

    def _correct(self, fault: Fault) -> None:
        pair, interval = self._pair(fault), next((one for one in Interval if one == fault["interval"]), None)
        if interval is None or fault["back"] < 1:
            raise VenueRefusal(-1100, "fault candle_corrected: it takes an interval, and back 1 or more.")
        opened = interval.floor(self._since(fault)) - fault["back"] * interval.ms
        close, volume = float(fault["close_factor"]), float(fault["volume_factor"])
        self._overlay.corrections.append(Correction(pair, interval, opened, close, volume))
        if fault["resend"]:
            self._venue.publisher.tell_closed(pair, interval, opened)

    def _funding(self, fault: Fault) -> None:
        if fault["hours"] not in {1, 2, 4, 6, 8, 12, 24}:
            raise VenueRefusal(-1100, "fault funding_interval: hours divide a day.")
        start = fault["from_ms"] or self._since(fault)
        self._overlay.funding_changes.append(
            FundingChange(self._pair(fault), start, fault["hours"], fault["jitter_ms"])
        )
        self._venue.feed.forget_settlements()

    def _usual_funding(self) -> None:
        self._overlay.funding_changes.clear()
        self._venue.feed.forget_settlements()
