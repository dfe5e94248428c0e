"""What the live plane and the backtest see of a trained model: arrays in, arrays out, and how the seats are filled.

Not here: training (``forecaster/``, ``policy/``, ``crowd``), storage (``registry``), votes (``execution/committee``).
This module imports no learning library; each artifact's loader is imported when its seat is filled.

A loader is ``load(folder: Path, version: str)`` in ``forecaster/artifact.py``, ``policy/artifact.py`` and ``crowd.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from hydra_core.domain.errors import ArtifactInvalid
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Bools, Floats, Panel

if TYPE_CHECKING:
    from hydra_core.alpha.registry import ModelRegistry

FORECASTER: Final = "forecaster"
CROWD: Final = "crowd"
POLICY: Final = "policy"
KINDS: Final = (FORECASTER, CROWD, POLICY)
"""Kinds of trained artifacts; the analyst is code (or a language model) and has no artifact."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """The forecaster's word on every pair for the newest rows; all arrays of shape (n, P), NaN where unknown.

    Parameters
    ----------
    expected_return : signed log return from the next bar's open over the horizon; 0.01 is 1 %
    confidence : probability in [0, 1] that a trade in the direction of ``expected_return`` wins net of costs
    adverse_excursion : expected worst move against that trade inside the horizon, a positive fraction of price
    volatility : expected standard deviation of the log return over the horizon
    """

    expected_return: Floats
    confidence: Floats
    adverse_excursion: Floats
    volatility: Floats

    @property
    def z(self) -> Floats:
        """Expected return in units of the horizon's standard deviation, shape (n, P)."""
        return self.expected_return / self.volatility

    def rows(self, rows: slice) -> Forecast:
        """A contiguous part of the rows."""
        return Forecast(
            self.expected_return[rows], self.confidence[rows], self.adverse_excursion[rows], self.volatility[rows]
        )

    @classmethod
    def unknown(cls, rows: int, pairs: int) -> Forecast:
        """No word on anything: all NaN."""
        none = np.full((rows, pairs), np.nan)
        return cls(none, none.copy(), none.copy(), none.copy())


@dataclass(frozen=True, eq=False)
class Hazard:
    """Probability that longs (shorts) are forced out within the horizon; arrays of shape (n, P), NaN where unknown."""

    long: Floats
    short: Floats

    def against(self, long_side: Bools) -> Floats:
        """Hazard against the side held: ``long`` where ``long_side`` is true, else ``short``."""
        return np.where(long_side, self.long, self.short)

    def rows(self, rows: slice) -> Hazard:
        """A contiguous part of the rows."""
        return Hazard(self.long[rows], self.short[rows])


@dataclass(frozen=True, eq=False)
class PolicyObservation:
    """What the policy sees of each pair in one bar; arrays of one shape, usually (P,).

    Everything but ``position`` comes from :func:`hydra_core.alpha.policy.observation.policy_inputs`.

    Parameters
    ----------
    forecast_z : expected return over the horizon, in horizon standard deviations
    confidence : the forecaster's probability of winning net of costs
    position : signed position as a share of the pair's largest permitted notional, in [-1, 1]
    displacement_z : how far the close stands above its own last half hour, in standard deviations
    volatility_ratio : log of short-run over day-long volatility
    cost_bp_over_sigma : round-trip cost over the horizon's standard deviation (a pure number)
    """

    forecast_z: Floats
    confidence: Floats
    position: Floats
    displacement_z: Floats
    volatility_ratio: Floats
    cost_bp_over_sigma: Floats

    def matrix(self) -> Floats:
        """The fields stacked on a last axis in the order above, shape (..., 6)."""
        return np.stack(
            [
                self.forecast_z,
                self.confidence,
                self.position,
                self.displacement_z,
                self.volatility_ratio,
                self.cost_bp_over_sigma,
            ],
            axis=-1,
        )


class ForecasterModel(Protocol):
    """A forecaster that holds, or asks for, its seat."""

    @property
    def version(self) -> str:
        """Content hash of the artifact."""
        ...

    @property
    def inputs(self) -> frozenset[str]:
        """Panel inputs it cannot do without."""
        ...

    @property
    def lookback(self) -> int:
        """Rows it needs before and including the first one asked for."""
        ...

    @property
    def horizon_bars(self) -> int:
        """Bars ahead that its forecast spans."""
        ...

    def forecast(self, panel: Panel, last: int) -> Forecast:
        """Forecast for the newest ``last`` rows; raises InputMissing when a declared input is absent."""
        ...


