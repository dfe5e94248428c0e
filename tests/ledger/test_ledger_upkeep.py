"""Backup, restore, retention, export and double entry, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hydra_core.domain.errors import DataCorrupt, HydraError, UsageError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Decision, Fill, Mode, Pins, Plan, Schedule, Target
from hydra_core.ledger import schema
from hydra_core.ledger.backup import RESTORED, backup, inspect, restore
from hydra_core.ledger.engine import open_engine, reading, writing
from hydra_core.ledger.export import TABLES, export
from hydra_core.ledger.records import CashEntry, DecisionRecord, FundingPayment, LeaseClaim, OrderRecord
from hydra_core.ledger.retention import prune, window_start
from hydra_core.ledger.store import Ledger

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
MakeFill = Callable[..., Fill]


def rows(url: str) -> dict[str, list[tuple]]:
    """Every row of every table."""
    engine = open_engine(url)
    with reading(engine) as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for table in schema.metadata.sorted_tables
        }
    engine.dispose()
    return found


def decide(ledger: Ledger, claim: LeaseClaim, cycle_ms: int, *, text: str = "", planned: bool = False) -> None:
    """A decision that names a text of settings, with a plan where asked for."""
    plan = None
    if planned:
        plan = Plan(f"p{cycle_ms}", cycle_ms, (Target(BTC, 0.1, None, "x"),), Schedule(), cycle_ms + 1)
    decision = Decision(cycle_ms, Mode.ACTIVE, {}, (), plan, (), {}, "d" * 64)
    if text:
        ledger.keep_blob(text, "limits", f"text {text}")
    inputs = {"limits_blob": text or "none", "rules_blob": "rules"}
    ledger.commit_decision(DecisionRecord("paper", "hydra", decision, Pins({}, "s", "c"), inputs, "run", 1, 1), claim)


def fill_up(ledger: Ledger, order: OrderRecord, make_fill: MakeFill) -> LeaseClaim:
    """Something in most tables."""
    ledger.record_order(order)
    ledger.record_fill(replace(make_fill("0.010", "60000.1", fee="0.3"), order_id="o1"))
    ledger.record_fill(make_fill("-0.3", "3000.7", pair=ETH, fee="0.2"))
    ledger.record_funding(
        FundingPayment("paper", BTC, 28_800_000, Decimal("0.0001"), Decimal(1), Decimal(6), Decimal("-0.06"))
    )
    ledger.record_cash(CashEntry("paper", "t-1", "TRANSFER", Decimal("12.5"), 7))
    ledger.record_equity("paper", 60_000, Decimal(1001), Decimal(1000), Decimal(1))
    ledger.latch("paper", "day_loss", "lost", Mode.FLATTEN, 9)
    ledger.command("kill", {"flatten": True}, 11)
    ledger.heartbeat("trader", 12, {"pid": 1})
    claim = ledger.acquire_lease("window/paper/hydra", "run", 13, 60_000)
    assert claim is not None
    decide(ledger, claim, 30_000, text="a" * 64, planned=True)
    return claim


def test_a_backup_comes_back_whole(
    ledger: Ledger, ledger_url: str, order: OrderRecord, make_fill: MakeFill, tmp_path: Path
) -> None:
    """What was booked after the backup is gone after the restore; what belonged to its processes is settled."""
    fill_up(ledger, order, make_fill)
    before = rows(ledger_url)
    copy = backup(ledger_url, tmp_path / "kept" / "copy.db")
    facts = inspect(copy)
    assert (facts.accounts, facts.decisions, facts.orders, facts.fills) == (("paper",), 1, 1, 2)
    ledger.record_fill(make_fill("1", "50000", pair=ETH))
    ledger.open_account("paper", Decimal(5), 0)
    ledger.close()
    assert restore(ledger_url, copy) == facts
    after = rows(ledger_url)
    for table in set(before) - {"lease", "heartbeat", "command"}:
        assert after[table] == before[table], table
    assert after["heartbeat"] == []
    with Ledger.open(ledger_url) as again:
        assert again.check_balance("paper").faults == ()
        assert again.pending_commands() == []
        assert again.command_by_id(1).result == RESTORED
        fresh = again.acquire_lease("window/paper/hydra", "other", 14, 60_000)
        assert fresh is not None
        assert fresh.fence == 2, "the fencing number goes on"
        assert again.command("kill", {}, 15) == 2, "numbers go on behind the restored ones"
        assert again.latch("paper", "drawdown", "x", Mode.FLATTEN, 16)


def test_a_backup_of_one_database_is_restored_into_the_other(
    tmp_path: Path, postgres_server: str, order: OrderRecord, make_fill: MakeFill
) -> None:
    engine = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE moved")
    moved = sa.engine.make_url(postgres_server).set(database="moved").render_as_string(hide_password=False)
    first, last = f"sqlite:///{tmp_path / 'a.db'}", f"sqlite:///{tmp_path / 'b.db'}"
    with Ledger.open(first) as ledger:
        ledger.open_account("paper", Decimal(1000), market_ms=0)
        fill_up(ledger, order, make_fill)
    restore(moved, backup(first, tmp_path / "a.backup"))
    restore(last, backup(moved, tmp_path / "b.backup"))
    once, twice = rows(moved), rows(last)
    assert once == twice
    assert once["fill"] == rows(first)["fill"]
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE moved WITH (FORCE)")
    engine.dispose()


def test_a_backup_is_consistent_while_a_trader_writes(
    ledger: Ledger, ledger_url: str, make_fill: MakeFill, tmp_path: Path
) -> None:
    """Fills are booked as fast as they come: in every copy the books add up, and copies only grow."""
    stop = threading.Event()

    def trade() -> None:
        with Ledger.open(ledger_url) as own:
            while not stop.is_set():
                own.record_fill(make_fill("0.1", "100.7", fee="0.01"))

    trader = threading.Thread(target=trade)
    trader.start()
    try:
        counts = [inspect(backup(ledger_url, tmp_path / "copy.db")).fills for _ in range(3)]
    finally:
        stop.set()
        trader.join()
    assert counts == sorted(counts)
    assert counts[-1] <= len(ledger.fills("paper", limit=10**6))


def test_a_bad_backup_is_refused_and_the_ledger_stands(ledger: Ledger, ledger_url: str, tmp_path: Path) -> None:
    copy = backup(ledger_url, tmp_path / "copy.db")
    before = rows(ledger_url)
    with pytest.raises(UsageError, match="no backup"):
        restore(ledger_url, tmp_path / "absent.db")
    torn = tmp_path / "torn.db"
    torn.write_bytes(copy.read_bytes()[:5000])
    with pytest.raises((DataCorrupt, HydraError)):
        restore(ledger_url, torn)
    other = open_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with writing(other) as connection:
        connection.exec_driver_sql("CREATE TABLE account (name TEXT)")
    other.dispose()
    with pytest.raises(DataCorrupt, match="no ledger"):
        restore(ledger_url, tmp_path / "other.db")
    cooked = open_engine(f"sqlite:///{copy}")
    with writing(cooked) as connection:
        connection.exec_driver_sql("UPDATE account SET cash = '1000000'")
    cooked.dispose()
    with pytest.raises(DataCorrupt, match="do not add up: paper: cash is 1000000"):
        restore(ledger_url, copy)
    newer = open_engine(f"sqlite:///{copy}")
    with writing(newer) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    newer.dispose()
    with pytest.raises(HydraError, match="newer than this code"):
        restore(ledger_url, copy)
    assert rows(ledger_url) == before


def test_a_damaged_ledger_is_set_aside_by_a_restore(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    with Ledger.open(f"sqlite:///{file}") as ledger:
        ledger.open_account("paper", Decimal(7), 0)
    copy = backup(f"sqlite:///{file}", tmp_path / "copy.db")
    file.write_bytes(b"rubbish" * 1000)
    restore(f"sqlite:///{file}", copy)
    with Ledger.open(f"sqlite:///{file}") as again:
        assert again.account("paper").cash == 7
    assert (tmp_path / "ledger.db.damaged").read_bytes().startswith(b"rubbish")


def test_pruning_keeps_money_the_window_and_what_orders_were_decided_by(
    ledger: Ledger, ledger_url: str, order: OrderRecord, make_fill: MakeFill
) -> None:
    """Ten days of decisions: those behind an order, inside the window, or the newest stay, with what they name."""
    claim = fill_up(ledger, replace(order, plan_id=f"p{DAY_MS}"), make_fill)
    for day in range(1, 11):
        decide(ledger, claim, day * DAY_MS, text=str(day % 10) * 64, planned=True)
        ledger.record_equity("paper", day * DAY_MS + 1, Decimal(1), Decimal(1), Decimal(0))
        ledger.record_equity("paper", day * DAY_MS + HOUR_MS - 1, Decimal(2), Decimal(2), Decimal(0))
    money = (
        "account",
        "trade_order",
        "order_event",
        "fill",
        "funding_payment",
        "cash_entry",
        "posting",
        "position",
        "latch",
    )
    before = rows(ledger_url)
    cut = window_start(11 * DAY_MS, 4)
    would = prune(ledger_url, cut, dry=True)
    assert rows(ledger_url) == before
    done = prune(ledger_url, cut)
    assert {**done.rows, "blob": 0} == {**would.rows, "blob": 0}
    after = rows(ledger_url)
    assert [after[name] for name in money] == [before[name] for name in money]
    assert [line.cycle_ms for line in ledger.decisions("paper")] == [d * DAY_MS for d in (10, 9, 8, 7, 1)]
    assert {row[0] for row in after["plan"]} == {f"p{d * DAY_MS}" for d in (10, 9, 8, 7, 1)}
    assert len(after["equity_point"]) == len(before["equity_point"]) - 6
    assert done.rows["blob"] == 0, "a window holds its lease and may be about to name one"
    ledger.release_lease(claim)
    assert prune(ledger_url, cut).rows == {"decision": 0, "plan": 0, "missed": 0, "equity_point": 0, "blob": 6}
    assert {row[0][0] for row in rows(ledger_url)["blob"]} == set("17890")
    assert ledger.check_balance("paper").faults == ()


def test_the_newest_decision_of_a_resting_account_stays(ledger: Ledger, ledger_url: str) -> None:
    claim = ledger.acquire_lease("l", "run", 0, 1)
    decide(ledger, claim, 30_000)
    decide(ledger, claim, 60_000, planned=True)
    prune(ledger_url, 10 * DAY_MS)
    assert ledger.last_cycle("paper", "hydra") == 60_000
    assert ledger.latest_plan("paper").plan_id == "p60000"


def test_an_export_says_the_same_in_both_formats(
    ledger: Ledger, ledger_url: str, order: OrderRecord, make_fill: MakeFill, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    fill_up(ledger, order, make_fill)
    counts = export(ledger_url, tmp_path / "parquet")
    assert export(ledger_url, tmp_path / "csv", "csv") == counts
    assert set(counts) == set(TABLES)
    for name, count in counts.items():
        table = pq.read_table(tmp_path / "parquet" / f"{name}.parquet")
        with (tmp_path / "csv" / f"{name}.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert table.num_rows == len(lines) == count
        assert table.column_names == [column.name for column in schema.metadata.tables[name].columns]
    fills = pq.read_table(tmp_path / "parquet" / "fill.parquet").to_pylist()
    assert [row["price"] for row in fills] == [one.fill.price for one in reversed(ledger.fills("paper"))]
    assert export(ledger_url, tmp_path / "one", "csv", ["fill"]) == {"fill": 2}
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["fill.csv"]
    with pytest.raises(UsageError, match="no table nonsense"):
        export(ledger_url, tmp_path / "one", "csv", ["nonsense"])


sized = st.decimals(Decimal("-3"), Decimal("3"), places=3).filter(lambda value: value != 0)
priced = st.decimals(Decimal("0.01"), Decimal("90000"), places=2)
paid = st.decimals(Decimal("-5"), Decimal("5"), places=8)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from([BTC, ETH]), sized, priced, paid, paid), min_size=1, max_size=8))
def test_the_journal_balances_after_every_event(ledger: Ledger, make_fill: MakeFill, events) -> None:
    """Any fills, fees, settlements and transfers: every event's lines add up to zero and the books say what the rows say."""
    name = ledger.open_account("any", Decimal("1000000.25"), 0).name
    for number, (pair, size, price, fee, paid_out) in enumerate(events):
        one = make_fill(str(size), str(price), pair=pair, fee=str(fee))
        ledger.record_fill(replace(one, account=name))
        ledger.record_funding(FundingPayment(name, pair, number, Decimal("0.0001"), size, price, paid_out))
        ledger.record_cash(CashEntry(name, f"c{number}", "TRANSFER", fee, number))
        assert ledger.check_balance(name).faults == ()
    books = ledger.balances(name)
    assert books["cash"] == ledger.account(name).cash
    for pair, held in ledger.positions(name).items():
        assert abs(books[f"position/{pair}"] - held.quantity * held.entry_price) < Decimal("1e-20")
    assert sum(line.amount for line in ledger.postings(name) if line.event == "open") == 0


def test_a_line_that_was_tampered_with_is_found(ledger: Ledger, ledger_url: str, make_fill: MakeFill) -> None:
    ledger.record_fill(make_fill("1", "100", fee="0.5"))
    engine = open_engine(ledger_url)
    with writing(engine) as connection:
        posting = schema.posting
        connection.execute(sa.update(posting).where(posting.c.book == "fees").values(amount=Decimal("0.4")))
    engine.dispose()
    faults = ledger.check_balance("paper").faults
    assert "the lines of fill/local/BTCUSDT/1 do not add up to zero" in faults
    assert "book fees holds 0.4, the account says 0.5" in faults
