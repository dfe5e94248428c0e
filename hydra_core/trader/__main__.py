"""``python -m hydra_core.trader``: the trader of the market home in use, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from loguru import logger

from hydra_core.domain.errors import HydraError
from hydra_core.home import current_home
from hydra_core.market.endpoint import Endpoint
from hydra_core.settings import Settings
from hydra_core.trader.service import run_trader


async def _main(base_url: str | None, until_flat: bool) -> None:
    settings = Settings()
    home = current_home(settings.data_root, settings.market).create()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for word in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(word, stop.set)
    endpoint = Endpoint(settings.exchange, base_url or settings.venue_url or None)
    await run_trader(home, settings, endpoint, stop, until_flat=until_flat)


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and say in one line what went wrong."""
    parser = argparse.ArgumentParser(prog="hydra trader", description=__doc__)
    parser.add_argument(
        "--base-url", default=None, help="address of a local venue; without it the real exchange's data"
    )
    parser.add_argument("--until-flat", action="store_true", help="end as soon as no position is open")
    options = parser.parse_args(arguments)
    logger.remove()
    logger.add(sys.stderr, level=Settings().log_level, format="{time:HH:mm:ss} {level} {message}")
    try:
        asyncio.run(_main(options.base_url, options.until_flat))
    except HydraError as error:
        logger.error("{}", error)
        return error.exit_code
    except BaseExceptionGroup as group:
        known, rest = group.split(HydraError)
        if rest is not None or known is None:
            raise
        for leaf in _leaves(known):
            logger.error("{}", leaf)
        return 1
    return 0


def _leaves(group: BaseExceptionGroup[HydraError]) -> list[BaseException]:
    """The errors at the ends of a group's branches."""
    out: list[BaseException] = []
    for error in group.exceptions:
        out.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return out


if __name__ == "__main__":
    sys.exit(main())
