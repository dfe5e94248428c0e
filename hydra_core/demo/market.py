"""Which market a demo runs on, opened afresh: its name, where its clock begins, what an earlier demo left that must go."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS
from hydra_core.home import Home, home_named, use_home
from hydra_core.platform.markets import MarketDescription, describe_home
from hydra_core.settings import Settings
from hydra_core.simulation import ORIGIN_MS, open_market

SYNTHETIC_LEAD_DAYS: Final = 150
"""Days between a synthetic market's origin and the moment its venue opens; more history than this moves the opening on."""
MIN_DAYS: Final = 20
"""Fewer days of history leave nothing to judge a model on after the look-backs."""


def open_synthetic(
    settings: Settings, seed: int, signal: float, days: int, *, fresh: bool = True
) -> tuple[Home, MarketDescription]:
    """The home of a synthetic market, its clock set to its opening where ``fresh``.

    Raises
    ------
    UsageError : the signal is outside [0, 0.6] or the history too short
    """
    if not 0.0 <= signal <= 0.6:
        raise UsageError(f"--signal {signal:g} is out of range", "It is a correlation: 0 (nothing to find) to 0.6")
    _check_days(days)
    home = home_named(settings.data_root, f"synthetic-{seed}-{signal:g}")
    start = ORIGIN_MS + max(SYNTHETIC_LEAD_DAYS, days + 10) * DAY_MS
    return _opened(home, MarketDescription("synthetic", seed=seed, signal=signal, days=days, start_ms=start), fresh)


def open_recorded(
    settings: Settings, folder: Path, days: int, paper_hours: float, *, fresh: bool = True
) -> tuple[Home, MarketDescription]:
    """The home of recorded history whose clock stands so that paper runs on its last part.

    Raises
    ------
    UsageError, DataCorrupt : the folder or a file in it is missing or malformed, or too short for the days asked
    """
    _check_days(days)
    market = open_market("recorded", folder, days)
    if market.end_ms is None:
        raise UsageError(f"{folder} holds no recorded market", "See the layout in the README")
    start = market.end_ms - int((paper_hours + 1) * HOUR_MS)
    start -= start % (5 * 60_000)
    if start - days * DAY_MS < market.origin_ms:
        have = (start - market.origin_ms) // DAY_MS
        raise UsageError(
            f"--days {days} asks for more than {folder} holds", f"At most {have} days fit before the paper part"
        )
    home = home_named(settings.data_root, market.name)
    description = MarketDescription("recorded", folder=str(folder.absolute()), days=days, start_ms=start)
    return _opened(home, description, fresh)


def _opened(home: Home, description: MarketDescription, fresh: bool) -> tuple[Home, MarketDescription]:
    """Remember the market; a fresh start sets its clock back, and what knows a later time than the opening goes."""
    use_home(home)
    describe_home(home, description)
    if not fresh:
        return home, description
    shutil.rmtree(home.venue, ignore_errors=True)
    for stale in home.path.glob("live.db*"):
        stale.unlink()
    home.kill_file.unlink(missing_ok=True)
    home.create()
    return home, description


def _check_days(days: int) -> None:
    if days < MIN_DAYS:
        raise UsageError(
            f"--days {days} is too short", f"At least {MIN_DAYS} days are needed to train and judge anything"
        )
