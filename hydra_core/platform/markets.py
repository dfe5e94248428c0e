"""What market a home holds and how to open it again: the small file ``market.json`` in every home.

Not here: making the market itself (``simulation/``) or serving it (``venue/``).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from hydra_core.domain.errors import DataCorrupt, UsageError
from hydra_core.domain.intervals import DAY_MS
from hydra_core.home import Home
from hydra_core.market.connect import VENUE_PROTOCOL
from hydra_core.market.exchanges import EXCHANGES

FILE: Final = "market.json"
SYNTHETIC: Final = "synthetic"
RECORDED: Final = "recorded"
EXCHANGE: Final = "exchange"
FIRST_DAYS: Final = 150
"""Days of history that the default market has before its venue opens."""


@dataclass(frozen=True, slots=True)
class MarketDescription:
    """How to open a home's market again.

    Parameters
    ----------
    kind : ``synthetic`` (a seed and a planted signal), ``recorded`` (a folder of history) or ``exchange``
    seed, signal : of a synthetic market
    folder : of a recorded market, absolute
    days : days of history that lie before the market's first "now"
    start_ms : market time at which the local venue begins, epoch ms
    speed : market seconds per wall second when the venue is first started
    """

    kind: Literal["synthetic", "recorded", "exchange"]
    seed: int | None = None
    signal: float | None = None
    folder: str | None = None
    days: int | None = None
    start_ms: int | None = None
    speed: float = 1.0

    def __post_init__(self) -> None:
        needed = {SYNTHETIC: ("seed", "signal", "start_ms"), RECORDED: ("folder", "start_ms"), EXCHANGE: ()}
        if self.kind not in needed:
            raise UsageError(f"unknown kind of market {self.kind!r}", f"Known: {', '.join(needed)}")
        absent = [name for name in needed[self.kind] if getattr(self, name) is None]
        if absent:
            raise UsageError(f"a {self.kind} market needs {', '.join(absent)}")
        if self.speed <= 0:
            raise UsageError(f"a market's speed must be above 0, not {self.speed}")

    @property
    def local(self) -> bool:
        """Whether the market is served by the local venue."""
        return self.kind != EXCHANGE


def describe_home(home: Home, market: MarketDescription) -> MarketDescription:
    """Write how to open the home's market again (atomically); returns the description."""
    home.path.mkdir(parents=True, exist_ok=True)
    path = home.path / FILE
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(asdict(market), indent=2) + "\n")
    fresh.replace(path)
    return market


def described(home: Home) -> MarketDescription:
    """The home's market; a home named after the exchange needs no file.

    Raises
    ------
    UsageError : the home has no description
    DataCorrupt : the description cannot be read
    """
    path = home.path / FILE
    if not path.exists():
        if home.market in EXCHANGES:
            return MarketDescription(EXCHANGE)
        raise UsageError(
            f"{path} is missing, so the market of this home is unknown", "Run `hydra demo` to make it anew"
        )
    try:
        return MarketDescription(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise DataCorrupt(f"{path} cannot be read: {error}", "Delete it and run `hydra demo`") from error


def insist_exchange(home: Home, exchange: str) -> None:
    """Raise UsageError where a home's market is not the one of the exchange that the settings name."""
    if described(home).local:
        if exchange != VENUE_PROTOCOL:
            raise UsageError(
                f"the local venue of market {home.market} speaks {VENUE_PROTOCOL}, but the settings name {exchange}",
                f"Unset HYDRA_EXCHANGE, or open a home of that exchange: --market {exchange}",
            )
    elif home.market in EXCHANGES and home.market != exchange:
        raise UsageError(
            f"market home {home.market} is of {home.market}, but the settings name {exchange}",
            f"Set HYDRA_EXCHANGE={home.market}",
        )


def default_market() -> tuple[str, MarketDescription]:
    """Name and description of the market that a fresh checkout opens: synthetic, seed 7, with something to find."""
    from hydra_core.simulation.synthetic import ORIGIN_MS

    start = ORIGIN_MS + FIRST_DAYS * DAY_MS
    return "synthetic-7-0.3", MarketDescription(SYNTHETIC, seed=7, signal=0.3, days=120, start_ms=start)


def venue_arguments(home: Home, market: MarketDescription, port: int, *, held: bool = False) -> tuple[str, ...]:
    """Arguments of ``python -m hydra_core.venue`` that open the home's market."""
    arguments = ["--market", home.market, "--port", str(port), "--state-dir", str(home.venue.absolute())]
    arguments += ["--speed", str(market.speed), "--start-ms", str(market.start_ms)]
    if market.kind == RECORDED:
        arguments += ["--replay", str(Path(market.folder or "").absolute())]
        if market.days is not None:
            arguments += ["--days", str(market.days)]
    if held:
        arguments.append("--held")
    return tuple(arguments)
