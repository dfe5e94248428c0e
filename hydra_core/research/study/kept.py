"""The newest study of a home on disk, as the report shows it."""

from __future__ import annotations

import json
from typing import Final

from hydra_core.home import Home
from hydra_core.research.study.records import MarketStudy
from hydra_core.research.study.tables import tables_of

FILE: Final = "market_study.json"


def keep(home: Home, study: MarketStudy) -> None:
    """Write the study's tables into the home in place of those of the study before it, whole or not at all."""
    told = {
        "from_ms": study.from_ms,
        "until_ms": study.until_ms,
        "rows": study.rows,
        "tables": {title: [dict(row) for row in rows] for title, rows in tables_of(study).items()},
    }
    home.studies.mkdir(parents=True, exist_ok=True)
    fresh = home.studies / f"{FILE}.new"
    fresh.write_text(json.dumps(told))
    fresh.replace(home.studies / FILE)
