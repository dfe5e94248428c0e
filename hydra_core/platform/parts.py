"""The parts of a platform: the command of each, what it waits for, and the record kept of it.

Not here: starting them (``supervisor``) and asking how they are (``probes``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import DataCorrupt, UsageError
from hydra_core.home import Home
from hydra_core.platform.markets import MarketDescription, described, insist_exchange, venue_arguments
from hydra_core.platform.processes import child_environment, reserve_port
from hydra_core.settings import Settings

VENUE: Final = "venue"
TRADER: Final = "trader"
STORAGE: Final = "storage"
RESEARCH: Final = "research"
LIVE: Final = "live"
DAEMON: Final = "daemon"
WEBSERVER: Final = "webserver"
PARTS: Final = (VENUE, STORAGE, RESEARCH, LIVE, TRADER, DAEMON, WEBSERVER)
"""In the order they are started; a platform has all of them or a few."""
LOCATIONS: Final = {
    RESEARCH: ("hydra_research", "hydra_dagster.definitions"),
    LIVE: ("hydra_live", "hydra_dagster.live"),
}
"""Part -> (code location, module)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process to keep running.

    Parameters
    ----------
    name : one of :data:`PARTS`
    command : argument vector
    environment : the whole environment
    port : where it listens, None where it does not
    after : parts that must be ready before it is started
    once : it does its work and ends; it is not restarted after success
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int | None = None
    after: tuple[str, ...] = ()
    once: bool = False


@dataclass(slots=True)
class PartRecord:
    """What is known of a part's process; ``state`` is waiting, starting, ready, done or restarting."""

    name: str
    state: str = "waiting"
    pid: int = 0
    create_time: float = 0.0
    port: int | None = None
    restarts: int = 0
    detail: str = ""
    log: str = ""
    started_wall_ms: int = 0


@dataclass(slots=True)
class PlatformRecord:
    """The content of ``run/platform.json``: the supervisor and its parts, for every other process to read."""

    market: str
    pid: int
    create_time: float
    started_wall_ms: int
    host: str
    venue_url: str
    webserver_url: str
    parts: dict[str, PartRecord] = field(default_factory=dict)

    def save(self, home: Home) -> None:
        """Write the record (atomically)."""
        path = record_path(home)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps(asdict(self), indent=1) + "\n")
        fresh.replace(path)


def record_path(home: Home) -> Path:
    """Where the record of a home's platform lies."""
    return home.run / "platform.json"


def load_record(home: Home) -> PlatformRecord | None:
    """The record of the home's platform, None when it was never started or was taken down."""
    try:
        text = record_path(home).read_text()
    except FileNotFoundError:
        return None
    try:
        raw: dict[str, Any] = json.loads(text)
        parts = {name: PartRecord(**part) for name, part in raw.pop("parts").items()}
        return PlatformRecord(parts=parts, **raw)
    except (ValueError, TypeError, KeyError) as error:
        raise DataCorrupt(
            f"{record_path(home)} cannot be read: {error}", "Run `hydra down`, then `hydra up`"
        ) from error


def with_free_ports(home: Home, settings: Settings, chosen: Iterable[str], kept: ExitStack) -> Settings:
    """The settings a platform's parts run with: free ports, absolute folders, the address of the local venue.

    A port that is taken is replaced by the next free one, and reserved while ``kept`` is open. The address is the
    platform's own venue where it runs one.
    """
    names = tuple(chosen)
    insist_exchange(home, settings.exchange)
    wanted = settings.platform
    fields = {VENUE: "venue_port", RESEARCH: "research_port", LIVE: "live_port", WEBSERVER: "webserver_port"}
    ports: dict[str, int] = {}
    for part in names:
        if part in fields:
            ports[fields[part]] = reserve_port(wanted.host, getattr(wanted, fields[part]), kept)
    platform = wanted.model_copy(update=ports)
    own = f"http://{platform.host}:{platform.venue_port}"
    local = described(home).local
    url = own if VENUE in names else (settings.venue_url or own) if local else ""
    update = {"platform": platform, "market": home.market, "data_root": home.root.absolute(), "venue_url": url}
    return settings.model_copy(update=update)


def choose(home: Home, parts: Iterable[str] | None = None) -> tuple[str, ...]:
    """The parts to run, in starting order: all of them, or those named; no venue where the market is an exchange."""
    named = set(PARTS if parts is None else parts)
    if unknown := named - set(PARTS):
        raise UsageError(f"unknown parts {sorted(unknown)}", f"Known: {', '.join(PARTS)}")
    if named & {DAEMON, WEBSERVER}:
        named.add(STORAGE)
    if not described(home).local:
        named.discard(VENUE)
    return tuple(part for part in PARTS if part in named)


