"""Several reads as one: a cycle's portfolio, plan and heartbeat are of the same moment."""

from __future__ import annotations

from pathlib import Path

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
