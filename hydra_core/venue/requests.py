"""The way of a REST request: route, fault, limits, signature, account brought up to now, answer, headers."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from hydra_core.venue import refusals
from hydra_core.venue.faults import Fault
from hydra_core.venue.refusals import VenueRefusal
from hydra_core.venue.routes import Access, Params, Route
from hydra_core.venue.service import Venue
from hydra_core.venue.signatures import parse_params

_JSON = "application/json"


class Requests:
    """Handler of every exchange path.

    Parameters
    ----------
    venue : Venue
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        venue = self._venue
        venue.requests += 1
        route = venue.routes.get((request.method, request.path))
        if route is None:
            venue.note_unknown(f"{request.method} {request.path}")
            return web.Response(status=404, text="<html><body><h1>404 Not found</h1></body></html>")
        fault = venue.faults.strike(request.method, request.path, venue.clock.wall_ms())
        if fault is not None and not fault.after:
            return await self._struck(request, fault)
        query, body = request.rel_url.raw_query_string, await request.text()
        response = self._answer(request, route, query, body)
        if fault is not None:
            return await self._struck(request, fault, response)
        return response

    def _answer(self, request: web.Request, route: Route, query: str, body: str) -> web.Response:
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
            if refusal.status in {418, 429}:
                headers["Retry-After"] = str(venue.limits.retry_after_s(refusal.status))
            return web.Response(
                status=refusal.status, body=orjson.dumps(refusal.body), content_type=_JSON, headers=headers
            )
        return web.Response(
            body=answer if isinstance(answer, bytes) else orjson.dumps(answer),
            content_type=_JSON,
            headers=venue.limits.headers(order=route.order),
        )

    def _params(self, request: web.Request, route: Route, query: str, body: str) -> Params:
        venue = self._venue
        key = request.headers.get("X-MBX-APIKEY")
        if route.access is Access.SIGNED:
            return venue.gate.read(key, query, body, venue.clock.market_ms(), venue.clock.speed)
        if route.access is Access.KEY:
            venue.gate.check_key(key)
        return parse_params(query) | parse_params(body)

    async def _struck(
        self, request: web.Request, fault: Fault, response: web.Response | None = None
    ) -> web.StreamResponse:
        """What a struck request's client sees; ``response`` is what it would have seen, when there was an effect."""
        if fault.kind == "reset":
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
            if response is not None:
                return response
            return web.Response(status=504, text="<html><body><h1>504 Gateway Time-out</h1></body></html>")
        if fault.kind == "refuse":
            refusal = VenueRefusal(fault.code, fault.message, fault.status)
            return web.Response(status=refusal.status, body=orjson.dumps(refusal.body), content_type=_JSON)
        return web.Response(status=fault.status, text=f"<html><body><h1>{fault.status}</h1></body></html>")
