"""What a lake table holds: one entry a pair and month, with the file's name, hashes, gaps and former versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.pairs import Pair
from hydra_core.lake.files import read_versioned, write_versioned
from hydra_core.lake.gaps import Gap, GapKind, GapState

NAME: Final = "manifest.json"
FORMAT: Final = 2
"""1 had spans ``verified_gaps`` without a state; they are read as unresolved."""
RECENT: Final = 8
RECENT_BYTES: Final = 1 << 20
"""So many manifests, none larger than this, are kept as read: a backfill reads an unchanged one over and over."""
WRITTEN: Final = 4096
"""Entries that are kept as written: of a manifest that is written anew one or two are new."""


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
_RECENT: Final[dict[bytes, Entries]] = {}
"""By the bytes themselves, so that nothing stale is ever answered; never changed, whoever is handed one gets a copy."""


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
        entries = _RECENT.get(content) or _parse(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataCorrupt(
            f"{path} is not a manifest ({error})",
            "Move it away and run `hydra backfill` again: the files are fetched anew",
        ) from error
    _keep(content, entries)
    return _copied(entries), version


def write_manifest(folder: Path, entries: Entries, version: str) -> None:
    """Replace a table's manifest; raises ``files.Changed`` where another machine did meanwhile."""
    pairs = {
        str(pair): _object({month: _written(months[month]) for month in sorted(months)}, 3)
        for pair, months in sorted(entries.items())
    }
    content = _object({"format": str(FORMAT), "pairs": _object(pairs, 2)}, 1).encode()
    write_versioned(folder / NAME, content, version)
    _keep(content, _copied(entries))


def _keep(content: bytes, entries: Entries) -> None:
    if content in _RECENT or len(content) > RECENT_BYTES:
        return
    _RECENT[content] = entries
    for oldest in [*_RECENT][:-RECENT]:
        _RECENT.pop(oldest, None)  # another thread may have been faster


def _copied(entries: Entries) -> Entries:
    return {pair: dict(months) for pair, months in entries.items()}


def _parse(content: bytes) -> Entries:
    word: Any = json.loads(content)
    return {
        Pair(pair): {month: _entry(each) for month, each in months.items()} for pair, months in word["pairs"].items()
    }


@lru_cache(maxsize=WRITTEN)
def _written(entry: Entry) -> str:
    """An entry as JSON, indented to stand below its month."""
    return json.dumps(_plain(entry), indent=1).replace("\n", "\n" + " " * 3)


def _object(members: Mapping[str, str], depth: int) -> str:
    """A JSON object of members that are JSON already, indented as ``json.dumps`` does by one a level."""
    if not members:
        return "{}"
    lines = ",\n".join(f"{' ' * depth}{json.dumps(name)}: {value}" for name, value in members.items())
    return f"{{\n{lines}\n{' ' * (depth - 1)}}}"


def _plain(entry: Entry) -> dict[str, Any]:
    plain = {field.name: getattr(entry, field.name) for field in fields(entry)}
    plain["gaps"] = [[gap.start, gap.end, gap.kind, gap.state] for gap in entry.gaps]
    plain["revisions"] = [asdict(revision) for revision in entry.revisions]
    return plain


def _entry(word: Mapping[str, Any]) -> Entry:
    told = dict(word)
    former = [(start, end, GapKind.INSIDE, GapState.UNRESOLVED) for start, end in told.pop("verified_gaps", ())]
    gaps = tuple(
        Gap(int(start), int(end), GapKind(kind), GapState(state))
        for start, end, kind, state in (*former, *told.pop("gaps", ()))
    )
    revisions = tuple(Revision(**each) for each in told.pop("revisions", ()))
    return Entry(**told, gaps=gaps, revisions=revisions)
