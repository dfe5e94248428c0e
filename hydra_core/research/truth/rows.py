"""The table's rows: which measure on which worlds, what it has to reach, and how readings become a verdict.

Not here: the measures (``measures``), running them (``bench``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from hydra_core.research.truth import forced, measures, realdata
from hydra_core.research.truth.measures import Measure, Reading

Z: Final = 1.96


@dataclass(frozen=True, eq=False)
class Spec:
    """One row to be measured.

    Parameters
    ----------
    key : short and unique, for resuming and for choosing rows
    name : what a person reads
    measure, size : what is called with each seed; None for what is measured on recorded history alone
    goal, sense : the judged value has to be at least, or at most, the goal
    seeds, quick : number of seeds of a full and of a quick run
    quick_size : size of a quick run; the full one where 0
    count : the readings are successes: the interval is that of a binomial share
    recorded : makes the measure from folders of recorded history, the second one the sealed period after it or None
    part : name of the part of another row's reading that this row is; its key begins with that row's and a slash
    beside : notes of the readings whose means are shown beside the row, without a goal
    """

    key: str
    name: str
    measure: Measure | None
    size: int
    goal: float
    sense: Literal["least", "most"]
    seeds: int
    quick: int = 1
    quick_size: int = 0
    count: bool = False
    recorded: Callable[[Path, Path | None], Measure] | None = None
    part: str = ""
    beside: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Key of the row whose reading this one is read off."""
        return self.key.partition("/")[0] if self.part else self.key


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Parameters
    ----------
    ours, reference, ratio : means over the seeds; ``ratio`` is what is judged
    low, high : its 95 % interval
    goal, sense : as in :class:`Spec`
    holds : whether the goal is met; after a quick run, and on history that cannot be drawn anew, whether the interval does
        not exclude it
    beside : further figures by name
    """

    name: str
    ours: float
    reference: float
    ratio: float
    low: float
    high: float
    goal: float
    sense: str
    holds: bool
    sample: str
    beside: dict[str, float] = field(default_factory=dict)

    @property
    def goal_text(self) -> str:
        """The goal as a person reads it."""
        return f"{'at least' if self.sense == 'least' else 'at most'} {self.goal:g}"

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form: name, ours, reference, ratio, goal, holds, and what they rest on."""
        return {
            "name": self.name,
            "ours": self.ours,
            "reference": self.reference,
            "ratio": self.ratio,
            "goal": self.goal,
            "holds": self.holds,
            "sense": self.sense,
            "interval": [self.low, self.high],
            "sample": self.sample,
            "beside": self.beside,
        }


_REAL: Final = realdata.real_row

