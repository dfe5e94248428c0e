"""Group report: what the newest research came to, in one table, and the HTML page about the home."""

from typing import Any, Final

import dagster as dg

from hydra_core.alpha.models import KINDS
from hydra_dagster import keys, reporting, versions
from hydra_dagster.assets.champions import VACANT
from hydra_dagster.resources import Workshop


@dg.asset(
    key=keys.REPORT,
    group_name=keys.REPORT_GROUP,
    deps=[keys.COMMITTEE, *(keys.champion(kind) for kind in KINDS)],
    code_version=versions.CODE,
    kinds={"html"},
    description="Candidates, gates and seats in one table; the HTML report of the account, where there is one.",
)
def research(context: dg.AssetExecutionContext, workshop: dg.ResourceParam[Workshop]) -> dg.MaterializeResult[None]:
    """Sum up what was found and write the report."""
    from hydra_core.report.research import latest_research

    with reporting.plain_failures():
        found = latest_research(workshop.home)
        page = _page(workshop)
    rows = [
        {
            "kind": one["kind"],
            "candidate": str(one["version"])[:12],
            "passed": one["passed"],
            "failed gates": ", ".join(gate["name"] for gate in one["gates"] if not gate["passed"]) or "none",
            "holds the seat": found.champions.get(one["kind"], VACANT)[:12],
        }
        for one in found.candidates
    ]
    metadata: dict[str, Any] = {
        "candidates": reporting.table(rows),
        "seats taken": len(found.champions),
        "verdict": found.why_flat or "the forecaster's seat is taken: HYDRA may trade on paper",
        **({"page": dg.MetadataValue.path(page)} if page else {}),
    }
    return dg.MaterializeResult(metadata=metadata)


def _page(workshop: Workshop) -> str:
    """The written HTML report, empty where no account was opened yet."""
    from hydra_core.report.build import write_report

    with workshop.ledger() as ledger:
        account = ledger.current_account()
        return str(write_report(workshop.home, ledger, account.name, workshop.settings)) if account else ""


ASSETS: Final = [research]
