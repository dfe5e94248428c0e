"""Comparing the ledger with the exchange, and making it true again: orders, stops, trades, positions, cash.

The exchange is right. What can be explained is booked as what it was (trades by their ids, funding, deposits, the
exchange's own orders); what cannot becomes one adjustment with an id that follows from what was found, so that finding it
again books nothing. A query that fails leaves everything as it is: silence is never read as flat. Orders are sent elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from loguru import logger

from hydra_core.broker.books import ENDINGS, OTHERS, Books
from hydra_core.broker.facts import BOOKED_WITH_FILLS, FUNDING_FEE, IncomeFact, PositionFact
from hydra_core.broker.gateway import Cause, Gateway
from hydra_core.broker.protocol import Incident, IncidentKind
from hydra_core.domain.errors import Refused, VenueError
from hydra_core.domain.intervals import HOUR_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, OrderState, Position, Side
from hydra_core.execution.orders import DONE, LIVE, NEVER_ARRIVED, RESTING, Word
from hydra_core.ledger.records import EXTERNAL, CashEntry, FundingPayment, OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.settings import LiveSettings

LOOKS: Final = 4
"""A difference must be the same in two looks after each other before it is booked as one; so often it is looked at most."""
ROUNDING: Final = Decimal("0.01")
"""USDT up to which a difference of cash is called rounding."""
INCOME: Final = "income"
NEVER_TRADED_MS: Final = HOUR_MS
"""How far two clocks may differ over the moment at which an account was opened, of a pair that was not traded before."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a comparison found.

    Parameters
    ----------
    reason : str, why it was made
    changes : int, entries of the ledger that it added or moved
    differences : what could not be explained, or must not be: entries stay shut until a comparison finds nothing
    failed : str, why it could not be finished; nothing is concluded then
    """

    reason: str
    changes: int = 0
    differences: tuple[str, ...] = ()
    failed: str = ""
    unresolved: tuple[str, ...] = field(default=())
    """Orders whose outcome is still unknown."""

    @property
    def clean(self) -> bool:
        """Whether ledger and exchange agree."""
        return not (self.failed or self.differences or self.unresolved)


class Reconciler:
    """Compares one account.

    Parameters
    ----------
    gateway, books, ledger, account, venue : both sides
    pairs : whose trades are read every time
    live : LiveSettings
    settled : tells whether an order was sent long enough ago that the exchange must know of it
    """

    def __init__(
        self,
        gateway: Gateway,
        books: Books,
        ledger: Ledger,
        account: str,
        venue: str,
        pairs: Iterable[Pair],
        live: LiveSettings,
        settled: Callable[[OrderRecord], bool],
    ) -> None:
        self._gateway = gateway
        self._books = books
        self._ledger = ledger
        self._account = account
        self._venue = venue
        self._pairs = tuple(pairs)
        self._live = live
        self._settled = settled
        self._vanished: set[Pair] = set()
        self._floors: dict[Pair, int] = {}
        self.venue_positions: Mapping[Pair, PositionFact] = {}
        """Positions as they were last read."""

    async def run(self, reason: str) -> Report:
        """Compare once."""
        before = self._books.changes
        try:
            found = await self._orders()
            found += await self._positions()
            found += await self._cash()
            found += self._others()
        except VenueError as error:
            logger.warning("reconciliation ({}) was not finished: {}", reason, error)
            return Report(reason, self._books.changes - before, failed=str(error))
        found += self._books.alarms
        self._books.alarms.clear()
        unresolved = tuple(o.order_id for o in self._books.live.values() if o.state is OrderState.UNKNOWN)
        report = Report(reason, self._books.changes - before, tuple(found), unresolved=unresolved)
        if report.changes or found:
            logger.warning(
                "reconciliation ({}): {} changes; {}", reason, report.changes, "; ".join(found) or "explained"
            )
        return report

    async def fetch_fills(self, pair: Pair) -> int:
        """Book the pair's trades since the last reading; returns how many were new.

        Raises
        ------
        VenueError : a page or an order could not be read; nothing is skipped, the next reading begins where this one did
        """
        name, short = trades_cursor(pair), self._books.short_of(pair)
        known = self._ledger.cursor(self._account, name) or 0
        try:
            fills, mark = await self._gateway.fills(pair, known, self._floor_ms(pair))
        except Refused as error:
            if self._gateway.cause(error) is not Cause.NO_SUCH_PAIR:
                raise
            self._vanished.add(pair)  # its trades can be read no more; what they did shows in position and wallet
            self._books.all_read(short)
            return 0
        fills = self._books.not_booked(pair, fills)
        for venue_id in {fill.venue_id for fill in fills}:
            if self._books.of_venue(pair, venue_id) is None:
                fact = await self._gateway.order_by_venue_id(pair, venue_id)
                if fact is None:
                    raise Refused(f"trades of {pair} name order {venue_id}, which the exchange does not know")
                self._books.take_order(fact)
        with self._books.together():
            new = sum(self._books.take_fill(fill) for fill in fills)
            if mark != known:
                self._ledger.set_cursor(self._account, name, mark)
        self._books.all_read(short)
        return new

    def _floor_ms(self, pair: Pair) -> int:
        """Epoch ms up to which a pair's trades were made before the account was opened here."""
        if pair not in self._floors:
            opened = self._ledger.account(self._account).opened_ms
            before = self._ledger.cursor(self._account, opened_cursor(pair))
            self._floors[pair] = opened if before is None else before or opened - NEVER_TRADED_MS
        return self._floors[pair]

    # -- orders --------------------------------------------------------------------------------------------------------

    async def _orders(self) -> list[str]:
        resting = {fact.client_id: fact for fact in await self._gateway.open_orders()}
        waiting = {fact.client_id: fact for fact in await self._gateway.open_stops()}
        taken = [self._books.take_order(fact) for fact in (*resting.values(), *waiting.values())]
        for record in taken:
            if record.state in DONE:
                await self._call_in(record)
        known = {fact.venue_id for fact in resting.values()}
        for record in list(self._books.live.values()):
            if record.order_id in waiting or (record.venue_order_id or "") in known or record.order_id in resting:
                continue
            await self.look_up(record)
        return await self._foreign()

    async def _call_in(self, record: OrderRecord) -> None:
        """Cancel what is listed there and ended here.

        A listing may be behind, so it is asked for once more. What still rests was sent under books that were lost: anew, they
        gave its name to an intent that was then given up. A stop stays until another one of its position rests.
        """
        algo = record.kind == "stop"
        if algo and record.pair in self._ledger.positions(self._account):
            others = (one for one in self._books.live.values() if one.pair == record.pair and one.kind == "stop")
            if not any(one.state in RESTING for one in others):
                return
        fact = await self._gateway.look_up(record.pair, record.order_id, algo=algo)
        if fact is None or fact.word in ENDINGS:
            return
        logger.warning("order {} rests at the exchange and is ended here: it is cancelled", record.order_id)
        try:
            await (self._gateway.cancel_stop(record) if algo else self._gateway.cancel(record))
        except Refused:
            logger.info("order {} ended before it could be cancelled", record.order_id)

    async def look_up(self, record: OrderRecord) -> None:
        """Ask for one order by its id and fold the answer in."""
        if record.state not in LIVE:
            return
        algo = record.kind == "stop"
        if record.plan_id in OTHERS and not algo and record.venue_order_id is not None:  # its name may have returned
            fact = await self._gateway.order_by_venue_id(record.pair, record.venue_order_id)
        else:
            fact = await self._gateway.look_up(record.pair, record.order_id, algo=algo)
        if fact is not None:
            taken = self._books.take_order(fact)
            if fact.actual_id and taken.state in LIVE:
                actual = await self._gateway.order_by_venue_id(record.pair, fact.actual_id)
                if actual is not None:
                    self._books.take_order(actual)
            return
        if not self._settled(record):
            return
        if record.state is OrderState.PENDING:
            self._books.hear(record.order_id, Word.NO_ANSWER, f"no answer, and {NEVER_ARRIVED}")
        elif record.state is OrderState.UNKNOWN and record.venue_order_id is not None:
            self._books.hear(record.order_id, Word.CANCELED, "the exchange knows it no more")
            return
        self._books.hear(record.order_id, Word.ABSENT, NEVER_ARRIVED)

    async def _foreign(self) -> list[str]:
        """Deal with resting orders that are not ours as the settings say."""
        found: list[str] = []
        foreign = [order for order in self._books.live.values() if order.plan_id == EXTERNAL]
        if self._live.foreign_orders == "cancel":
            for order in foreign:
                try:
                    await (self._gateway.cancel_stop(order) if order.kind == "stop" else self._gateway.cancel(order))
                except Refused:
                    logger.info("order {} ended before it could be cancelled", order.order_id)
                await self.look_up(order)
        elif self._live.foreign_orders == "halt" and foreign:
            order = foreign[0]
            words = f"order {order.order_id} on {order.pair} is not ours"
            self._books.incur(Incident(IncidentKind.FOREIGN, order.pair, words))
            found.append(words)
        return found

    def _others(self) -> list[str]:
        """Whether so many orders are not ours that another program must be trading here."""
        if len(self._books.foreign) < self._live.foreign_limit:
            return []
        words = f"{len(self._books.foreign)} orders that are not ours: another program trades on this account"
        self._books.incur(Incident(IncidentKind.FOREIGN, Pair(""), words))
        self._books.answer_foreign()
        return [words]

    # -- positions -----------------------------------------------------------------------------------------------------

    async def _positions(self) -> list[str]:
        before: dict[Pair, tuple[Decimal, Decimal]] = {}
        for _ in range(LOOKS):
            held = {*self._pairs, *self.venue_positions, *before, *self._ledger.positions(self._account)}
            for pair in sorted(held):
                await self.fetch_fills(pair)
            self.venue_positions = await self._gateway.positions()
            differs = self._differences()
            if not differs:
                return []
            if differs == before:
                return [self._adjust(pair, ours) for pair, (ours, _) in differs.items()]
            before = differs
        return [f"position of {pair}: ledger {ours}, exchange {theirs}" for pair, (ours, theirs) in before.items()]

    def _differences(self) -> dict[Pair, tuple[Decimal, Decimal]]:
        ours = {pair: held.quantity for pair, held in self._ledger.positions(self._account).items()}
        theirs = {pair: held.quantity for pair, held in self.venue_positions.items()}
        zero = Decimal(0)
        pairs = sorted({*ours, *theirs})
        return {
            pair: (ours.get(pair, zero), theirs.get(pair, zero))
            for pair in pairs
            if ours.get(pair, zero) != theirs.get(pair, zero)
        }

    def _adjust(self, pair: Pair, ours: Decimal) -> str:
        """Carry the ledger's position to the exchange's, one entry a direction; cash follows from the wallet."""
        theirs = self.venue_positions.get(pair)
        held = self._ledger.position(self._account, pair)
        words = f"position of {pair} was {ours} here and {theirs.quantity if theirs else 0} at the exchange: adjusted"
        self._books.incur(Incident(IncidentKind.EXTERNAL, pair, words))
        for fill in adjustments(self._account, self._venue, pair, held, theirs):
            if self._ledger.record_fill(fill, realised=Decimal(0)):
                self._books.changes += 1
        return words

    # -- cash ----------------------------------------------------------------------------------------------------------

    async def _cash(self) -> list[str]:
        account = self._ledger.account(self._account)
        since = self._ledger.cursor(self._account, INCOME) or account.opened_ms
        before: Decimal | None = None
        for _ in range(LOOKS):
            entries = [entry for entry in await self._gateway.income(since) if entry.ts_ms > account.opened_ms]
            for entry in entries:
                await self._book_income(entry)
            if entries:
                self._ledger.set_cursor(self._account, INCOME, entries[-1].ts_ms)
            wallet = await self._gateway.wallet()
            gap = wallet - self._ledger.account(self._account).cash
            if abs(gap) <= self._gateway.cash_grain:
                return []
            if before is not None and abs(gap - before) <= self._gateway.cash_grain:
                return self._correct(gap, wallet)
            before = gap
            for pair in self._pairs:
                await self.fetch_fills(pair)
        return [f"cash differs from the exchange's by {before}"]

    async def _book_income(self, entry: IncomeFact) -> None:
        if entry.kind in BOOKED_WITH_FILLS and not self._unread(entry):
            return
        if entry.kind == FUNDING_FEE and entry.pair is not None:
            booked = self._ledger.record_funding(await self._funding(entry, entry.pair))
        else:
            note = entry.note if entry.pair is None else f"{entry.pair} {entry.note}"
            booked = self._ledger.record_cash(
                CashEntry(self._account, entry.entry_id, entry.kind, entry.amount, entry.ts_ms, note)
            )
        self._books.changes += booked

    def _unread(self, entry: IncomeFact) -> bool:
        """Whether an entry belongs to a trade that can be read no more, because its pair has vanished."""
        if entry.pair not in self._vanished:
            return False
        newest = self._ledger.fills(self._account, pair=entry.pair, venue_trades=True, limit=1)
        return not newest or entry.ts_ms > newest[0].fill.event_ms

    async def _funding(self, entry: IncomeFact, pair: Pair) -> FundingPayment:
        quantity = self._ledger.quantity_at(self._account, pair, entry.ts_ms)
        told = entry.told or await self._gateway.funding_rate(pair, entry.ts_ms)
        rate, mark = told or (Decimal(0), Decimal(0))
        return FundingPayment(self._account, pair, entry.ts_ms, rate, quantity, mark, entry.amount)

    def _correct(self, gap: Decimal, wallet: Decimal) -> list[str]:
        """Carry the ledger's cash to the wallet's, named by what was found."""
        small = abs(gap) <= ROUNDING
        ts_ms = max((held.updated_ms for held in self.venue_positions.values()), default=0)
        entry = CashEntry(
            self._account, f"wallet-{wallet}-{gap}", "ROUNDING" if small else "UNEXPLAINED", gap, ts_ms,
            "the exchange's wallet differed from the entries",
        )  # fmt: skip
        self._books.changes += self._ledger.record_cash(entry)
        return [] if small else [f"cash differed from the exchange's by {gap} USDT without an entry that explains it"]


