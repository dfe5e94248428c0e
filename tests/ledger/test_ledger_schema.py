"""Opening: migrations make exactly the declared tables, other schemas are refused, a held lock is named."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from hydra_core.domain.errors import DataCorrupt, HydraError, LockHeld, UsageError
from hydra_core.ledger import schema
from hydra_core.ledger.backup import backup
from hydra_core.ledger.engine import open_engine, upgrade, writing
from hydra_core.ledger.records import CashEntry
from hydra_core.ledger.store import Ledger


def test_migrations_make_exactly_the_declared_tables(ledger_url: str) -> None:
    Ledger.open(ledger_url).close()
    engine = open_engine(ledger_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        for table in schema.metadata.sorted_tables:
            found = sa.inspect(connection).get_pk_constraint(table.name)["constrained_columns"]
            assert found == [column.name for column in table.primary_key], table.name
    engine.dispose()


def test_an_older_ledger_is_upgraded_with_what_it_holds(ledger_url: str) -> None:
    """A ledger of the first revision, with an account in it, is opened: nothing is lost, new columns have their defaults."""
    engine = open_engine(ledger_url)
    with writing(engine) as connection:
        upgrade(connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO account (name, kind, initial_balance, cash, realised, fees, funding, equity, peak_equity, "
            "day_start_equity, day_ms, opened_ms, opened_seq) "
            "VALUES ('old', 'paper', 5, 5, 0, 0, 0, 5, 5, 5, 0, 0, 1)"
        )
    engine.dispose()
    with Ledger.open(ledger_url) as ledger:
        account = ledger.account("old")
        assert (account.cash, account.other, account.terms, account.live) == (5, 0, "", False)
        assert ledger.check_balance("old").faults == ()
        assert ledger.record_cash(CashEntry("old", "TRANSFER-1", "TRANSFER", Decimal("-1.5"), 7))
        assert not ledger.record_cash(CashEntry("old", "TRANSFER-1", "TRANSFER", Decimal("-1.5"), 7))
        assert ledger.account("old").cash == Decimal("3.5")
        assert ledger.check_balance("old").faults == ()
        assert ledger.cursor("old", "trades/BTCUSDT") is None
        ledger.set_cursor("old", "trades/BTCUSDT", 2**40)
        assert ledger.cursor("old", "trades/BTCUSDT") == 2**40


@pytest.mark.parametrize("found", ["9999", "abcd"])
def test_a_newer_schema_is_refused(ledger_url: str, found: str) -> None:
    Ledger.open(ledger_url).close()
    engine = open_engine(ledger_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{found}'")
    engine.dispose()
    with pytest.raises(HydraError, match=f"has schema {found}, newer than this code"):
        Ledger.open(ledger_url)


def test_an_older_schema_is_refused_where_migrating_is_not_allowed(ledger_url: str) -> None:
    with pytest.raises(HydraError, match="schema none, older than this code"):
        Ledger.open(ledger_url, migrate=False)
    Ledger.open(ledger_url).close()
    Ledger.open(ledger_url, migrate=False).close()


def test_many_processes_may_open_an_empty_ledger_at_once(ledger_url: str) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            Ledger.open(ledger_url).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_locked_ledger_says_so(tmp_path: Path) -> None:
    """Another process sits in a write transaction: the writer gives up after its time-out and names the file."""
    file = tmp_path / "ledger.db"
    with Ledger.open(f"sqlite:///{file}", busy_timeout_ms=50) as ledger:
        ledger.open_account("paper", Decimal(1), 0)
        engine = open_engine(f"sqlite:///{file}")
        with engine.begin(), pytest.raises(LockHeld, match=r"ledger\.db is locked by another process"):
            ledger.heartbeat("trader", 1)
        engine.dispose()
        assert ledger.current_account() is not None
        ledger.heartbeat("trader", 2)


def test_reading_goes_on_while_another_process_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url, busy_timeout_ms=50) as ledger:
        ledger.open_account("paper", Decimal(1), 0)
        engine = open_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM account")
            assert ledger.current_account() is not None
            connection.rollback()
        engine.dispose()


@pytest.mark.parametrize("url", ["mysql://x/y", "no url", "sqlite://"])
def test_an_unusable_url_is_the_callers_mistake(url: str) -> None:
    with pytest.raises(UsageError, match="sqlite:///"):
        Ledger.open(url)


def test_an_unreachable_server_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(HydraError, match="cannot be used") as caught:
        Ledger.open(f"postgresql+psycopg2://hydra:secret@/ledger?host={tmp_path}")
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(HydraError, match=r"ledger\.db cannot be used"):
        Ledger.open(f"sqlite:///{file}")


def test_a_backup_is_a_whole_ledger_taken_while_others_write(tmp_path: Path) -> None:
    url, copy = f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "kept" / "copy.db"
    with Ledger.open(url) as ledger:
        ledger.open_account("paper", Decimal("1000.5"), 0)
        backup(url, copy)
        ledger.open_account("later", Decimal(1), 0)
        backup(url, copy.with_name("later.db"))
    with Ledger.open(f"sqlite:///{copy}") as restored:
        assert [one.name for one in restored.accounts()] == ["paper"]
        assert restored.check_balance("paper").faults == ()
    with Ledger.open(f"sqlite:///{copy.with_name('later.db')}") as restored:
        assert len(restored.accounts()) == 2


def test_a_damaged_ledger_is_not_backed_up(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(DataCorrupt, match="damaged"):
        backup(f"sqlite:///{file}", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    with pytest.raises(UsageError, match="no SQLite ledger"):
        backup(f"sqlite:///{tmp_path / 'absent.db'}", tmp_path / "copy.db")
