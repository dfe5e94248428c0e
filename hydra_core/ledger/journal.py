"""The journal: every movement of money as lines on books that add up to zero.

Books of an account, debits positive: ``cash`` (free to trade: margin is cross, so nothing leaves it while a position is
open), ``capital`` (what it was opened with), ``realised``, ``fees``, ``funding`` and ``other`` (where gains are credits), and
for each pair ``position/PAIR`` (contracts held, at cost) against ``contract/PAIR`` (what they oblige to).

Here: which lines an event has, and whether books, account row and positions agree. Not here: when something is booked
(``orders``, ``accounts``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Position
from hydra_core.ledger import schema
from hydra_core.ledger.accounting import exact
from hydra_core.ledger.book import Book
from hydra_core.ledger.records import Posting

CASH: Final = "cash"
CAPITAL: Final = "capital"
_TABLE = schema.posting
_INSERT = sa.insert(_TABLE)
_CREDITS: Final[Mapping[str, str]] = {
    CAPITAL: "initial_balance", "realised": "realised", "funding": "funding", "other": "other",
}  # fmt: skip
"""Books whose balance is the negative of a column of the account."""
_ZERO: Final = Decimal(0)


class JournalBook(Book):
    """Reading the journal; its lines are written with the events they belong to."""

    def postings(self, account: str, *, since_ms: int = 0) -> list[Posting]:
        """Lines of an account from a market time on, oldest event first."""
        query = sa.select(_TABLE).where(_TABLE.c.account == account, _TABLE.c.ts_ms >= since_ms)
        return [Posting(**row) for row in self._rows(query.order_by(_TABLE.c.ts_ms, _TABLE.c.event, _TABLE.c.line))]

    def balances(self, account: str) -> dict[str, Decimal]:
        """What stands on each book of an account."""
        with self._reading() as connection:
            return balances(connection, account)[0]


def post(connection: Connection, account: str, event: str, ts_ms: int, *moves: tuple[str, str, Decimal]) -> None:
    """Write an event's lines: each move takes an amount from one book (second) to another (first)."""
    lines: list[tuple[str, Decimal]] = []
    for to, source, amount in moves:
        if amount:
            lines += [(to, amount), (source, -amount)]
    values = [
        {"account": account, "event": event, "line": number, "book": book, "amount": amount, "ts_ms": ts_ms}
        for number, (book, amount) in enumerate(lines)
    ]
    if values:
        connection.execute(_INSERT, values)


def cost_of(position: Position | None) -> Decimal:
    """A position at cost, USDT, signed."""
    with exact():
        return position.quantity * position.entry_price if position is not None else _ZERO


def contract_move(pair: Pair, before: Position | None, after: Position | None) -> tuple[str, str, Decimal]:
    """What a fill moves onto a pair's position book."""
    with exact():
        return f"position/{pair}", f"contract/{pair}", cost_of(after) - cost_of(before)


def balances(connection: Connection, account: str) -> tuple[dict[str, Decimal], list[str]]:
    """What stands on each book, and the events whose lines do not add up to zero."""
    query = sa.select(_TABLE.c.event, _TABLE.c.book, _TABLE.c.amount).where(_TABLE.c.account == account)
    books: defaultdict[str, Decimal] = defaultdict(Decimal)
    events: defaultdict[str, Decimal] = defaultdict(Decimal)
    with exact():
        for event, book, amount in connection.execute(query):
            books[book] += amount
            events[event] += amount
    return dict(books), [event for event, total in events.items() if total]


def journal_faults(connection: Connection, row: RowMapping, positions: Iterable[Position]) -> list[str]:
    """Where the journal, the account's row and its positions do not say the same; empty when they agree."""
    books, uneven = balances(connection, row["name"])
    faults = [f"the lines of {event} do not add up to zero" for event in sorted(uneven)]
    expected = {CASH: row["cash"], "fees": row["fees"]}
    expected |= {book: -row[column] for book, column in _CREDITS.items()}
    for held in positions:
        expected[f"position/{held.pair}"] = cost_of(held)
        expected[f"contract/{held.pair}"] = -cost_of(held)
    for book in sorted({*books, *expected}):
        found, wanted = books.get(book, _ZERO), expected.get(book, _ZERO)
        if found != wanted:
            faults.append(f"book {book} holds {found}, the account says {wanted}")
    return faults
