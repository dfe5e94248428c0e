"""On which side the accounts stand: the log of the ratio of accounts long to accounts short."""

from __future__ import annotations

from hydra_core.alpha.features.registry import feature
from hydra_core.domain.market import CANDLES, LONG_SHORT, Floats
from hydra_core.statistics.rolling import change, standardised
from hydra_core.statistics.view import SIGMA_LOOKBACK, View

_INPUTS = (CANDLES, LONG_SHORT)


@feature("long_short_level", lookback=1, inputs=_INPUTS)
def long_short_level(view: View) -> Floats:
    """Log ratio as last published; 0 where as many accounts are long as short."""
    return view.log_long_short


@feature("long_short_deviation_day", lookback=288, inputs=_INPUTS)
def long_short_deviation_day(view: View) -> Floats:
    """Log ratio less its mean over a day."""
    return view.log_long_short - view.mean("log_long_short", 288)


@feature("long_short_deviation_week", lookback=2016, inputs=_INPUTS)
def long_short_deviation_week(view: View) -> Floats:
    """Log ratio less its mean over a week: what is usual differs from pair to pair and from era to era."""
    return view.log_long_short - view.mean("log_long_short", 2016)


@feature("long_short_change_12", lookback=13, inputs=_INPUTS)
def long_short_change_12(view: View) -> Floats:
    """Change of the log ratio in an hour."""
    return change(view.log_long_short, 12)


@feature("long_short_z_week", lookback=2016, inputs=_INPUTS, usual=False)
def long_short_z_week(view: View) -> Floats:
    """Log ratio against its own week, in standard deviations (of one per cent at least)."""
    return standardised(view.log_long_short, 2016, 0.01, mean=view.mean("log_long_short", 2016))


@feature("long_short_with_return_48", lookback=SIGMA_LOOKBACK, inputs=_INPUTS, usual=False, reach=49)
def long_short_with_return_48(view: View) -> Floats:
    """Four hours' change of the log ratio times the scaled return: below 0 accounts went against the move."""
    return change(view.log_long_short, 48) * view.scaled_return(48)
