"""The newest market study as a section of the report: its tables, and the reasons where something was not estimated."""

from __future__ import annotations

import json

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.intervals import iso
from hydra_core.home import Home
from hydra_core.report.sections import Section, Table
from hydra_core.research.study.kept import FILE
from hydra_core.research.study.tables import NO_RULE


def study_sections(home: Home) -> list[Section]:
    """The study that the asset ``study/market_study`` made last; none where none was made.

    Raises
    ------
    DataCorrupt : the file in the home is no such study
    """
    path = home.studies / FILE
    if not path.exists():
        return []
    try:
        told = json.loads(path.read_text())
        tables = [
            Table(tuple(rows[0]), [tuple(row.values()) for row in rows], title)
            for title, rows in told["tables"].items()
        ]
        text = f"{told['rows']} bars of 5m, {iso(told['from_ms'])} to {iso(told['until_ms'])}. {NO_RULE}"
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataCorrupt(f"{path} is no market study: {error}", "Delete it and run the job `study` again") from error
    return [Section("study", "Market study", text, (), tables)]
