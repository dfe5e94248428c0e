"""Research: backtest, walk-forward, evaluation, gates, sweeps.

Here: everything that judges models on history. Not here: the models themselves (``alpha``) and orchestration.
"""
