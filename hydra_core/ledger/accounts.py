"""Accounts and what they are worth: opening one, equity and its peak, latched kill switches, barred pairs.

Whether a switch trips is decided in ``risk``; here it is only remembered until a person releases it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from hydra_core.domain.errors import HydraError
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, Portfolio, Position
from hydra_core.ledger import schema
from hydra_core.ledger.accounting import exact
from hydra_core.ledger.book import Book, account_row
from hydra_core.ledger.changes import portfolio_of, worth_after
from hydra_core.ledger.engine import insert_once, upsert
from hydra_core.ledger.journal import CAPITAL, CASH, journal_faults, post
from hydra_core.ledger.records import Account, BalanceCheck, EquityPoint, Latch

_ACCOUNT = schema.account
_LATCH = schema.latch
_POSITIONS = (
    sa.select(schema.position)
    .where(schema.position.c.account == sa.bindparam("account"))
    .order_by(schema.position.c.pair)
)
"""Built once, as every cycle asks: so are the next two."""
_STANDING = (
    sa.select(_LATCH)
    .where(_LATCH.c.account == sa.bindparam("account"), _LATCH.c.released_ms.is_(None))
    .order_by(_LATCH.c.id)
)
_BARRED = sa.select(schema.barred.c.pair).where(
    schema.barred.c.account == sa.bindparam("account"), schema.barred.c.until_ms > sa.bindparam("now_ms")
)


class AccountBook(Book):
    """Accounts, equity, latches and bars; written by the trader and by the commands that open or release."""

    def open_account(
        self, name: str, balance: Decimal, market_ms: int, kind: str = "paper", terms: str = ""
    ) -> Account:
        """Open a fresh account and make it the current one; a name that is taken gets a number (``paper-2``).

        Earlier accounts stay as history. The current account is the one opened last.

        Raises
        ------
        HydraError : the balance is not positive
        """
        if balance <= 0:
            raise HydraError(f"an account needs a positive balance, got {balance}")
        with self._writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("LOCK TABLE account IN EXCLUSIVE MODE"))
            taken = set(connection.execute(sa.select(_ACCOUNT.c.name)).scalars())
            number = next(n for n in range(1, len(taken) + 2) if _numbered(name, n) not in taken)
            values = {
                "name": _numbered(name, number), "kind": kind, "initial_balance": balance, "cash": balance,
                "realised": Decimal(0), "fees": Decimal(0), "funding": Decimal(0), "equity": balance,
                "peak_equity": balance, "day_start_equity": balance, "day_ms": market_ms - market_ms % DAY_MS,
                "opened_ms": market_ms, "opened_seq": len(taken) + 1, "other": Decimal(0), "terms": terms,
            }  # fmt: skip
            connection.execute(sa.insert(_ACCOUNT).values(**values))
            post(connection, str(values["name"]), "open", market_ms, (CASH, CAPITAL, balance))
            return account_of(values)

    def account(self, name: str) -> Account:
        """The account of that name; raises HydraError when there is none."""
        with self._reading() as connection:
            return account_of(account_row(connection, name))

    def accounts(self) -> list[Account]:
        """Every account, the one opened last first."""
        return [account_of(row) for row in self._rows(sa.select(_ACCOUNT).order_by(_ACCOUNT.c.opened_seq.desc()))]

    def current_account(self) -> Account | None:
        """The account opened last; None in a fresh ledger."""
        query = sa.select(_ACCOUNT).order_by(_ACCOUNT.c.opened_seq.desc()).limit(1)
        return next((account_of(row) for row in self._rows(query)), None)

    def portfolio(self, account: str, marks: Mapping[Pair, float], now_ms: int) -> Portfolio:
        """The account as a decision sees it at market time ``now_ms``, marked to ``marks`` (USDT).

        A position without a mark counts at its entry price; whoever asks must treat the missing mark as a fault.
        """
        with self._reading() as connection:
            row = account_row(connection, account)
            held = positions_of(connection, account)
            latched = _standing(connection, account)
            still = {"account": account, "now_ms": now_ms}
            barred = frozenset(Pair(pair) for pair in connection.execute(_BARRED, still).scalars())
        return portfolio_of(account_of(row), held, latched, barred, marks, now_ms)

    def record_equity(self, account: str, ts_ms: int, equity: Decimal, cash: Decimal, unrealised: Decimal) -> bool:
        """Book the account's worth at a market time; moves its peak, and its day's start with the first of a UTC day.

        Returns False when that moment was booked already.
        """
        with self._writing() as connection:
            row = account_row(connection, account, lock=True)
            point = {"account": account, "ts_ms": ts_ms, "equity": equity, "cash": cash, "unrealised": unrealised}
            if not insert_once(connection, schema.equity_point, point):
                return False
            _change(connection, account, worth_after(account_of(row), ts_ms, equity))
            return True

    def equity_curve(self, account: str, since_ms: int = 0, limit: int = 100_000) -> list[EquityPoint]:
        """Booked equity points from ``since_ms`` on, oldest first; the newest ``limit`` of them."""
        point = schema.equity_point
        query = sa.select(point.c.ts_ms, point.c.equity, point.c.cash, point.c.unrealised)
        query = query.where(point.c.account == account, point.c.ts_ms >= since_ms)
        rows = self._rows(query.order_by(point.c.ts_ms.desc()).limit(limit))
        return [EquityPoint(**row) for row in reversed(rows)]

    def seen_to(self, account: str) -> int:
        """Market time up to which somebody looked after the account: of its newest booked worth, or of its opening."""
        newest = self.equity_curve(account, limit=1)
        return newest[-1].ts_ms if newest else self.account(account).opened_ms

    def latch(self, account: str, switch: str, reason: str, mode: Mode, ts_ms: int) -> bool:
        """Remember a tripped switch until it is released; False when it stands already (its first reason is kept)."""
        with self._writing() as connection:
            row = {
                "account": account, "switch": switch, "mode": mode.value, "reason": reason,
                "latched_ms": ts_ms, "released_ms": None,
            }  # fmt: skip
            return insert_once(connection, _LATCH, row)

    def latched(self, account: str) -> dict[str, Latch]:
        """Switches that stand, by name."""
        with self._reading() as connection:
            return _standing(connection, account)

    def latches(self, account: str) -> list[Latch]:
        """Every latch ever, newest first."""
        query = sa.select(_LATCH).where(_LATCH.c.account == account).order_by(_LATCH.c.id.desc())
        return [_latch(row) for row in self._rows(query)]

    def release(self, account: str, ts_ms: int, switches: Iterable[str] | None = None) -> list[str]:
        """Release latched switches (all by default); returns the names of those that stood.

        Peak and start of day are set to the newest equity: losses that a person has looked at count no more, else
        the same switch would trip again at once. A full release also lifts the bars on pairs.
        """
        with self._writing() as connection:
            row = account_row(connection, account, lock=True)
            names = sorted(name for name in _standing(connection, account) if switches is None or name in set(switches))
            condition = (_LATCH.c.account == account, _LATCH.c.released_ms.is_(None), _LATCH.c.switch.in_(names))
            connection.execute(sa.update(_LATCH).where(*condition).values(released_ms=ts_ms))
            if names:
                _change(connection, account, {"peak_equity": row["equity"], "day_start_equity": row["equity"]})
            if switches is None:
                connection.execute(sa.delete(schema.barred).where(schema.barred.c.account == account))
            return names

    def bar_pair(self, account: str, pair: Pair, until_ms: int, reason: str) -> None:
        """Bar a pair from new entries until a market time."""
        with self._writing() as connection:
            upsert(
                connection, schema.barred, {"account": account, "pair": pair, "until_ms": until_ms, "reason": reason}
            )

    def check_balance(self, account: str) -> BalanceCheck:
        """Add the books up again: cash against balance, fills and funding, positions against fills, the journal against all."""
        with self._reading() as connection, exact():
            row = account_row(connection, account)
            held = positions_of(connection, account)
            sums, sizes = _flows(connection, account)
            expected = row["initial_balance"] + sums["realised"] - sums["fees"] + sums["funding"] + sums["other"]
            faults = [
                f"{name} is {row[name]}, entries add up to {total}"
                for name, total in sums.items()
                if row[name] != total
            ]
            if row["cash"] != expected:
                faults.append(f"cash is {row['cash']}, entries add up to {expected}")
            for pair in sorted({*sizes, *held}):
                holding = held[pair].quantity if pair in held else Decimal(0)
                if holding != sizes.get(pair, Decimal(0)):
                    faults.append(f"position of {pair} is {holding}, fills add up to {sizes.get(pair, Decimal(0))}")
            faults += journal_faults(connection, row, held.values())
        return BalanceCheck(account, row["cash"], expected, tuple(faults))


def _flows(connection: Connection, account: str) -> tuple[dict[str, Decimal], dict[Pair, Decimal]]:
    """What the entries of an account add up to, by kind, and its fills by pair; call it in an exact block."""
    fills = connection.execute(sa.select(schema.fill).where(schema.fill.c.account == account)).mappings().all()
    paid, moved = schema.funding_payment, schema.cash_entry
    funding = connection.execute(sa.select(paid.c.amount).where(paid.c.account == account)).scalars()
    other = connection.execute(sa.select(moved.c.amount).where(moved.c.account == account)).scalars()
    sums = {
        "realised": sum((f["realised"] for f in fills), Decimal(0)),
        "fees": sum((f["fee"] for f in fills), Decimal(0)),
        "funding": sum(funding, Decimal(0)),
        "other": sum(other, Decimal(0)),
    }
    sizes: dict[Pair, Decimal] = {}
    for booked in fills:
        pair = Pair(booked["pair"])
        sizes[pair] = sizes.get(pair, Decimal(0)) + booked["quantity"] * booked["side"]
    return sums, sizes


def positions_of(connection: Connection, account: str) -> dict[Pair, Position]:
    """Open positions of an account by pair, inside the caller's transaction."""
    rows = connection.execute(_POSITIONS, {"account": account}).mappings()
    return {Pair(row["pair"]): position_of(row) for row in rows}


def position_of(row: RowMapping) -> Position:
    """A position from its row."""
    return Position(
        pair=Pair(row["pair"]),
        quantity=row["quantity"],
        entry_price=row["entry_price"],
        opened_ms=row["opened_ms"],
        stop_price=row["stop_price"],
        realised=row["realised"],
    )


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _change(connection: Connection, account: str, changes: Mapping[str, Any]) -> None:
    connection.execute(sa.update(_ACCOUNT).where(_ACCOUNT.c.name == account).values(**changes))


def account_of(row: Mapping[str, Any] | RowMapping) -> Account:
    """An account from its row."""
    return Account(**{name: row[name] for name in Account.__dataclass_fields__})


def _latch(row: RowMapping) -> Latch:
    return Latch(row["switch"], Mode(row["mode"]), row["reason"], row["latched_ms"], row["released_ms"])


def _standing(connection: Connection, account: str) -> dict[str, Latch]:
    return {row["switch"]: _latch(row) for row in connection.execute(_STANDING, {"account": account}).mappings()}
