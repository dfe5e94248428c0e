"""HYDRA's domain: markets, statistics, models, risk, execution, money. Never imports Dagster."""

__version__ = "0.1.0"
