"""Assets, one module per group: each reads, calls a function of ``hydra_core``, records what came of it."""
