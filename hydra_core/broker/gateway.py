"""What a broker needs of an exchange: requests about one account, answers as facts, failures as decisions. No request here.

One module an exchange keeps these promises (``binance``, ``bybit``, ``okx``); ``gateways`` opens the right one. Nothing is
repeated below a gateway but reads: whether an order may be sent again is the broker's to know.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

from hydra_core.broker.facts import FillFact, IncomeFact, OrderFact, PositionFact
from hydra_core.domain.errors import VenueError
from hydra_core.domain.market import MarginSteps
from hydra_core.domain.pairs import Pair
from hydra_core.ledger.records import OrderRecord
from hydra_core.market.drift import ClockDrift
from hydra_core.market.endpoint import Endpoint

FIT: Final = "HYDRA trades in one-way mode, with cross margin"
"""What an account must be."""


class Cause(StrEnum):
    """Why an exchange said no, as far as something follows from it; each exchange has codes of its own."""

    OTHER = "other"
    CLOCK = "the request's time was off"
    DUPLICATE = "an order of that client id was there before"
    NO_SUCH_ORDER = "no such order"
    NO_SUCH_PAIR = "no such pair"
    OFF_GRID = "price or size off its grid"
    FILTER = "below a minimum, or the pair takes no such order now"
    BRACKET = "beyond what the leverage allows"
    NO_MARGIN = "not enough margin"
    NOTHING_TO_REDUCE = "nothing to reduce"
    OUTSIDE_BAND = "outside the price band"
    WOULD_TRIGGER = "the price is through the trigger already"


class Gateway(Protocol):
    """One account at one exchange, open.

    Orders raise Refused where the exchange said no, OutcomeUnknown where nobody knows, VenueUnavailable where a request was
    certainly not looked at (a limit, a timestamp). Reads are tried again a few times and raise VenueError then.
    """

    endpoint: Endpoint
    drift: ClockDrift
    """The exchange's clock against ours."""
    listen_s: float
    """Wall seconds between two comparisons at most while orders work; ``inf`` where every event of the account is told."""
    cash_grain: Decimal
    """USDT by which what the wallet says may be off its entries because it is put together from rounded parts."""

    @property
    def wait_s(self) -> float:
        """Wall seconds for which the exchange asked to be left alone."""
        ...

    def cause(self, error: VenueError) -> Cause:
        """What a refusal says of the exchange's state."""
        ...

    async def synchronise(self) -> int:
        """Take the exchange's time as that of requests; returns the distance found, ms."""
        ...

    async def unfit(self, pairs: Iterable[Pair]) -> str:
        """Why the account is not one that HYDRA can trade on, e.g. hedge mode; empty: it is."""
        ...

    async def place(self, order: OrderRecord) -> OrderFact:
        """Send an order."""
        ...

    async def place_stop(self, order: OrderRecord) -> OrderFact:
        """Send a protective stop: a reduce-only market order that waits for the mark price to reach its trigger."""
        ...

    async def cancel(self, order: OrderRecord) -> OrderFact:
        """Cancel an order; what became of it is in the answer."""
        ...

    async def cancel_stop(self, order: OrderRecord) -> None:
        """Cancel a waiting stop; returns only once it waits no more and has done nothing."""
        ...

    async def drop_stop(self, stop: OrderFact) -> None:
        """Cancel a waiting conditional order that the exchange told of, whoever placed it."""
        ...

    async def cancel_all(self, pair: Pair) -> None:
        """Cancel every resting order of a pair; protective stops stay."""
        ...

    async def countdown(self, pair: Pair, ms: int) -> None:
        """Have the exchange cancel the pair's resting orders in ``ms`` unless told again; 0 ends the countdown.

        Raises
        ------
        Unsupported : the exchange has no such countdown, or none that spares protective stops
        """
        ...

    async def look_up(self, pair: Pair, client_id: str, *, algo: bool = False) -> OrderFact | None:
        """An order by its client id; None where the exchange knows none of that id now."""
        ...

    async def order_by_venue_id(self, pair: Pair, venue_id: str) -> OrderFact | None:
        """An order by the exchange's id; None where it knows none of that id now."""
        ...

    async def open_orders(self) -> list[OrderFact]:
        """Every resting order of the account."""
        ...

    async def open_stops(self) -> list[OrderFact]:
        """Every waiting conditional order of the account."""
        ...

    async def fills(self, pair: Pair, mark: int, floor_ms: int) -> tuple[list[FillFact], int]:
        """Every trade of a pair after a mark, in order, and the mark after them.

        Some from before the mark may come again, those of ``floor_ms`` (epoch ms) and before never. A page that fails raises:
        nothing is cut short.
        """
        ...

    async def newest_fill(self, pair: Pair) -> int:
        """The mark after every trade of a pair so far; 0 where there is none."""
        ...

    async def positions(self) -> dict[Pair, PositionFact]:
        """Open positions by pair."""
        ...

    async def wallet(self) -> Decimal:
        """USDT in the wallet: balance after realised profit, fees and funding."""
        ...

    async def income(self, since_ms: int) -> list[IncomeFact]:
        """Entries of the wallet from a time on, oldest first; some from before may come again."""
        ...

    async def funding_rate(self, pair: Pair, ts_ms: int) -> tuple[Decimal, Decimal] | None:
        """Rate and mark price of a settlement near a time; None where the exchange does not tell."""
        ...

    async def margin_steps(self, pairs: Iterable[Pair]) -> dict[Pair, MarginSteps]:
        """Maintenance margin tables, as in ``MarketRules.margin_steps``; pairs that the exchange has none for are left out."""
        ...

    async def notional_caps(self, pairs: Iterable[Pair]) -> dict[Pair, Decimal]:
        """Largest notional (USDT) that each pair's leverage allows."""
        ...
