"""How a hazard is judged: average precision against volatility alone, with an interval over days; Brier skill.

ROC flatters rare events and is not used. Overlapping rows are one event, so days are drawn, not rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from hydra_core.domain.market import Floats, Ints

DRAWS: Final = 500
LEVEL: Final = 0.99


@dataclass(frozen=True)
class CrowdMetrics:
    """Figures of a crowd model on rows it has not seen.

    Parameters
    ----------
    rows, events : sampled rows of both sides, and those followed by a forced exit
    base_rate : events / rows
    pr_auc, baseline_pr_auc : average precision of the model and of volatility alone
    pr_auc_low : lower end of the 99 % interval of ``pr_auc``
    ratio, ratio_low, ratio_high : their quotient with its 99 % day-block bootstrap interval
    brier_skill : 1 - Brier score / Brier score of the training base rate
    brier_skill_over_baseline : the same against volatility alone
    brier_skill_low : lower end of the 99 % interval of ``brier_skill``
    calibration_slope : of the log odds, 1 where probabilities spread as they should
    mean_hazard : mean probability; compare with ``base_rate``
    top_decile_rate : share of events among the tenth of rows with the highest hazard
    """

    rows: int
    events: int
    base_rate: float
    pr_auc: float
    baseline_pr_auc: float
    ratio: float
    ratio_low: float
    ratio_high: float
    brier_skill: float
    brier_skill_low: float
    brier_skill_over_baseline: float
    calibration_slope: float
    mean_hazard: float
    top_decile_rate: float
    pr_auc_low: float

    def to_json(self) -> dict[str, float]:
        """Plain numbers by name."""
        return {name: float(value) for name, value in asdict(self).items()}


def average_precision(score: Floats, label: Floats, weight: Floats | None = None) -> float:
    """Area under the precision-recall curve by its steps; the base rate for a score that knows nothing.

    Parameters
    ----------
    score, label, weight : arrays (n,); rows of equal score count together
    """
    order = np.argsort(-score, kind="stable")
    return _ordered_precision(
        label[order], np.ones(score.size) if weight is None else weight[order], _ends(score[order])
    )


def _ends(ordered_score: Floats) -> Ints:
    """Last row of each run of equal scores."""
    return np.append(np.flatnonzero(np.diff(ordered_score)), ordered_score.size - 1)


def _ordered_precision(label: Floats, weight: Floats, ends: Ints) -> float:
    hits = np.cumsum(weight * label)[ends]
    seen = np.cumsum(weight)[ends]
    if hits[-1] <= 0:
        return float("nan")
    gained = np.diff(hits, prepend=0.0)
    return float((gained * hits / np.maximum(seen, 1e-12)).sum() / hits[-1])


def score_hazard(
    hazard: Floats, baseline: Floats, label: Floats, day: Ints, usual_rate: float, slope: float, seed: int
) -> CrowdMetrics:
    """All figures of a model and its baseline on the same rows.

    Parameters
    ----------
    hazard, baseline, label : arrays (n,), probabilities and 0 or 1
    day : array (n,), day number of each row: what is drawn with replacement
    usual_rate : base rate of the training rows, the constant that Brier skill is measured against
    slope : calibration slope as measured by the caller
    seed : of the draws
    """
    orders = [np.argsort(-values, kind="stable") for values in (hazard, baseline)]
    ends = [_ends(values[order]) for values, order in zip((hazard, baseline), orders, strict=True)]
    labels = [label[order] for order in orders]
    days, place = np.unique(day, return_inverse=True)
    loss = (hazard - label) ** 2
    usual_loss = (usual_rate - label) ** 2
    rng = np.random.default_rng(seed)
    precisions, ratios, skills = np.empty(DRAWS), np.empty(DRAWS), np.empty(DRAWS)
    for draw in range(DRAWS):
        weight = np.bincount(rng.integers(0, days.size, days.size), minlength=days.size)[place].astype(np.float64)
        model, base = (_ordered_precision(labels[i], weight[orders[i]], ends[i]) for i in (0, 1))
        precisions[draw], ratios[draw] = model, model / base
        skills[draw] = 1.0 - (weight * loss).sum() / (weight * usual_loss).sum()
    ordinary = np.ones(label.size)
    model, base = (_ordered_precision(labels[i], ordinary, ends[i]) for i in (0, 1))
    tail = (1.0 - LEVEL) / 2.0
    top = hazard >= np.quantile(hazard, 0.9)
    return CrowdMetrics(
        rows=int(label.size),
        events=int(label.sum()),
        base_rate=float(label.mean()),
        pr_auc=model,
        baseline_pr_auc=base,
        ratio=model / base,
        ratio_low=float(np.nanquantile(ratios, tail)),
        ratio_high=float(np.nanquantile(ratios, 1.0 - tail)),
        brier_skill=float(1.0 - loss.sum() / usual_loss.sum()),
        brier_skill_low=float(np.nanquantile(skills, tail)),
        brier_skill_over_baseline=float(1.0 - loss.sum() / ((baseline - label) ** 2).sum()),
        calibration_slope=slope,
        mean_hazard=float(hazard.mean()),
        top_decile_rate=float(label[top].mean()),
        pr_auc_low=float(np.nanquantile(precisions, tail)),
    )
