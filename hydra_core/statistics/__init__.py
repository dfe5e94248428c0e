"""Layer 2, statistical reality: volatility, jumps, Hawkes, regimes, correlation; and the windows they are made of.

Everything here is a pure, causal function of a panel. Not here: predictions of return (alpha/), limits that act on
these numbers (risk/).
"""
