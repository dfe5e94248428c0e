"""``hydra exchanges``: what each exchange can and cannot do."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from hydra_core.cli.common import JsonFlag, out, reporting_errors, say_json
from hydra_core.market.exchanges import ADAPTERS, EXCHANGES, known_exchange
from hydra_core.market.exchanges import overview as words

STYLE = {"reads": "green", "reads?": "yellow", "yes": "", "emulated": "dim", "no": "red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(exchanges)


def exchanges(
    name: Annotated[str, typer.Argument(help="One exchange, with its quirks; left out: all of them.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show what each exchange offers, what of it HYDRA reads, and what of that was checked against documented messages."""
    with reporting_errors():
        chosen = (known_exchange(name),) if name else EXCHANGES
        rows = {what: {each: cells[each] for each in chosen} for what, cells in words.table().items()}
        if as_json:
            quirks = {each: list(ADAPTERS[each].quirks) for each in chosen}
            unread = [list(pair) for pair in words.unverified() if pair[0] in chosen]
            orders = {each: dict(zip(("taken", "how"), words.live_orders(each), strict=True)) for each in chosen}
            say_json(
                {"capabilities": rows, "legend": words.LEGEND, "quirks": quirks, "unverified": unread, "orders": orders}
            )
            return
        table = Table(title="exchanges")
        table.add_column("capability")
        for each in chosen:
            table.add_column(each)
        for what, cells in rows.items():
            table.add_row(what, *(f"[{STYLE[word]}]{word}[/]" if STYLE[word] else word for word in cells.values()))
        out.print(table)
        for word, meaning in words.LEGEND.items():
            out.print(f"{word}: {meaning}", highlight=False)
        for each in chosen:
            taken, how = words.live_orders(each)
            out.print(f"{each}: {'live orders' if taken else 'no live orders'}: {how}", highlight=False)
        for each in chosen if name else ():
            for quirk in ADAPTERS[each].quirks:
                out.print(f"- {quirk}", highlight=False)
