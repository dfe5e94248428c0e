"""History on demand, whatever keeps it: the exchange's tables over REST, captured ones from the trader's spool.

What ``hydra backfill`` calls. How each kind is kept is :mod:`collect`'s and :mod:`compact`'s; what comes from elsewhere is
gathered look by look (:mod:`gather`) and has no backfill.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from hydra_core.domain.errors import UsageError
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import (
    EXCHANGE_TABLES,
    EXTERNAL_TABLES,
    REFERENCE_TABLES,
    STREAM_TABLES,
    TABLES,
    schema_of,
)
from hydra_core.lake.collect import Collected, Progress, collect
from hydra_core.lake.compact import compact
from hydra_core.lake.store import Lake
from hydra_core.market.endpoint import Endpoint

EVERYTHING: Final = "all"
SETS: Final[Mapping[str, tuple[str, ...]]] = {
    EVERYTHING: tuple(TABLES),
    "usual": EXCHANGE_TABLES,
    "reference": REFERENCE_TABLES,
    "captured": STREAM_TABLES,
}
"""Words for several tables: all there are; what models learn from; mark, index and premium; what only streams tell."""


def tables_named(words: str) -> tuple[str, ...]:
    """Tables by name or by a word of :data:`SETS`, comma-separated, each once, finest candles first.

    Raises
    ------
    UsageError : an unknown name, or a table that comes from elsewhere and has no history to ask for
    """
    names = [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise UsageError("--tables names no table", f"Write {EVERYTHING}, or names such as candles_5m,funding")
    wanted = {table for name in names for table in SETS.get(name, (name,))}
    for table in sorted(wanted):
        if table in EXTERNAL_TABLES:
            remedy = "The job `external` looks at its source every hour; see docs/external.md"
            raise UsageError(f"{table} does not come from the exchange", remedy)
        schema_of(table)
    return tuple(table for table in TABLES if table in wanted)


def backfill(
    endpoint: Endpoint,
    lake: Lake,
    spool: Path,
    pairs: Sequence[Pair],
    months: Sequence[str],
    tables: Iterable[str],
    now_ms: int,
    *,
    progress: Progress | None = None,
    refresh: bool = False,
    limits: Path | None = None,
) -> list[Collected]:
    """Bring months of tables into the lake; blocks until done. Killed at any moment, it goes on when run again.

    Parameters
    ----------
    endpoint, lake, pairs, months, now_ms, progress, refresh, limits : see :func:`hydra_core.lake.collect.collect`
    spool : Path, the home's folder of captures
    tables : names of :data:`hydra_core.domain.tables.TABLES`

    Returns
    -------
    list of Collected : what was fetched by month, pair and table, then what was taken up from captures
    """
    wanted = [table for table in TABLES if table in set(tables)]
    asked = [table for table in wanted if table not in STREAM_TABLES]
    captured = [table for table in wanted if table in STREAM_TABLES]
    more = len(captured) * len(pairs) * len(months)

    def tell(label: str, done: int, total: int) -> None:
        if progress is not None:
            progress(label, done, total + more)

    found: list[Collected] = []
    if asked:
        found += collect(
            endpoint, lake, pairs, months, asked, now_ms, progress=tell, refresh=refresh, limits=limits
        )  # fmt: skip
    lake.tidy(captured)
    before = len(found)
    for table in captured:
        for pair in pairs:
            for one in compact(lake, spool, table, pair, months, now_ms):
                found.append(one)
                tell(one.label, len(found), before)
    return found
