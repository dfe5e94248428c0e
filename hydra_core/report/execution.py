"""The report's page on execution: what working each change of position cost against the price at its arrival."""

from __future__ import annotations

from typing import Final

from hydra_core.domain.intervals import iso
from hydra_core.ledger.store import Ledger
from hydra_core.report.operator import costs, mean_costs
from hydra_core.report.sections import Section, Table

READ: Final = 2_000
"""Newest executions that are averaged."""
LISTED: Final = 40


def execution_sections(ledger: Ledger, account: str) -> list[Section]:
    """Implementation shortfall by schedule, and the newest executions one by one; nothing where none has been made."""
    lines = costs(ledger, ledger.executions(account, limit=READ))
    if not lines:
        return []
    means = [
        (one.kind, one.executions, one.price_bp, one.fees_bp, one.opportunity_bp, one.total_bp)
        for one in mean_costs(lines)
    ]
    newest = [
        (
            iso(one.arrival_ms), one.pair, "at once" if one.target.urgent else one.schedule.kind, float(one.change),
            float(spent.filled), float(spent.arrival), spent.bp(spent.total), one.end_reason or "open",
        )
        for one, spent in lines[:LISTED]
        if spent is not None
    ]  # fmt: skip
    text = (
        "Implementation shortfall: what each change of position cost against trading all of it at the middle price at which "
        "it arrived, in basis points of its notional there. Positive is a cost; unfilled is what was not traded, at the "
        "price when it was given up."
    )
    return [
        Section(
            "execution",
            "Execution",
            text,
            (),
            [
                Table(("schedule", "executions", "price", "fees", "unfilled", "total"), means, "by schedule, bp"),
                Table(
                    ("arrived", "pair", "schedule", "wanted", "filled", "arrival", "total (bp)", "end"),
                    newest,
                    "newest executions",
                ),
            ],
        )
    ]
