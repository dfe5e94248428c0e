"""Is this machine, this checkout and this home fit to run HYDRA: one finding a question, each with its remedy.

Nothing is changed. Damage is reported where it lies; how a running platform feels is ``status``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final

from hydra_core.domain.errors import HydraError
from hydra_core.home import Home
from hydra_core.platform.control import running
from hydra_core.platform.markets import described
from hydra_core.platform.parts import record_path
from hydra_core.platform.probes import existing_ledger
from hydra_core.platform.processes import dagster_home, marked, port_is_free
from hydra_core.platform.status import LOW_DISK
from hydra_core.settings import Settings

PYTHONS: Final = ((3, 11), (3, 12))
NEEDED: Final = (
    "ccxt", "dagster", "dagster_webserver", "duckdb", "great_expectations", "lightgbm", "onnxruntime", "optuna", "polars",
    "sqlalchemy", "stable_baselines3", "torch",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question; ``remedy`` is what to do when it is not well."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def examine(settings: Settings, home: Home | None) -> list[Finding]:
    """Look at everything that must be in order.

    Parameters
    ----------
    settings : all settings
    home : the market home in use, None when there is none yet
    """
    findings = [_python(), _packages(), _checkout(), _disk(home, settings), _memory(), _ports(home, settings)]
    if home is None or not home.path.exists():
        remedy = "Run `make demo`, which makes one"
        return [*findings, Finding("market home", False, f"none in {settings.data_root}", remedy)]
    questions: tuple[Callable[[Home, Settings], Iterator[Finding]], ...] = (
        _market, _processes, _ledger, _live_state, _lake, _models, _analyst,
    )  # fmt: skip
    return [*findings, *(finding for question in questions for finding in question(home, settings))]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    fits = sys.version_info[:2] in PYTHONS
    return Finding("python", fits, version, "" if fits else "Use Python 3.11 or 3.12: make PYTHON=python3.11 env")


def _packages() -> Finding:
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        return Finding("packages", False, f"missing: {', '.join(absent)}", "Run `make env`")
    return Finding("packages", True, f"{len(NEEDED)} of {len(NEEDED)} found")


def _checkout() -> Finding:
    try:
        return Finding("dagster.yaml", True, str(dagster_home() / "dagster.yaml"))
    except HydraError as error:
        return Finding("dagster.yaml", False, error.what, error.remedy)


def _disk(home: Home | None, settings: Settings) -> Finding:
    wanted = (home.path if home else settings.data_root).absolute()
    place = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    if not writable:
        return Finding("disk", False, f"{place} cannot be written", "Change its owner, or set HYDRA_DATA_ROOT")
    fits = free >= LOW_DISK
    return Finding("disk", fits, f"{free / 1e9:.1f} GB free at {place}", "" if fits else "Free some gigabytes")


def _memory() -> Finding:
    import psutil

    free = psutil.virtual_memory().available
    fits = free >= 2_000_000_000
    return Finding(
        "memory",
        fits,
        f"{free / 1e9:.1f} GB available",
        "" if fits else "Training needs about 2 GB: end other programs",
    )


def _ports(home: Home | None, settings: Settings) -> Finding:
    if home is not None and running(home) is not None:
        return Finding("ports", True, "in use by the running platform")
    names = ("venue_port", "webserver_port", "research_port", "live_port")
    ports = {name: int(getattr(settings.platform, name)) for name in names}
    taken = [f"{name} {port}" for name, port in ports.items() if not port_is_free(settings.platform.host, port)]
    if taken:
        return Finding("ports", True, f"taken: {', '.join(taken)}; the next free ones will be used")
    return Finding("ports", True, f"free: {', '.join(str(port) for port in ports.values())}")


def _market(home: Home, settings: Settings) -> Iterator[Finding]:
    try:
        market = described(home)
    except HydraError as error:
        yield Finding("market", False, error.what, error.remedy)
        return
    yield Finding("market", True, f"{home.market}: {market.kind}")


def _processes(home: Home, settings: Settings) -> Iterator[Finding]:
    if running(home) is not None:
        yield Finding("processes", True, "the platform is running")
        return
    left = [process.pid for process in marked(home)]
    if left or record_path(home).exists():
        told = f"processes {left} are left" if left else "its record is left"
        yield Finding("processes", False, f"no supervisor is alive, but {told}", "Run `hydra down`")
    else:
        yield Finding("processes", True, "none is left over")


def _ledger(home: Home, settings: Settings) -> Iterator[Finding]:
    if not settings.database_url and not (home.path / "ledger.db").exists():
        yield Finding("ledger", True, "none yet")
        return
    try:
        with existing_ledger(home, settings) as ledger:
            account = ledger.current_account()
            faults = () if account is None else ledger.check_balance(account.name).faults
            place = ledger.place
    except HydraError as error:
        yield Finding("ledger", False, error.what, error.remedy)
        return
    remedy = "Restore it from its backup, or open a fresh account" if faults else ""
    yield Finding("ledger", not faults, "; ".join(faults) or f"{place}, its books add up", remedy)


def _live_state(home: Home, settings: Settings) -> Iterator[Finding]:
    file = home.live_state
    if not file.exists():
        yield Finding("live state", True, "none yet")
        return
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as database:
            word = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        word = str(error)
    sound = word == "ok"
    remedy = "" if sound else f"Run `hydra down`, delete {file}, run `hydra up`: the trader fills it anew"
    yield Finding("live state", sound, f"{file.stat().st_size / 1e6:.0f} MB" if sound else f"{file}: {word}", remedy)


def _lake(home: Home, settings: Settings) -> Iterator[Finding]:
    from hydra_core.lake.store import open_lake

    lake = open_lake(home.lake, settings.exchange, settings.lake_url)
    try:
        tables = lake.tables()
        problems = lake.verify()
    except HydraError as error:
        yield Finding("lake", False, error.what, error.remedy)
        return
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        yield Finding("lake", False, f"{problems[0]}{more}", "Collect those months again: `hydra backfill`")
    else:
        yield Finding("lake", True, f"{len(tables)} tables, every file as recorded")


def _models(home: Home, settings: Settings) -> Iterator[Finding]:
    from hydra_core.alpha.registry import ModelRegistry

    registry = ModelRegistry(home.models)
    try:
        champions = registry.champions()
        for kind, version in champions.items():
            registry.path(kind, version)
    except HydraError as error:
        yield Finding("models", False, error.what, error.remedy)
        return
    yield Finding("models", True, f"{len(registry.list())} kept, {len(champions)} hold a seat, all as sealed")


def _analyst(home: Home, settings: Settings) -> Iterator[Finding]:
    if settings.groq_api_key is None:
        yield Finding("analyst", True, "rules (no GROQ_API_KEY)")
        return
    from hydra_core.alpha.analyst.groq_client import GroqAnalyst
    from hydra_core.domain.clock import SystemClock

    analyst = GroqAnalyst(settings.analyst, settings.groq_api_key, SystemClock())
    try:
        probe = analyst.probe_model()
    finally:
        analyst.close()
    found = probe.model is not None
    remedy = "" if found else "Check the key, the network and HYDRA_ANALYST__MODEL; decisions go on without it"
    yield Finding("analyst", found, probe.message.removeprefix("analyst: "), remedy)
