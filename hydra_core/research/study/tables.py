"""A study as tables of words and numbers, for the terminal, the web UI and the report alike.

Not here: the numbers (``records``), pictures (``plots``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from hydra_core.domain.intervals import iso
from hydra_core.research.study.contests import NAMES, STANDARDISED, Contest
from hydra_core.research.study.records import Estimate, Held, Liquidations, MarketStudy, PairStudy, Unknown

Row = Mapping[str, str]
T = TypeVar("T")
NOT_KNOWN: Final = "not known"
NO_RULE: Final = "For reading only: no seat, gate, risk rule or order reads any of it."


def tables_of(study: MarketStudy) -> dict[str, list[Row]]:
    """Title -> rows, every row of a table with the same columns; tables without a row are left out."""
    made: dict[str, list[Row]] = {
        "volatility a year": _rows(study, lambda one: one.volatility, _volatility),
        "time of day": _rows(study, lambda one: one.diurnal, _diurnal),
        "jumps": _rows(study, lambda one: one.jumps, _jumps),
        "diffusion": _rows(study, lambda one: one.diffusion, _diffusion),
        "GARCH(1,1)-t": _rows(study, lambda one: one.garch, _garch),
        "regimes": _rows(study, lambda one: one.regimes, _regimes),
        "regimes against one t-GARCH, nats a bar": _densities(study),
        "regimes against one t-GARCH, an hour ahead": _hours(study),
        "changes of volatility": _changes(study),
        "clustering": _clustering(study),
        "liquidations": _rows(study, lambda one: one.liquidations, _liquidations),
        "forecasts an hour ahead": _forecasts(study),
        "models of the league": _league(study),
        "whose moves cause whose": _cross(study),
        "correlation spikes": _spikes(study),
        "could not be estimated": [{"what": what, "why": why} for what, why in study.unknown.items()],
    }
    return {title: rows for title, rows in made.items() if rows}


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a markdown table."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([row[head] for head in heads] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def told(estimate: Estimate, form: str = ".3g") -> str:
    """A number with its 95 % interval, where there is one."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def _rows(study: MarketStudy, part: Callable[[PairStudy], T | Unknown], row: Callable[[T], Row]) -> list[Row]:
    found = [(one.pair, part(one)) for one in study.pairs]
    return [{"pair": str(pair), **row(made)} for pair, made in found if not isinstance(made, Unknown)]


def _volatility(part: Any) -> Row:
    corrected = {} if part.ticks is None else {"trades a bar": f"{part.ticks:.0f}"}
    made = {name: told(one, ".1%") for name, one in part.estimates.items()}
    made.setdefault("Garman-Klass, ticks corrected", NOT_KNOWN)
    return {
        **made,
        "trades a bar": NOT_KNOWN,
        **corrected,
        "drift (GBM)": told(part.drift, ".2f"),
        "days": str(part.days),
    }


def _diurnal(part: Any) -> Row:
    return {
        "wildest hour (UTC)": f"{part.peak_hour:02d}: {part.hours[part.peak_hour]:.2f}",
        "quietest hour (UTC)": f"{part.quiet_hour:02d}: {part.hours[part.quiet_hour]:.2f}",
        "wildest over quietest": f"{part.swing:.2f}",
    }


def _jumps(part: Any) -> Row:
    return {
        "days with jumps at 5 %": told(part.share_5, ".1%"),
        "at 1 %": told(part.share_1, ".1%"),
        "flags a day": told(part.flags_a_day, ".2f"),
        "flags without the diurnal factor": f"{part.raw_flags_a_day:.2f}" if part.factored else "no factor known",
        "newest": iso(part.newest[0].at_ms) if part.newest else "none",
        "days": str(part.days),
    }


