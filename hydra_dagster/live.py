"""Code location hydra_live."""

from hydra_dagster.build import build_live_defs

defs = build_live_defs()
