"""Child processes: their environment, ports, logs and end.

Every process of a platform carries the marker :data:`MARKER` in its environment, so that all of them, orphans included,
can be found again without trusting any file. Not here: which processes there are (``parts``), when (``supervisor``).
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

from hydra_core.domain.errors import HydraError, LockHeld, UsageError
from hydra_core.home import Home
from hydra_core.settings import Settings

MARKER: Final = "HYDRA_PLATFORM_HOME"
"""Environment variable that holds the absolute folder of the home a process works for."""
VENUE_URL: Final = "HYDRA_VENUE_URL"
"""Environment variable with the local venue's base URL; empty where the market is a real exchange."""
LOG_LIMIT: Final = 5_000_000
PROJECT: Final = Path(__file__).resolve().parents[2]


def settings_environment(settings: Settings) -> dict[str, str]:
    """Variables that make ``Settings()`` in a child equal to ``settings``; secrets are left to be inherited."""
    secrets = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    values = settings.model_dump(mode="json", exclude=secrets)
    values["data_root"] = str(settings.data_root.absolute())
    return {f"HYDRA_{name.upper()}": v if isinstance(v, str) else json.dumps(v) for name, v in values.items()}


def child_environment(home: Home, settings: Settings, *, threads: int, venue_url: str) -> dict[str, str]:
    """The whole environment of a child: the caller's, HYDRA's settings, Dagster's folders, loopback, the marker."""
    fixed = settings_environment(settings)
    shadows = tuple(f"{name}__" for name in fixed)
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(shadows)}
    storage = home.dagster.absolute()
    environment.update(fixed)
    environment.update(
        {
            MARKER: str(home.path.absolute()),
            VENUE_URL: venue_url,
            "HYDRA_MARKET": home.market,
            "HYDRA_DATA_ROOT": str(home.root.absolute()),
            "HYDRA_DAGSTER_STORAGE": str(storage),
            "HYDRA_COMPUTE_LOGS": str(storage / "logs"),
            "DAGSTER_HOME": str(dagster_home()),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "GX_ANALYTICS_ENABLED": "False",
            "TQDM_DISABLE": "1",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
        }
    )
    return environment


def dagster_home() -> Path:
    """Folder with ``dagster.yaml``: ``DAGSTER_HOME`` where set, else the project's root."""
    folder = Path(os.environ.get("DAGSTER_HOME") or PROJECT)
    if not (folder / "dagster.yaml").exists():
        raise UsageError(f"no dagster.yaml in {folder}", "Set DAGSTER_HOME to the folder of the checkout that holds it")
    return folder


def free_port(host: str, wanted: int, taken: Iterable[int] = (), tries: int = 50) -> int:
    """``wanted``, or the next port above it that nothing listens on."""
    avoid = set(taken)
    for port in range(wanted, min(wanted + tries, 65_536)):
        if port not in avoid and port_is_free(host, port):
            return port
    raise UsageError(f"no free port on {host} from {wanted} to {wanted + tries - 1}", "Set HYDRA_PLATFORM__..._PORT")


def reserve_port(host: str, wanted: int, kept: ExitStack) -> int:
    """A free port that no other platform of this machine takes while ``kept`` is open, not even between two restarts."""
    refused: set[int] = set()
    while True:
        port = free_port(host, wanted, refused)
        lock = exclusive(Path(tempfile.gettempdir()) / f"hydra-port-{port}.lock", f"port {port} is taken", "")
        try:
            kept.enter_context(lock)
        except (LockHeld, PermissionError):
            refused.add(port)
            continue
        return port


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own with both outputs appended to ``log`` (kept below some megabytes)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".1.log"))
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command), env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip


def is_running(pid: int, create_time: float) -> bool:
    """Whether this very process (not a later one with its number) is alive and no zombie."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - create_time) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listens(pid: int, port: int) -> bool:
    """Whether this very process accepts connections on the port: an answer alone may be another program's."""
    try:
        found = psutil.Process(pid).net_connections(kind="tcp")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in found)


def create_time(pid: int) -> float:
    """When a process began, as the system says; 0 when it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def marked(home: Home) -> list[psutil.Process]:
    """Every live process that works for the home, but not the caller and what the caller runs under."""
    me = psutil.Process()
    spared = {me.pid, *(parent.pid for parent in me.parents())}
    folder = str(home.path.absolute())
    found = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        try:
            if process.environ().get(MARKER) == folder and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # gone meanwhile, or another user's: neither is ours
    return found


def end_all(processes: Sequence[psutil.Process], patience_s: float) -> int:
    """Ask processes to end, wait, kill what is left; returns how many there were."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(processes, timeout=patience_s)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    _, immortal = psutil.wait_procs(stubborn, timeout=5)
    if immortal:
        raise HydraError(f"processes {[p.pid for p in immortal]} do not end", "They wait on the disk: look at dmesg")
    return len(processes)


def sweep(home: Home, patience_s: float = 5.0) -> int:
    """End every process that works for the home, also those born while sweeping; returns how many there were."""
    count = 0
    while found := marked(home):
        count += end_all(found, patience_s)
    return count


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


@contextmanager
def exclusive(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Hold a lock file for the life of the block; the kernel frees it when the holder dies.

    Raises
    ------
    LockHeld : another process holds it; its process id is named
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 32, 0).decode().strip() or "unknown"
            raise LockHeld(f"{what} (process {owner})", remedy) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
