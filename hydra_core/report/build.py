"""The HTML report: one self-contained page about a market home, readable without a network.

Here: putting sections together and writing the file. What each section shows is in ``sections``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra_core
from hydra_core.domain.intervals import iso
from hydra_core.home import Home
from hydra_core.lake.files import write_atomic
from hydra_core.ledger.store import Ledger
from hydra_core.report.account import market_now, view_account
from hydra_core.report.quality import quality_sections
from hydra_core.report.research import latest_research
from hydra_core.report.sections import account_sections, research_sections, tiles
from hydra_core.settings import Settings

TEMPLATES = Path(__file__).parent / "templates"


def write_report(home: Home, ledger: Ledger, account: str, settings: Settings) -> Path:
    """Write ``reports/<account>.html``; returns its path.

    Parameters
    ----------
    home, ledger, account : what is reported on
    settings : for the exchange's name and the decision grid
    """
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    view = view_account(home, ledger, account, settings)
    research = latest_research(home)
    decided = ledger.count_decisions(account)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    environment.filters["neat"] = neat
    fills = ledger.fills(account, limit=1)
    page = environment.get_template("report.html").render(
        market=home.market,
        account=account,
        market_time=iso(market_now(home)),
        version=hydra_core.__version__,
        synthetic=view.synthetic,
        why_flat="" if fills else research.why_flat,
        plotly_js=Markup(f"<script>{get_plotlyjs()}</script>"),
        tiles=tiles(view, decided, ledger, research),
        sections=[
            *account_sections(ledger, view),
            *quality_sections(home, settings),
            *research_sections(home, research, settings),
        ],
    )
    path = home.reports / f"{account}.html"
    write_atomic(path, page.encode())
    return path.absolute()


def neat(value: Any) -> str:
    """A cell as people read it: numbers with four significant digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
