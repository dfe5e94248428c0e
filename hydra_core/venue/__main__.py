"""``python -m hydra_core.venue``: one venue as a process of its own, as the supervisor starts it.

Standard output carries one JSON line once the venue answers; everything else goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

from loguru import logger

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.simulation import open_market
from hydra_core.venue.app import run
from hydra_core.venue.config import LOCAL_KEY, LOCAL_SECRET, VenueConfig


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hydra_core.venue", description="A local exchange on loopback.")
    parser.add_argument("--market", required=True, help="market name, e.g. synthetic-7-0.3 or recorded-<hash>")
    parser.add_argument("--replay", type=Path, help="folder of a recorded market")
    parser.add_argument("--days", type=int, help="days of history before the market's first now")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8899, help="0 takes a free one")
    parser.add_argument("--state-dir", type=Path, required=True, help="folder of the clock and the account")
    parser.add_argument("--speed", type=float, default=1.0, help="market seconds a wall second")
    parser.add_argument("--held", action="store_true", help="start with market time standing still")
    parser.add_argument("--start-ms", type=int, help="market time at the first start, epoch ms")
    parser.add_argument("--balance", default="1000", help="USDT in the wallet at the first start")
    parser.add_argument("--log-level", default="INFO")
    return parser.parse_args(words)


def _config(arguments: argparse.Namespace) -> VenueConfig:
    market = open_market(arguments.market, arguments.replay, arguments.days)
    try:
        balance = Decimal(arguments.balance)
    except InvalidOperation:
        raise UsageError(f"not a balance: {arguments.balance!r}", "Write a number of USDT") from None
    return VenueConfig(
        market=market,
        host=arguments.host,
        port=arguments.port,
        state_dir=arguments.state_dir,
        speed=arguments.speed,
        held=arguments.held,
        start_ms=market.start_ms if arguments.start_ms is None else arguments.start_ms,
        balance=balance,
        api_key=os.environ.get("HYDRA_VENUE_KEY", LOCAL_KEY),
        secret=os.environ.get("HYDRA_VENUE_SECRET", LOCAL_SECRET),
    )


def main(words: list[str] | None = None) -> int:
    """Run a venue until it is told to stop; returns the exit code."""
    arguments = _arguments(sys.argv[1:] if words is None else words)
    logger.remove()
    logger.add(sys.stderr, level=arguments.log_level.upper())

    try:
        config = _config(arguments)

        def ready(host: str, port: int) -> None:
            line = {"event": "ready", "market": config.market.name, "host": host, "port": port, "pid": os.getpid()}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

        run(config, ready=ready)
    except HydraError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
