"""Is a part doing its work? One question per kind of part, answered from outside its process.

Each probe is short, raises nothing of its own making and says what it saw. Not here: what to do about the answer.
"""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.errors import HydraError, InputMissing, VenueUnavailable
from hydra_core.domain.intervals import iso
from hydra_core.home import Home
from hydra_core.ledger.records import TRADER as TRADER_NAME
from hydra_core.platform.parts import DAEMON, LIVE, RESEARCH, STORAGE, TRADER, VENUE, WEBSERVER, PartRecord
from hydra_core.platform.processes import is_running, listens
from hydra_core.settings import Settings

if TYPE_CHECKING:
    from hydra_core.ledger.store import Ledger

DAEMON_HEARTBEAT_S: Final = 120
"""Dagster's daemons report every 30 s; four silences are a fault."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe saw."""

    healthy: bool
    detail: str


def probe(part: PartRecord, home: Home, settings: Settings, clock: Clock | None = None) -> Health:
    """Ask one part how it is; a part without a live process is never healthy."""
    if part.state == "done":
        return Health(True, "done")
    if not part.pid or not is_running(part.pid, part.create_time):
        return Health(False, part.detail or "not running")
    if part.port is not None and not listens(part.pid, part.port):
        return Health(False, f"starting: process {part.pid} does not listen on port {part.port} yet")
    return _PROBES[part.name](part, home, settings, clock or SystemClock())


def venue(part: PartRecord, home: Home, settings: Settings, clock: Clock) -> Health:
    """The local exchange answers with its clock."""
    from hydra_core.market.venue_clock import read_anchor

    try:
        anchor = read_anchor(f"http://{settings.platform.host}:{part.port}", clock, timeout_s=2.0)
    except VenueUnavailable as error:
        return Health(False, error.what)
    pace = "held" if anchor.held else f"{anchor.speed:g}x"
    return Health(True, f"market time {iso(anchor.market_ms)}, {pace}")


def trader(part: PartRecord, home: Home, settings: Settings, clock: Clock) -> Health:
    """The trader wrote its heartbeat into the ledger lately, and after it was started."""
    try:
        with existing_ledger(home, settings) as ledger:
            beat = ledger.heartbeats().get(TRADER_NAME)
    except HydraError as error:
        return Health(False, error.what)
    if beat is None or beat.wall_ms < part.started_wall_ms:
        return Health(False, "starting: no heartbeat yet")
    age_s = max(0.0, (clock.wall_ms() - beat.wall_ms) / 1000)
    return Health(age_s <= settings.risk.max_heartbeat_age_s, f"heartbeat {age_s:.1f} s ago{_said(beat.payload)}")


def code_server(part: PartRecord, home: Home, settings: Settings, clock: Clock) -> Health:
    """The code server says SERVING on the standard gRPC health service, which it does once its code is loaded."""
    import grpc  # type: ignore[import-untyped]
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

    address = f"{settings.platform.host}:{part.port}"
    try:
        with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
            request = health_pb2.HealthCheckRequest(service="DagsterApi")
            status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=2.0).status
    except grpc.RpcError as error:
        return Health(False, f"no answer on {address}: {error.code().name.lower()}")
    serving = status == health_pb2.HealthCheckResponse.SERVING
    return Health(serving, f"serving on {address}" if serving else f"loading on {address}")


def daemon(part: PartRecord, home: Home, settings: Settings, clock: Clock) -> Health:
    """Dagster's daemons wrote their heartbeats lately; on another database than SQLite the live process must do."""
    path = home.dagster / "history" / "runs.db"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as database:
            rows = database.execute("SELECT daemon_type, timestamp FROM daemon_heartbeats").fetchall()
    except sqlite3.Error as error:
        return Health(True, f"running ({error})")
    newest = max((_epoch_ms(stamp) for _, stamp in rows), default=0)
    if newest < part.started_wall_ms:
        return Health(False, "starting: no daemon heartbeat yet")
    age_s = max(0.0, (clock.wall_ms() - newest) / 1000)
    return Health(age_s <= DAEMON_HEARTBEAT_S, f"{len(rows)} daemons, newest heartbeat {age_s:.0f} s ago")


def webserver(part: PartRecord, home: Home, settings: Settings, clock: Clock) -> Health:
    """The web UI answers."""
    url = f"http://{settings.platform.host}:{part.port}"
    try:
        with _direct.open(f"{url}/server_info", timeout=2.0) as answer:
            version = json.loads(answer.read()).get("dagster_webserver_version", "")
    except (OSError, ValueError) as error:
        return Health(False, f"no answer from {url}: {error}")
    return Health(True, f"{url} (Dagster {version})")


def storage(part: PartRecord, home: Home, settings: Settings, clock: Clock) -> Health:
    """It is ready when it has ended well, which the supervisor sees."""
    return Health(False, "preparing Dagster's storage")


def existing_ledger(home: Home, settings: Settings) -> Ledger:
    """The home's ledger, to be closed by the caller; never made, never migrated.

    Raises
    ------
    InputMissing : there is none yet
    HydraError : it cannot be read, or has another schema
    """
    from hydra_core.ledger.store import Ledger

    file = home.path / "ledger.db"
    if not settings.database_url and not file.exists():
        raise InputMissing(f"no ledger in {home.path} yet", "The trader makes it when it starts")
    return Ledger.open(settings.database_url or home.ledger_url, migrate=False)


def _epoch_ms(stamp: str) -> int:
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() * 1000)


def _said(payload: Mapping[str, Any]) -> str:
    plain = [
        f"{name} {value}" for name, value in payload.items() if isinstance(value, str | int | float) and value != ""
    ]
    return f" ({', '.join(plain[:4])})" if plain else ""


_PROBES: Final[Mapping[str, Callable[[PartRecord, Home, Settings, Clock], Health]]] = {
    VENUE: venue,
    STORAGE: storage,
    RESEARCH: code_server,
    LIVE: code_server,
    TRADER: trader,
    DAEMON: daemon,
    WEBSERVER: webserver,
}
