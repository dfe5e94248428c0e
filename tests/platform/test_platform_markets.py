"""What a home remembers of its market."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_core.domain.errors import DataCorrupt, UsageError
from hydra_core.home import home_named
from hydra_core.market.exchanges import EXCHANGES
from hydra_core.platform.markets import (
    MarketDescription,
    describe_home,
    described,
    insist_exchange,
    venue_arguments,
)
from hydra_core.settings import Settings

SYNTHETIC = MarketDescription("synthetic", seed=7, signal=0.3, days=120, start_ms=1_727_740_800_000, speed=300.0)


def test_a_description_is_read_back_as_written(tmp_path: Path) -> None:
    home = home_named(tmp_path, "synthetic-7-0.3")
    assert described_after(home, SYNTHETIC) == SYNTHETIC
    recorded = MarketDescription("recorded", folder="/data/market", days=60, start_ms=1)
    assert described_after(home, recorded) == recorded


def described_after(home, market):
    describe_home(home, market)
    return described(home)


def test_the_exchange_needs_no_description_and_nothing_else_goes_without(tmp_path: Path) -> None:
    assert not described(home_named(tmp_path, "binanceusdm")).local
    with pytest.raises(UsageError, match=r"market\.json is missing"):
        described(home_named(tmp_path, "synthetic-7-0.3"))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_home_named_after_an_exchange_is_of_that_exchange_only(tmp_path: Path, exchange: str) -> None:
    assert Settings(exchange=exchange).exchange == exchange  # type: ignore[arg-type]
    assert not described(home_named(tmp_path, exchange)).local
    insist_exchange(home_named(tmp_path, exchange), exchange)
    other = next(one for one in EXCHANGES if one != exchange)
    with pytest.raises(UsageError, match=f"Set HYDRA_EXCHANGE={exchange}"):
        insist_exchange(home_named(tmp_path, exchange), other)


def test_the_local_venue_speaks_one_exchanges_protocol(tmp_path: Path) -> None:
    home = home_named(tmp_path, "synthetic-7-0.3")
    describe_home(home, SYNTHETIC)
    insist_exchange(home, "binanceusdm")
    with pytest.raises(UsageError, match="speaks binanceusdm, but the settings name okx"):
        insist_exchange(home, "okx")


@pytest.mark.parametrize("text", ["", "{", '{"kind": "synthetic", "colour": 1}'])
def test_a_damaged_description_is_named_with_its_remedy(tmp_path: Path, text: str) -> None:
    home = home_named(tmp_path, "synthetic-7-0.3").create()
    (home.path / "market.json").write_text(text)
    with pytest.raises(DataCorrupt, match=r"market\.json cannot be read.*Delete it"):
        described(home)


@pytest.mark.parametrize(
    "words",
    [
        {"kind": "synthetic", "seed": 7},
        {"kind": "recorded", "start_ms": 1},
        {"kind": "exchange", "speed": 0.0},
        {"kind": "imagined"},
    ],
)
def test_a_market_that_could_not_be_opened_again_is_refused(words) -> None:
    with pytest.raises(UsageError):
        MarketDescription(**words)


def test_the_venue_is_told_where_to_begin_and_a_replay_where_its_history_lies(tmp_path: Path) -> None:
    home = home_named(tmp_path, "synthetic-7-0.3")
    words = venue_arguments(home, SYNTHETIC, 8899)
    assert words[:2] == ("--market", "synthetic-7-0.3")
    assert "--replay" not in words
    assert words[words.index("--start-ms") + 1] == "1727740800000"
    recorded = MarketDescription("recorded", folder=str(tmp_path), days=60, start_ms=1)
    words = venue_arguments(home, recorded, 8899, held=True)
    assert words[words.index("--replay") + 1] == str(tmp_path)
    assert words[-1] == "--held"