ROWS: Final = (
    Spec(
        "linear", "share of Bayes IC, linear, rho .05", measures.share_found("linear", 0.05), 150_000, 0.95, "least", 5
    ),
    Spec(
        "interaction",
        "share of Bayes IC, interaction, rho .10",
        measures.share_found("interaction", 0.10),
        150_000,
        0.90,
        "least",
        5,
    ),
    Spec("rare", "share of Bayes IC, rare, rho .05", measures.share_found("rare", 0.05), 150_000, 0.90, "least", 5),
    Spec("null", "promotions on null histories", measures.null_run, 5, 0.01, "most", 100, 10, count=True),
    Spec("planted", "promotions at a best Sharpe of 4", measures.planted_run, 5, 0.95, "least", 100, 10, count=True),
    Spec("regimes", "regimes: balanced accuracy over Bayes", measures.regimes_found, 20_000, 0.97, "least", 10, 3),
    Spec("delay", "regimes: median delay beyond Bayes, bars", measures.regime_delay, 20_000, 2.0, "most", 10, 3),
    Spec("hawkes", "Hawkes: error of alpha at 20k events", measures.branching_found, 20_000, 0.01, "most", 20, 5),
    Spec("recall", "cascades: recall", measures.cascade_recall, 60, 0.95, "least", 10, 3),
    Spec("alarms", "cascades: false alarms a day", measures.cascade_alarms, 60, 0.2, "most", 10, 3),
    Spec("volatility", "QLIKE of a day over random walk", measures.volatility_loss, 1_500, 0.80, "most", 20, 5),
    Spec("within", "90 % intervals of a day, off by", measures.intervals_held, 1_500, 0.015, "most", 20, 5),
    Spec(
        "crowd", "crowd: share of the best observer's AP", forced.crowd_found, 365, 0.90, "least", 5, 1, 240,
        beside=("oracle", "of the oracle"),
    ),
    Spec(
        "reversal", "L4: nothing found in reversed time", measures.reversed_share, 20_000, 1.0, "least", 10, count=True
    ),
    Spec(
        "embargo", "L7: skill does not hang on the embargo", measures.embargo_flat, 20_000, 1.0, "least", 10, count=True
    ),
    Spec("real", "real data: IC 1h less the best plain one's", None, 9, 0.0, "least", 1, 1, 1, recorded=_REAL),
    Spec(
        "real/loss", "real data: log-loss skill 1h less the best's", None, 9, 0.0, "least", 1, 1, 1, recorded=_REAL,
        part="loss",
    ),
    Spec(
        "real/sharpe", "real data: net Sharpe 4h less the best's", None, 9, 0.0, "least", 1, 1, 1, recorded=_REAL,
        part="sharpe",
    ),
    Spec(
        "real/leaks", "real data: findings of the leak audit", None, 9, 0.0, "most", 1, 1, 1, recorded=_REAL,
        part="leaks",
    ),
    Spec(
        "hours", "real data: QLIKE 1h over the best other", None, 6, 1.0, "most", 1, 1, 2,
        recorded=realdata.volatility_row,
    ),
    Spec(
        "hours/within", "real data: 90 % intervals of an hour, off by", None, 6, 0.015, "most", 1, 1, 2,
        recorded=realdata.volatility_row, part="within",
    ),
    Spec(
        "days", "real data: QLIKE of a day over the best other", None, 6, 1.0, "most", 1, 1, 2,
        recorded=realdata.day_volatility_row,
    ),
    Spec(
        "days/within", "real data: 90 % intervals of a day, off by", None, 6, 0.015, "most", 1, 1, 2,
        recorded=realdata.day_volatility_row, part="within",
    ),
)  # fmt: skip


def combine(spec: Spec, readings: Sequence[Reading], *, quick: bool) -> Row:
    """The verdict over the readings of all seeds.

    The interval comes from the spread over seeds where there are three of them or more, else from the readings' own errors;
    that of successes is Clopper and Pearson's.
    """
    count = len(readings)
    value = math.fsum(one.value for one in readings) / count
    if spec.count:
        low, high = binomial_interval(round(value * count), count)
    else:
        own = math.sqrt(math.fsum(one.error**2 for one in readings)) / count
        over = math.sqrt(math.fsum((one.value - value) ** 2 for one in readings) / max(count - 1, 1) / count)
        error = over if count >= 3 else own
        low, high = value - Z * error, value + Z * error
    least = spec.sense == "least"
    met = value >= spec.goal if least else value <= spec.goal
    allowed = high >= spec.goal if least else low <= spec.goal
    return Row(
        name=spec.name,
        ours=math.fsum(one.ours for one in readings) / count,
        reference=math.fsum(one.reference for one in readings) / count,
        ratio=value,
        low=low,
        high=high,
        goal=spec.goal,
        sense=spec.sense,
        holds=met or ((quick or spec.recorded is not None) and allowed),
        sample=f"{count} of size {spec.quick_size if quick and spec.quick_size else spec.size}",
        beside={name: math.fsum(float(one.notes[name]) for one in readings) / count for name in spec.beside},
    )


def binomial_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson, 1934)."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return low, high
