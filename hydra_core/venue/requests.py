"""The way of a REST request: route, fault, limits, signature, account brought up to now, answer, headers, wire log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from hydra_core.venue import refusals
from hydra_core.venue.faults import Call, Fault
from hydra_core.venue.refusals import VenueRefusal
from hydra_core.venue.routes import Access, Params, Route
from hydra_core.venue.service import Venue
from hydra_core.venue.signatures import parse_params
from hydra_core.venue.spoiling import Answered, Veil, struck_answer

_JSON: Final = "application/json"
_LOGGED: Final = {
    "retry_after": "Retry-After",
    "used_weight": "X-MBX-USED-WEIGHT-1M",
    "orders": "X-MBX-ORDER-COUNT-10S",
}
"""Names in the wire log of headers that are kept there."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as it came in."""

    request: web.Request
    query: str
    body: str
    wall_ms: int
    call: Call


class Requests:
    """Handler of every exchange path.

    Parameters
    ----------
    venue : Venue
    set_off : callable
        Does what an act orders; handed the acts that a request sets off.
    """

    def __init__(self, venue: Venue, set_off: Callable[[Fault], object]) -> None:
        self._venue = venue
        self._set_off = set_off
        self._veils: dict[int, Veil] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        venue = self._venue
        venue.requests += 1
        query, body = request.rel_url.raw_query_string, await request.text()
        call = Call(request.method, request.path, parse_params(query) | parse_params(body))
        asked = _Asked(request, query, body, venue.clock.wall_ms(), call)
        route = venue.routes.get((request.method, request.path))
        if route is None:
            venue.note_unknown(f"{request.method} {request.path}")
            return self._send(asked, Answered(404, b"<html><body><h1>404 Not found</h1></body></html>", html=True))
        fault = venue.faults.strike(call)
        effect: Answered | None = None
        if fault is None or fault["after"] or fault.kind == "malformed":
            for act in venue.faults.acts(call, after=False):
                self._set_off(act)
            effect = self._veiled(call, self._answer(request, route, query, body))
            for act in venue.faults.acts(call, after=True):
                self._set_off(act)
        if fault is None:
            assert effect is not None
            return self._send(asked, effect)
        answered = await struck_answer(fault, effect)
        return self._send(asked, answered, fault=fault.kind, effect=effect)

    def _veiled(self, call: Call, answered: Answered) -> Answered:
        """The answer as the ordered read-after-write lags leave it."""
        wall_ms = self._venue.clock.wall_ms()
        for fault in self._venue.faults.in_force("invisible"):
            veil = self._veils.setdefault(fault.number, Veil(fault))
            answered = veil.over(call.method, call.path, answered, wall_ms)
        return answered

    def _send(
        self, asked: _Asked, answered: Answered, *, fault: str = "", effect: Answered | None = None
    ) -> web.StreamResponse:
        """Log and send; an answer without a status cuts the connection."""
        request = asked.request
        more: dict[str, Any] = {"asked_wall_ms": asked.wall_ms}
        for name, header in _LOGGED.items():
            if header in answered.headers:
                more[name] = int(answered.headers[header])
        if fault:
            more |= {"fault": fault, "executed": effect is not None}
            more |= {"effect": effect.body.decode(errors="replace")} if effect is not None else {}
        told = answered.body if answered.status else b""
        self._venue.wire.request(request.method, request.path, asked.query, asked.body, answered.status, told, **more)
        if not answered.status:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        kind = "text/html" if answered.html else _JSON
        return web.Response(
            status=answered.status, body=answered.body, content_type=kind, headers=dict(answered.headers)
        )

    def _answer(self, request: web.Request, route: Route, query: str, body: str) -> Answered:
        venue = self._venue
        try:
            if venue.clock.ended:
                raise refusals.maintenance()
            params = self._params(request, route, query, body)
            venue.limits.spend(route.cost(params))
            if route.order:
                venue.limits.spend_order()
            if route.access is Access.SIGNED:
                venue.settle_account()
            answer = route.answer(params)
        except VenueRefusal as refusal:
            headers = venue.limits.headers(order=route.order)
            if refusal.status in {418, 429} and refusal.code != refusals.TOO_MANY_ORDERS:
                headers["Retry-After"] = str(venue.limits.retry_after_s(refusal.status))
            return Answered(refusal.status, orjson.dumps(refusal.body), headers)
        told = answer if isinstance(answer, bytes) else orjson.dumps(answer)
        return Answered(200, told, venue.limits.headers(order=route.order))

    def _params(self, request: web.Request, route: Route, query: str, body: str) -> Params:
        venue = self._venue
        key = request.headers.get("X-MBX-APIKEY")
        if route.access is Access.SIGNED:
            return venue.gate.read(key, query, body, venue.clock.server_ms(), venue.clock.speed)
        if route.access is Access.KEY:
            venue.gate.check_key(key)
        return parse_params(query) | parse_params(body)
