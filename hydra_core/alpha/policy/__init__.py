"""The policy: a PPO agent over recorded forecasts, the no-trade-band rule it must beat, and its sealed artifact.

Not here: the forecasts (``forecaster/``), the vote it casts (``execution/committee``).
"""
