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
from hydra_core.home import home_named, use_home
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
    assert phrase.startswith(f"trade 2500.00 USDT at {venue} up to 10000 a position, 50000 in all")
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
