"""Group live: the window run that decides every 30 s of market time.

One run lasts a window (15 min by default), because launching a run costs seconds. The decisions themselves, the lease
and the grid are ``hydra_core.window``; here a run is given its pins and tells Dagster what happened.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from hydra_core.domain.errors import UsageError
from hydra_dagster import keys, reporting, versions
from hydra_dagster.resources import Workshop


class WindowRunConfig(dg.Config):
    """One window: what it decides for, how long, and with which models."""

    account: str = Field(default="", description="paper or live account; empty: the one opened last")
    window_s: int = Field(default=0, ge=0, description="wall seconds; 0: the setting platform.window_s")
    window_market_s: int = Field(default=0, ge=0, description="market seconds; 0: no limit but the wall's")
    cycles: int = Field(default=0, ge=0, description="decisions; 1 is one run per cycle, 0 no limit")
    pins: dict[str, str] | None = Field(
        default=None, description="kind -> model version, {} for none; left out: the champions at the start"
    )
    observe_every: int = Field(default=20, ge=1, description="cycles between two observations in the event log")


@dg.asset(
    key=keys.DECISIONS,
    group_name=keys.LIVE,
    code_version=versions.CODE,
    kinds={"python"},
    description="Decisions on an absolute 30 s grid of market time, with the champions pinned when the window started.",
)
def decisions(
    context: dg.AssetExecutionContext, config: WindowRunConfig, workshop: dg.ResourceParam[Workshop]
) -> dg.MaterializeResult[None]:
    """Run one window and record its counts, latencies and equity."""
    from hydra_core.window import WindowConfig, run_window

    with reporting.plain_failures(), workshop.ledger() as ledger, workshop.clock() as clock:
        account = config.account or _current(ledger)
        pins = workshop.registry.champions() if config.pins is None else config.pins
        window = WindowConfig(
            account=account,
            pins=pins,
            run_id=context.run_id,
            window_s=config.window_s or workshop.settings.platform.window_s,
            window_market_s=config.window_market_s or None,
            cycles=config.cycles or None,
        )
        context.log.info(f"window for account {account}, champions {_short(pins)}")
        seen = 0

        def on_cycle(line: Any) -> None:
            nonlocal seen
            seen += 1
            if seen % config.observe_every == 0 or seen == 1:
                context.log_event(dg.AssetObservation(keys.DECISIONS, metadata={"cycle": str(line)}))

        summary = run_window(window, workshop.home, workshop.settings, clock, ledger, on_cycle)
        return dg.MaterializeResult(metadata={**_told(summary, pins), **_equity(ledger, account)})


def _current(ledger: Any) -> str:
    account = ledger.current_account()
    if account is None:
        raise UsageError("the ledger has no account to decide for", "Run `hydra portfolio reset`, or start the trader")
    return str(account.name)


def _short(pins: Mapping[str, str]) -> str:
    return ", ".join(f"{kind} {version[:12]}" for kind, version in sorted(pins.items())) or "none"


def _told(summary: Any, pins: Mapping[str, str]) -> dict[str, Any]:
    return {"champions": _short(pins), "summary": str(summary)}


def _equity(ledger: Any, account: str) -> dict[str, Any]:
    return {}


ASSETS = [decisions]
