"""Every stream's health and age, as the trader last told it in the live state; silence of the trader is not health.

Not here: judging streams (``market.streams.standing``), showing lines (cli).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import HydraError
from hydra_core.home import Home
from hydra_core.ledger.livestate.tables import STREAM_HEALTH, connect

REPORT_MAX_AGE_S: Final = 5.0
"""The trader reports twice a second; a report older than this says nothing about now."""


def stream_lines(home: Home, clock: Clock) -> Iterator[tuple[str, bool | None, str]]:
    """Name, health and words of every stream of a home, and of what could not be read.

    Parameters
    ----------
    home : Home
    clock : Clock, its wall time is compared with the report's

    Yields
    ------
    tuple of str, bool or None, str : None is worth knowing but no fault
    """
    try:
        report = _report(home)
    except HydraError as error:
        yield "streams", False, error.what
        return
    if report is None:
        yield "streams", False, "starting: the trader has not reported on its streams yet"
        return
    age_s = max(0.0, (clock.wall_ms() - int(report["wall_ms"])) / 1000)
    fresh = age_s <= REPORT_MAX_AGE_S
    for stream in report["streams"]:
        name = f"stream {stream['stream']}"
        if fresh:
            yield name, bool(stream["ok"]), _words(stream, age_s)
        else:
            yield name, False, f"the trader has not reported for {age_s:.0f} s; it was {stream['state']} then"
    if fresh:
        yield from _exchange(report)
    malformed = int(report["malformed"])
    if malformed:
        parts = ", ".join(f"{name} {count}" for name, count in sorted(report["malformed_by_stream"].items()))
        yield "malformed messages", None, f"{malformed} set aside ({parts}), see {home.quarantine / 'streams.jsonl'}"


def _exchange(report: Mapping[str, Any]) -> Iterator[tuple[str, bool | None, str]]:
    """What the exchange says of itself: its clock against ours, pairs that it trades no more."""
    if (clock := report.get("clock")) is not None:
        words = clock["alarm"] and f"{clock['alarm']}: check this machine's clock against UTC"
        yield "exchange clock", not clock["alarm"], words or f"{clock['offset_ms']} ms ahead of ours"
    if delisted := report.get("delisted"):
        words = ", ".join(f"{pair} ({word})" for pair, word in sorted(delisted.items()))
        yield "delisted", None, f"{words}: neither followed nor traded any more"


def _report(home: Home) -> Mapping[str, Any] | None:
    """The trader's last word, None before its first; raises HydraError."""
    with closing(connect(home.live_state, create=False)) as connection:
        try:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (STREAM_HEALTH,)).fetchone()
        except sqlite3.Error as error:
            raise HydraError(f"the live state cannot be read: {error}") from error
    if row is None:
        return None
    found: dict[str, Any] = json.loads(row[0])
    return found


def _words(stream: Mapping[str, Any], since_report_s: float) -> str:
    """A stream in a line: state, age against its limit, what befell it."""
    age = stream["age_s"]
    said = [str(stream["state"])]
    if stream["message"]:
        said.append(str(stream["message"]))
    if age is not None:
        limit = "" if stream["limit_s"] is None else f" (limit {stream['limit_s']:g} s)"
        said.append(f"newest event {age + since_report_s:.1f} s ago{limit}")
    else:
        said.append("no event yet")
    counted = ("reconnects", "malformed", "dropped", "late", "holes")
    said += [f"{stream[name]} {name}" for name in counted if stream.get(name)]
    return ", ".join(said)
