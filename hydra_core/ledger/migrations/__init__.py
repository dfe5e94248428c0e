"""Alembic migrations of the ledger, run on open; only what changes tables belongs here."""
