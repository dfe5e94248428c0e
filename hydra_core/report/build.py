"""The HTML report: one self-contained page about a market home, readable without a network.

Here: which sections it has. What each shows is in ``sections`` and its neighbours, how a page is written in ``page``.
"""

from __future__ import annotations

from pathlib import Path

from hydra_core.domain.intervals import iso
from hydra_core.home import Home
from hydra_core.ledger.store import Ledger
from hydra_core.report.account import market_now, view_account
from hydra_core.report.execution import execution_sections
from hydra_core.report.page import write_page
from hydra_core.report.parity import parity_sections
from hydra_core.report.quality import quality_sections
from hydra_core.report.research import latest_research
from hydra_core.report.sections import account_sections, research_sections, tiles
from hydra_core.report.stress import stress_sections
from hydra_core.report.study import study_sections
from hydra_core.settings import Settings


def write_report(home: Home, ledger: Ledger, account: str, settings: Settings) -> Path:
    """Write ``reports/<account>.html``; returns its path.

    Parameters
    ----------
    home, ledger, account : what is reported on
    settings : for the exchange's name and the decision grid
    """
    view = view_account(home, ledger, account, settings)
    research = latest_research(home)
    decided = ledger.count_decisions(account)
    sections = [
        *account_sections(ledger, view),
        *execution_sections(ledger, account),
        *parity_sections(home, account),
        *stress_sections(home),
        *quality_sections(home, settings),
        *research_sections(home, research, settings),
        *study_sections(home),
    ]
    return write_page(
        home.reports / f"{account}.html",
        sections,
        tiles(view, decided, ledger, research),
        market=home.market,
        subtitle=f"account {account} · market time {iso(market_now(home))}",
        synthetic=view.synthetic,
        why_flat="" if ledger.fills(account, limit=1) else research.why_flat,
    )
