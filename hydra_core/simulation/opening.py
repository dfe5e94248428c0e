"""A market from its name: what a venue, a demo or a command says when it wants one."""

from __future__ import annotations

from pathlib import Path

from hydra_core.domain.errors import UsageError
from hydra_core.simulation.base import Market
from hydra_core.simulation.synthetic import DEFAULT_DAYS, synthetic_named

RECORDED = "recorded"


def open_market(name: str, folder: Path | None = None, days: int | None = None) -> Market:
    """The market of a name.

    Parameters
    ----------
    name : ``synthetic-<seed>-<signal>``, or with a folder ``recorded`` or ``recorded-<hash>``
    folder : where recorded history lies
    days : history before a venue's first now; the market's own default where left out

    Raises
    ------
    UsageError : the name is none, the folder is missing, holds no candles, or is not the one that the name was made from
    DataCorrupt : a recorded file that cannot be believed
    """
    if not name.startswith(RECORDED):
        if folder is not None:
            raise UsageError(f"{name!r} is not recorded but a folder was given", "Leave the folder out")
        return synthetic_named(name, DEFAULT_DAYS if days is None else days)
    if folder is None:
        raise UsageError(f"{name!r} needs the folder it was recorded in", "Name it with --replay DIR")
    # Reading Parquet costs an import that synthetic markets do without.
    from hydra_core.simulation.recorded import RecordedMarket

    market = RecordedMarket(folder, days)
    if name not in (RECORDED, market.name):
        raise UsageError(
            f"{folder} now holds {market.name}, not {name}", "Restore its files, or open it as a market of its own"
        )
    return market
