"""Market time at which these tests play."""

NOW_MS = 1_727_740_800_000
"""2024-10-01T00:00Z"""
