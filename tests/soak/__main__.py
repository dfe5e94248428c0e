"""``python -m tests.soak --hours 24 --speed 60``: 24 minutes of wall time, and one line of figures at the end."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import warnings
from pathlib import Path

from loguru import logger

from .story import soak


def main(words: list[str] | None = None) -> int:
    """Run what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="The trader for many market hours.")
    parser.add_argument("--hours", type=float, default=24.0, help="market hours")
    parser.add_argument("--speed", type=float, default=60.0, help="market seconds a wall second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for ledger, log and checks")
    asked = parser.parse_args(words)
    logger.remove()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", ResourceWarning)
    if asked.keep is not None:
        asked.keep.mkdir(parents=True)

    def say(line: str) -> None:
        sys.stdout.write(f"  {line}\n")
        sys.stdout.flush()

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the trader ends with this process
    try:
        told = asyncio.run(soak(asked.seed, asked.hours, asked.speed, say, asked.keep))
    except AssertionError as error:
        sys.stdout.write(f"not sound: {error}\n      again: python -m tests.soak --seed {asked.seed}\n")
        return 1
    sys.stdout.write(f"{told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
