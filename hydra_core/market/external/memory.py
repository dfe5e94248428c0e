"""What is remembered of providers between runs: answers, calls made, how each stands, what could not be read. One SQLite file.

Shared by every process of a home; each change is one transaction, so an interruption leaves it valid. No keys are kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.errors import DataCorrupt, VenueUnavailable
from hydra_core.domain.intervals import DAY_MS, MINUTE_MS, iso

KEPT_BROKEN: Final = 200
"""Unreadable pieces kept a provider; the count goes on."""
EXCERPT: Final = 300
_BUSY_S: Final = 10.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, body BLOB NOT NULL, seen_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS calls (provider TEXT, window TEXT, calls INTEGER NOT NULL, PRIMARY KEY (provider, window));
CREATE TABLE IF NOT EXISTS standing (
    provider TEXT PRIMARY KEY, ok_ms INTEGER NOT NULL DEFAULT 0, failed_ms INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '', paused_until_ms INTEGER NOT NULL DEFAULT 0, broken INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS broken (
    id INTEGER PRIMARY KEY, provider TEXT NOT NULL, seen_ms INTEGER NOT NULL, reason TEXT NOT NULL, excerpt TEXT NOT NULL
);
"""


class QuotaSpent(VenueUnavailable):
    """A provider's calls are used up for now: what is on disk stays in use, the rest comes later."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Calls that a provider's plan allows; 0 means no limit of that kind."""

    per_minute: int = 0
    per_day: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a provider stands: times in epoch ms of wall time, 0 where it never happened."""

    provider: str
    ok_ms: int
    failed_ms: int
    problem: str
    paused_until_ms: int
    broken: int
    calls_today: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept answer and when it was fetched (wall time)."""

    body: bytes
    seen_ms: int


class Memory:
    """The file; open it as a context manager.

    Parameters
    ----------
    path : Path of the SQLite file; its folder is made
    clock : Clock, its wall time is read

    Raises
    ------
    DataCorrupt : the file is not a database
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last count, never the file
            self._db.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            raise DataCorrupt(
                f"{path} is not readable ({error})",
                "Move it away: quotas and kept answers start anew, tables are not touched",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def draw(self, provider: str, quota: Quota) -> None:
        """Count one call; raises QuotaSpent, and counts nothing, where the provider's plan or pause forbids it."""
        now = self._clock.wall_ms()
        windows = [(f"minute {now // MINUTE_MS}", quota.per_minute, now - now % MINUTE_MS + MINUTE_MS)]
        windows.append((f"day {now // DAY_MS}", quota.per_day, now - now % DAY_MS + DAY_MS))
        with self._changing():
            paused = self.standing(provider).paused_until_ms
            if paused > now:
                raise QuotaSpent(
                    f"{provider} asked for a pause until {iso(paused)}", "Nothing to do: it is asked again then"
                )
            for window, limit, renewed in windows:
                if limit and self._calls(provider, window) >= limit:
                    raise QuotaSpent(
                        f"{provider}: the {limit} calls of this {window.split()[0]} are used up, renewed at {iso(renewed)}",
                        "Raise the quota in the settings if your plan allows more",
                    )
            for window, _, _ in windows:
                self._db.execute(
                    "INSERT INTO calls VALUES (?, ?, 1) ON CONFLICT (provider, window) DO UPDATE SET calls = calls + 1",
                    (provider, window),
                )
            self._db.execute(
                "DELETE FROM calls WHERE provider = ? AND window NOT IN (?, ?)",
                (provider, windows[0][0], windows[1][0]),
            )

    def answer(self, key: str) -> Kept | None:
        """A kept answer that is still good."""
        row = self._db.execute(
            "SELECT body, seen_ms FROM answers WHERE key = ? AND until_ms > ?", (key, self._clock.wall_ms())
        ).fetchone()
        return Kept(bytes(row[0]), int(row[1])) if row else None

    def keep(self, key: str, body: bytes, for_ms: int) -> None:
        """Keep an answer for so long; what has run out is forgotten."""
        now = self._clock.wall_ms()
        with self._changing():
            self._db.execute("DELETE FROM answers WHERE until_ms <= ?", (now,))
            self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (key, body, now, now + for_ms))

    def went_well(self, provider: str) -> None:
        """Note a success; an earlier problem is over."""
        self._note(provider, "ok_ms = ?, problem = ''", self._clock.wall_ms())

    def went_wrong(self, provider: str, problem: str) -> None:
        """Note a failure in words."""
        self._note(provider, "failed_ms = ?, problem = ?", self._clock.wall_ms(), problem[:EXCERPT])

    def pause(self, provider: str, seconds: float) -> None:
        """The provider asked not to be called for so long."""
        self._note(provider, "paused_until_ms = ?", self._clock.wall_ms() + int(seconds * 1000))

    def set_aside(self, provider: str, reason: str, piece: object) -> None:
        """Count and keep something that could not be read."""
        with self._changing():
            self._note_inside(provider, "broken = broken + 1")
            self._db.execute(
                "INSERT INTO broken (provider, seen_ms, reason, excerpt) VALUES (?, ?, ?, ?)",
                (provider, self._clock.wall_ms(), reason[:EXCERPT], str(piece)[:EXCERPT]),
            )
            self._db.execute(
                "DELETE FROM broken WHERE provider = ? AND id <= (SELECT max(id) FROM broken) - ?",
                (provider, KEPT_BROKEN),
            )

    def broken(self, provider: str) -> list[tuple[str, str]]:
        """(reason, excerpt) of what was set aside, oldest first."""
        rows = self._db.execute("SELECT reason, excerpt FROM broken WHERE provider = ? ORDER BY id", (provider,))
        return [(str(reason), str(excerpt)) for reason, excerpt in rows]

    def standing(self, provider: str) -> Standing:
        """How a provider stands; all zeros where it was never called."""
        row = self._db.execute(
            "SELECT ok_ms, failed_ms, problem, paused_until_ms, broken FROM standing WHERE provider = ?", (provider,)
        ).fetchone()
        ok, failed, problem, paused, broken = row or (0, 0, "", 0, 0)
        today = self._calls(provider, f"day {self._clock.wall_ms() // DAY_MS}")
        return Standing(provider, int(ok), int(failed), str(problem), int(paused), int(broken), today)

    def _calls(self, provider: str, window: str) -> int:
        row = self._db.execute(
            "SELECT calls FROM calls WHERE provider = ? AND window = ?", (provider, window)
        ).fetchone()
        return int(row[0]) if row else 0

    def _note(self, provider: str, change: str, *values: object) -> None:
        with self._changing():
            self._note_inside(provider, change, *values)

    def _note_inside(self, provider: str, change: str, *values: object) -> None:
        self._db.execute("INSERT OR IGNORE INTO standing (provider) VALUES (?)", (provider,))
        self._db.execute(f"UPDATE standing SET {change} WHERE provider = ?", (*values, provider))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
