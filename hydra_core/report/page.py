"""One self-contained HTML page: sections in, a file out. What is on it is the callers' business."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra_core
from hydra_core.lake.files import write_atomic
from hydra_core.report.sections import Section, Tile

TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    path: Path,
    sections: Sequence[Section],
    tiles: Sequence[Tile],
    *,
    market: str,
    subtitle: str,
    synthetic: bool,
    why_flat: str = "",
) -> Path:
    """Write a page, readable without a network; returns its absolute path.

    Parameters
    ----------
    market : name of the market that it is about
    subtitle : the line under the title
    synthetic : whether that market is made; the page then says so
    why_flat : one sentence when nothing could be traded
    """
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    environment.filters["neat"] = neat
    page = environment.get_template("report.html").render(
        market=market,
        subtitle=f"{subtitle} · HYDRA {hydra_core.__version__}",
        synthetic=synthetic,
        why_flat=why_flat,
        plotly_js=Markup(f"<script>{get_plotlyjs()}</script>"),
        tiles=tiles,
        sections=sections,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
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
