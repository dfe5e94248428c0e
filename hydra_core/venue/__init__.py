"""The local exchange: the Binance USD-M protocol on loopback over a simulated market, with its own matching engine.

What belongs here is what an exchange does: protocol, clock, account, matching, faults on order. The market itself is in
``simulation``; clients are in ``market``, and share no code with this package.
"""

from hydra_core.venue.app import run, serve
from hydra_core.venue.config import LOCAL_KEY, LOCAL_SECRET, VenueConfig

__all__ = ["LOCAL_KEY", "LOCAL_SECRET", "VenueConfig", "run", "serve"]
