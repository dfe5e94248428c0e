"""Request weight and order counts in wall time, the headers that tell of them, and what happens beyond them."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from hydra_core.domain.clock import Clock
from hydra_core.venue import refusals

MINUTE_MS: Final = 60_000
ORDER_WINDOWS: Final = 6
"""Orders are counted in a sixth of the minute too."""
BAN_MS: Final = 120_000
CALLS_BEFORE_BAN: Final = 20
"""So many further calls after the first 429 of a minute turn it into a ban (418)."""


class Limits:
    """The request budget of the one client.

    Parameters
    ----------
    wall : Clock
        Only its wall time is read.
    weight_limit : int
        Weight allowed in a wall minute.
    order_limit : int
        Orders allowed in ten wall seconds; a minute allows four times as many.
    """

    def __init__(self, wall: Clock, weight_limit: int, order_limit: int) -> None:
        self._wall = wall
        self.weight_limit = weight_limit
        self.order_limit = order_limit
        self._minute = -1
        self._used = 0
        self._refused = 0
        self._banned_until = 0
        self._orders: deque[int] = deque()
        self._usual = (weight_limit, order_limit)
        self._retry_after_s = 0
        self.restore()

    def change(self, weight: int, orders: int, window_ms: int, ban_ms: int, calls_before_ban: int) -> None:
        """Other budgets from now on (0 keeps a limit), in a shorter or longer "minute", with another ban."""
        self.weight_limit, self.order_limit = weight or self.weight_limit, orders or self.order_limit
        self._window_ms, self._ban_ms, self._calls_before_ban = window_ms, ban_ms, calls_before_ban
        self._minute = -1

    def restore(self) -> None:
        """The budgets that the venue was started with; bans are lifted."""
        self.weight_limit, self.order_limit = self._usual
        self._window_ms, self._ban_ms, self._calls_before_ban = MINUTE_MS, BAN_MS, CALLS_BEFORE_BAN
        self._minute, self._banned_until, self._retry_after_s = -1, 0, 0

    def ban(self, ms: int, retry_after_s: int = 0) -> int:
        """Refuse everything for a while, saying so with another ``Retry-After`` where one is given; returns until when."""
        self._banned_until, self._retry_after_s = self._wall.wall_ms() + ms, retry_after_s
        return self._banned_until

    def spend(self, weight: int) -> None:
        """Count a request; refuses with 429 beyond the limit and 418 for going on after that.

        Raises
        ------
        VenueRefusal : the budget is used up, or the address is banned
        """
        now = self._wall.wall_ms()
        if now < self._banned_until:
            raise refusals.banned(self._banned_until)
        if now // self._window_ms != self._minute:
            self._minute, self._used, self._refused = now // self._window_ms, 0, 0
        self._used += weight
        if self._used > self.weight_limit:
            self._refused += 1
            if self._refused > self._calls_before_ban:
                self._banned_until = now + self._ban_ms
                raise refusals.banned(self._banned_until)
            raise refusals.too_many_requests(f"Limit is {self.weight_limit} request weight per minute.")

    def spend_order(self) -> None:
        """Count an order; refuses with -1015 beyond the limit."""
        now = self._wall.wall_ms()
        while self._orders and self._orders[0] <= now - self._window_ms:
            self._orders.popleft()
        if self._in_ten_seconds(now) >= self.order_limit or len(self._orders) >= 4 * self.order_limit:
            raise refusals.too_many_orders()
        self._orders.append(now)

    def announced(self) -> list[dict[str, Any]]:
        """The budgets as ``exchangeInfo`` names them."""

        def row(kind: str, window_ms: int, limit: int) -> dict[str, Any]:
            minutes, rest = divmod(window_ms, MINUTE_MS)
            word, number = ("MINUTE", minutes) if minutes and not rest else ("SECOND", max(1, window_ms // 1000))
            return {"rateLimitType": kind, "interval": word, "intervalNum": number, "limit": limit}

        return [
            row("REQUEST_WEIGHT", self._window_ms, self.weight_limit),
            row("ORDERS", self._window_ms, 4 * self.order_limit),
            row("ORDERS", self._window_ms // ORDER_WINDOWS, self.order_limit),
        ]

    def headers(self, *, order: bool = False) -> dict[str, str]:
        """The budget's headers of an answer."""
        out = {"X-MBX-USED-WEIGHT-1M": str(self._used)}
        if order:
            out["X-MBX-ORDER-COUNT-10S"] = str(self._in_ten_seconds(self._wall.wall_ms()))
            out["X-MBX-ORDER-COUNT-1M"] = str(len(self._orders))
        return out

    def retry_after_s(self, status: int) -> int:
        """Wall seconds to wait after a 429 or 418."""
        now = self._wall.wall_ms()
        if status == 418 and self._retry_after_s:
            return self._retry_after_s
        until = self._banned_until if status == 418 else (now // self._window_ms + 1) * self._window_ms
        return max(1, -(-(until - now) // 1000))

    def _in_ten_seconds(self, now: int) -> int:
        return sum(1 for at in self._orders if at > now - self._window_ms // ORDER_WINDOWS)
