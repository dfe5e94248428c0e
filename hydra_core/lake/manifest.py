"""What a lake table holds: one entry a pair and month, with the file's name, hashes, gaps and former versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.pairs import Pair
from hydra_core.lake.files import read_versioned, write_versioned
from hydra_core.lake.gaps import Gap, GapKind, GapState

NAME: Final = "manifest.json"
FORMAT: Final = 2
"""1 had spans ``verified_gaps`` without a state; they are read as unresolved."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A former content of a month that was corrected: rows known by then were changed, added late or taken back.

    Parameters
    ----------
    number : int, 1 for the first content that was corrected
    file, content_hash, file_hash : of that content; its file is kept
    rows : int
    as_of_ms : int, market time of the collection that replaced it (epoch ms)
    changed, late, withdrawn : int, rows whose values differ now, that were inserted before the then newest one, that are gone
    first_ms : int, stamp of the first of these rows
    """

    number: int
    file: str
    content_hash: str
    file_hash: str
    rows: int
    as_of_ms: int
    changed: int
    late: int
    withdrawn: int
    first_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One current file.

    Parameters
    ----------
    file : str, path below the table's folder
    content_hash : str, SHA-256 over columns and rows: what data is named by
    file_hash : str, SHA-256 over the file's bytes: what damage is found by
    rows : int
    first_ms, last_ms : int, stamps of the first and last row (epoch ms); 0 where there is none
    start_ms, end_ms : int, the half-open span that was asked for
    closed : bool, whether the whole month was asked for after it had ended
    source : str, where the rows came from
    gaps : what was missing, and what became of it
    revisions : former contents, oldest first
    """

    file: str
    content_hash: str
    file_hash: str
    rows: int
    first_ms: int
    last_ms: int
    start_ms: int
    end_ms: int
    closed: bool
    source: str
    gaps: tuple[Gap, ...] = ()
    revisions: tuple[Revision, ...] = ()

    def in_state(self, state: GapState) -> tuple[Gap, ...]:
        """Gaps of one state."""
        return tuple(gap for gap in self.gaps if gap.state is state)


def former_entry(entry: Entry, former: Revision) -> Entry:
    """The entry as it would read with a former content."""
    return replace(
        entry, file=former.file, file_hash=former.file_hash, content_hash=former.content_hash, rows=former.rows
    )


Entries = dict[Pair, dict[str, Entry]]
"""Pair -> month ``YYYY-MM`` -> entry."""


def read_manifest(folder: Path) -> Entries:
    """Entries of a table's folder, none where it has no manifest yet; raises DataCorrupt for an unreadable one."""
    return open_manifest(folder)[0]


def open_manifest(folder: Path) -> tuple[Entries, str]:
    """Entries and the version to hand to :func:`write_manifest`."""
    path = folder / NAME
    content, version = read_versioned(path)
    if content is None:
        return {}, version
    try:
        word: Any = json.loads(content)
        entries = {
            Pair(pair): {month: _entry(each) for month, each in months.items()}
            for pair, months in word["pairs"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataCorrupt(
            f"{path} is not a manifest ({error})",
            "Move it away and run `hydra backfill` again: the files are fetched anew",
        ) from error
    return entries, version


def write_manifest(folder: Path, entries: Entries, version: str) -> None:
    """Replace a table's manifest; raises ``files.Changed`` where another machine did meanwhile."""
    pairs = {
        pair: {month: _plain(months[month]) for month in sorted(months)} for pair, months in sorted(entries.items())
    }
    write_versioned(folder / NAME, json.dumps({"format": FORMAT, "pairs": pairs}, indent=1).encode(), version)


def _plain(entry: Entry) -> dict[str, Any]:
    plain = asdict(entry)
    plain["gaps"] = [[gap.start, gap.end, gap.kind, gap.state] for gap in entry.gaps]
    return plain


def _entry(word: Mapping[str, Any]) -> Entry:
    fields = dict(word)
    former = [(start, end, GapKind.INSIDE, GapState.UNRESOLVED) for start, end in fields.pop("verified_gaps", ())]
    gaps = tuple(
        Gap(int(start), int(end), GapKind(kind), GapState(state))
        for start, end, kind, state in (*former, *fields.pop("gaps", ()))
    )
    revisions = tuple(Revision(**each) for each in fields.pop("revisions", ()))
    return Entry(**fields, gaps=gaps, revisions=revisions)
