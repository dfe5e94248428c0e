"""The one resource: the market home in use, handing out plain ``hydra_core`` objects.

Not here: secrets (they stay in the environment) and anything that is slow to make (it is made when asked for).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.pairs import Pair
from hydra_core.home import Home, current_home
from hydra_core.settings import Settings

if TYPE_CHECKING:
    from hydra_core.alpha.registry import ModelRegistry
    from hydra_core.lake.gather import Sources
    from hydra_core.lake.store import Lake
    from hydra_core.ledger.store import Ledger
    from hydra_core.market.endpoint import Endpoint
    from hydra_core.research.bench import Bench


@dataclass(frozen=True)
class Workshop:
    """A market home with its settings: where assets find their tools."""

    home: Home
    settings: Settings

    @property
    def venue_url(self) -> str:
        """Base URL of the local venue, empty for a real exchange."""
        from hydra_core.platform.parts import venue_url

        return venue_url(self.home, self.settings)

    @property
    def endpoint(self) -> "Endpoint":
        """The exchange to read from."""
        from hydra_core.market.endpoint import Endpoint

        return Endpoint(self.settings.exchange, self.venue_url or None)

    @cached_property
    def lake(self) -> "Lake":
        """The home's Parquet tables."""
        from hydra_core.lake.store import open_lake

        return open_lake(self.home.lake, self.settings.exchange, self.settings.lake_url)

    @property
    def sources(self) -> "Sources":
        """What may be asked of the world beside the exchange."""
        from hydra_core.platform.external import sources_of

        return sources_of(self.home, self.settings, self.venue_url)

    @cached_property
    def registry(self) -> "ModelRegistry":
        """The home's models."""
        from hydra_core.alpha.registry import ModelRegistry

        return ModelRegistry(self.home.models)

    def bench(self, progress: Callable[[str, int, int], None], pairs: Sequence[Pair] = (), candles: int = 0) -> "Bench":
        """Where research works; pairs and candles other than the settings' where given."""
        from hydra_core.research.bench import Bench

        training = self.settings.training.model_copy(update={"candles": candles} if candles else {})
        chosen = {"training": training, "pairs": tuple(pairs) or self.settings.pairs}
        return Bench.of(self.home, self.settings.model_copy(update=chosen), progress)

    def ledger(self) -> "Ledger":
        """The home's ledger, to be closed by the caller; made and migrated when needed."""
        from hydra_core.ledger.store import Ledger

        return Ledger.open(self.settings.database_url or self.home.ledger_url)

    def market_now(self) -> int:
        """Market time now, epoch ms: the local venue's, or the machine's for a real exchange.

        Raises
        ------
        VenueUnavailable : the local venue does not answer
        """
        if not (url := self.venue_url):
            return SystemClock().market_ms()
        from hydra_core.market.venue_clock import follow_clock

        return follow_clock(url).market_ms()

    @contextmanager
    def clock(self) -> Iterator[Clock]:
        """Market and wall time, kept right while the block lasts."""
        if not (url := self.venue_url):
            yield SystemClock()
            return
        from hydra_core.market.venue_clock import ClockFollower

        with ClockFollower(url).start() as follower:
            yield follower.clock


class WorkshopResource(dg.ConfigurableResource[Workshop]):
    """Which market home to work in; empty fields are taken from the environment, or the home used last."""

    data_root: str = ""
    market: str = ""

    def create_resource(self, context: dg.InitResourceContext) -> Workshop:
        """Open the home; nothing else is opened until it is asked for."""
        settings = Settings()
        root = Path(self.data_root) if self.data_root else settings.data_root
        return Workshop(current_home(root, self.market or settings.market), settings)
