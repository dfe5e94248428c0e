"""What paper trading has shown before money is at stake: how long it ran, and whether its fills cost what backtests charge.

The last gate on the way to live trading. It binds nobody: who opens a live account without it has to say so in words. Days are
those of all paper accounts of one market together, whichever models held the seats: a weekly retraining would else begin them
anew. Not here: the gates that a candidate passes (``research.gates``), the account's opening (``broker.opening``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hydra_core.domain.intervals import DAY_MS
from hydra_core.ledger.store import Ledger
from hydra_core.report.operator import cost
from hydra_core.settings import Settings

LEAST_DAYS: Final = 28
"""Market days on which paper trading was looked after."""
MOST_ERROR_BP: Final = 2.0
"""Mean difference between the prices that were got and those that a backtest would have charged, either way."""
READ: Final = 2_000
"""Newest executions of an account that are averaged."""


@dataclass(frozen=True, slots=True)
class Proving:
    """How paper trading went.

    Parameters
    ----------
    days : market days on which a paper account's worth was booked
    executions : changes of position that filled
    paid_bp : their mean cost in price against the middle at arrival, weighted by notional, basis points; None without any
    charged_bp : what a backtest charges for the same: half the spread and slippage
    """

    days: int
    executions: int
    paid_bp: float | None
    charged_bp: float

    @property
    def error_bp(self) -> float | None:
        """What fills cost beyond what a backtest charges, basis points of notional; None without fills."""
        return None if self.paid_bp is None else self.paid_bp - self.charged_bp

    @property
    def held(self) -> bool:
        """Whether four weeks of paper stand behind it that filled as backtests do."""
        return self.days >= LEAST_DAYS and self.error_bp is not None and abs(self.error_bp) < MOST_ERROR_BP

    @property
    def told(self) -> str:
        """Both figures beside what they are held to, in plain words."""
        days = f"paper trading on {self.days} days (at least {LEAST_DAYS})"
        if self.error_bp is None:
            return f"{days}, nothing filled"
        return (
            f"{days}, {self.executions} executions filled {self.error_bp:+.2f} bp from what backtests charge "
            f"(less than {MOST_ERROR_BP:g} either way)"
        )


def proving_of(ledger: Ledger, settings: Settings) -> Proving:
    """What the paper accounts of a ledger have shown."""
    days: set[int] = set()
    filled, paid, notional = 0, 0.0, 0.0
    for account in ledger.accounts():
        if account.live:
            continue
        days |= {point.ts_ms // DAY_MS for point in ledger.equity_curve(account.name)}
        for execution in ledger.executions(account.name, limit=READ):
            spent = cost(ledger, execution)
            if spent is not None and spent.filled:
                # The price is told of what filled, so it is weighed by that: the rest was never traded.
                filled += 1
                paid += float(spent.price_cost)
                notional += float(abs(spent.filled) * spent.arrival)
    charged = settings.costs.half_spread_bp + settings.costs.slippage_bp
    return Proving(len(days), filled, 1e4 * paid / notional if notional else None, charged)
