"""Layer 4, the risk brain: sizing, leverage, exposure, margin and liquidation, kill switches.

Here: how large a position may be, where its stop and its liquidation lie, and what the platform may do at all. Not
here: which way to trade (``alpha``), who votes and how orders are worked (``execution``), the order of the steps
(``decision``). Everything is a pure function of numbers: no clock, no I/O.
"""
