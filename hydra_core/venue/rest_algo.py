"""Signed REST endpoints of conditional (algo) orders: they rest outside the book until their trigger is reached."""

from __future__ import annotations

from hydra_core.venue import account_formats as spell
from hydra_core.venue import refusals
from hydra_core.venue.admission import read_algo, whole
from hydra_core.venue.engine import Engine
from hydra_core.venue.feed import Feed
from hydra_core.venue.orders import AlgoOrder
from hydra_core.venue.paging import few_or_many, listed_pair, window
from hydra_core.venue.routes import Access, Answer, Params, Route


class AlgoApi:
    """Answers about conditional orders.

    Parameters
    ----------
    feed : Feed
    engine : Engine
        Brought up to now by the caller before each request.
    """

    def __init__(self, feed: Feed, engine: Engine) -> None:
        self._feed = feed
        self._engine = engine
        self._book = engine.book

    def routes(self) -> dict[tuple[str, str], Route]:
        """Every endpoint by method and path."""
        signed = Access.SIGNED
        return {
            ("POST", "/fapi/v1/algoOrder"): Route(self.place_algo, 1, signed, order=True),
            ("GET", "/fapi/v1/algoOrder"): Route(self.algo, 1, signed),
            ("DELETE", "/fapi/v1/algoOrder"): Route(self.cancel_algo, 1, signed),
            ("GET", "/fapi/v1/openAlgoOrders"): Route(self.open_algos, few_or_many, signed),
            ("GET", "/fapi/v1/allAlgoOrders"): Route(self.all_algos, 5, signed),
            ("DELETE", "/fapi/v1/algoOpenOrders"): Route(self.cancel_all_algos, 1, signed),
        }

    def place_algo(self, params: Params) -> Answer:
        """Take a conditional order in."""
        pair = listed_pair(self._feed, params)
        mark = self._feed.mark(pair, self._engine.now_ms)
        return spell.algo_row(
            self._engine.place_algo(read_algo(params, self._feed.rules[pair], mark, hedged=self._engine.hedged))
        )

    def algo(self, params: Params) -> Answer:
        """Look a conditional order up."""
        return spell.algo_row(self._find_algo(params, refusals.unknown_order()))

    def cancel_algo(self, params: Params) -> Answer:
        """Take a waiting conditional order out."""
        algo = self._engine.cancel_algo(self._find_algo(params, refusals.cannot_cancel()))
        return {"algoId": algo.algo_id, "clientAlgoId": algo.client_id, "code": "200", "msg": "success"}

    def open_algos(self, params: Params) -> Answer:
        """Waiting conditional orders of one pair, or of all."""
        pair = listed_pair(self._feed, params) if params.get("symbol") else None
        return [spell.algo_row(algo) for algo in self._book.waiting(pair)]

    def all_algos(self, params: Params) -> Answer:
        """Every conditional order of a pair."""
        pair = listed_pair(self._feed, params)
        chosen = [one for one in self._book.algos.values() if one.pair == pair]
        return [spell.algo_row(algo) for algo in window(chosen, params, lambda one: one.created_ms, False)]

    def cancel_all_algos(self, params: Params) -> Answer:
        """Take every waiting conditional order of a pair out."""
        for algo in self._book.waiting(listed_pair(self._feed, params)):
            self._engine.cancel_algo(algo)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _find_algo(self, params: Params, otherwise: refusals.VenueRefusal) -> AlgoOrder:
        algo_id, client_id = whole(params, "algoId"), params.get("clientAlgoId", "")
        if algo_id is None and not client_id:
            raise refusals.missing_parameter("algoId")
        algo = self._book.find_algo(algo_id, client_id)
        if algo is None:
            raise otherwise
        return algo
