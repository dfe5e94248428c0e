"""The books: what was decided, ordered, filled and held, and the live state that decisions read.

The ledger (:mod:`hydra_core.ledger.store`) is the durable record; the live state (:mod:`hydra_core.ledger.livestate`)
is rebuilt at start. Rules of trading and of risk live in higher layers: nothing here judges, it books.
"""
