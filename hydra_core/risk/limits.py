"""The frozen settings that a decision obeys, handed around as one object."""

from __future__ import annotations

from dataclasses import dataclass, field

from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.settings import CostSettings, DecisionSettings, RiskSettings


@dataclass(frozen=True, slots=True)
class Limits:
    """What a decision may do and what it costs.

    Parameters
    ----------
    decision, risk, costs : the frozen parts of the settings
    horizon_bars : int, forecast bars (5m) that a signal spans
    """

    decision: DecisionSettings = field(default_factory=DecisionSettings)
    risk: RiskSettings = field(default_factory=RiskSettings)
    costs: CostSettings = field(default_factory=CostSettings)
    horizon_bars: int = 48

    @property
    def horizon_ms(self) -> int:
        """Length of a signal's horizon, ms."""
        return self.horizon_bars * FORECAST_INTERVAL.ms

    @property
    def side_cost(self) -> float:
        """Cost of one taker side as a fraction of notional; what is left of an expected return inside it is no reason
        to go on holding."""
        return self.costs.side_bp * 1e-4

    @property
    def round_trip(self) -> float:
        """Cost of entering and leaving as a fraction of notional; a proposal must promise more."""
        return 2 * self.side_cost
