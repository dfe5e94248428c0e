"""Orders at exchanges that answer with receipts: what is sent, what becomes of it, and what nobody answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from account_double import DROPPED, KEY, LOST, PASSPHRASE, SECRET, AccountDouble, D, Order, now_ms
from broker_rig import BTC, CREDENTIALS, LIVE, RULES, Desk, Prices, at_desk, until_true
from loguru import logger
from pydantic import SecretStr

from hydra_core.broker.bell import listen
from hydra_core.broker.emergency import flatten
from hydra_core.broker.gateway import Cause
from hydra_core.broker.gateways import open_gateway
from hydra_core.broker.opening import look
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import HydraError, OutcomeUnknown, Refused, UsageError, VenueUnavailable
from hydra_core.domain.trading import OrderState, Side
from hydra_core.execution.orders import client_order_id
from hydra_core.home import Home
from hydra_core.ledger.records import OrderRecord
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Endpoint
from hydra_core.settings import Settings
from hydra_core.trader.sessions import Parts, open_session

ONE = pytest.mark.parametrize("exchange", ["bybit"], indirect=True)
"""For what is the same code whatever the exchange."""


async def test_a_market_order_is_sent_as_exact_text_and_booked_trade_by_trade(
    desk: Desk, double: AccountDouble
) -> None:
    double.parts = [D("0.25"), D("0.75")]
    before = double.wallet
    done = await desk.send("0.04")
    sent = double.placed()[0]
    assert sent["qty" if "qty" in sent else "sz"] == {"1": "0.04", "0.01": "4"}[str(double.unit)]
    assert sent["side"].lower() == "buy"
    assert (done.state, done.filled, done.avg_price) == (OrderState.FILLED, D("0.04"), D(50_000))
    assert desk.trades() == [(D("0.01"), D(50_000)), (D("0.03"), D(50_000))]
    assert desk.cash() == double.wallet == before - D("0.04") * 50_000 * D("0.0005")
    assert (await desk.broker.reconcile("again")).clean
    assert double.bad_signatures == 0


async def test_a_limit_order_fills_in_parts_and_keeps_them_when_it_is_cancelled(
    desk: Desk, double: AccountDouble
) -> None:
    resting = await desk.send("0.10", kind="limit", limit_price=D("49000.5"))
    assert resting.state is OrderState.OPEN
    sent = double.placed()[0]
    assert sent["price" if "price" in sent else "px"] == "49000.5"
    order = next(iter(double.orders.values()))
    double.fill(order, D("0.03") / double.unit, D("49000.5"))
    await desk.broker.reconcile("the bell rang")
    assert desk.ledger.order(resting.order_id).state is OrderState.PARTIAL
    assert desk.broker.cancel(resting.order_id, "no longer wanted")
    await desk.broker.settled()
    ended = desk.ledger.order(resting.order_id)
    assert (ended.state, ended.filled, desk.held()) == (OrderState.CANCELED, D("0.03"), D("0.03"))


async def test_an_order_that_was_not_answered_is_looked_up_and_never_sent_again(
    desk: Desk, double: AccountDouble
) -> None:
    double.faults[double.orders_path] = [LOST]
    done = await desk.send("0.02")
    assert (done.state, desk.trades()) == (OrderState.FILLED, [(D("0.02"), D(50_000))])
    assert len(double.placed()) == 1


@ONE
async def test_an_order_that_never_arrived_ends_once_that_is_sure(desk: Desk, double: AccountDouble) -> None:
    double.faults[double.orders_path] = [DROPPED]
    done = await desk.send("0.02")
    assert done.state is OrderState.REJECTED
    assert "does not know it" in desk.ledger.order_history(done.order_id)[-1].reason
    assert len(double.placed()) == 1


async def test_a_refusal_ends_an_order_and_one_in_unknown_words_does_not(
    desk: Desk, double: AccountDouble, exchange: str
) -> None:
    margin = {"bybit": "110007", "okx": "51008"}[exchange]
    double.faults[double.orders_path] = [(margin, "not enough margin"), ("99999", "an error nobody knows")]
    refused = await desk.send("0.02")
    assert refused.state is OrderState.REJECTED
    assert margin in desk.ledger.order_history(refused.order_id)[-1].reason
    order = desk.order("0.02")
    with pytest.raises(OutcomeUnknown):
        await desk.gateway.place(order)
    double.faults[double.orders_path] = [(margin, "not enough margin")]
    with pytest.raises(Refused) as caught:
        await desk.gateway.place(order)
    assert desk.gateway.cause(caught.value) is Cause.NO_MARGIN


@ONE
async def test_the_same_id_twice_is_the_same_order(desk: Desk, double: AccountDouble) -> None:
    order = desk.order("0.02")
    await desk.gateway.place(order)
    with pytest.raises(Refused) as caught:
        await desk.gateway.place(order)
    assert desk.gateway.cause(caught.value) is Cause.DUPLICATE
    assert double.held * double.unit == D("0.02")


@ONE
async def test_a_fill_that_comes_before_its_cancel_wins(desk: Desk, double: AccountDouble) -> None:
    resting = await desk.send("0.05", kind="limit", limit_price=D(49_000))
    order = next(iter(double.orders.values()))
    double.fill(order, D("0.05") / double.unit, D(49_000))
    desk.broker.cancel(resting.order_id, "too late")
    await desk.broker.settled()
    ended = desk.ledger.order(resting.order_id)
    assert (ended.state, desk.held()) == (OrderState.FILLED, D("0.05"))


async def test_a_stop_rests_triggers_and_is_booked_as_the_stop_that_it_was(
    desk: Desk, double: AccountDouble, exchange: str
) -> None:
    await desk.send("0.04")
    stop = await desk.protect("0.04", "48000")
    assert stop.state is OrderState.OPEN
    assert double.placed()[0].get("reduceOnly") is False
    path = {"bybit": double.orders_path, "okx": "/api/v5/trade/order-algo"}[exchange]
    assert next(p for p in double.sent(path) if "48000" in p.values())["reduceOnly"] is True
    (fact,) = await desk.gateway.open_stops()
    assert (fact.client_id, fact.stop_price, fact.quantity, fact.algo) == (stop.order_id, D(48_000), D("0.04"), True)
    assert await desk.gateway.open_orders() == [], "a waiting stop is no resting order"

    double.parts = [D("0.5"), D("0.5")]
    double.trigger(next(order for order in double.orders.values() if order.trigger))
    await until_true(lambda: desk.held() == 0, desk)
    ended = desk.ledger.order(stop.order_id)
    assert (ended.state, ended.filled, ended.avg_price) == (OrderState.FILLED, D("0.04"), D(48_000))
    assert desk.broker.books.foreign == set(), "what a stop turned into is not another hand's"
    assert desk.cash() == double.wallet


async def test_a_waiting_stop_is_cancelled_for_certain_or_told_as_triggered(desk: Desk, double: AccountDouble) -> None:
    await desk.send("0.04")
    stop = await desk.protect("0.04", "48000")
    desk.broker.cancel(stop.order_id, "a newer stop rests")
    await desk.broker.settled()
    assert desk.ledger.order(stop.order_id).state is OrderState.CANCELED
    later = await desk.protect("0.04", "47000")
    double.trigger(next(o for o in double.orders.values() if o.trigger == "47000"))
    desk.broker.cancel(later.order_id, "too late")
    await desk.broker.settled()
    await until_true(lambda: desk.held() == 0, desk)
    assert desk.ledger.order(later.order_id).state is OrderState.FILLED


async def test_a_restart_takes_up_what_happened_meanwhile_and_the_next_one_finds_nothing(
    exchange: str, double: AccountDouble, books: Path
) -> None:
    async with at_desk(exchange, double.url, books) as desk:
        double.faults[double.orders_path] = [LOST]
        order = desk.order("0.03")
        desk.ledger.move_order(order.order_id, OrderState.PENDING, now_ms())
        with pytest.raises(OutcomeUnknown):
            await desk.gateway.place(order)
    foreign = double.take(Order(double.new_id(), "", "sell", D("0.02") / double.unit, kind="limit", price="60000"))
    double.settle(D("-0.15"))
    double.deposit(D(100))
    async with at_desk(exchange, double.url, books, fresh=False) as desk:
        assert desk.ledger.order(order.order_id).state is OrderState.FILLED
        assert desk.held() == D("0.03")
        taken = next(o for o in desk.broker.books.live.values() if o.venue_order_id == foreign.venue_id)
        assert (taken.plan_id, taken.quantity, taken.side) == ("external", D("0.02"), Side.SHORT)
        assert desk.cash() == double.wallet
        assert desk.ledger.account(desk.account).funding == D("-0.15")
        assert desk.ledger.account(desk.account).other == D(100)
        assert (await desk.broker.reconcile("again")).clean
    async with at_desk(exchange, double.url, books, fresh=False) as desk:
        assert desk.broker.last_report is not None
        assert (desk.broker.last_report.clean, desk.broker.last_report.changes) == (True, 0)


@ONE
async def test_trades_from_before_the_account_was_opened_are_nobodys(
    exchange: str, double: AccountDouble, books: Path
) -> None:
    double.take(Order(double.new_id(), "", "buy", D("0.05") / double.unit))
    async with at_desk(exchange, double.url, books) as desk:
        assert desk.held() == D("0.05"), "the position is there, as one entry"
        assert (await desk.broker.reconcile("again")).changes == 0
        assert len(desk.trades()) == 1


async def test_a_liquidation_is_booked_as_one(desk: Desk, double: AccountDouble) -> None:
    await desk.send("0.04")
    double.price = D(40_000)
    double.take(Order(double.new_id(), "", "sell", D("0.04") / double.unit, made_by="liquidation"))
    await until_true(lambda: desk.held() == 0, desk)
    assert [incident.kind.value for incident in desk.broker.incidents()] == ["liquidation"]
    assert desk.broker.books.foreign == set()


@ONE
async def test_what_was_done_to_the_account_bars_its_pair_before_the_guard_looks(
    desk: Desk, double: AccountDouble
) -> None:
    """A deleveraging: were the process to end right after its fill was booked, the bar would be there."""
    await desk.send("0.04")
    double.take(Order(double.new_id(), "", "sell", D("0.02") / double.unit, made_by="adl"))
    await until_true(lambda: desk.held() == D("0.02"), desk)
    assert desk.ledger.portfolio(desk.account, {}, desk.clock.market_ms()).barred == {BTC}
    assert [incident.kind.value for incident in desk.broker.incidents()] == ["adl"]


@ONE
async def test_orders_of_other_hands_are_counted_over_restarts(
    exchange: str, double: AccountDouble, books: Path
) -> None:
    """One in each life of the process: the third halts. It has led to that once: the next life counts anew."""

    def by_hand() -> None:
        double.take(Order(double.new_id(), "", "buy", D("0.02") / double.unit, kind="limit", price="40000"))

    async with at_desk(exchange, double.url, books):
        pass
    for life in (1, 2, 3, 4):
        if life < 4:
            by_hand()
        async with at_desk(exchange, double.url, books, fresh=False) as desk:
            kinds = [incident.kind.value for incident in desk.broker.incidents()]
            assert kinds == (["foreign_process"] if life == 3 else [])
            assert ("foreign_process" in desk.ledger.latched(desk.account)) == (life >= 3)
            assert len(desk.broker.books.foreign) == life % 3 if life < 4 else not desk.broker.books.foreign


@ONE
async def test_a_request_that_ends_in_an_error_of_ours_ends_the_session(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it left undone is unknown: the trader ends with words that say so, and is started again."""

    async def divided(_: object) -> None:
        raise ZeroDivisionError("made to fail")

    monkeypatch.setattr(desk.gateway, "place", divided)
    running = asyncio.create_task(desk.broker.run())
    order = desk.order("0.02")
    desk.broker.submit(order)
    with pytest.raises(HydraError, match="ZeroDivisionError: made to fail") as raised:
        await asyncio.wait_for(running, 20)
    assert "Start the trader again" in str(raised.value)
    with pytest.raises(ZeroDivisionError):
        desk.broker.tick()  # until then the guard hears of it in every round


