"""Kill the trader at any persisted step, start it again, and hold its books against the venue's: ``python -m tests.crash``."""
