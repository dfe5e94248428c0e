"""What assets tell a person: metadata, pictures, progress, plain failures. No arithmetic, no drawing."""

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import dagster as dg

from hydra_core.domain.errors import HydraError, VenueUnavailable

PICTURE_LIMIT: Final = 50_000
"""Bytes of a picture inside an event row; larger ones stay files."""
ROWS: Final = "dagster/row_count"
_PROGRESS: Final = re.compile(r"^progress (\d+)/(\d+)")


@contextmanager
def plain_failures() -> Iterator[None]:
    """Let HYDRA's own errors fail the step with their one line; anything else stays a stack trace."""
    try:
        yield
    except HydraError as error:
        # Only the exchange's silence passes by itself; repeating any other step at once would only repeat its failure.
        raise dg.Failure(description=str(error), allow_retries=isinstance(error, VenueUnavailable)) from error


def progress_to(log: dg.DagsterLogManager) -> Callable[[str, int, int], None]:
    """A callback (what, done, total) that writes progress lines into a run's log, about twenty and the last."""

    def tell(what: str, done: int, total: int) -> None:
        if done % max(1, total // 20) == 0 or done == total:
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


def number(value: float) -> dg.MetadataValue:
    """A number, so that the web UI draws it over time; text where it is not finite."""
    return dg.MetadataValue.float(value) if abs(value) < float("inf") else dg.MetadataValue.text(str(value))


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, float):
        return round(value, 6) if value == value and abs(value) < float("inf") else str(value)
    return str(value)
