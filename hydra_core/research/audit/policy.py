"""The leak suite over a policy candidate: L1, L5, L6 and L9, on development alone.

Its chain is audited whole: forecaster, observation, decision. Not here: what its forecaster learnt (its own suite), what every
candidate of a dataset reads (``suite``).
"""

from __future__ import annotations

import math

import numpy as np

from hydra_core.alpha.models import POLICY, PolicyObservation
from hydra_core.research.audit.canary import next_moves, sing
from hydra_core.research.audit.causality import SEEN, decisions_ignore_the_future
from hydra_core.research.audit.learning import extra_lag
from hydra_core.research.audit.lines import AuditLine
from hydra_core.research.audit.plausibility import plausible_sharpe
from hydra_core.research.bench import Bench
from hydra_core.research.dataset import Dataset
from hydra_core.research.forecasters import load_forecaster
from hydra_core.research.gates import plausible_caps
from hydra_core.research.hac import sharpe_error
from hydra_core.research.metrics import DAYS_A_YEAR, annual_sharpe
from hydra_core.research.policies import recorded_lanes, unseen_block


def audit_policy(bench: Bench, dataset: Dataset, version: str) -> list[AuditLine]:
    """L1, L5, L6 and L9 of a sealed policy.

    Raises
    ------
    ArtifactInvalid : its forecaster, or what was kept of its walk-forward, is gone
    """
    from hydra_core.alpha.policy.artifact import load

    registry = bench.registry
    policy = load(registry.path(POLICY, version), version)
    times = str(registry.card(POLICY, version).settings["forecaster"])
    span = dataset.folds.out_of_sample
    book = recorded_lanes(bench, dataset, times).rows(slice(0, len(span)))
    unseen = unseen_block(dataset, version)
    by_lag = dict(enumerate(unseen["by_lag"].tolist()))
    daily = unseen["policy"]
    caps = plausible_caps(bench.home.market, dataset.horizon * dataset.panel.interval.ms)
    return [
        decisions_ignore_the_future(
            policy, load_forecaster(bench, times), dataset.panel, bench.limits.round_trip * 1e4
        ),
        *observation_canary(dataset, book.observation),
        extra_lag(by_lag, float(unseen["error"]), "positions held"),
        plausible_sharpe(annual_sharpe(daily), sharpe_error(daily, 1) * math.sqrt(DAYS_A_YEAR), caps),
    ]


def observation_canary(dataset: Dataset, seen: PolicyObservation) -> list[AuditLine]:
    """L5: nothing that it observes knows the next bar's return.

    Parameters
    ----------
    seen : observations (n, P) from the first row of the walk-forward blocks on
    """
    start = dataset.folds.out_of_sample.start
    columns = np.stack([getattr(seen, name) for name in SEEN], axis=2).astype(np.float32)
    return sing(columns, SEEN, next_moves(dataset.panel)[start : start + len(columns)])
