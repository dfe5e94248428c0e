"""Parity: a session of the real window and trader comes out explained to the cent, and what is altered shows."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from recorded_session import recorded
from typer.testing import CliRunner

from hydra_core.cli.main import app
from hydra_core.domain.errors import DataCorrupt, UsageError
from hydra_core.domain.pairs import Pair
from hydra_core.home import Home
from hydra_core.ledger.accounting import exact
from hydra_core.ledger.records import FundingPayment
from hydra_core.ledger.store import Ledger
from hydra_core.replay.attribution import Cause
from hydra_core.replay.fills import BOOK, DECISION, TRADE
from hydra_core.replay.ledgers import Entries, Standing
from hydra_core.replay.parity import CENT, ParityReport, parity
from hydra_core.replay.stage import Stage
from hydra_core.report import parity as page
from hydra_core.report.build import write_report
from hydra_core.settings import Settings

BTC, ETH, DOGE = Pair("BTCUSDT"), Pair("ETHUSDT"), Pair("DOGEUSDT")


def live_on(stage: Stage) -> None:
    """Half a minute off the grid: a stop is drawn up to the market, so that the guard acts between two decisions."""
    held = stage.ledger.positions(stage.account)
    assert held, "the session must trade to be worth replaying"
    pair, position = next(iter(held.items()))
    mark = stage.view.exact_mark(pair)
    assert mark is not None
    stage.ledger.set_stop(stage.account, pair, mark * (2 if position.quantity > 0 else 0) or mark / 2)
    stage.run(stage.clock.market_ms() + 300_000, dict(stage.ledger.decision_records(stage.account)[0].pins.models))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty minutes over a midnight (a funding settlement), with a stop that the guard carries out."""
    folder = tmp_path_factory.mktemp("session")
    with recorded(folder, 1 / 4, pairs=(BTC, ETH, DOGE)) as stage:
        live_on(stage)
    return folder


@pytest.fixture
def copy(session: Path, tmp_path: Path) -> Iterator[tuple[Home, Ledger]]:
    """The session's home, free to be altered."""
    shutil.copytree(session, tmp_path / "copy")
    home = Home(tmp_path / "copy", "synthetic-5-0.3")
    with Ledger.open(home.ledger_url) as ledger:
        yield home, ledger


def change(home: Home, statement: str, *values: object, file: str = "ledger.db") -> int:
    with sqlite3.connect(home.path / file) as connection:
        changed = connection.execute(statement, values).rowcount
    connection.close()
    return changed


def adds_up(found: ParityReport) -> None:
    """Whatever was found, its rows are the difference."""
    assert math.fsum(row.usdt for row in found.rows if row.cause is not Cause.UNEXPLAINED) == pytest.approx(
        found.difference, abs=CENT
    )


def test_a_session_is_explained_to_the_cent(copy: tuple[Home, Ledger]) -> None:
    home, ledger = copy
    found = parity(home, ledger, "paper")
    assert found.decisions == found.identical == ledger.count_decisions("paper") >= 35
    assert (found.differing, found.unexplained, found.missed) == ((), (), 0)
    assert found.holds
    assert len(found.fills) == len(ledger.fills("paper")) >= 8
    assert {one.source for one in found.fills} == {BOOK}
    assert found.fills_within
    assert set(found.by_cause) <= {"price", "latency", "data"}
    assert abs(found.difference) > 0.05, "slices, latency and the book cost something"
    adds_up(found)
    assert any("guard" not in row.what and "stop" in row.what for row in found.rows if row.cause is Cause.LATENCY)
    booked = ledger.account("paper")
    flows = float(booked.realised - booked.fees + booked.funding)
    open_profit = found.account_profit - flows
    worth = sum(
        float(held.quantity) * (found_mid(found, ledger, held.pair) - float(held.entry_price))
        for held in ledger.positions("paper").values()
    )
    assert open_profit == pytest.approx(worth, abs=1e-6)


def found_mid(found: ParityReport, ledger: Ledger, pair: Pair) -> float:
    """The last middle price of a pair that the session saw: of its newest fill or decision."""
    newest = ledger.decision_records("paper", limit=1)[0]
    quote = newest.inputs["quotes"][pair]
    fills = [one for one in found.fills if one.pair == pair and one.event_ms > newest.cycle_ms]
    return fills[-1].mid if fills else (quote["bid"] + quote["ask"]) / 2


