"""A ledger on each database it supports: a SQLite file, and a real PostgreSQL server started for the session."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from postgres_server import empty_database, own_server

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, OrderState, Side
from hydra_core.ledger.records import OrderRecord
from hydra_core.ledger.store import Ledger

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server of our own on a Unix socket."""
    with own_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database, of either kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    with empty_database(request.getfixturevalue("postgres_server"), "ledger") as url:
        yield url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An open ledger with the account ``paper`` of 1000 USDT."""
    with Ledger.open(ledger_url) as opened:
        opened.open_account("paper", Decimal(1000), market_ms=0)
        yield opened


@pytest.fixture
def make_fill() -> Callable[..., Fill]:
    """Fills with ascending trade ids: ``make_fill(+0.5, "100")``."""
    numbers = itertools.count(1)

    def make(signed: str | float, price: str, *, pair: Pair = BTC, fee: str = "0", trade_id: str | None = None) -> Fill:
        size = Decimal(str(signed))
        number = next(numbers)
        return Fill(
            venue="local",
            pair=pair,
            trade_id=trade_id or str(number),
            order_id=f"o{number}",
            account="paper",
            side=Side.LONG if size > 0 else Side.SHORT,
            quantity=abs(size),
            price=Decimal(price),
            fee=Decimal(fee),
            maker=False,
            event_ms=1_000 * number,
        )

    return make


@pytest.fixture
def order() -> OrderRecord:
    """A market order that was just made."""
    return OrderRecord(
        order_id="o1",
        plan_id="p1",
        account="paper",
        pair=BTC,
        side=Side.LONG,
        quantity=Decimal("0.010"),
        kind="market",
        state=OrderState.NEW,
        created_ms=1,
        updated_ms=1,
    )
