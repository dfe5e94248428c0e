"""The real trader in a process of its own, which notes after every comparison how far the ledger is from the exchange.

``python -m tests.soak.trader FOLDER URL``; lines of ``FOLDER/checks.jsonl`` are what ``tests.soak`` judges.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from loguru import logger
from pydantic import SecretStr

from hydra_core.broker.exchange import ExchangeBroker
from hydra_core.broker.reconcile import Report
from hydra_core.domain.errors import VenueError
from hydra_core.home import Home
from hydra_core.market.endpoint import Endpoint
from hydra_core.settings import LiveSettings, Settings
from hydra_core.trader.service import run_trader
from hydra_core.venue import LOCAL_KEY, LOCAL_SECRET

from ..scenarios.trading import BTC, ETH

PAIRS = (BTC, ETH)
LIVE = LiveSettings(enabled=True, timeout_s=2.0, probe_window_s=1.0, stop_grace_s=10.0, reconcile_s=5.0)
LOOKS = 30
LOOK_S = 0.2


def settings_of(folder: Path, url: str) -> Settings:
    """Settings of the trader, with the venue's key."""
    base = Settings(pairs=PAIRS, data_root=folder, market="home", venue_url=url)
    return base.model_copy(
        update={
            "exchange_key": SecretStr(LOCAL_KEY), "exchange_secret": SecretStr(LOCAL_SECRET), "live": LIVE,
            "database_url": f"sqlite:///{folder}/ledger.db",
        }
    )  # fmt: skip


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmRSS"))


class Watch:
    """Compares equity after every clean comparison of the broker's own."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._compare = ExchangeBroker.reconcile

    def install(self) -> None:
        """From now on every broker is watched."""
        watch, compare = self, self._compare

        async def reconcile(self: ExchangeBroker, reason: str) -> Report:
            report = await compare(self, reason)
            if report.clean:
                await watch.note(self, reason)
            return report

        ExchangeBroker.reconcile = reconcile  # type: ignore[method-assign]

    async def note(self, broker: ExchangeBroker, reason: str) -> None:
        """Write down the distance; a moment in which something moved is waited out."""
        gap: Decimal | None = None
        looks = 0
        while gap != 0 and looks < LOOKS:
            looks += 1
            found = await self.gap(broker)
            gap = gap if found is None else found
            if gap is None or abs(gap) > Decimal("1e-8"):
                await asyncio.sleep(LOOK_S)
            else:
                break
        line = {
            "market_ms": broker._clock.market_ms(), "reason": reason, "looks": looks,
            "gap": None if gap is None else f"{gap:f}",
            "mb": round(resident_mb(), 1), "live": len(broker.books.live), "block": broker.standing.block,
        }  # fmt: skip
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    async def gap(self, broker: ExchangeBroker) -> Decimal | None:
        """Ledger's equity less the exchange's at the same marks, USDT; None where the exchange moved or did not answer."""
        try:
            before = await broker._gateway.positions()
            wallet = await broker._gateway.wallet()
            after = await broker._gateway.positions()
        except VenueError:
            return None
        if {pair: one.quantity for pair, one in before.items()} != {pair: one.quantity for pair, one in after.items()}:
            return None
        ours: Any = broker._ledger.positions(broker._account)
        equity = broker._ledger.account(broker._account).cash - wallet
        for pair in {*ours, *after}:
            mark = broker._view.exact_mark(pair)
            if mark is None:
                return None
            if pair in ours:
                equity += (mark - ours[pair].entry_price) * ours[pair].quantity
            if pair in after:
                equity -= (mark - after[pair].entry) * after[pair].quantity
        return equity


async def main(folder: Path, url: str) -> None:
    """Run until told to end."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_trader(Home(folder, "home").create(), settings_of(folder, url), Endpoint(base_url=url), stop)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    logger.remove()
    logger.add(place / "trader.log", level="WARNING", format="{time:HH:mm:ss.SSS} {level} {message}")
    Watch(place / "checks.jsonl").install()
    asyncio.run(main(place, sys.argv[2]))
