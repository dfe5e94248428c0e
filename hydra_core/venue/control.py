"""The control plane under ``/_venue/``: the clock, a status, ordered faults. No exchange path leads here."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import WSCloseCode, web
from loguru import logger

from hydra_core.domain.clock import ClockAnchor
from hydra_core.domain.errors import UsageError
from hydra_core.venue.account_formats import usdt
from hydra_core.venue.faults import KEY_FAULTS, REQUEST_FAULTS, Fault, read_fault
from hydra_core.venue.refusals import VenueRefusal
from hydra_core.venue.service import Venue


class Control:
    """Handlers of the control plane.

    Parameters
    ----------
    venue : Venue
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def routes(self) -> list[web.RouteDef]:
        """Every control endpoint."""
        return [
            web.get("/_venue/clock", self.clock),
            web.post("/_venue/clock", self.set_clock),
            web.get("/_venue/status", self.status),
            web.get("/_venue/fault", self.faults),
            web.post("/_venue/fault", self.order_fault),
            web.delete("/_venue/fault", self.clear_faults),
        ]

    async def clock(self, request: web.Request) -> web.Response:
        """An anchor valid now."""
        return _json(self._clock_body(self._venue.clock.anchor()))

    async def set_clock(self, request: web.Request) -> web.Response:
        """Change speed or hold."""
        body = await _body(request)
        speed, held = body.get("speed"), body.get("held")
        if (
            body.keys() - {"speed", "held"}
            or isinstance(speed, bool)
            or not isinstance(speed, (int, float, type(None)))
        ):
            return _json({"error": "the body takes speed (a number) and held (true or false)"}, 400)
        if not isinstance(held, (bool, type(None))):
            return _json({"error": "held is true or false"}, 400)
        try:
            anchor = self._venue.clock.set(speed, held)
        except UsageError as error:
            return _json({"error": str(error)}, 400)
        self._venue.save_clock()
        logger.info("clock: speed {:g}, {}", anchor.speed, "held" if anchor.held else "running")
        return _json(self._clock_body(anchor))

    async def status(self, request: web.Request) -> web.Response:
        """What the venue is, and what it has seen."""
        venue = self._venue
        venue.settle_account()
        return _json(
            {
                **self._clock_body(venue.clock.anchor()),
                "market": venue.feed.market.name,
                "pairs": list(venue.feed.market.pairs),
                "base_interval": str(venue.feed.market.base_interval),
                "inputs": sorted(venue.feed.market.inputs),
                "origin_ms": venue.feed.market.origin_ms,
                "ended": venue.clock.ended,
                "requests": venue.requests,
                "connections": len(venue.hub),
                "streams": len(venue.hub.topics),
                "unknown": list(venue.unknown_requests),
                "wallet": usdt(venue.engine.account.wallet),
                "open_orders": len(venue.engine.book.open_orders()),
                "positions": len(venue.engine.account.open_pairs()),
            }
        )

    async def faults(self, request: web.Request) -> web.Response:
        """Faults that wait and faults that struck."""
        return _json({"armed": self._venue.faults.armed(), "struck": self._venue.faults.struck})

    async def order_fault(self, request: web.Request) -> web.Response:
        """Order a fault."""
        try:
            fault = read_fault(await _body(request))
        except VenueRefusal as refusal:
            return _json(refusal.body, 400)
        logger.info("fault ordered: {}", fault)
        if fault.kind in REQUEST_FAULTS:
            self._venue.faults.arm(fault)
        elif fault.kind in KEY_FAULTS:
            self._venue.hub.end_key(self._venue.keys.expire(), b"")
        else:
            self._strike_streams(fault)
        return _json({"armed": self._venue.faults.armed()})

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Withdraw every fault."""
        self._venue.faults.clear()
        return _json({"armed": []})

    def _strike_streams(self, fault: Fault) -> None:
        until = self._venue.clock.wall_ms() + int(fault.seconds * 1000)
        if fault.kind == "deny":
            self._venue.faults.denied_until_wall_ms = until
        elif fault.kind == "stall":
            self._venue.hub.stall(until, fault.private)
        else:
            for connection in self._venue.hub.chosen(fault.private):
                connection.end(WSCloseCode.GOING_AWAY, "dropped")

    def _clock_body(self, anchor: ClockAnchor) -> dict[str, Any]:
        return {
            "market_ms": anchor.market_ms,
            "wall_ms": anchor.wall_ms,
            "speed": anchor.speed,
            "held": anchor.held,
            "end_ms": self._venue.clock.end_ms,
        }


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError:
        raise web.HTTPBadRequest(text="the body is not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body is not a JSON object")
    return body
