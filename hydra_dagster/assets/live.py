"""Group live: the window run that decides every 30 s of market time.

One run lasts a window (15 min by default), because launching a run costs seconds. The decisions themselves, the lease
and the grid are ``hydra_core.window``; here a run is given its pins and tells Dagster what happened.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from pydantic import Field

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import iso
from hydra_dagster import keys, reporting, versions
from hydra_dagster.resources import Workshop

if TYPE_CHECKING:
    from hydra_core.ledger.store import Ledger
    from hydra_core.window import CycleReport, WindowSummary


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

    @property
    def limited(self) -> bool:
        """Whether something other than wall time ends the window."""
        return bool(self.cycles or self.window_market_s)


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
    from hydra_core.window import CycleReport, WindowConfig, run_window

    with reporting.plain_failures(), workshop.ledger() as ledger:
        account = config.account or _current(ledger)
        pins = workshop.registry.champions() if config.pins is None else config.pins
        window = WindowConfig(
            account=account,
            pins=pins,
            run_id=context.run_id,
            window_s=config.window_s or (None if config.limited else workshop.settings.platform.window_s),
            window_market_s=config.window_market_s or None,
            cycles=config.cycles or None,
        )
        context.log.info(f"window for account {account}, champions: {_short(pins)}")
        seen = 0

        def on_cycle(report: CycleReport) -> None:
            nonlocal seen
            seen += 1
            if seen % config.observe_every == 1 or config.observe_every == 1:
                context.log_event(dg.AssetObservation(keys.DECISIONS, metadata=_observed(report, seen)))

        with asked_to_end() as should_stop:
            summary = run_window(window, workshop.home, workshop.settings, None, ledger, on_cycle, should_stop)
        context.log.info(str(summary))
        metadata = {**_told(summary, pins), **_equity(ledger, account, summary)}
    return dg.MaterializeResult(metadata=metadata)


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Turn a termination into a question that the window asks itself between two cycles.

    Dagster would raise in the middle of whatever is done, and record a failed run for every `hydra down`.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    kept = {number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _current(ledger: "Ledger") -> str:
    account = ledger.current_account()
    if account is None:
        raise UsageError("the ledger has no account to decide for", "Start the trader, which opens one")
    return account.name


def _short(pins: Mapping[str, str]) -> str:
    return ", ".join(f"{kind} {version[:12]}" for kind, version in sorted(pins.items())) or "none"


def _observed(report: "CycleReport", number: int) -> dict[str, Any]:
    return {
        "cycle": iso(report.cycle_ms),
        "number": number,
        "mode": str(report.mode),
        "outcomes": reporting.as_json(report.outcomes),
        "latency_ms": report.latency_ms,
        "data_hash": report.decision.data_hash,
    }


def _told(summary: "WindowSummary", pins: Mapping[str, str]) -> dict[str, Any]:
    told = summary.to_json()
    return {
        "decided": summary.decided,
        "missed": summary.missed,
        "plans": summary.plans,
        "latency_p50_ms": reporting.number(told["latency_p50_ms"]),
        "latency_p95_ms": reporting.number(told["latency_p95_ms"]),
        "ended": summary.ended,
        "champions": reporting.as_json(dict(pins)),
        **({"seats nobody sat in": reporting.table(_empty(summary.absent, pins))} if summary.absent else {}),
        versions.RESULT: reporting.as_json(told),
    }


def _empty(absent: Mapping[str, str], pins: Mapping[str, str]) -> list[dict[str, str]]:
    """Why a seat abstained, cycle after cycle: nobody was promoted, or the champion is too old, altered, unreadable."""
    return [{"seat": seat, "pinned": pins.get(seat, "")[:12], "why": why} for seat, why in sorted(absent.items())]


def _equity(ledger: "Ledger", account: str, summary: "WindowSummary") -> dict[str, Any]:
    """The account's worth over the window, as numbers and as a picture."""
    since = summary.first_cycle_ms
    points = [] if since is None else ledger.equity_curve(account, since_ms=since)
    if not points:
        return {}
    first, last = float(points[0].equity), float(points[-1].equity)
    facts: dict[str, Any] = {"equity": reporting.number(last), "profit": reporting.number(last - first)}
    if len(points) > 1:
        from hydra_dagster.plots import line_chart

        times = [point.ts_ms for point in points]
        png = line_chart(times, {"equity": [float(point.equity) for point in points]}, "Equity, USDT")
        facts["equity_curve"] = reporting.picture(png, "Equity over the window, USDT")
    return facts


ASSETS: Final = [decisions]
