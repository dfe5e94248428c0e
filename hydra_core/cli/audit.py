"""``hydra audit``: why an order was sent, or what a decision cycle said and did."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from hydra_core.cli.common import JsonFlag, MarketOption, account_of, open_ledger, out, reporting_errors, say_json
from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.intervals import iso, parse_time
from hydra_core.domain.trading import PairDecision
from hydra_core.ledger.records import (
    ADL,
    DELISTING,
    EXTERNAL,
    LIQUIDATION,
    STRATEGY,
    BookedFill,
    DecisionRecord,
    OrderRecord,
)
from hydra_core.ledger.store import Ledger
from hydra_core.report.operator import cost


def audit(
    what: Annotated[
        str,
        typer.Argument(help="Order id as `hydra portfolio trades --json` names it, or a grid point: epoch ms or time."),
    ],
    account: Annotated[str, typer.Option(help="Account of a grid point; left out: the one opened last.")] = "",
    market: MarketOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Say why: an order's plan, the decision behind it, votes, versions, moves, fills and cost; or a whole decision cycle."""
    with reporting_errors(), open_ledger(market) as (_, _, ledger):
        order = ledger.order_or_none(what)
        told = _order(ledger, order, as_json) if order is not None else _cycle(ledger, what, account, as_json)
        if as_json:
            say_json(told)


def _order(ledger: Ledger, booked: OrderRecord, quiet: bool) -> dict[str, Any]:
    """Everything behind one order; printed unless ``quiet``."""
    plan = ledger.plan(booked.plan_id)
    record = ledger.decision(booked.account, STRATEGY, plan.cycle_ms) if plan is not None else None
    said = next((pair for pair in record.decision.pairs if pair.pair == booked.pair), None) if record else None
    history = ledger.order_history(booked.order_id)
    fills = ledger.fills(booked.account, order_id=booked.order_id)
    execution = ledger.execution(booked.plan_id, booked.pair)
    spent = cost(ledger, execution) if execution is not None else None
    if not quiet:
        out.print(
            f"[bold]{booked.order_id}[/] {booked.side.name.lower()} {booked.quantity:f} {booked.pair}: {booked.reason}"
        )
        if record is None or said is None:
            out.print(_origin(booked))
        else:
            out.print(f"decided at {iso(record.cycle_ms)} in mode {record.decision.mode.value}:")
            _say_pair(said)
            _say_versions(record)
        table = Table("time", "from", "to", "why")
        for event in history:
            table.add_row(iso(event.ts_ms), event.from_state, event.to_state, event.reason)
        out.print(table)
        for one in fills:
            _say_fill(one)
        if spent is not None and execution is not None:
            out.print(
                f"its execution wanted {execution.change:+f} from {iso(execution.arrival_ms)} at {spent.arrival:f}, "
                f"filled {spent.filled:+f}: {spent.bp(spent.total):+.2f} bp ({spent.total:+.4f} USDT) against arrival"
            )
    return {
        "order": booked, "plan": plan, "decision": said, "pins": record.pins if record else None,
        "mode": record.decision.mode if record else None, "origin": None if said else _origin(booked),
        "history": history, "fills": fills, "execution": execution, "shortfall": spent,
    }  # fmt: skip


def _origin(booked: OrderRecord) -> str:
    """Who is behind an order that no decision is behind."""
    known = {
        EXTERNAL: "another hand placed it at the exchange",
        LIQUIDATION: "the exchange placed it: a liquidation",
        ADL: "the exchange placed it: auto-deleveraging",
        DELISTING: "the exchange placed it: the settlement of a pair that is traded no more",
    }
    if booked.plan_id in known:
        return f"no decision is behind it: {known[booked.plan_id]}"
    kind = "a protective stop" if booked.kind == "stop" else "a protective exit of the guard"
    return f"no decision is behind it: {kind} ({booked.plan_id})"


def _cycle(ledger: Ledger, what: str, account: str, quiet: bool) -> dict[str, Any]:
    """Everything that one decision cycle said, and the orders that came of it.

    Raises
    ------
    InputMissing : neither an order nor a grid point that was decided
    """
    try:
        cycle_ms = int(what) if what.isdigit() else parse_time(what)
    except UsageError:
        raise InputMissing(
            f"no order {what!r}, and no time either", "Name an order id, or 2024-10-29T01:30:00"
        ) from None
    name = account_of(ledger, account).name
    record = ledger.decision(name, STRATEGY, cycle_ms)
    if record is None:
        raise InputMissing(
            f"{name} decided nothing at {iso(cycle_ms)}", "`hydra portfolio refusals` and the report name cycles"
        )
    decision = record.decision
    orders = ledger.orders(name, plan_id=decision.plan.plan_id) if decision.plan is not None else []
    fills = [one for order in orders for one in ledger.fills(name, order_id=order.order_id)]
    if not quiet:
        out.print(
            f"[bold]{iso(cycle_ms)}[/] {name}: mode {decision.mode.value}, committed after {record.latency_ms} ms"
        )
        for switch, reason in decision.trips.items():
            out.print(f"  [red]{switch}[/]: {reason}")
        for fault in decision.input_faults:
            out.print(f"  [yellow]input[/]: {fault}")
        for said in decision.pairs:
            _say_pair(said)
        _say_versions(record)
        if decision.plan is None:
            out.print("no plan: nothing was to be changed")
        else:
            out.print(
                f"plan {decision.plan.plan_id}: {decision.plan.schedule.kind}, until {iso(decision.plan.expires_ms)}"
            )
            for target in decision.plan.targets:
                out.print(f"  hold {target.quantity:+g} {target.pair}: {target.reason}")
        for order in orders:
            out.print(
                f"  order {order.order_id} {order.side.name.lower()} {order.quantity:f} {order.pair}: {order.state.value}"
            )
        for one in fills:
            _say_fill(one)
    return {"decision": decision, "pins": record.pins, "run_id": record.run_id, "latency_ms": record.latency_ms,
            "orders": orders, "fills": fills}  # fmt: skip


def _say_pair(said: PairDecision) -> None:
    """What was said about one pair."""
    out.print(f"  [bold]{said.pair}[/] {said.outcome}: {said.reason}")
    if said.signal is not None:
        signal = said.signal
        out.print(
            f"    forecast {signal.expected_return:+.4%} over {signal.horizon_ms / 3_600_000:g} h, "
            f"confidence {signal.confidence:.3f}, volatility {signal.volatility:.4%}"
        )
    for vote in said.votes:
        out.print(f"    {vote.seat}: {vote.choice.value} ({vote.reason})")
    if said.verdict is not None:
        verdict = said.verdict
        out.print(f"    risk: {verdict.notional:.2f} USDT at {verdict.leverage:.2f}x, {verdict.reason}")


def _say_versions(record: DecisionRecord) -> None:
    """The models, settings and code that made a decision."""
    for kind, version in sorted(record.pins.models.items()):
        out.print(f"  {kind} {version[:16]}")
    out.print(
        f"  code {record.pins.code_version}, settings {record.pins.settings_hash[:16]}, data {record.decision.data_hash[:16]}"
    )


def _say_fill(one: BookedFill) -> None:
    fill = one.fill
    out.print(f"fill {fill.trade_id}: {fill.quantity:f} at {fill.price:f}, fee {fill.fee:.4f}, {iso(fill.event_ms)}")
