"""The table of exchanges as people meet it: the documentation page and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hydra_core.cli.main import app
from hydra_core.domain.errors import UsageError
from hydra_core.market.exchanges import EXCHANGES, Capability
from hydra_core.market.exchanges import overview as words

PAGE = Path(__file__).parents[2] / "docs" / "exchanges.md"


@pytest.mark.parametrize("part", ["capabilities", "orders", "unverified", "order_ids", "quirks"])
def test_the_page_says_what_the_code_says(part: str) -> None:
    found = re.search(rf"<!-- {part} -->\n(.*?)\n<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert found, f"docs/exchanges.md has no part {part}"
    assert found.group(1) == words.markdown(part), "write hydra_core.market.exchanges.overview.markdown(part) there"


def test_a_part_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="capabilities"):
        words.markdown("weather")


def test_the_command_shows_every_exchange_and_capability() -> None:
    done = CliRunner().invoke(app, ["exchanges", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told["capabilities"]) == {capability.name.lower() for capability in Capability}
    assert told["capabilities"]["candles"] == dict.fromkeys(EXCHANGES, "reads")
    assert told["capabilities"]["open_interest_history"]["bitget"] == "no"
    assert {word for cells in told["capabilities"].values() for word in cells.values()} <= set(told["legend"])
    assert ["weex", "client order ids"] in told["unverified"]
    assert {name for name, orders in told["orders"].items() if orders["taken"]} == {"binanceusdm", "bybit", "okx"}


def test_one_exchange_is_shown_with_its_quirks() -> None:
    done = CliRunner().invoke(app, ["exchanges", "okx"])
    assert done.exit_code == 0, done.output
    assert "contracts" in done.stdout
    assert "weex" not in done.stdout


def test_an_unknown_exchange_is_a_usage_error() -> None:
    done = CliRunner().invoke(app, ["exchanges", "mtgox"])
    assert done.exit_code == 2
