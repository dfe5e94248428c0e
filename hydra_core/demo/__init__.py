"""The whole chain, end to end, on one market: the real platform, the real Dagster jobs, the real trader.

Here: opening the market, the order of the stages, pacing the local venue, summing up. There is no second path: every stage
is what `hydra up` and the web UI run. Not here: any rule of the chain itself.
"""

from hydra_core.demo.chain import DemoOptions, DemoResult, Stage, run_demo

__all__ = ["DemoOptions", "DemoResult", "Stage", "run_demo"]