def venue_url(home: Home, settings: Settings) -> str:
    """Address of the venue that a home's market is served at: as set, else this machine's; empty for an exchange."""
    if not described(home).local:
        return ""
    return settings.venue_url or f"http://{settings.platform.host}:{settings.platform.venue_port}"


def make_parts(home: Home, settings: Settings, chosen: Iterable[str]) -> tuple[Part, ...]:
    """The chosen parts with their commands; ``settings`` already holds free ports."""
    names = tuple(chosen)
    market = described(home)
    makers: dict[str, Callable[[], Part]] = {
        VENUE: lambda: _venue(home, settings, market),
        STORAGE: lambda: _part(home, settings, STORAGE, ("dagster", "instance", "migrate"), once=True),
        RESEARCH: lambda: _code_server(home, settings, names, RESEARCH, settings.platform.research_port),
        LIVE: lambda: _code_server(home, settings, names, LIVE, settings.platform.live_port),
        TRADER: lambda: _trader(home, settings, names),
        DAEMON: lambda: _daemon(home, settings, names),
        WEBSERVER: lambda: _webserver(home, settings, names),
    }
    write_workspace(home, settings, names)
    return tuple(makers[name]() for name in names)


def write_workspace(home: Home, settings: Settings, names: Iterable[str]) -> Path:
    """Write the workspace file that points daemon, webserver and launches at the running code servers."""
    ports = {RESEARCH: settings.platform.research_port, LIVE: settings.platform.live_port}
    lines = ["load_from:"]
    for name in names:
        if name in LOCATIONS:
            where = f"{{host: {settings.platform.host}, port: {ports[name]}, location_name: {LOCATIONS[name][0]}}}"
            lines.append(f"  - grpc_server: {where}")
    path = workspace_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n" if len(lines) > 1 else "load_from: []\n")
    return path


def workspace_path(home: Home) -> Path:
    """The generated workspace file of a running platform."""
    return home.run / "workspace.yaml"


def _present(names: tuple[str, ...], *wanted: str) -> tuple[str, ...]:
    return tuple(name for name in wanted if name in names)


def _part(
    home: Home,
    settings: Settings,
    name: str,
    module: tuple[str, ...],
    *,
    port: int | None = None,
    after: tuple[str, ...] = (),
    once: bool = False,
) -> Part:
    # One thread for everything but training: the machine is shared, and a live cycle needs no more.
    threads = settings.training.threads if name == RESEARCH else 1
    environment = child_environment(home, settings, threads=threads, venue_url=settings.venue_url)
    return Part(name, (sys.executable, "-m", *module), environment, port, after, once)


def _venue(home: Home, settings: Settings, market: MarketDescription) -> Part:
    port = settings.platform.venue_port
    module = ("hydra_core.venue", *venue_arguments(home, market, port))
    return _part(home, settings, VENUE, module, port=port)


def _trader(home: Home, settings: Settings, names: tuple[str, ...]) -> Part:
    where = ("--base-url", settings.venue_url) if settings.venue_url else ()
    return _part(home, settings, TRADER, ("hydra_core.trader", *where), after=_present(names, VENUE))


def _code_server(home: Home, settings: Settings, names: tuple[str, ...], name: str, port: int) -> Part:
    location, module_name = LOCATIONS[name]
    serve = ("dagster", "api", "grpc", "--module-name", module_name, "--location-name", location)
    where = ("--host", settings.platform.host, "--port", str(port), "--use-python-environment-entry-point")
    # A code server makes the storage too when there is none yet: two at once would clash.
    after = () if (home.dagster / "history" / "runs.db").exists() else _present(names, STORAGE)
    return _part(home, settings, name, (*serve, *where), port=port, after=after)


def _daemon(home: Home, settings: Settings, names: tuple[str, ...]) -> Part:
    module = ("dagster._daemon", "run", "-w", str(workspace_path(home).absolute()))
    return _part(home, settings, DAEMON, module, after=_present(names, STORAGE, RESEARCH, LIVE))


def _webserver(home: Home, settings: Settings, names: tuple[str, ...]) -> Part:
    port = settings.platform.webserver_port
    where = ("-w", str(workspace_path(home).absolute()), "-h", settings.platform.host, "-p", str(port))
    after = _present(names, STORAGE, RESEARCH, LIVE)
    return _part(home, settings, WEBSERVER, ("dagster_webserver", *where), port=port, after=after)
