"""A broker on paper: orders fill against the live book, with latency, a queue, fees, impact, funding and margin.

What is assumed: an order reaches the book ``latency_ms`` of market time after it was sent. A taker order takes the first quote
seen from then on; what the best price holds fills there, the rest pays the square-root law. A limit order joins the end of
the queue that is displayed at its price: trades at that price, and the queue's own shrinking, bring it forward; only what
reaches it fills it. Fees are the pair's own, less what a month's turnover earns. An account whose equity no longer covers
its maintenance margin is liquidated at the mark. A position in a pair that is delivered soon is to be closed, as at the
exchange; one that the exchange has settled is closed at the last mark that was heard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.broker.incidents import forbid
from hydra_core.broker.protocol import Incident, IncidentKind, MarketBook, Standing
from hydra_core.domain.clock import Clock
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, iso
from hydra_core.domain.market import MarketRules, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, OrderState, Position, Side
from hydra_core.execution.orders import Word, move
from hydra_core.execution.rounding import decimal
from hydra_core.execution.slippage import AVERAGE_SHARE, peak_impact, sweep_price
from hydra_core.ledger.accounting import funding_amount, total_unrealised
from hydra_core.ledger.records import DELISTING, LIQUIDATION, FundingPayment, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.risk.margin import Tier, maintenance, table_of
from hydra_core.settings import CostSettings

VENUE: Final = "paper"
_PRICE_STEP: Final = Decimal("1e-8")
ZERO: Final = Decimal(0)
FEE_TIERS: Final = (
    (Decimal(0), Decimal(1), Decimal(1)),
    (Decimal(15_000_000), Decimal("0.8"), Decimal("0.8")),
    (Decimal(50_000_000), Decimal("0.7"), Decimal("0.7")),
    (Decimal(100_000_000), Decimal("0.6"), Decimal("0.64")),
)
"""Turnover of thirty days (USDT) from which a share of the maker and of the taker fee is due."""
MONTH_MS: Final = 30 * DAY_MS
PREFIX: Final = {LIQUIDATION: "autoclose-", DELISTING: "settlement_autoclose-"}
"""Plan of an order that the exchange places -> what its id begins with there."""


class PaperBroker:
    """Fills the orders of one account; every fill is one ledger transaction.

    Parameters
    ----------
    ledger, account : where fills are booked
    view : MarketBook, the live book
    clock : Clock; latency runs in market time
    rules : filters, fees and margin tables by pair; a pair without a table has the one rate that is public
    costs : CostSettings, latency and impact
    on_fill : called after each booked fill
    close_before_delivery_h : float, market hours before its delivery from which a pair is left
    """

    def __init__(
        self,
        ledger: Ledger,
        account: str,
        view: MarketBook,
        clock: Clock,
        rules: Mapping[Pair, MarketRules],
        costs: CostSettings,
        on_fill: Callable[[Fill], None] = lambda _: None,
        close_before_delivery_h: float = 0.0,
    ) -> None:
        self._ledger = ledger
        self._account = account
        self._view = view
        self._clock = clock
        self._rules = rules
        self._costs = costs
        self._on_fill = on_fill
        self._tables: dict[Pair, Sequence[Tier]] = {pair: table_of(rule) for pair, rule in rules.items()}
        self._leave_before_ms = int(close_before_delivery_h * HOUR_MS)
        self._working: dict[str, OrderRecord] = {}
        self._queue: dict[str, Decimal] = {}
        self._shown: dict[str, Decimal] = {}
        self._incidents: list[Incident] = []
        self._unmarked: dict[tuple[Pair, int], Decimal] = {}
        """Rates of settlements that wait for a mark price, by pair and time."""

    # -- what the desk and the guard see -------------------------------------------------------------------------------

    @property
    def standing(self) -> Standing:
        """An account on paper is always known."""
        return Standing()

    def restore(self) -> int:
        """Take up the orders that were working when the last process ended; returns how many."""
        for order in self._ledger.open_orders(self._account):
            self._working[order.order_id] = order if order.state is not OrderState.NEW else self._accept(order)
        return len(self._working)

    def submit(self, order: OrderRecord) -> None:
        """Take an order whose intent is booked (state NEW), unless it opens what has to be left."""
        if not order.reduce_only and (reason := self._leaving(order.pair)):
            logger.warning("order {} is not taken: {}", order.order_id, reason)
            self._ledger.move_order(order.order_id, move(order.state, Word.WITHDRAWN), self._clock.market_ms(), reason)
            return
        self._working[order.order_id] = self._accept(order)

    def cancel(self, order_id: str, reason: str) -> bool:
        """Cancel a working order; False when it works no more."""
        order = self._working.get(order_id)
        if order is None:
            return False
        self._ledger.move_order(order_id, move(order.state, Word.CANCELED), self._clock.market_ms(), reason)
        self._forget(order_id)
        return True

    def working(self, pair: Pair | None = None) -> list[OrderRecord]:
        """Orders that may still fill, of one pair or all."""
        return [order for order in self._working.values() if pair is None or order.pair == pair]

    def ready(self, pair: Pair) -> bool:
        """Paper refuses nothing, so the next order may always be tried."""
        return True

    def bounded(self, pair: Pair) -> bool:
        """Paper has no price band."""
        return False

    def protect(self, positions: Mapping[Pair, Position]) -> None:
        """Stops on paper are the guard's own."""

    def protected(self, pair: Pair) -> bool:
        """No stop rests anywhere."""
        return False

    def must_close(self) -> Mapping[Pair, str]:
        """Positions in pairs that are delivered soon; the guard's stops need no exchange."""
        leaving = {pair: reason for pair in self._view.deliveries if (reason := self._leaving(pair))}
        if not leaving:
            return {}
        return {pair: leaving[pair] for pair in self._ledger.positions(self._account) if pair in leaving}

    def flat(self) -> bool:
        """The ledger is all there is."""
        return not self._ledger.positions(self._account)

    def incidents(self) -> list[Incident]:
        """Liquidations and settlements since the last call."""
        found, self._incidents = self._incidents, []
        return found

    async def run(self) -> None:
        """Everything happens in :meth:`tick`."""

    # -- time ----------------------------------------------------------------------------------------------------------

    def tick(self) -> int:
        """Fill what the book allows now, settle and liquidate what is due; returns the number of fills."""
        for (pair, settled_ms), rate in list(self._unmarked.items()):
            if self._view.exact_mark(pair) is not None:
                self.settle(pair, settled_ms, rate)
                del self._unmarked[pair, settled_ms]
        done = 0
        for order in list(self._working.values()):
            quote = self._view.quotes.get(order.pair)
            if quote is None or quote.event_ms < order.created_ms + self._costs.latency_ms:
                continue
            done += self._rest(order, quote) if order.kind == "limit" else self._take(order, quote)
        return done + self._settle_delisted() + self._call_margin()

    def on_trade(self, pair: Pair, price: Decimal, quantity: Decimal, event_ms: int) -> int:
        """A public trade: it fills orders that it went through, and brings forward those that rest at its price."""
        done = 0
        for order in [order for order in self._working.values() if order.pair == pair and order.kind == "limit"]:
            if order.limit_price is None or event_ms < order.created_ms + self._costs.latency_ms:
                continue
            through = (order.limit_price - price) * order.side
            if through > 0:
                done += self._fill(order, order.limit_price, order.remaining, event_ms, maker=True)
            elif through == 0:
                ahead = self._queue.get(order.order_id, ZERO)
                reached = max(ZERO, quantity - ahead)
                self._queue[order.order_id] = max(ZERO, ahead - quantity)
                if reached:
                    done += self._fill(order, price, min(order.remaining, reached), event_ms, maker=True)
        return done

    def settle(self, pair: Pair, settlement_ms: int, rate: Decimal) -> FundingPayment | None:
        """Charge or pay funding on what was held at a settlement, at the newest mark; None when flat or settled before.

        Without a mark (a process that has just begun) it is done at the first tick that has one.
        """
        quantity = self._ledger.quantity_at(self._account, pair, settlement_ms)
        if quantity == 0:
            return None
        mark = self._view.exact_mark(pair)
        if mark is None:
            self._unmarked[pair, settlement_ms] = rate
            return None
        amount = funding_amount(quantity, mark, rate)
        payment = FundingPayment(self._account, pair, settlement_ms, rate, quantity, mark, amount)
        if not self._ledger.record_funding(payment):
            return None
        logger.info("funding {} {} USDT on {} at rate {}", pair, amount, quantity, rate)
        return payment

    def maintenance(self, positions: Mapping[Pair, Position], marks: Mapping[Pair, Decimal]) -> Decimal:
        """Maintenance margin of positions at marks, USDT; a position without a mark counts at its entry price."""
        total = 0.0
        for pair, held in positions.items():
            total += maintenance(float(abs(held.quantity) * marks.get(pair, held.entry_price)), self._tables[pair])
        return decimal(total)

    # -- filling -------------------------------------------------------------------------------------------------------

    def _accept(self, order: OrderRecord) -> OrderRecord:
        """The paper venue answers at once: sent, then working."""
        sent = move(order.state, Word.SENT)
        now = self._clock.market_ms()
        self._ledger.move_order(order.order_id, sent, now)
        return self._ledger.move_order(order.order_id, move(sent, Word.WORKING), now, venue_order_id=order.order_id)

    def _take(self, order: OrderRecord, quote: Quote) -> int:
        """Fill a market order against a quote, the part beyond the best price's size with its impact."""
        buys = order.side is Side.LONG
        best, size = (quote.ask, quote.ask_size) if buys else (quote.bid, quote.bid_size)
        quantity = float(order.remaining)
        peak = peak_impact(
            quantity * best,
            self._view.day_notional(order.pair),
            self._view.day_volatility(order.pair),
            self._costs.impact_coefficient,
        )
        price = decimal(sweep_price(best, size, quantity, buys, AVERAGE_SHARE * peak)).quantize(_PRICE_STEP)
        return self._fill(order, price, order.remaining, quote.event_ms, maker=False)

    def _rest(self, order: OrderRecord, quote: Quote) -> int:
        """A limit order against a quote: it takes what crosses, else waits its turn in the queue at its price."""
        assert order.limit_price is not None
        limit, buys = order.limit_price, order.side is Side.LONG
        other, other_size = (quote.ask, quote.ask_size) if buys else (quote.bid, quote.bid_size)
        own, own_size = (quote.bid, quote.bid_size) if buys else (quote.ask, quote.ask_size)
        crosses = (limit - decimal(other)) * order.side
        maker = order.order_id in self._queue
        if crosses >= 0:
            reach = order.remaining if crosses > 0 and maker else min(order.remaining, decimal(other_size))
            price = limit if maker else decimal(other)
            return self._fill(order, price, reach, quote.event_ms, maker=maker)
        if order.time_in_force == "IOC":
            self._expire(order)
            return 0
        shown = decimal(own_size) if decimal(own) == limit else ZERO
        if order.order_id not in self._queue:
            self._queue[order.order_id] = shown
        elif decimal(own) == limit:
            shrunk = max(ZERO, self._shown.get(order.order_id, shown) - shown)
            self._queue[order.order_id] = min(max(ZERO, self._queue[order.order_id] - shrunk), shown)
        self._shown[order.order_id] = shown
        return 0

    def _expire(self, order: OrderRecord) -> None:
        self._ledger.move_order(
            order.order_id, move(order.state, Word.EXPIRED), self._clock.market_ms(), "nothing to take"
        )
        self._forget(order.order_id)

    def _fill(self, order: OrderRecord, price: Decimal, wanted: Decimal, event_ms: int, *, maker: bool) -> int:
        """Book a part or all of an order at a price; returns 1 when something was booked."""
        quantity = min(wanted, order.remaining)
        if order.reduce_only:
            held = self._ledger.position(self._account, order.pair)
            open_against = -held.quantity * order.side if held is not None else ZERO
            quantity = min(quantity, max(open_against, ZERO))
            if quantity <= 0:
                self.cancel(order.order_id, "nothing left to reduce")
                return 0
        if quantity <= 0:
            return 0
        ends = order.filled + quantity >= order.quantity or (order.reduce_only and order.kind == "market")
        fill = Fill(
            venue=VENUE,
            pair=order.pair,
            trade_id=f"{order.order_id}-{1 + len(self._ledger.fills(self._account, order_id=order.order_id))}",
            order_id=order.order_id,
            account=self._account,
            side=order.side,
            quantity=quantity,
            price=price,
            fee=quantity * price * self._fee_rate(order.pair, maker),
            maker=maker,
            event_ms=event_ms,
            reason=order.reason,
        )
        self._ledger.record_fill(fill, move(order.state, Word.FILLED if ends else Word.PART_FILLED))
        if ends:
            self._forget(order.order_id)
        else:
            self._working[order.order_id] = self._ledger.order(order.order_id)
        logger.info("filled {} {} {} at {} ({})", order.side.name.lower(), quantity, order.pair, price, order.reason)
        self._on_fill(fill)
        return 1

    def _fee_rate(self, pair: Pair, maker: bool) -> Decimal:
        """The pair's fee at the account's turnover of thirty days."""
        rules = self._rules[pair]
        rate = rules.maker_fee if maker else rules.taker_fee
        turnover = self._ledger.turnover(self._account, self._clock.market_ms() - MONTH_MS)
        shares = [(maker_share, taker_share) for floor, maker_share, taker_share in FEE_TIERS if turnover >= floor]
        return rate * shares[-1][0 if maker else 1]

    def _forget(self, order_id: str) -> None:
        for kept in (self._working, self._queue, self._shown):
            kept.pop(order_id, None)

    # -- pairs that end ------------------------------------------------------------------------------------------------

    def _leaving(self, pair: Pair) -> str:
        """Why nothing may be opened in a pair any more; empty where it may."""
        delivered_ms = self._view.deliveries.get(pair)
        if delivered_ms is None or delivered_ms > self._clock.market_ms() + self._leave_before_ms:
            return ""
        return f"{pair} is delivered at {iso(delivered_ms)}"

    def _settle_delisted(self) -> int:
        """Close what is held in pairs that the exchange has settled, at the last mark; their orders end."""
        done = 0
        for pair in self._view.settled:
            for order in self.working(pair):
                self.cancel(order.order_id, DELISTING)
            held, mark = self._ledger.position(self._account, pair), self._view.exact_mark(pair)
            if held is not None and mark is not None:
                self._close_by_exchange(pair, held, mark, DELISTING, IncidentKind.DELISTING)
                done += 1
        return done

    # -- margin --------------------------------------------------------------------------------------------------------

    def _call_margin(self) -> int:
        """Liquidate the whole account once its equity at the marks no longer covers the maintenance margin."""
        positions = self._ledger.positions(self._account)
        if not positions:
            return 0
        marks = {pair: mark for pair in positions if (mark := self._view.exact_mark(pair)) is not None}
        cash = self._ledger.account(self._account).cash
        if len(marks) < len(positions) or cash + total_unrealised(positions.values(), marks) > self.maintenance(
            positions, marks
        ):
            return 0
        for order in list(self._working.values()):
            self.cancel(order.order_id, "liquidation")
        for pair, held in positions.items():
            self._close_by_exchange(pair, held, marks[pair], LIQUIDATION, IncidentKind.LIQUIDATION)
        return len(positions)

    def _close_by_exchange(self, pair: Pair, held: Position, price: Decimal, plan: str, kind: IncidentKind) -> None:
        """Close a position by an order that the exchange itself would place."""
        now = self._clock.market_ms()
        words = f"{plan} of {held.quantity:f} {pair} at {price:f}"
        incident = Incident(kind, pair, words)
        forbid(self._ledger, self._account, incident, now)  # first: a process that ends after it must not forget it
        digest = hashlib.sha256(f"{self._account}|{pair}|{held.opened_ms}|{now}".encode()).hexdigest()[:20]
        order = OrderRecord(
            order_id=f"{PREFIX[plan]}{digest}",
            plan_id=plan,
            account=self._account,
            pair=pair,
            side=Side.SHORT if held.quantity > 0 else Side.LONG,
            quantity=abs(held.quantity),
            kind="market",
            state=OrderState.NEW,
            created_ms=now,
            updated_ms=now,
            reduce_only=True,
            reason=plan,
        )
        self._ledger.record_order(order)
        order = self._accept(order)
        self._working[order.order_id] = order
        self._fill(order, price, order.quantity, now, maker=False)
        logger.error("{}", words)
        self._incidents.append(incident)