def _diffusion(part: Any) -> Row:
    least = min(part.bic.values())
    return {
        "best by BIC": part.best,
        "BIC above the best": ", ".join(f"{name} {bic - least:.0f}" for name, bic in part.bic.items()),
        "parameters": "; ".join(f"{name} {told(one)}" for name, one in part.parameters.items()),
        "note": part.note,
    }


def _garch(part: Any) -> Row:
    return {
        "alpha": told(part.alpha),
        "beta": told(part.beta, ".4g"),
        "degrees": told(part.degrees),
        "persistence": f"{part.persistence:.4f}",
        "half-life, h": "none: not stationary" if part.half_life_h is None else f"{part.half_life_h:.1f}",
        "long run": "none: not stationary" if part.volatility is None else f"{part.volatility:.1%}",
    }


def _regimes(part: Any) -> Row:
    return {
        "scales": ", ".join(f"{value:.2f}" for value in part.scales),
        "dwell, h": ", ".join(f"{value:.1f}" for value in part.dwell_h),
        "share of time": ", ".join(f"{value:.0%}" for value in part.share),
        "degrees": f"{part.degrees:.1f}",
        "now": ", ".join(f"{value:.0%}" for value in part.now),
        "nats a bar over t-GARCH": told(part.gain_over_garch, ".4f"),
        "over the live chain": told(part.gain_over_live, ".4f"),
        "note": part.note,
    }


def _contests(study: MarketStudy) -> list[tuple[dict[str, str], Contest]]:
    """Every contest with its first columns, all pairs before each."""
    part = study.regime_gains
    if isinstance(part, Unknown):
        return []
    every = [("all", one) for one in part.together]
    every += [(pair, one) for pair, contests in part.pairs.items() for one in contests]
    return [({"pair": pair, "bars": f"{one.minutes}m"}, one) for pair, one in sorted(every, key=lambda e: e[1].minutes)]


def _densities(study: MarketStudy) -> list[Row]:
    made: list[Row] = []
    for first, one in _contests(study):
        gains = {name: told(one.contenders[name].over_garch, ".4f") if name in one.contenders else "" for name in NAMES}
        dwell = ", ".join(f"{hours:.1f}" for hours in one.contenders[STANDARDISED].dwell_h)
        life = "" if one.half_life_h is None else f"{one.half_life_h:g}"
        rows = f"{one.judged_rows} after {one.fitted_rows}"
        made.append(
            {
                **first,
                **gains,
                "standardised: regimes over t-GARCH": told(one.regimes_own, ".4f"),
                "half-life of the standard, h": life,
                "its regimes' dwell, h": dwell,
                "bars judged": rows,
            }
        )
    return made


def _hours(study: MarketStudy) -> list[Row]:
    made: list[Row] = []
    for first, one in _contests(study):
        cells = {}
        for name in NAMES:
            duel = one.contenders[name].hour if name in one.contenders else None
            cells[f"{name}: QLIKE gained"] = "" if duel is None else f"{duel.gain:.4f}"
            cells[f"{name}: p"] = "" if duel is None else f"{duel.p_value:.2g}"
        made.append({**first, **cells})
    return made


def _changes(study: MarketStudy) -> list[Row]:
    made: list[Row] = []
    for one in study.pairs:
        if isinstance(one.changes, Unknown):
            continue
        fresh = f"{one.changes.fresh:.1%}"
        made += [
            {
                "pair": str(one.pair),
                "when": iso(point.at_ms),
                "sure": f"{point.sure:.0%}",
                "before": f"{point.before:.1%}",
                "after": f"{point.after:.1%}",
                "one in the last hours": fresh,
            }
            for point in one.changes.points
        ]
        if not one.changes.points:
            made.append(
                {"pair": str(one.pair), "when": f"none in {one.changes.hours} hours", "sure": "", "before": "",
                 "after": "", "one in the last hours": fresh}
            )  # fmt: skip
    return made