class CrowdModel(Protocol):
    """A model of forced exits that holds, or asks for, its seat."""

    @property
    def version(self) -> str:
        """Content hash of the artifact."""
        ...

    @property
    def inputs(self) -> frozenset[str]:
        """Panel inputs it cannot do without."""
        ...

    @property
    def lookback(self) -> int:
        """Rows it needs before and including the first one asked for."""
        ...

    def hazard(self, panel: Panel, last: int) -> Hazard:
        """Hazard for the newest ``last`` rows; raises InputMissing when a declared input is absent."""
        ...


class PolicyModel(Protocol):
    """A trading policy that holds, or asks for, its seat."""

    @property
    def version(self) -> str:
        """Content hash of the artifact."""
        ...

    def target(self, observation: PolicyObservation) -> Floats:
        """Wanted position as a share of the largest permitted one, in [-1, 1], of the observation's shape; NaN: no word."""
        ...


@dataclass(frozen=True)
class Models:
    """Who holds the seats; an absent one has its reason in ``absent`` and abstains."""

    forecaster: ForecasterModel | None = None
    crowd: CrowdModel | None = None
    policy: PolicyModel | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def versions(self) -> dict[str, str]:
        """Kind -> version of every seat that is filled."""
        seated = {FORECASTER: self.forecaster, CROWD: self.crowd, POLICY: self.policy}
        return {kind: model.version for kind, model in seated.items() if model is not None}

    def horizon_bars(self, otherwise: int) -> int:
        """Bars that the seated forecaster's word spans, which is how long a signal lives; ``otherwise`` without one."""
        return otherwise if self.forecaster is None else self.forecaster.horizon_bars

    @property
    def lookback(self) -> int:
        """Longest look-back of the seated models, rows."""
        return max((model.lookback for model in (self.forecaster, self.crowd) if model is not None), default=1)


def load_models(
    registry: ModelRegistry, pins: Mapping[str, str], *, now_ms: int | None = None, max_age_days: float = math.inf
) -> Models:
    """Fill the seats with pinned versions; a seat whose artifact fails stays empty and its reason is kept.

    Parameters
    ----------
    registry : ModelRegistry
    pins : kind -> version; kinds without a pin stay empty with the reason ``no <kind> champion``
    now_ms : market time, epoch ms; None: champions of any age are taken
    max_age_days : days since a champion took its seat after which it is not trusted with it any more
    """
    seated: dict[str, object] = {}
    absent: dict[str, str] = {}
    for kind in KINDS:
        version = pins.get(kind)
        if version is None:
            absent[kind] = f"no {kind} champion"
            continue
        try:
            if now_ms is not None and (old := too_old(registry, kind, version, now_ms, max_age_days)):
                absent[kind] = old
                continue
            seated[kind] = load_artifact(kind, registry.path(kind, version), version)
        except ArtifactInvalid as error:
            absent[kind] = str(error)
    return Models(**seated, absent=absent)  # type: ignore[arg-type]


def too_old(registry: ModelRegistry, kind: str, version: str, now_ms: int, max_age_days: float) -> str:
    """Why a champion is not trusted with its seat any more at a market time; empty where it is, or never held it."""
    seated_ms = registry.weights_since_ms(kind, version)
    if seated_ms is None or now_ms - seated_ms <= max_age_days * DAY_MS:
        return ""
    days = (now_ms - seated_ms) / DAY_MS
    return f"{kind} {version[:12]} has held its seat for {days:.0f} days, limit {max_age_days:g}"


def load_artifact(kind: str, folder: Path, version: str) -> ForecasterModel | CrowdModel | PolicyModel:
    """The model in one artifact folder; raises ArtifactInvalid when the folder does not hold one of that kind."""
    if kind == FORECASTER:
        from hydra_core.alpha.forecaster.artifact import load as load_forecaster

        return load_forecaster(folder, version)
    if kind == CROWD:
        from hydra_core.alpha.crowd import load as load_crowd

        return load_crowd(folder, version)
    if kind == POLICY:
        from hydra_core.alpha.policy.artifact import load as load_policy

        return load_policy(folder, version)
    raise ArtifactInvalid(f"unknown kind of model {kind!r}", f"Known: {', '.join(KINDS)}")
