"""What assets tell a person: metadata, pictures, progress, plain failures. No arithmetic, no drawing."""

import base64
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, SupportsIndex

import dagster as dg

from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import HydraError, VenueUnavailable

PICTURE_LIMIT: Final = 50_000
"""Bytes of a picture inside an event row; larger ones stay files."""
ROWS: Final = "dagster/row_count"
SCHEMA: Final = "dagster/column_schema"
"""Under this name the web UI shows a table's columns on a page of their own."""
_PROGRESS: Final = re.compile(r"^progress (\d+)/(\d+)")


@contextmanager
def plain_failures() -> Iterator[None]:
    """Let HYDRA's own errors fail the step with their one line; anything else stays a stack trace."""
    try:
        yield
    except HydraError as error:
        # Only the exchange's silence passes by itself; repeating any other step at once would only repeat its failure.
        raise dg.Failure(description=str(error), allow_retries=isinstance(error, VenueUnavailable)) from error


def progress_to(log: dg.DagsterLogManager, every_s: float = 2.0) -> Callable[[str, int, int], None]:
    """A callback (what, done, total) that writes progress lines into a run's log, one in a while and each last one.

    A line is a row in Dagster's event log: writing it costs more than many a step of what is reported.
    """
    clock, told_ms = SystemClock(), 0

    def tell(what: str, done: int, total: int) -> None:
        nonlocal told_ms
        now = clock.wall_ms()
        if done == total or now - told_ms >= every_s * 1000:
            told_ms = now
            log.info(f"progress {done}/{total} {what}")

    return tell


def progress_in(message: str) -> tuple[int, int] | None:
    """(done, total) of a progress line, None for any other message."""
    found = _PROGRESS.match(message)
    return (int(found[1]), int(found[2])) if found else None


def table(rows: Sequence[Mapping[str, Any]], most: int = 200) -> dg.MetadataValue:
    """Rows as a metadata table; every row has the same columns."""
    plain = [{name: _cell(value) for name, value in row.items()} for row in rows[:most]]
    return (
        dg.MetadataValue.table(records=[dg.TableRecord(row) for row in plain])
        if plain
        else dg.MetadataValue.text("none")
    )


def picture(png: bytes, caption: str) -> dg.MetadataValue:
    """A PNG as markdown that the web UI shows inline; one that is too large is named by its size only."""
    if len(png) > PICTURE_LIMIT:
        return dg.MetadataValue.text(f"{caption}: {len(png) / 1000:.0f} kB, see the report")
    return dg.MetadataValue.md(f"![{caption}](data:image/png;base64,{base64.b64encode(png).decode()})")


def as_json(value: Any) -> dg.MetadataValue:
    """Plain data as JSON metadata; numbers that JSON has no word for are left out as null."""
    return dg.MetadataValue.json(_plain(value))


def number(value: float) -> dg.MetadataValue:
    """A number, so that the web UI draws it over time; text where it is not finite."""
    plain = float(value)
    return dg.MetadataValue.float(plain) if math.isfinite(plain) else dg.MetadataValue.text(str(plain))


def _plain(value: Any) -> Any:
    """The value in types that any JSON reader knows: NumPy's numbers are not among Dagster's."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, Iterable):
        return [_plain(each) for each in value]
    if isinstance(value, SupportsIndex):
        return int(value)
    plain = float(value)
    return plain if math.isfinite(plain) else None


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, float):
        return round(float(value), 6) if math.isfinite(value) else str(float(value))
    return str(value)