def _clustering(study: MarketStudy) -> list[Row]:
    made: list[Row] = []
    for one in study.pairs:
        forced = one.liquidations.clustering if isinstance(one.liquidations, Liquidations) else None
        for what, part in (("large moves", one.moves), ("liquidations", forced)):
            if part is None or isinstance(part, Unknown):
                continue
            made.append(
                {
                    "pair": str(one.pair),
                    "events": f"{part.events} {what}",
                    "a day": f"{part.a_day:.2f}",
                    "branching ratio": told(part.branching, ".2f"),
                    "half-life": NOT_KNOWN if part.half_life_s is None else _lasting(part.half_life_s),
                    "p of no clustering": f"{part.over_poisson:.2g}",
                    "p of the residuals": f"{part.residual_p:.2g}",
                    "note": part.note,
                }
            )
    return made


def _liquidations(part: Liquidations) -> Row:
    matrix = NOT_KNOWN if part.matrix is None else "; ".join(" ".join(f"{v:.2f}" for v in row) for row in part.matrix)
    return {
        "size power": f"{part.size_power:.2f}",
        "longs and shorts, caused by": matrix,
        "spectral radius": NOT_KNOWN if part.radius is None else told(part.radius, ".2f"),
        "cascades": str(part.cascades),
        "newest": iso(part.newest_ms[0]) if part.newest_ms else "none",
        "median length": NOT_KNOWN if part.median_s is None else _lasting(part.median_s),
    }


def _forecasts(study: MarketStudy) -> list[Row]:
    part = study.forecasts
    if isinstance(part, Unknown):
        return []
    made: list[Row] = []
    for pair, losses in part.pairs.items():
        logs, pooled = part.logs_over_levels[pair], part.pooled_over_logs[pair]
        share, typical = _interval(part.pair_intervals[pair])
        made.append(
            {
                "pair": pair,
                "HAR in levels": f"{losses['HAR in levels']:.4f}",
                "log-HAR": f"{losses['log-HAR']:.4f}",
                "pooled log-HAR": f"{losses['pooled log-HAR']:.4f}",
                "logs better than levels, p": f"{logs.p_value:.2g}",
                "pooled better than logs, p": f"{pooled.p_value:.2g}",
                "90 % interval holds": share,
                "typical interval": typical,
            }
        )
    return made


def _league(study: MarketStudy) -> list[Row]:
    part = study.forecasts
    if isinstance(part, Unknown):
        return []
    made: list[Row] = []
    for name, loss in part.losses.items():
        share, typical = _interval(part.intervals[name])
        made.append(
            {
                "model": name,
                "QLIKE": f"{loss:.4f}",
                "among the best": "yes" if name in part.best_set else "",
                "90 % interval holds": share,
                "in the wildest tenth": f"{part.intervals[name].wild:.1%}",
                "typical interval": typical,
            }
        )
    return made


def _interval(held: Held) -> tuple[str, str]:
    """The share that intervals held, and the ends of the typical one."""
    return told(held.share, ".1%"), f"{held.low:.2f} to {held.high:.2f} times the forecast volatility"


def _cross(study: MarketStudy) -> list[Row]:
    part = study.cross
    if isinstance(part, Unknown):
        return []
    made: list[Row] = []
    for kind, row in zip(part.kinds, part.matrix, strict=True):
        causes = {f"by {other}": f"{value:.2f}" for other, value in zip(part.kinds, row, strict=True)}
        made.append({"moves of": kind, "events": str(part.events[kind]), **causes})
    ending = {"moves of": "spectral radius", "events": told(part.radius, ".2f")}
    return [*made, {**dict.fromkeys(made[0], ""), **ending}]


def _spikes(study: MarketStudy) -> list[Row]:
    part = study.spikes
    if isinstance(part, Unknown):
        return []
    return [
        {"from": iso(one.from_ms), "until": iso(one.until_ms), "evidence, nats": f"{one.evidence:.1f}"}
        for one in part.newest
    ]


def _lasting(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