def trades_cursor(pair: Pair) -> str:
    """Name of the mark up to which a pair's trades are booked."""
    return f"trades/{pair}"


def opened_cursor(pair: Pair) -> str:
    """Name of the mark that a pair's trades had when the account was opened."""
    return f"opened/{pair}"


def adjustments(account: str, venue: str, pair: Pair, held: Position | None, theirs: PositionFact | None) -> list[Fill]:
    """Fills that carry a position to what the exchange holds: a close where it shrank or turned, an opening where it grew.

    Their ids follow from what the exchange says, their prices are such that the entry price becomes the exchange's.
    """
    ours = held.quantity if held is not None else Decimal(0)
    goal = theirs.quantity if theirs is not None else Decimal(0)
    at = theirs.updated_ms if theirs is not None else held.opened_ms if held is not None else 0
    entry = held.entry_price if held is not None else Decimal(0)

    def fill(part: str, change: Decimal, price: Decimal) -> Fill:
        trade_id = f"adjust-{account}-{at}-{ours:f}-{goal:f}-{part}"[:64]
        return Fill(
            venue=venue, pair=pair, trade_id=trade_id, order_id="", account=account,
            side=Side.LONG if change > 0 else Side.SHORT, quantity=abs(change), price=price, fee=Decimal(0), maker=False,
            event_ms=at, reason="adjusted to the exchange's position",
        )  # fmt: skip

    turned = ours * goal < 0
    if turned:
        assert theirs is not None
        return [fill("close", -ours, entry), fill("open", goal, theirs.entry)]
    if abs(goal) < abs(ours):
        return [fill("close", goal - ours, entry)]
    assert theirs is not None
    price = (theirs.entry * goal - entry * ours) / (goal - ours)
    return [fill("open", goal - ours, price if price > 0 else theirs.entry)]
