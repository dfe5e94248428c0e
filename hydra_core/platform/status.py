"""How a platform is, read from outside: every part, the window, the seats, the switches, the disk.

Nothing is changed by asking. Not here: what is wrong with the machine and how to mend it (``doctor``), showing it (cli).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from hydra_core.alpha.models import FORECASTER, KINDS
from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.errors import ArtifactInvalid, HydraError, InputMissing
from hydra_core.domain.intervals import iso
from hydra_core.home import Home
from hydra_core.ledger.livestate import LiveStateClock
from hydra_core.ledger.records import STRATEGY, TRADER, lease_name
from hydra_core.platform.control import running
from hydra_core.platform.external import standings
from hydra_core.platform.failures import failures
from hydra_core.platform.parts import TRADER as TRADER_PART
from hydra_core.platform.parts import PlatformRecord
from hydra_core.platform.probes import existing_ledger, probe
from hydra_core.platform.stream_health import stream_lines
from hydra_core.settings import Settings

if TYPE_CHECKING:
    from hydra_core.ledger.store import Ledger

LOW_DISK: Final = 2_000_000_000
"""Bytes; below this a training or a backfill may fail half-way."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing and how it is; ``healthy`` is None for what is worth knowing but no fault."""

    name: str
    healthy: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class Status:
    """Everything `hydra status` tells."""

    market: str
    running: bool
    healthy: bool
    webserver_url: str
    venue_url: str
    lines: tuple[Line, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def look(home: Home, settings: Settings, clock: Clock | None = None) -> Status:
    """Ask every part of a home's platform how it is.

    Parameters
    ----------
    home, settings : the market home and all settings

    Returns
    -------
    Status : ``running`` says whether a supervisor is alive, ``healthy`` whether one is and nothing is at fault
    """
    clock = clock or SystemClock()
    record = running(home)
    lines = [*_processes(home, settings, record, clock), *_streams(home, record, clock)]
    lines += _books(home, settings, record, clock)
    lines += [_seats(home, settings), *_drift(home), _disk(home), _failed_runs(home), _language_model(settings)]
    lines += [Line(*word) for word in standings(home, settings, clock)]
    return Status(
        market=home.market,
        running=record is not None,
        healthy=record is not None and all(line.healthy is not False for line in lines),
        webserver_url=record.webserver_url if record else "",
        venue_url=record.venue_url if record else "",
        lines=tuple(lines),
    )


def _processes(home: Home, settings: Settings, record: PlatformRecord | None, clock: Clock) -> Iterator[Line]:
    if record is None:
        yield Line("platform", False, "not running: start it with `hydra up`")
        return
    since = (clock.wall_ms() - record.started_wall_ms) / 1000
    yield Line("supervisor", True, f"process {record.pid}, up for {_span(since)}")
    for part in record.parts.values():
        health = probe(part, home, settings, clock)
        restarts = f", started again {part.restarts} times" if part.restarts else ""
        yield Line(part.name, health.healthy, health.detail + restarts)


def _streams(home: Home, record: PlatformRecord | None, clock: Clock) -> Iterator[Line]:
    """Every stream, for as long as a trader is meant to follow them."""
    part = record.parts.get(TRADER_PART) if record is not None else None
    if part is not None and part.state != "done":
        yield from (Line(*told) for told in stream_lines(home, clock))


def _books(home: Home, settings: Settings, record: PlatformRecord | None, clock: Clock) -> Iterator[Line]:
    """What the ledger tells: account, window, switches."""
    try:
        with existing_ledger(home, settings) as ledger:
            account = ledger.current_account()
            if account is None:
                yield Line("account", None, "no account yet")
                return
            yield Line("account", True, f"{account.name} ({account.kind}), equity {account.equity:.2f} USDT")
            yield _window(ledger, account.name, record, clock)
            yield _last_decision(ledger, account.name, clock)
            yield _switches(home, ledger, account.name)
    except HydraError as error:
        yield Line("ledger", None if record is None else False, str(error))


def _window(ledger: Ledger, account: str, record: PlatformRecord | None, clock: Clock) -> Line:
    lease = ledger.lease(lease_name(account, STRATEGY))
    now = clock.wall_ms()
    # Between two windows the lease is free for some seconds: that alone is no fault.
    if lease is not None and lease.held(now):
        held = (now - lease.acquired_wall_ms) / 1000
        return Line("window", True, f"run {lease.run_id[:8]} for {_span(held)}, fence {lease.fence}")
    free = f"free for {_span((now - lease.expires_wall_ms) / 1000)}" if lease is not None else "never held"
    return Line("window", None, f"no window is deciding, the lease is {free}")


def _last_decision(ledger: Ledger, account: str, clock: Clock) -> Line:
    lines = ledger.decisions(account, limit=1)
    if not lines:
        return Line("last decision", None, "none yet")
    line = lines[0]
    age = (clock.wall_ms() - line.committed_wall_ms) / 1000
    said = ", ".join(f"{count} {name}" for name, count in sorted(line.outcomes.items()))
    detail = f"{_span(age)} ago for {iso(line.cycle_ms)}: {line.mode}, {said}, {line.latency_ms} ms"
    return Line("last decision", True, detail)


def _switches(home: Home, ledger: Ledger, account: str) -> Line:
    latched = ledger.latched(account)
    said = [f"{name} ({latch.mode}: {latch.reason})" for name, latch in sorted(latched.items())]
    beat = ledger.heartbeats().get(TRADER)
    trips = beat.payload.get("trips") if beat is not None else None
    if isinstance(trips, dict):
        said += [f"{name} ({reason})" for name, reason in sorted(trips.items()) if name not in latched]
    if home.kill_file.exists():
        said.insert(0, f"the kill file {home.kill_file}")
    detail = f"tripped: {'; '.join(said)}. Release with `hydra resume`" if said else "none tripped"
    return Line("kill switches", None if said else True, detail)


def _seats(home: Home, settings: Settings) -> Line:
    """Who holds each seat; a holder that no window would load is said to be one, with the reason."""
    from hydra_core.alpha.models import too_old
    from hydra_core.alpha.registry import ModelRegistry

    registry = ModelRegistry(home.models)
    said, healthy, seated = [], True, False
    try:
        champions = registry.champions()
        now = _market_ms(home)
        for kind in KINDS:
            version = champions.get(kind)
            if version is None:
                said.append(f"{kind} vacant")
                continue
            try:
                registry.path(kind, version)
                limit = settings.decision.max_champion_age_days
                old = "" if now is None else too_old(registry, kind, version, now, limit)
                said.append(f"{old}: it abstains, retrain it" if old else f"{kind} {version[:12]}")
                seated = seated or not old
            except ArtifactInvalid as error:
                healthy = False
                said.append(f"{error}: it abstains")
    except HydraError as error:
        return Line("champions", False, str(error))
    return Line("champions", (True if seated else None) if healthy else False, ", ".join(said))


def _market_ms(home: Home) -> int | None:
    """Market time as the trader last passed it on; None where it never did."""
    with suppress(InputMissing), LiveStateClock(home.live_state) as clock:
        return clock.market_ms()
    return None


def _drift(home: Home) -> Iterator[Line]:
    """The newest look at what the forecaster champion reads, where there was one."""
    from hydra_core.alpha.registry import ModelRegistry
    from hydra_core.research.drift import newest

    try:
        champion = ModelRegistry(home.models).champion(FORECASTER)
        seen = newest(home.studies, champion) if champion else None
    except HydraError as error:
        yield Line("drift", None, str(error))
        return
    if seen is not None:
        yield Line("drift", True if seen["calm"] else None, f"until {iso(seen['until_ms'])}: {seen['verdict']}")


def _disk(home: Home) -> Line:
    place = next(folder for folder in (home.path, *home.path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    return Line("disk", free >= LOW_DISK, f"{free / 1e9:.1f} GB free")


def _failed_runs(home: Home) -> Line:
    lines = failures(home)
    if not lines:
        return Line("failed runs", True, "none")
    last = lines[-1]
    detail = f"{len(lines)} kept, newest: {last.job} {last.run_id[:8]}: {last.error[:200]}"
    return Line("failed runs", None, detail)


def _language_model(settings: Settings) -> Line:
    if settings.groq_api_key is None:
        return Line("analyst", None, "rules (no GROQ_API_KEY)")
    return Line("analyst", True, f"{settings.analyst.model}, key set")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
