"""Leak audit of features on real data: a value at time t must not change when everything after t does.

Not here: the gates that judge one candidate (``gates``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydra_core.alpha.features import FeatureSet, features
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Panel, noise_after


@dataclass(frozen=True, slots=True)
class LeakLine:
    """What was found of one feature."""

    name: str
    clean: bool
    detail: str


def audit_features(panel: Panel, rows: int = 20, seed: int = 7) -> list[LeakLine]:
    """Replace the future of random rows by noise and compare the past bit for bit, for every feature the panel can feed.

    Parameters
    ----------
    panel : Panel, longer than the longest look-back
    rows : int, number of random rows
    seed : int, of rows and noise

    Raises
    ------
    InputMissing : the panel is shorter than the longest look-back
    """
    chosen = FeatureSet().available(panel.inputs)
    if len(panel) <= chosen.lookback:
        raise InputMissing(f"{len(panel)} bars are fewer than the look-back of {chosen.lookback}", "Give more history")
    rng = np.random.default_rng(seed)
    clean = chosen.compute(panel)
    leaks: dict[str, int] = {}
    for row in rng.integers(chosen.lookback, len(panel), rows):
        noisy = chosen.compute(noise_after(panel, int(row), rng))
        before, after = clean[:row], noisy[:row]
        same = (before == after) | (np.isnan(before) & np.isnan(after))
        for column, name in enumerate(chosen.names):
            if not same[..., column].all():
                leaks.setdefault(name, int(row))
    lines = [
        LeakLine(name, name not in leaks, f"the past changed before row {leaks[name]}" if name in leaks else "")
        for name in chosen.names
    ]
    absent = [one.name for one in features() if one.name not in set(chosen.names)]
    return lines + [LeakLine(name, True, "not audited: its input is not in this data") for name in absent]