def test_a_settlement_is_charged_to_both(copy: tuple[Home, Ledger]) -> None:
    """The account books what it held at midnight; the backtest pays the same rate on the same position."""
    home, ledger = copy
    paid = ledger.funding_payments("paper")
    assert paid, "positions were held over midnight"
    found = parity(home, ledger, "paper")
    assert not any("not booked" in row.what for row in found.rows)
    assert change(home, "DELETE FROM series WHERE kind = 'funding' AND ts = ?", paid[0].settlement_ms, file="live.db")
    altered = parity(home, ledger, "paper")
    rates = [row for row in altered.rows if "another rate" in row.what]
    assert math.fsum(row.usdt for row in rates) == pytest.approx(sum(float(one.amount) for one in paid), abs=CENT)
    assert not altered.unexplained
    adds_up(altered)


def test_part_of_a_session_is_explained_from_what_was_held_then(copy: tuple[Home, Ledger]) -> None:
    home, ledger = copy
    lines = ledger.decisions("paper")
    middle = lines[len(lines) // 2].cycle_ms
    found = parity(home, ledger, "paper", since_ms=middle, until_ms=lines[2].cycle_ms)
    assert found.holds
    assert found.decisions == sum(middle <= line.cycle_ms < lines[2].cycle_ms for line in lines)
    adds_up(found)
    with pytest.raises(UsageError, match="no decision in that span"):
        parity(home, ledger, "paper", since_ms=lines[0].cycle_ms + 1)


def test_a_booked_fill_that_was_altered_is_unexplained(copy: tuple[Home, Ledger]) -> None:
    home, ledger = copy
    assert change(home, "UPDATE fill SET price = price * 1.01 WHERE rowid = (SELECT min(rowid) FROM fill)") == 1
    found = parity(home, ledger, "paper")
    assert found.unexplained
    assert not found.holds


def test_cash_that_no_entry_explains_is_unexplained(copy: tuple[Home, Ledger]) -> None:
    home, ledger = copy
    change(home, "UPDATE account SET cash = '9000'")
    assert [row.what for row in parity(home, ledger, "paper").unexplained] == ["cash is not what the entries add up to"]


def test_an_altered_candle_is_named_as_data(copy: tuple[Home, Ledger]) -> None:
    home, ledger = copy
    first = ledger.decisions("paper")[-1].cycle_ms
    change(home, "UPDATE candle SET close = close * 1.02 WHERE pair = 'BTCUSDT' AND ts < ? AND ts > ?", first,
           first - 3_000_000, file="live.db")  # fmt: skip
    found = parity(home, ledger, "paper")
    assert found.identical < found.decisions
    assert {one.cause for one in found.differing} == {Cause.DATA}
    assert not found.unexplained
    adds_up(found)


def test_another_decision_from_the_same_data_is_named_as_signal(copy: tuple[Home, Ledger]) -> None:
    """A booked decision says half of what it would decide today: what that cost stands under signal."""
    home, ledger = copy
    entered = next(line for line in reversed(ledger.decisions("paper")) if line.plan_id)
    with sqlite3.connect(home.path / "ledger.db") as connection:
        query = "SELECT body FROM decision WHERE cycle_ms = ?"
        body = json.loads(connection.execute(query, (entered.cycle_ms,)).fetchone()[0])
        for target in body["plan"]["targets"]:
            target["quantity"] /= 2
        connection.execute("UPDATE decision SET body = ? WHERE cycle_ms = ?", (json.dumps(body), entered.cycle_ms))
    connection.close()
    found = parity(home, ledger, "paper")
    assert [(one.cycle_ms, one.cause) for one in found.differing] == [(entered.cycle_ms, Cause.SIGNAL)]
    assert "plan.targets[0].quantity" in found.differing[0].places
    assert found.by_cause["signal"] != 0
    assert not found.unexplained
    adds_up(found)


def test_a_lost_live_state_leaves_the_money_explained(copy: tuple[Home, Ledger]) -> None:
    home, ledger = copy
    for file in home.path.glob("live.db*"):
        file.unlink()
    found = parity(home, ledger, "paper")
    assert found.identical == 0
    assert {one.cause for one in found.differing} == {Cause.DATA}
    assert not found.unexplained
    adds_up(found)


@pytest.mark.parametrize(("left", "source"), [("trades", TRADE), ("", DECISION)])
def test_without_noted_books_the_market_is_known_from_less(copy: tuple[Home, Ledger], left: str, source: str) -> None:
    home, ledger = copy
    shutil.rmtree(home.spool / "own_fills")
    if left:
        first = min(one.fill.event_ms for one in ledger.fills("paper"))
        from hydra_core.lake.spool import Spool

        with Spool(home.spool) as spool:
            for one in ledger.fills("paper"):
                spool.add_trade(one.fill.pair, 1, first - 1, float(one.fill.price) * 0.9999, 1.0, False)
    found = parity(home, ledger, "paper")
    assert {one.source for one in found.fills} == {source}
    assert not found.unexplained
    adds_up(found)


def test_a_fill_that_cost_more_than_declared_is_outside(copy: tuple[Home, Ledger]) -> None:
    """The noted book says that the market stood elsewhere: nothing is unexplained, but parity does not hold."""
    home, ledger = copy
    file = next((home.spool / "own_fills").rglob("*.jsonl"))
    lines = [json.loads(line) for line in file.read_text().splitlines() if line]
    for line in lines:
        line["bid"] *= 0.99
        line["ask"] *= 0.99
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = parity(home, ledger, "paper")
    assert not found.fills_within
    assert not found.unexplained
    assert not found.holds
    adds_up(found)


def test_the_page_shows_causes_and_the_report_keeps_them(
    copy: tuple[Home, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, ledger = copy
    found = parity(home, ledger, "paper")
    written = page.write_parity(home, found, synthetic=True)
    text = written.read_text()
    assert "parity" in text
    assert "Synthetic market" in text
    assert all(cause in text for cause in found.by_cause)
    assert page.read(home, "paper") == json.loads(json.dumps(found.to_json()))
    [section] = page.parity_sections(home, "paper")
    assert f"{found.identical} of {found.decisions}" in section.text
    monkeypatch.chdir(home.root)
    whole = write_report(home, ledger, "paper", Settings(data_root=home.root)).read_text()
    assert "Parity of paper and backtest" in whole
    page.kept(home, "paper").write_text("{")
    with pytest.raises(DataCorrupt, match="no parity finding"):
        page.parity_sections(home, "paper")
    assert page.parity_sections(home, "nobody") == []


def test_the_command_says_whether_it_holds(copy: tuple[Home, Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = copy
    monkeypatch.chdir(home.root)
    monkeypatch.setenv("HYDRA_DATA_ROOT", str(home.root))
    done = CliRunner().invoke(app, ["parity", "--market", home.market, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["holds"], said["unexplained"], said["identical"]) == (True, 0, said["decisions"])
    assert Path(said["page"]).exists()
    change(home, "UPDATE account SET cash = '9000'")
    again = CliRunner().invoke(app, ["parity", "--market", home.market, "--hours", "0.1"])
    assert again.exit_code == 1
    assert "does not hold" in again.output


def test_an_account_is_added_up_to_its_last_digit() -> None:
    """Sums of money have more digits than Decimal keeps by itself; the ledger keeps them all, and so does this."""
    amount = Decimal("-0.000123456789012345678901234567")
    paid = [FundingPayment("paper", BTC, at, Decimal(0), Decimal(1), Decimal(1), amount) for at in range(3)]
    standing = Standing(Decimal(10_000_000))
    standing.take(Entries("paper", Decimal(10_000_000), [], paid, []))
    with exact():
        assert standing.cash == 10_000_000 + 3 * amount


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_forty_eight_hours_of_paper_decisions_hold(tmp_path: Path) -> None:
    """48 venue hours of all eight pairs by the real window and trader: identical decisions, no row unexplained."""
    with recorded(tmp_path, 48.0, quiet_ms=30_000) as stage:
        found = parity(stage.home, stage.ledger, stage.account)
        assert found.decisions == found.identical == 48 * 120
        assert len(found.fills) > 100
        assert stage.ledger.funding_payments(stage.account)
        assert stage.ledger.check_balance(stage.account).faults == ()
        assert found.holds
        assert not found.unexplained
        adds_up(found)
