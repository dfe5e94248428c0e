"""The words every other package speaks: pairs, intervals, clocks, bars, orders, decisions, errors.

Nothing here does I/O, reads settings or imports another HYDRA package.
"""
