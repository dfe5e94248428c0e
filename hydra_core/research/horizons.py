"""How far ahead to look: the horizon that is worth the most after costs, chosen on training rows alone.

Costs decide the horizon: a round trip costs the same whatever is waited for, and what a forecast can earn grows with the
standard deviation of the span that it speaks of. Each horizon of the settings is walked forward inside the rows that every
later model trains on: ridge regressions, each calibrated on the other blocks, a trade where the expected return exceeds the
round trip. What is compared is the net return a day of capital that is always free for it, less its standard error. Where
none is above zero the settings' own horizon stays. Every horizon looked at is a trial in the ledger.

Not here: the labels (``alpha.labels``), which rows are whose (``folds``), the forecaster that is trained for the chosen
horizon (``forecasters``).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from hydra_core.alpha.forecaster.calibration import shrunk_slope
from hydra_core.alpha.forecaster.families import inner_blocks
from hydra_core.alpha.forecaster.linear import fit_linear
from hydra_core.alpha.labels import forward_return, scaled_return
from hydra_core.alpha.registry import write_atomically
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Floats, Ints
from hydra_core.research.bench import Bench
from hydra_core.research.dataset import EMBARGO_BARS, HORIZONS, Dataset, build_dataset, content_key, remembered
from hydra_core.research.evaluation import correlation
from hydra_core.research.folds import walk_forward
from hydra_core.research.hac import mean_test
from hydra_core.research.trials import trial_ledger

BLOCKS: Final = 3
"""Walk-forward blocks inside the training rows."""


@dataclass(frozen=True, slots=True)
class HorizonTrial:
    """What looking that far ahead came to on training rows.

    Parameters
    ----------
    horizon : bars
    correlation : of forecasts and returns of rows that the regression had not seen
    break_even : correlation from which on trading on every forecast of a normal pays its costs
    traded : share of rows and pairs whose expected return exceeds the round trip
    daily_bp, error_bp : net return a day of capital that is always free, basis points, and its standard error
    """

    horizon: int
    correlation: float
    break_even: float
    traded: float
    daily_bp: float
    error_bp: float

    @property
    def worth(self) -> float:
        """What is compared: net return a day less its standard error, basis points."""
        return self.daily_bp - self.error_bp


def at_best(bench: Bench, dataset: Dataset) -> Dataset:
    """The dataset at the best of the settings' horizons; as it is where they name none.

    Raises
    ------
    InputMissing : the history is too short for one of the horizons
    """
    asked = bench.training.forecaster.horizons
    if not asked:
        return dataset
    key = (sorted(asked), bench.training.stride_bars, bench.limits.round_trip)
    found = remembered(dataset.stage("horizons", *key), lambda: choose(bench, dataset, asked))
    horizon = int(found["horizon"])
    if horizon != dataset.horizon:
        training = bench.training.model_copy(update={"horizon_bars": horizon})
        dataset = build_dataset(bench.datasets, dataset.panel, training)
    write_atomically(dataset.folder / HORIZONS, json.dumps(found, indent=1, sort_keys=True).encode())
    return dataset


def choose(bench: Bench, dataset: Dataset, horizons: tuple[int, ...]) -> dict[str, Any]:
    """Try every horizon and the dataset's own; the one that is worth the most, with all that was tried, as JSON.

    Raises
    ------
    InputMissing : the history is too short for one of the horizons
    """
    tried = sorted({*horizons, dataset.horizon})
    rows = _training_rows(bench, dataset, tried)
    name = (
        f"horizon-{dataset.version[:12]}-{content_key(tried, bench.training.stride_bars, bench.limits.round_trip)[:8]}"
    )
    ledger = trial_ledger(bench.home.studies)
    lines: list[HorizonTrial] = []
    for number, horizon in enumerate(tried):
        bench.progress("horizon", number, len(tried))
        ledger.add(f"{name}/{number}", {"study": name, "number": number, "parameters": {"horizon_bars": horizon}})
        lines.append(_judged(bench, dataset, horizon, rows, tried[-1]))
    bench.progress("horizon", len(tried), len(tried))
    best = max(lines, key=lambda line: line.worth)
    horizon = best.horizon if best.worth > 0 else dataset.horizon
    return {"study": name, "horizon": horizon, "tried": [asdict(line) for line in lines]}


def _training_rows(bench: Bench, dataset: Dataset, tried: list[int]) -> Ints:
    """Rows whose labels end before the first test block, whichever horizon is taken."""
    training, plan = bench.training, dataset.folds
    end = min(
        walk_forward(plan.rows, training.folds, horizon, EMBARGO_BARS, training.lockbox_share, warm_up=plan.warm_up)
        .folds[0].test.start
        for horizon in tried
    )  # fmt: skip
    return np.arange(plan.warm_up, end - tried[-1] - 1 - EMBARGO_BARS, training.stride_bars, dtype=np.int64)


def _judged(bench: Bench, dataset: Dataset, horizon: int, rows: Ints, longest: int) -> HorizonTrial:
    label = dataset.label if horizon == dataset.horizon else scaled_return(dataset.panel, horizon)
    returns, sigma = forward_return(dataset.panel, horizon), dataset.sigma * math.sqrt(horizon)
    known = np.asarray(np.isfinite(dataset.features).all(axis=2))
    tests, said = [], []
    for train, valid, test in inner_blocks(rows, BLOCKS, longest + 1):
        said.append(fit_linear(dataset.features, label, known, train, valid).predict(dataset.features, test))
        tests.append(test)
    net = []
    for number, (test, raw) in enumerate(zip(tests, said, strict=True)):
        others = [other for other in range(len(tests)) if other != number]
        at = np.concatenate([tests[other] for other in others])
        slope, _ = shrunk_slope(np.concatenate([said[other] for other in others]), label[at], dataset.days[at])
        expected = slope * raw * sigma[test]
        won = np.sign(expected) * returns[test] - bench.limits.round_trip
        net.append(np.where(np.abs(expected) > bench.limits.round_trip, won, np.nan))
    at, earned = np.concatenate(tests), np.concatenate(net)
    typical = float(np.nanmedian(sigma[at]))
    bars_a_day = DAY_MS / dataset.panel.interval.ms
    daily, error = _a_day(np.nan_to_num(earned) * bars_a_day / horizon * 1e4, dataset.days[at], horizon / bars_a_day)
    return HorizonTrial(
        horizon=horizon,
        correlation=correlation(np.concatenate(said), label[at]),
        break_even=bench.limits.round_trip / (typical * math.sqrt(2 / math.pi)),
        traded=float(np.isfinite(earned).mean()),
        daily_bp=daily,
        error_bp=error,
    )


def _a_day(values: Floats, days: Ints, reach: float) -> tuple[float, float]:
    """Mean over days of values (n, P) and its standard error; a label reaches ``reach`` days ahead."""
    numbers, group = np.unique(days, return_inverse=True)
    daily = np.bincount(group, values.mean(axis=1), numbers.size) / np.bincount(group, minlength=numbers.size)
    try:
        seen = mean_test(daily, math.ceil(reach))
    except InputMissing:
        raise InputMissing(
            f"{numbers.size} days to choose a horizon of {reach:.1f} days by", "Collect a longer history"
        ) from None
    return seen.mean, seen.error
