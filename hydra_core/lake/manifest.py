"""What a lake table holds: one entry a pair and month, with the file's name, hashes and what is known of its gaps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.pairs import Pair
from hydra_core.lake.files import write_atomic

NAME: Final = "manifest.json"
FORMAT: Final = 1


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
    verified_gaps : spans (start, end) in epoch ms that the source was asked for twice and has nothing in
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
    verified_gaps: tuple[tuple[int, int], ...] = ()


Entries = dict[Pair, dict[str, Entry]]
"""Pair -> month ``YYYY-MM`` -> entry."""


def read_manifest(folder: Path) -> Entries:
    """Entries of a table's folder, none where it has no manifest yet; raises DataCorrupt for an unreadable one."""
    path = folder / NAME
    try:
        content: Any = json.loads(path.read_bytes())
        return {
            Pair(pair): {month: _entry(word) for month, word in months.items()}
            for pair, months in content["pairs"].items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataCorrupt(
            f"{path} is not a manifest ({error})",
            "Move it away and run `hydra backfill` again: the files are fetched anew",
        ) from error


def write_manifest(folder: Path, entries: Entries) -> None:
    """Replace a table's manifest."""
    pairs = {
        pair: {month: asdict(months[month]) for month in sorted(months)} for pair, months in sorted(entries.items())
    }
    write_atomic(folder / NAME, json.dumps({"format": FORMAT, "pairs": pairs}, indent=1).encode())


def _entry(word: Mapping[str, Any]) -> Entry:
    gaps = tuple((int(start), int(end)) for start, end in word.get("verified_gaps", ()))
    return Entry(**{**word, "verified_gaps": gaps})
