"""The market study: what the estimators of layer 2 say about the newest bars of the lake, with their errors.

For people only: no seat, gate, risk rule or order reads any of it. Not here: the estimators (``statistics``), what decisions
are told of the market's state (``statistics.state``).
"""
