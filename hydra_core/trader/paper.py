"""A broker on paper: orders fill against the live book, with latency, fees, impact and funding. No money moves anywhere.

What is assumed: a taker order reaches the book ``latency_ms`` of market time after it was sent and takes the first quote
seen from then on; what the best price holds fills there, the rest pays the square-root law. A limit order fills at its
price once the other side of the book touches it. Fees are the pair's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.domain.clock import Clock
from hydra_core.domain.market import MarketRules, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, OrderState, Side
from hydra_core.execution.orders import Word, move
from hydra_core.execution.rounding import decimal
from hydra_core.execution.slippage import AVERAGE_SHARE, peak_impact, sweep_price
from hydra_core.ledger.accounting import funding_amount
from hydra_core.ledger.records import FundingPayment, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.settings import CostSettings
from hydra_core.trader.view import MarketView

VENUE: Final = "paper"
_PRICE_STEP: Final = Decimal("1e-8")


class PaperBroker:
    """Fills the orders of one account; every fill is one ledger transaction.

    Parameters
    ----------
    ledger, account : where fills are booked
    view : MarketView, the live book
    clock : Clock; latency runs in market time
    rules : filters and fees by pair
    costs : CostSettings, latency and impact
    on_fill : called after each booked fill
    """

    def __init__(
        self,
        ledger: Ledger,
        account: str,
        view: MarketView,
        clock: Clock,
        rules: Mapping[Pair, MarketRules],
        costs: CostSettings,
        on_fill: Callable[[Fill], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._account = account
        self._view = view
        self._clock = clock
        self._rules = rules
        self._costs = costs
        self._on_fill = on_fill
        self._working: dict[str, OrderRecord] = {}

    def restore(self) -> int:
        """Take up the orders that were working when the last process ended; returns how many."""
        for order in self._ledger.open_orders(self._account):
            self._working[order.order_id] = order if order.state is not OrderState.NEW else self._accept(order)
        return len(self._working)

    def submit(self, order: OrderRecord) -> None:
        """Take an order whose intent is booked (state NEW)."""
        self._working[order.order_id] = self._accept(order)

    def cancel(self, order_id: str, reason: str) -> bool:
        """Cancel a working order; False when it works no more."""
        order = self._working.pop(order_id, None)
        if order is None:
            return False
        self._ledger.move_order(order_id, move(order.state, Word.CANCELED), self._clock.market_ms(), reason)
        return True

    def working(self, pair: Pair | None = None) -> list[OrderRecord]:
        """Orders that may still fill, of one pair or all."""
        return [order for order in self._working.values() if pair is None or order.pair == pair]

    def tick(self) -> int:
        """Fill what the book allows now; returns the number of fills."""
        done = 0
        for order in list(self._working.values()):
            quote = self._view.quotes.get(order.pair)
            if quote is None or quote.event_ms < order.created_ms + self._costs.latency_ms:
                continue
            price = self._price(order, quote)
            if price is not None:
                self._fill(order, price, quote.event_ms)
                done += 1
        return done

    def settle(self, pair: Pair, settlement_ms: int, rate: Decimal) -> FundingPayment | None:
        """Charge or pay funding on what was held at a settlement; None when flat, unmarked or settled before."""
        quantity = self.quantity_at(pair, settlement_ms)
        mark = self._view.exact_mark(pair)
        if quantity == 0 or mark is None:
            return None
        amount = funding_amount(quantity, mark, rate)
        payment = FundingPayment(self._account, pair, settlement_ms, rate, quantity, mark, amount)
        if not self._ledger.record_funding(payment):
            return None
        logger.info("funding {} {} USDT on {} at rate {}", pair, amount, quantity, rate)
        return payment

    def quantity_at(self, pair: Pair, ts_ms: int) -> Decimal:
        """Signed position as it stood at a market time: today's less what was filled since."""
        held = self._ledger.positions(self._account).get(pair)
        quantity = held.quantity if held is not None else Decimal(0)
        later = self._ledger.fills(self._account, since_ms=ts_ms)
        return quantity - sum((f.fill.quantity * f.fill.side for f in later if f.fill.pair == pair), Decimal(0))

    def _accept(self, order: OrderRecord) -> OrderRecord:
        """The paper venue answers at once: sent, then working."""
        sent = move(order.state, Word.SENT)
        now = self._clock.market_ms()
        self._ledger.move_order(order.order_id, sent, now)
        return self._ledger.move_order(order.order_id, move(sent, Word.WORKING), now, venue_order_id=order.order_id)

    def _price(self, order: OrderRecord, quote: Quote) -> Decimal | None:
        """Fill price against a quote; None while a limit order is not touched."""
        buys = order.side is Side.LONG
        best, size = (quote.ask, quote.ask_size) if buys else (quote.bid, quote.bid_size)
        if order.kind == "limit" and order.limit_price is not None:
            limit = order.limit_price
            touched = decimal(best) <= limit if buys else decimal(best) >= limit
            return limit if touched else None
        quantity = float(order.remaining)
        peak = peak_impact(
            quantity * best,
            self._view.day_notional(order.pair),
            self._view.day_volatility(order.pair),
            self._costs.impact_coefficient,
        )
        return decimal(sweep_price(best, size, quantity, buys, AVERAGE_SHARE * peak)).quantize(_PRICE_STEP)

    def _fill(self, order: OrderRecord, price: Decimal, event_ms: int) -> None:
        """Book the whole remainder at a price."""
        rules = self._rules[order.pair]
        maker = order.kind == "limit"
        quantity = order.remaining
        if order.reduce_only:
            held = self._ledger.positions(self._account).get(order.pair)
            open_against = -held.quantity * order.side if held is not None else Decimal(0)
            quantity = min(quantity, max(open_against, Decimal(0)))
        if quantity <= 0:
            self.cancel(order.order_id, "nothing left to reduce")
            return
        fill = Fill(
            venue=VENUE,
            pair=order.pair,
            trade_id=f"{order.order_id}-1",
            order_id=order.order_id,
            account=self._account,
            side=order.side,
            quantity=quantity,
            price=price,
            fee=quantity * price * (rules.maker_fee if maker else rules.taker_fee),
            maker=maker,
            event_ms=event_ms,
            reason=order.reason,
        )
        self._ledger.record_fill(fill, move(order.state, Word.FILLED))
        self._working.pop(order.order_id, None)
        logger.info("filled {} {} {} at {} ({})", order.side.name.lower(), quantity, order.pair, price, order.reason)
        self._on_fill(fill)
