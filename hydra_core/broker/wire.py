"""Signed requests to an exchange through unmodified ccxt, called plainly so that sizes and prices travel as exact text.

Here: the door that all requests pass (the shared budget, with its reserve for what protects), the exchange's clock, and what
a failure of a request means. Which requests there are is each exchange's module's. No state of the account is kept.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeVar

from hydra_core.broker import facts
from hydra_core.broker.gateway import Cause
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import OutcomeUnknown, Refused, VenueUnavailable
from hydra_core.market.connect import open_exchange
from hydra_core.market.drift import ClockDrift
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.errors import read_error
from hydra_core.market.limits import WEIGHT_LIMIT, Lane, RequestBudget, backoff, lane

T = TypeVar("T")
Params = Mapping[str, Any] | Sequence[Mapping[str, Any]]

READ_ATTEMPTS: Final = 3
UNNAMED: Final = "ExchangeError"
"""ccxt's class for a code that it does not know."""


class Wire:
    """The requests of one account at one exchange; use it as an async context manager.

    Parameters
    ----------
    endpoint : Endpoint
    credentials : Credentials
    clock : Clock, whose market time requests are stamped with
    timeout_ms : int, wall time after which a request counts as unanswered
    budget_folder : Path, optional, where the processes of a home share the count of their requests
    """

    weight_limit: ClassVar[int] = WEIGHT_LIMIT
    """Request weight per minute, in the units of ccxt's costs for the exchange."""
    time_method: ClassVar[str]
    """ccxt's call for the exchange's time."""
    causes: ClassVar[Mapping[str, Cause]] = {}
    """The exchange's code -> what follows from it; a code that is here is certainly a refusal."""
    code_pattern: ClassVar[re.Pattern[str]] = re.compile(r'"code"\s*:\s*"?(-?\d+)')
    """Finds the code in an error's words."""
    names_refusals: ClassVar[bool] = True
    """Whether a code that ccxt does not know is a refusal all the same; where not, the outcome of an order is unknown then."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        clock: Clock,
        *,
        timeout_ms: int = 10_000,
        budget_folder: Path | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self._clock = clock
        self._timeout_ms = timeout_ms
        self.drift = ClockDrift(clock)
        limit = None if endpoint.local else self.weight_limit
        self._budget = RequestBudget.open(budget_folder, endpoint, credentials.key, limit=limit, clock=clock)
        self._exchange: Any = None
        self._ccxt_error: type[BaseException] = Exception

    async def __aenter__(self) -> Self:
        from ccxt.base.errors import BaseError

        self._ccxt_error = BaseError
        self._exchange = open_exchange(
            self.endpoint,
            self._credentials,
            limiter=False,  # the budget alone: an order must not stand in a second queue, which knows no reserve
            gauge=self._budget,
            now_ms=self.drift.now_ms,
            timeout_ms=self._timeout_ms,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.close()
        self._budget.close()

    @property
    def offset_ms(self) -> int:
        """By how much the exchange's clock was last found ahead of ours."""
        return self.drift.offset_ms

    @property
    def wait_s(self) -> float:
        """Wall seconds for which the exchange asked to be left alone."""
        return self._budget.wait_s

    def cause(self, error: BaseException) -> Cause:
        """What a refusal says of the exchange's state."""
        return self.causes.get(self._code(error), Cause.OTHER)

    async def synchronise(self) -> int:
        """Take the exchange's time as that of requests; returns the distance found, ms."""

        async def ask() -> int:
            return await self._read(self.time_method, {}, self._time)

        return await self.drift.measure(ask)

    def _time(self, answer: Any) -> int:
        """Epoch ms in the answer to :attr:`time_method`."""
        return int(answer["serverTime"])

    def _code(self, error: BaseException) -> str:
        """The exchange's own code behind an error, empty where there is none."""
        match = self.code_pattern.search(str(error.__cause__ or error))
        return match.group(1) if match else ""

    async def _order(
        self, method: str, params: Params, parse: Callable[[Any], T], *, protective: bool = True, about: str = ""
    ) -> T:
        """One request that changes something; sent once."""
        doing = f"{method} {about}".strip()
        try:
            with lane(Lane.PROTECTIVE if protective else Lane.TRADING):
                answer = await getattr(self._exchange, method)(_plain(params))
            return parse(answer)
        except self._ccxt_error as error:
            failure = read_error(error, doing, order=True)
            if isinstance(failure, Refused) and self._unnamed(error):
                failure = OutcomeUnknown(failure.what)
            raise failure from error
        except facts.MALFORMED as error:
            raise OutcomeUnknown(f"{doing}: malformed answer ({type(error).__name__}: {error})") from error

    async def _read(self, method: str, params: Mapping[str, Any], parse: Callable[[Any], T]) -> T:
        """One request that changes nothing, tried again a few times while there is no usable word."""
        doing = f"{method} {params.get('symbol', '')}".strip()
        pauses = backoff(READ_ATTEMPTS, first_s=0.1)
        while True:
            try:
                return parse(await getattr(self._exchange, method)(dict(params)))
            except self._ccxt_error as error:
                failure = read_error(error, doing)
                cause: BaseException = error
                if self._unnamed(error):
                    failure = VenueUnavailable(failure.what)
                if self.cause(error) is Cause.CLOCK and method != self.time_method:
                    await self.synchronise()
            except facts.MALFORMED as error:
                failure = VenueUnavailable(f"{doing}: malformed answer ({type(error).__name__}: {error})")
                cause = error
            pause = next(pauses, None)
            if pause is None or not isinstance(failure, VenueUnavailable):
                raise failure from cause
            await asyncio.sleep(pause)

    def _unnamed(self, error: BaseException) -> bool:
        """Whether an answer says no in words that nobody knows: an order may have been taken all the same."""
        return not self.names_refusals and type(error).__name__ == UNNAMED and self._code(error) not in self.causes

    async def _maybe(self, method: str, params: Mapping[str, Any], parse: Callable[[Any], T]) -> T | None:
        """A read of which the answer may be that there is no such order."""
        try:
            return await self._read(method, params, parse)
        except Refused as error:
            if self.cause(error) is Cause.NO_SUCH_ORDER:
                return None
            raise


def _plain(params: Params) -> Any:
    """A copy that ccxt may change."""
    return dict(params) if isinstance(params, Mapping) else [dict(part) for part in params]
