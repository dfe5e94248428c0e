"""The report's parity page: a recorded session against the same decisions through the backtester, and why they differ.

Not here: living the session through again (``replay.parity``). What was found last is kept as JSON beside the report, so that
a page is made without doing it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hydra_core.domain.errors import DataCorrupt
from hydra_core.home import Home
from hydra_core.lake.files import write_atomic
from hydra_core.report.page import write_page
from hydra_core.report.sections import Section, Table, Tile

if TYPE_CHECKING:
    from hydra_core.replay.parity import ParityReport

MOST: Final = 200
"""Rows of money shown, the largest first; the sums count all of them."""
CAUSES: Final[Mapping[str, str]] = {
    "signal": "the decision came out otherwise from the same data",
    "price": "trades cost something else than declared",
    "latency": "the account held something else at the time: slices, delay, a guard between two grid points",
    "data": "made of, or charged on, other numbers",
    "unexplained": "no cause: the books or the replay are wrong",
}


def kept(home: Home, account: str) -> Path:
    """Where what was found of an account is kept."""
    return home.reports / f"parity-{account}.json"


def keep(home: Home, found: ParityReport) -> Path:
    """Keep what was found; returns the file."""
    path = kept(home, found.account)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(found.to_json(), allow_nan=False).encode())
    return path


def read(home: Home, account: str) -> dict[str, Any] | None:
    """What was found last; None where nothing was.

    Raises
    ------
    DataCorrupt : the file is no such finding
    """
    path = kept(home, account)
    if not path.exists():
        return None
    try:
        plain = json.loads(path.read_text())
        return {**plain, "rows": list(plain["rows"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataCorrupt(f"{path} is no parity finding: {error}", "Delete it and run `hydra parity` again") from error


def parity_sections(home: Home, account: str) -> list[Section]:
    """The section about what was found last; none where nothing was."""
    found = read(home, account)
    return [] if found is None else [section(found)]


def section(found: Mapping[str, Any]) -> Section:
    """Everything that was found, as a section."""
    fills, causes = found["fills"], found["by_cause"]
    text = (
        f"{found['identical']} of {found['decisions']} recorded decisions ({found['from']} to {found['to']}, "
        f"{found['hours']:g} h) come out the same to the last byte. Led through the backtester they earn "
        f"{found['backtest_profit']:+,.2f} USDT, the account earned {found['account_profit']:+,.2f}; every cent between has "
        "its cause below."
    )
    sums = [(cause, round(amount, 2), CAUSES[cause]) for cause, amount in causes.items()]
    sums.append(("together", round(found["difference"], 2), "account less backtest"))
    largest = sorted(found["rows"], key=lambda row: -abs(row["usdt"]))[:MOST]
    rows = [(row["from"], row["to"], row["pair"], row["cause"], row["what"], round(row["usdt"], 4)) for row in largest]
    costs = [
        ("fills", fills["fills"]),
        ("within the declared model of slippage", fills["within"]),
        ("slippage found, bp of the traded value", round(fills["slippage_bp"], 3)),
        ("slippage declared, bp", round(fills["declared_bp"], 3)),
        ("grid points that nobody decided", found["missed"]),
    ]
    outside = [
        (one["time"], one["pair"], one["quantity"], one["price"], one["mid"], one["slippage_bp"], one["allowed_bp"])
        for one in fills["outside"]
    ]
    differing = [
        (one["cycle"], one["cause"], "; ".join(one["places"][:4]), "; ".join(one["notes"]))
        for one in found["differing"]
    ]
    tables = [
        Table(("cause", "USDT", "meaning"), sums, "where the difference comes from"),
        Table(("", ""), costs, "fills"),
        Table(
            ("from", "to", "pair", "cause", "what", "USDT"), rows, f"differences ({len(found['rows'])}), largest first"
        ),
    ]
    if differing:
        tables.append(Table(("grid point", "cause", "where", "notes"), differing[:MOST], "decisions that differ"))
    if outside:
        names = ("time", "pair", "quantity", "price", "middle", "slippage, bp", "allowed, bp")
        tables.append(Table(names, outside[:MOST], "fills outside the declared model"))
    return Section("parity", "Parity of paper and backtest", text, (), tables)


def write_parity(home: Home, found: ParityReport, synthetic: bool) -> Path:
    """Keep what was found and write ``reports/parity-<account>.html``; returns the page."""
    keep(home, found)
    plain = found.to_json()
    tone = "good" if found.holds else "bad"
    tiles = [
        Tile("parity", "holds" if found.holds else "does not hold", tone),
        Tile("decisions identical", f"{found.identical:,} of {found.decisions:,}"),
        Tile("fills within the model", f"{plain['fills']['within']:,} of {plain['fills']['fills']:,}"),
        Tile("account less backtest", f"{found.difference:+,.2f} USDT"),
        Tile("unexplained", str(len(found.unexplained)), "bad" if found.unexplained else "good"),
    ]
    return write_page(
        home.reports / f"parity-{found.account}.html",
        [section(plain)],
        tiles,
        market=home.market,
        subtitle=f"account {found.account} · {plain['from']} to {plain['to']}",
        synthetic=synthetic,
    )
