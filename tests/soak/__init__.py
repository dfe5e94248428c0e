"""The whole trader for many market hours while faults strike at random: ``python -m tests.soak --hours 24 --speed 60``."""
