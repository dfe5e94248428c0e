"""Layer 5: the committee's votes, schedules of child orders, slippage, the order state machine, rounding to filters.

Here: rules that are functions of their arguments. Not here: brokers and sockets (``trader``), sizes (``risk``).
"""
