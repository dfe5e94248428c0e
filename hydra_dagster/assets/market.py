"""Group market: the exchange's tables in the lake, one asset a table, by month and pair.

A run over many partitions collects all of them at once; the work is ``hydra_core.lake.collect``.
"""

import dagster as dg

ASSETS: list[dg.AssetsDefinition] = []