async def test_many_trades_come_page_by_page_and_a_page_that_fails_books_nothing(
    desk: Desk, double: AccountDouble, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydra_core.broker.okx.A_PAGE", 2)
    double.a_page, pieces = 2, 5
    resting = await desk.send(f"{pieces * D('0.01')}", kind="limit", limit_price=D(49_000))
    order = next(iter(double.orders.values()))
    for _ in range(pieces):
        double.fill(order, D("0.01") / double.unit, D(49_000))
    path = {"bybit": "/v5/execution/list", "okx": "/api/v5/trade/fills"}[exchange]
    double.faults[path] = [lambda: None, 502, 502, 502]
    with pytest.raises(VenueUnavailable):
        await desk.broker.fetch_fills(BTC)
    assert desk.trades() == []
    assert await desk.broker.fetch_fills(BTC) == pieces
    await desk.broker.reconcile("again")
    assert desk.ledger.order(resting.order_id).state is OrderState.FILLED


@ONE
async def test_an_account_in_hedge_mode_is_refused(exchange: str, double: AccountDouble) -> None:
    double.hedged = True
    async with open_gateway(Endpoint(exchange, double.url), CREDENTIALS, SystemClock()) as gateway:
        with pytest.raises(UsageError, match="hedge mode"):
            await look(gateway, Settings(live=LIVE, pairs=(BTC,)))


async def test_an_account_of_another_kind_is_refused(
    exchange: str, double: AccountDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, row = {
        "bybit": (
            "/v5/account/info",
            {"result": {"unifiedMarginStatus": 5, "marginMode": "ISOLATED_MARGIN"}, "retCode": 0},
        ),
        "okx": ("/api/v5/account/config", {"code": "0", "data": [{"acctLv": "4", "posMode": "net_mode"}]}),
    }[exchange]
    answers = double.answers()
    async with open_gateway(Endpoint(exchange, double.url), CREDENTIALS, SystemClock()) as gateway:
        double.hedged = True
        assert "hedge mode" in await gateway.unfit([BTC])
        double.hedged = False
        assert await gateway.unfit([BTC]) == ""
        monkeypatch.setattr(double, "answers", lambda: answers | {path: lambda _: row})
        assert "mode" in await gateway.unfit([BTC])


async def test_a_traders_session_trades_on_it(
    exchange: str, double: AccountDouble, books: Path, tmp_path: Path
) -> None:
    """The session that the trader opens: broker, bell, desk and guard on one account; compared, it may open positions."""
    async with at_desk(exchange, double.url, books):
        pass
    secrets = {"exchange_key": KEY, "exchange_secret": SECRET, "exchange_passphrase": PASSPHRASE}
    settings = Settings(live=LIVE, exchange=exchange, pairs=(BTC,)).model_copy(
        update={name: SecretStr(words) for name, words in secrets.items()}
    )
    with Ledger.open(f"sqlite:///{books}") as ledger:
        account = ledger.current_account()
        assert account is not None
        endpoint, home = Endpoint(exchange, double.url), Home(tmp_path, exchange).create()
        parts = Parts(home, settings, endpoint, SystemClock(), ledger, Prices((BTC,)), {BTC: RULES})
        async with open_session(parts, account) as session, asyncio.timeout(20):
            while session.broker.standing.block:
                session.check()
                await asyncio.sleep(0.02)
            session.check()
            order = OrderRecord(
                client_order_id("p", BTC, 0),
                "p",
                account.name,
                BTC,
                Side.LONG,
                D("0.02"),
                "market",
                OrderState.NEW,
                1,
                1,
            )
            ledger.record_order(order)
            session.broker.submit(order)
            while not ledger.positions(account.name):
                await asyncio.sleep(0.02)
        assert ledger.positions(account.name)[BTC].quantity == D("0.02")


async def test_caps_follow_from_leverage_and_tiers(desk: Desk, exchange: str) -> None:
    caps = await desk.gateway.notional_caps([BTC])
    assert caps == {BTC: {"bybit": D(9_000_000), "okx": D(30_000) * D("0.01") * 50_000}[exchange]}
    steps = await desk.gateway.margin_steps([BTC])
    assert steps == {"bybit": {BTC: ((0.0, 0.005), (2_000_000.0, 0.025))}, "okx": {}}[exchange]


@ONE
async def test_everything_is_closed_without_a_ledger(exchange: str, double: AccountDouble) -> None:
    double.take(Order(double.new_id(), "", "buy", D("0.05") / double.unit))
    double.take(Order(double.new_id(), "", "sell", D("0.02") / double.unit, kind="limit", price="60000"))
    double.take(
        Order(double.new_id(), "", "sell", D("0.02") / double.unit, kind="stop", trigger="45000", status="waiting")
    )
    async with open_gateway(Endpoint(exchange, double.url), CREDENTIALS, SystemClock()) as gateway:
        assert await flatten(gateway, SystemClock()) == double.wallet
    assert double.held == 0
    assert not [order for order in double.orders.values() if order.status in {"open", "waiting"}]


async def test_nothing_secret_is_logged(desk: Desk, double: AccountDouble) -> None:
    heard: list[str] = []
    sink = logger.add(lambda message: heard.append(str(message)), level="TRACE")
    try:
        double.faults[double.orders_path] = [LOST, 503]
        await desk.send("0.02")
        await desk.send("0.02", side=Side.SHORT)
    finally:
        logger.remove(sink)
    words = "".join(heard) + repr(CREDENTIALS)
    assert "unknown" in words, "what happened is told"
    for secret in (KEY, SECRET, PASSPHRASE, "SIGN", "sign="):
        assert secret not in words


async def test_the_stream_of_the_account_is_a_bell(exchange: str, double: AccountDouble) -> None:
    rung: list[str] = []
    told = asyncio.Event()

    def ring(reason: str) -> None:
        rung.append(reason)
        told.set()

    task = asyncio.create_task(listen(Endpoint(exchange, double.url), CREDENTIALS, SystemClock(), ring, seed=1))
    try:
        async with asyncio.timeout(10):
            while not double.subscribed:
                await asyncio.sleep(0.02)
            order = Order(double.new_id(), "", "buy", D(1), kind="limit", price="49000")
            await double.sockets[-1].send_json(double.order_event(order))
            await told.wait()
            assert rung == ["the account's stream"]
            told.clear()
            await double.sockets[-1].close()
            await told.wait()
            assert rung[-1] == "the account's stream broke off"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("name", ["bitget", "hyperliquid", "weex"])
async def test_an_exchange_where_money_would_not_be_safe_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"orders cannot be sent to {name}: "):
        async with open_gateway(Endpoint(name), CREDENTIALS, SystemClock()):
            pass


async def test_what_was_certainly_not_looked_at_is_sent_again_under_the_same_id(
    desk: Desk, double: AccountDouble, exchange: str
) -> None:
    limit, clock = {"bybit": ("10006", "10002"), "okx": ("50011", "50102")}[exchange]
    double.faults[double.orders_path] = [(limit, "Too many visits"), (clock, "timestamp expired")]
    done = await desk.send("0.02")
    assert (done.state, desk.held()) == (OrderState.FILLED, D("0.02"))
    sent = double.placed()
    assert len(sent) == 3
    assert all(params == sent[0] for params in sent)
    assert sum("time" in path for path, _ in double.asked) >= 2, "the exchange's clock was read again"


@ONE
async def test_a_stop_that_would_trigger_at_once_has_its_position_closed(desk: Desk, double: AccountDouble) -> None:
    await desk.send("0.04")
    double.faults[double.orders_path] = [("110093", "trigger price is through the price")]
    stop = await desk.protect("0.04", "51000")
    assert stop.state is OrderState.REJECTED
    assert "through the stop" in desk.broker.must_close()[BTC]


@ONE
async def test_positions_that_cannot_be_read_are_not_read_as_flat(
    desk: Desk, double: AccountDouble, exchange: str
) -> None:
    await desk.send("0.04")
    double.faults[{"bybit": "/v5/position/list", "okx": "/api/v5/account/positions"}[exchange]] = [502] * 9
    report = await desk.broker.reconcile("test")
    assert report.failed
    assert desk.held() == D("0.04")
    assert desk.broker.standing.block


async def test_a_size_that_contracts_cannot_say_is_refused_here(
    desk: Desk, double: AccountDouble, exchange: str
) -> None:
    if exchange == "okx":
        with pytest.raises(Refused, match="no exact number of contracts"):
            await desk.gateway.place(replace(desk.order("1"), quantity=D(1) / 3))
    else:
        await desk.gateway.place(desk.order("0.015"))
    assert [params.get("qty") for params in double.placed()] == ([] if exchange == "okx" else ["0.015"])


async def test_an_order_turned_down_after_its_receipt_is_a_refusal(
    desk: Desk, double: AccountDouble, exchange: str
) -> None:
    """Bybit takes an order and rejects it then; OKX cancels what it cannot fill, which is an end without an effect."""
    double.parts = []
    down = {"bybit": "turned down", "okx": "canceled"}[exchange]
    double.faults[double.orders_path] = [lambda: setattr(next(iter(double.orders.values())), "status", down)]
    done = await desk.send("0.02")
    assert done.state is {"bybit": OrderState.REJECTED, "okx": OrderState.EXPIRED}[exchange]
    assert desk.held() == 0
