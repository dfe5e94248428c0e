"""Serving a venue: the web application, its start and its orderly end."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable

from aiohttp import web
from loguru import logger

from hydra_core.domain.errors import LockHeld
from hydra_core.venue.config import VenueConfig
from hydra_core.venue.control import Control
from hydra_core.venue.mischief import Mischief
from hydra_core.venue.pulse import Pulse
from hydra_core.venue.requests import Requests
from hydra_core.venue.service import Venue
from hydra_core.venue.sockets import Sockets

_STREAM_PATHS = ("/ws", "/stream", "/ws/{stream:.+}")
_CATEGORIES = ("public", "market", "private")


def make_app(venue: Venue, pulse: Pulse) -> web.Application:
    """The application of a venue: control plane, streams, and everything else through the REST table."""
    app = web.Application(client_max_size=1 << 20)
    mischief = Mischief(venue)
    app.router.add_routes(Control(venue, mischief, pulse.step).routes())
    sockets = Sockets(venue)
    for path in _STREAM_PATHS:
        app.router.add_get(path, sockets.handle)
        for category in _CATEGORIES:
            app.router.add_get(f"/{category}{path}", sockets.handle)
    app.router.add_route("*", "/{path:.*}", Requests(venue, mischief.perform).handle)
    return app


async def serve(
    config: VenueConfig,
    *,
    stop: asyncio.Event | None = None,
    ready: Callable[[str, int], None] | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve a venue until stopped; its state is saved on the way out, however that happens.

    Parameters
    ----------
    config : VenueConfig
    stop : asyncio.Event, optional
        Set to end; without it, cancel the task.
    ready : callable, optional
        Handed host and port once requests are answered.
    tls : ssl.SSLContext, optional
        Speak https and wss with it.

    Raises
    ------
    LockHeld : the port is taken, or another venue runs on the state folder
    DataCorrupt : the state folder cannot be read, or is another market's
    """
    venue = Venue(config)
    pulse = Pulse(venue)
    runner = web.AppRunner(make_app(venue, pulse), access_log=None, shutdown_timeout=1.0)
    beating: asyncio.Task[None] | None = None
    stopping = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        port = await _listen(runner, config, tls)
        beating = asyncio.create_task(pulse.run())
        logger.info("venue {} answers on {}:{}", config.market.name, config.host, port)
        if ready is not None:
            ready(config.host, port)
        await asyncio.wait({beating, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if beating.done():
            beating.result()
    finally:
        tasks = [task for task in (beating, stopping) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        venue.hub.end_all(1001, "going away")
        await runner.cleanup()
        venue.close()


async def _listen(runner: web.AppRunner, config: VenueConfig, tls: ssl.SSLContext | None) -> int:
    await runner.setup()
    site = web.TCPSite(runner, config.host, config.port, reuse_address=True, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        raise LockHeld(
            f"the venue cannot listen on {config.host}:{config.port} ({error.strerror})",
            "Stop what uses the port, or choose another with --port",
        ) from error
    address = runner.addresses[0]
    return int(address[1])


def run(config: VenueConfig, *, ready: Callable[[str, int], None] | None = None) -> None:
    """Serve a venue in the foreground until SIGTERM or SIGINT; see :func:`serve`."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(config, stop=stop, ready=ready)

    asyncio.run(main())
