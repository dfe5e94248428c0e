from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from account_double import AccountDouble
from broker_rig import Desk, at_desk
from bybit_double import BybitDouble
from okx_double import OkxDouble

from hydra_core.ledger.store import Ledger

DOUBLES: dict[str, type[AccountDouble]] = {"bybit": BybitDouble, "okx": OkxDouble}


@pytest.fixture(scope="session")
def empty_books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger's file: the migrations run once."""
    file = tmp_path_factory.mktemp("books") / "ledger.db"
    Ledger.open(f"sqlite:///{file}").close()
    return file


@pytest.fixture(params=list(DOUBLES))
def exchange(request: pytest.FixtureRequest) -> str:
    """Each exchange that takes orders and answers with receipts."""
    return str(request.param)


@pytest.fixture
async def double(exchange: str) -> AsyncIterator[AccountDouble]:
    """An account at the exchange."""
    account = DOUBLES[exchange]()
    await account.start()
    yield account
    await account.stop()


@pytest.fixture
def books(empty_books: Path, tmp_path: Path) -> Path:
    """A ledger's file of the test's own."""
    file = tmp_path / "ledger.db"
    file.write_bytes(empty_books.read_bytes())
    return file


@pytest.fixture
async def desk(exchange: str, double: AccountDouble, books: Path) -> AsyncIterator[Desk]:
    """A broker on that account, compared with it and clean."""
    async with at_desk(exchange, double.url, books) as opened:
        yield opened
