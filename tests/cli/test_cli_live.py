"""``hydra live`` on the local venue: a setting, a key and a sentence typed back, and nothing is opened without any of them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hydra_core.cli.main import app
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, OrderState, Schedule, Side, Target
from hydra_core.home import home_named, use_home
from hydra_core.ledger.records import Execution, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.simulation import SyntheticMarket
from hydra_core.venue import LOCAL_KEY, LOCAL_SECRET, VenueConfig, serve

MARKET = SyntheticMarket(7, 0.3, days=10)


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a venue with 2 500 USDT, its clock held, in a thread of its own."""
    config = VenueConfig(
        MARKET,
        "127.0.0.1",
        0,
        tmp_path_factory.mktemp("venue"),
        held=True,
        start_ms=MARKET.start_ms,
        balance=Decimal(2_500),
    )
    listening, place = threading.Event(), dict[str, Any]()

    async def run() -> None:
        place["loop"], place["stop"] = asyncio.get_running_loop(), asyncio.Event()

        def ready(_: str, port: int) -> None:
            place["port"] = port
            listening.set()

        await serve(config, stop=place["stop"], ready=ready)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert listening.wait(60)
    yield f"http://127.0.0.1:{place['port']}"
    place["loop"].call_soon_threadsafe(place["stop"].set)
    thread.join(20)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose platform is not running, and an environment in which orders are allowed."""
    monkeypatch.chdir(tmp_path)
    said = {
        "HYDRA_DATA_ROOT": str(tmp_path), "HYDRA_LIVE__ENABLED": "true", "HYDRA_PAIRS": '["BTCUSDT"]',
        "HYDRA_EXCHANGE_KEY": LOCAL_KEY, "HYDRA_EXCHANGE_SECRET": LOCAL_SECRET,
    }  # fmt: skip
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HYDRA_MARKET", raising=False)
    made = use_home(home_named(tmp_path, "synthetic-7-0.3"))
    describe_home(made, MarketDescription("synthetic", seed=7, signal=0.3, days=10, start_ms=MARKET.start_ms))
    return made.path


def live(venue: str, *words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["live", "--exchange", venue, "--open-only", *words], input=typed)


def accounts(home: Path) -> list[str]:
    with Ledger.open(f"sqlite:///{home / 'ledger.db'}") as ledger:
        return [account.kind for account in ledger.accounts()]


def on_paper(home: Path, days: int, price: str) -> None:
    """So many days of a paper account, and one change of position that filled at a price; its arrival was at 60,000."""
    first = MARKET.start_ms
    with Ledger.open(f"sqlite:///{home / 'ledger.db'}") as ledger:
        account = ledger.open_account("paper", Decimal(1000), first).name
        for day in range(days):
            ledger.record_equity(account, first + day * DAY_MS, Decimal(1000), Decimal(1000), Decimal(0))
        target = Target(Pair("BTCUSDT"), 0.1, 58_000.0, "approved")
        order = OrderRecord(
            "hy-0", "plan", account, target.pair, Side.LONG, Decimal("0.1"), "market", OrderState.NEW, first, first
        )  # fmt: skip
        schedule, until = Schedule("vwap", 4, 120_000), first + 300_000
        ledger.record_executions(
            [Execution("plan", account, target, schedule, first, until, Decimal(0), first, Decimal(60_000))]
        )
        ledger.record_order(order)
        fill = Fill(
            "local",
            target.pair,
            "1",
            "hy-0",
            account,
            Side.LONG,
            Decimal("0.1"),
            Decimal(price),
            Decimal(3),
            False,
            first,
        )
        ledger.record_fill(fill, OrderState.FILLED)


@pytest.mark.parametrize(
    ("days", "price", "proven", "says"),
    [
        (28, "60012", True, "1 executions filled +0.00 bp"),  # 2 bp: half the spread and slippage
        (28, "60023", True, "filled +1.83 bp"),
        (28, "60024", False, "filled +2.00 bp"),
        (28, "60000", False, "filled -2.00 bp"),
        (27, "60012", False, "on 27 days (at least 28)"),
    ],
)
def test_without_four_weeks_on_paper_that_filled_as_backtests_do_the_words_say_so(
    venue: str, home: Path, days: int, price: str, proven: bool, says: str
) -> None:
    on_paper(home, days, price)
    asked = live(venue, typed="no\n").stderr
    assert says in " ".join(asked.split())
    assert ("50000 in all, not proven on paper" not in asked) is proven
    assert accounts(home) == ["paper"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HYDRA_LIVE__ENABLED", "false", "switched off"),
        ("HYDRA_EXCHANGE_KEY", None, "no API key is set"),
        ("HYDRA_EXCHANGE_SECRET", None, "no API key is set"),
    ],
)
def test_without_the_setting_or_a_key_nothing_is_asked(
    venue: str, home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, says: str
) -> None:
    monkeypatch.delenv(name)
    if value is not None:
        monkeypatch.setenv(name, value)
    result = live(venue, typed="yes\n")
    assert (result.exit_code, says in result.stderr, "type:" in result.stderr) == (2, True, False)
    assert accounts(home) == []


def test_only_the_sentence_that_names_money_and_limits_opens_the_account(venue: str, home: Path) -> None:
    """Other words open nothing, typed or given; the sentence itself does, typed or given; its terms are kept."""
    for words in ("yes", "trade"):
        for result in (live(venue, typed=f"{words}\n"), live(venue, "--confirm", words)):
            assert (result.exit_code, "nothing was opened" in result.stderr) == (2, True)
    assert accounts(home) == []
    asked = live(venue, typed="no\n").stderr
    phrase = re.search(r"To agree, type: (.+)", asked)[1]  # type: ignore[index]
    assert phrase == f"trade 2500.00 USDT at {venue} up to 10000 a position, 50000 in all, not proven on paper"
    assert "paper trading on 0 days (at least 28), nothing filled: not proven on paper" in " ".join(asked.split())
    assert "day_loss_limit 0.05" in asked
    assert live(venue, typed=f"{phrase}\n").exit_code == 0
    given = live(venue, "--confirm", phrase, "--json")
    assert given.exit_code == 0, given.output
    said = json.loads(given.stdout.splitlines()[-1])
    assert (said["account"], said["cash"]) == ("live-2", "2500.00000000")
    assert json.loads(said["terms"])["limits"]["max_position_notional"] == 10_000
    assert accounts(home) == ["live", "live"]
    secrets = [LOCAL_SECRET.encode() in file.read_bytes() for file in home.rglob("*") if file.is_file()]
    assert not any(secrets)
