"""The frozen settings that a decision obeys, handed around as one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.risk.margin import rate_at
from hydra_core.settings import CostSettings, DecisionSettings, RiskSettings


@dataclass(frozen=True, slots=True)
class Limits:
    """What a decision may do and what it costs.

    Parameters
    ----------
    decision, risk, costs : the frozen parts of the settings
    horizon_bars : int, forecast bars (5m) that a signal spans
    maintenance : maintenance margin by pair, a fraction of the largest position that ``risk`` permits; a pair that is not
        named has the rate that sizing assumes (``sizing.MAINTENANCE_RATE``)
    """

    decision: DecisionSettings = field(default_factory=DecisionSettings)
    risk: RiskSettings = field(default_factory=RiskSettings)
    costs: CostSettings = field(default_factory=CostSettings)
    horizon_bars: int = 48
    maintenance: Mapping[Pair, float] = field(default_factory=dict)

    def under(self, rules: Mapping[Pair, MarketRules]) -> Limits:
        """These limits with the maintenance rates of the exchange's margin tables, where the rules have them.

        A decision keeps the rules that it read, so the rates that it was sized by follow from what is kept with it.
        """
        most = self.risk.max_position_notional
        known = {pair: rate_at(one.margin_steps, most) for pair, one in rules.items() if one.margin_steps}
        return replace(self, maintenance={**self.maintenance, **known}) if known else self

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
