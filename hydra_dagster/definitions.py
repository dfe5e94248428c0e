"""Code location hydra_research."""

from hydra_dagster.build import build_research_defs

defs = build_research_defs()
