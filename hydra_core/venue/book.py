"""The account's orders, fills and wallet history, indexed as clients ask for them.

Only a container: it decides nothing and moves nothing. The venue's price levels are the market's (``feed.py``).
"""

from __future__ import annotations

from collections.abc import Iterable

from hydra_core.domain.pairs import Pair
from hydra_core.venue.orders import AlgoOrder, Income, Order, Trade


class OrderBook:
    """Every order the account ever made, the open ones at hand."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.algos: dict[int, AlgoOrder] = {}
        self.trades: list[Trade] = []
        self.income: list[Income] = []
        self._open: dict[int, Order] = {}
        self._waiting: dict[int, AlgoOrder] = {}
        self._order_by_client: dict[str, int] = {}
        self._algo_by_client: dict[str, int] = {}
        self._next_id = 1

    def load(
        self, orders: Iterable[Order], algos: Iterable[AlgoOrder], trades: Iterable[Trade], income: Iterable[Income]
    ) -> None:
        """Take in what a state file held."""
        for order in orders:
            self.keep(order)
        for algo in algos:
            self.keep_algo(algo)
        self.trades.extend(trades)
        self.income.extend(income)
        self._next_id = 1 + max(
            (
                0,
                *self.orders,
                *self.algos,
                *(trade.trade_id for trade in self.trades),
                *(entry.transaction_id for entry in self.income),
            )
        )

    def next_id(self) -> int:
        """A number that no order, trade or entry of this account has had; ascending."""
        self._next_id += 1
        return self._next_id - 1

    def keep(self, order: Order) -> None:
        """File an order, new or changed."""
        self.orders[order.order_id] = order
        self._order_by_client[order.client_id] = order.order_id
        if order.is_open:
            self._open[order.order_id] = order
        else:
            self._open.pop(order.order_id, None)

    def keep_algo(self, algo: AlgoOrder) -> None:
        """File a conditional order, new or changed."""
        self.algos[algo.algo_id] = algo
        self._algo_by_client[algo.client_id] = algo.algo_id
        if algo.is_open:
            self._waiting[algo.algo_id] = algo
        else:
            self._waiting.pop(algo.algo_id, None)

    def open_orders(self, pair: Pair | None = None) -> list[Order]:
        """Orders that rest, oldest first."""
        return [order for order in self._open.values() if pair is None or order.pair == pair]

    def waiting(self, pair: Pair | None = None) -> list[AlgoOrder]:
        """Conditional orders that wait for their trigger, oldest first."""
        return [algo for algo in self._waiting.values() if pair is None or algo.pair == pair]

    def find(self, pair: Pair, order_id: int | None, client_id: str) -> Order | None:
        """An order by its id, or by the client's."""
        if order_id is None:
            order_id = self._order_by_client.get(client_id)
        order = None if order_id is None else self.orders.get(order_id)
        return order if order is not None and order.pair == pair else None

    def find_algo(self, algo_id: int | None, client_id: str) -> AlgoOrder | None:
        """A conditional order by its id, or by the client's."""
        if algo_id is None:
            algo_id = self._algo_by_client.get(client_id)
        return None if algo_id is None else self.algos.get(algo_id)

    def knows_client_id(self, client_id: str) -> bool:
        """Whether a plain order has had this client id."""
        return client_id in self._order_by_client

    def knows_algo_client_id(self, client_id: str) -> bool:
        """Whether a conditional order has had this client id."""
        return client_id in self._algo_by_client

    def trades_of(self, pair: Pair, order_id: int | None = None) -> list[Trade]:
        """Fills of a pair, or of one order of it, oldest first."""
        return [
            trade for trade in self.trades if trade.pair == pair and (order_id is None or trade.order_id == order_id)
        ]

    def is_busy(self, pair: Pair) -> bool:
        """Whether an order rests or waits in the pair."""
        return bool(self._open or self._waiting) and pair in self.busy_pairs()

    def busy_pairs(self) -> set[Pair]:
        """Pairs with a resting or waiting order."""
        return {order.pair for order in self._open.values()} | {algo.pair for algo in self._waiting.values()}
