"""Markets without an exchange: synthetic ones with a known optimum and recorded ones.

Everything here is a pure function of a seed or of a folder: no clock, no network, no state that a query could change.
What happens *to* a trader (orders, balances, faults) belongs in :mod:`hydra_core.venue`.
"""

from hydra_core.simulation.base import Depth, Market, Trades
from hydra_core.simulation.opening import open_market
from hydra_core.simulation.synthetic import ORIGIN_MS, SyntheticMarket

__all__ = ["ORIGIN_MS", "Depth", "Market", "SyntheticMarket", "Trades", "open_market"]
