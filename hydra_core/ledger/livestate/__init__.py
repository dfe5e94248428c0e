"""The live state: what the trader hears from the market, in one SQLite file that decisions read.

Candles, slow series and liquidations are append-only with ascending ids, so "everything up to id n" names a state that
never changes: a decision stores those watermarks and can be replayed. Quotes, marks and health keep only the newest
reading. One process writes (the trader), any number read. If the file is lost the trader rebuilds it.
"""

from hydra_core.ledger.livestate.clock import LiveStateClock
from hydra_core.ledger.livestate.reader import LiveStateReader, Readings
from hydra_core.ledger.livestate.tables import HealthReading, Watermarks
from hydra_core.ledger.livestate.writer import LiveStateWriter

__all__ = ["HealthReading", "LiveStateClock", "LiveStateReader", "LiveStateWriter", "Readings", "Watermarks"]
