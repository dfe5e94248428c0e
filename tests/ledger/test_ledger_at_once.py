"""Several reads as one: a cycle's portfolio, plan and heartbeat are of the same moment."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from hydra_core.domain.errors import HydraError, LedgerLocked
from hydra_core.ledger.store import Ledger


def test_what_is_read_at_once_is_of_one_moment_whatever_is_written_meanwhile(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger, Ledger.open(ledger_url) as trader:
        trader.heartbeat("trader", 1)
        with ledger.at_once():
            assert ledger.heartbeats()["trader"].wall_ms == 1
            trader.heartbeat("trader", 2)
            assert ledger.heartbeats()["trader"].wall_ms == 1
            assert ledger.current_account() is None
        assert ledger.heartbeats()["trader"].wall_ms == 2


def test_an_error_inside_ends_the_shared_view(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        try:
            with ledger.at_once():
                assert ledger.heartbeats() == {}
                raise KeyError("in between")
        except KeyError:
            ledger.heartbeat("trader", 3)
        assert ledger.heartbeats()["trader"].wall_ms == 3


def test_what_is_booked_together_holds_as_one_or_not_at_all(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger, Ledger.open(ledger_url) as reader:
        with ledger.together(), ledger.together():
            ledger.open_account("paper", Decimal(1000), market_ms=0)
            ledger.set_cursor("paper", "trades", 7)
            assert ledger.cursor("paper", "trades") == 7  # it sees its own bookings
            assert reader.current_account() is None
        assert reader.cursor("paper", "trades") == 7
        with pytest.raises(HydraError, match="nobody"), ledger.together():
            _book_and_fail(ledger)
        assert ledger.cursor("paper", "trades") == 7
        ledger.set_cursor("paper", "trades", 9)
        assert reader.cursor("paper", "trades") == 9


def test_a_block_that_books_nothing_keeps_nobody_waiting(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with Ledger.open(url) as ledger, Ledger.open(url, busy_timeout_ms=0) as other:
        with ledger.together():
            assert ledger.current_account() is None
            other.heartbeat("window", 1)
            assert ledger.heartbeats()["window"].wall_ms == 1
            ledger.heartbeat("trader", 2)
            with pytest.raises(LedgerLocked):
                other.heartbeat("window", 3)
        other.heartbeat("window", 3)


def _book_and_fail(ledger: Ledger) -> None:
    ledger.set_cursor("paper", "trades", 8)
    ledger.account("nobody")
