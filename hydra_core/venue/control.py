"""The control plane under ``/_venue/``: clock, status, ordered faults, wire log. No exchange path leads here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web
from loguru import logger

from hydra_core.domain.clock import ClockAnchor
from hydra_core.domain.errors import UsageError
from hydra_core.venue.account_formats import usdt
from hydra_core.venue.mischief import Mischief
from hydra_core.venue.refusals import VenueRefusal
from hydra_core.venue.service import Venue
from hydra_core.venue.wire import ROWS


class Control:
    """Handlers of the control plane.

    Parameters
    ----------
    venue : Venue
    mischief : Mischief
        Does what ordered faults say.
    step : callable
        Lets everything that is due happen and go out.
    """

    def __init__(self, venue: Venue, mischief: Mischief, step: Callable[[], object]) -> None:
        self._venue = venue
        self._mischief = mischief
        self._step = step

    def routes(self) -> list[web.RouteDef]:
        """Every control endpoint."""
        return [
            web.get("/_venue/clock", self.clock),
            web.post("/_venue/clock", self.set_clock),
            web.get("/_venue/status", self.status),
            web.get("/_venue/faults", self.faults),
            web.post("/_venue/faults", self.order_fault),
            web.delete("/_venue/faults", self.clear_faults),
            web.get("/_venue/wire", self.wire),
            web.post("/_venue/wire", self.set_wire),
        ]

    async def clock(self, request: web.Request) -> web.Response:
        """An anchor valid now."""
        return _json(self._clock_body(self._venue.clock.anchor()))

    async def set_clock(self, request: web.Request) -> web.Response:
        """Change speed or hold, or move on at once."""
        body = await _body(request)
        speed, held, advance = body.get("speed"), body.get("held"), body.get("advance_ms")
        if body.keys() - {"speed", "held", "advance_ms"} or not _is_number(speed):
            return _json({"error": "the body takes speed (a number), held (true or false) and advance_ms"}, 400)
        if not isinstance(held, (bool, type(None))):
            return _json({"error": "held is true or false"}, 400)
        if isinstance(advance, bool) or not isinstance(advance, (int, type(None))):
            return _json({"error": "advance_ms is a whole number of milliseconds"}, 400)
        try:
            anchor = self._venue.clock.set(speed, held)
            if advance is not None:
                anchor = self._venue.clock.advance(advance)
                self._step()
        except UsageError as error:
            return _json({"error": str(error)}, 400)
        self._venue.save_clock()
        logger.debug("clock: speed {:g}, {}", anchor.speed, "held" if anchor.held else "running")
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
        """Faults in force and what faults have done."""
        return _json({"armed": self._venue.faults.rows(), "struck": self._venue.faults.struck})

    async def order_fault(self, request: web.Request) -> web.Response:
        """Order a fault; the answer carries its number."""
        try:
            fault = self._venue.faults.read(await _body(request))
            self._mischief.order(fault)
        except VenueRefusal as refusal:
            return _json(refusal.body, 400)
        logger.info("fault ordered: {}", fault.row())
        return _json({"id": fault.number, "armed": self._venue.faults.rows()})

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Withdraw every fault, or the one numbered ``id``."""
        word = request.query.get("id", "")
        if word and not word.isdigit():
            return _json({"error": "id is a fault's number"}, 400)
        self._mischief.withdraw(int(word) if word else None)
        return _json({"armed": self._venue.faults.rows()})

    async def wire(self, request: web.Request) -> web.Response:
        """The wire log: ``channel``, ``method``, ``path``, ``stream``, ``what`` filter, ``since`` and ``limit`` page."""
        log, query = self._venue.wire, dict(request.query)
        try:
            since, limit = int(query.pop("since", 0)), int(query.pop("limit", ROWS))
            rows = log.rows(query, since, limit)
        except (ValueError, re.error) as error:
            return _json({"error": f"the wire log cannot be read so: {error}"}, 400)
        log.flush()
        return _json({**log.state(), "rows": rows})

    async def set_wire(self, request: web.Request) -> web.Response:
        """Start the log anew, or stop it."""
        body = await _body(request)
        on, disk, limit = body.get("on", True), body.get("disk", False), body.get("limit", ROWS)
        good = isinstance(on, bool) and isinstance(disk, bool) and isinstance(limit, int) and limit > 0
        if body.keys() - {"on", "disk", "limit"} or not good:
            return _json({"error": "the body takes on, disk (true or false) and limit (rows)"}, 400)
        if on:
            self._venue.wire.start(limit, disk=disk)
        else:
            self._venue.wire.stop()
        return _json(self._venue.wire.state())

    def _clock_body(self, anchor: ClockAnchor) -> dict[str, Any]:
        return {
            "market_ms": anchor.market_ms,
            "wall_ms": anchor.wall_ms,
            "speed": anchor.speed,
            "held": anchor.held,
            "end_ms": self._venue.clock.end_ms,
        }


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


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
