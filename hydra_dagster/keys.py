"""Every asset key and group, in one place, so that the lineage reads like the drawing of the platform.

market → research → models → validation → champions → report; champions → shadow; market → study; live on its own.
"""

from typing import Final

from dagster import AssetKey

from hydra_core.alpha.models import KINDS
from hydra_core.domain.market import CANDLES, FUNDING, INPUTS, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.tables import CAPTURES, REFERENCE_PRICES

MARKET: Final = "market"
RESEARCH: Final = "research"
MODELS: Final = "models"
VALIDATION: Final = "validation"
CHAMPIONS: Final = "champions"
REPORT_GROUP: Final = "report"
LIVE: Final = "live"
EXTERNAL: Final = "external"
SHADOW: Final = "shadow"
STUDY: Final = "study"

EXTRA_TABLES: Final = (REFERENCE_PRICES, CAPTURES)
"""Market assets that no model needs; the job ``reference`` keeps them."""
MARKET_TABLES: Final = (*INPUTS, *EXTRA_TABLES)
"""One market asset each: candles, funding, open_interest, long_short, liquidations, and the extra ones."""

CANDLES_KEY: Final = AssetKey([MARKET, CANDLES])
FUNDING_KEY: Final = AssetKey([MARKET, FUNDING])
OPEN_INTEREST_KEY: Final = AssetKey([MARKET, OPEN_INTEREST])
LONG_SHORT_KEY: Final = AssetKey([MARKET, LONG_SHORT])
LIQUIDATIONS_KEY: Final = AssetKey([MARKET, LIQUIDATIONS])

DATASET: Final = AssetKey([RESEARCH, "dataset"])
FORECASTER_SWEEP: Final = AssetKey([RESEARCH, "forecaster_sweep"])
POLICY_SWEEP: Final = AssetKey([RESEARCH, "policy_sweep"])
COMMITTEE: Final = AssetKey([VALIDATION, "committee"])
REPORT: Final = AssetKey([REPORT_GROUP, "research"])
MARKET_STUDY: Final = AssetKey([STUDY, "market_study"])
DECISIONS: Final = AssetKey([LIVE, "decisions"])

GATES: Final = "gates"
"""Name of the check on a validation that says whether its candidate may hold the seat."""
LEAKS: Final = "leaks"
"""First word of the names of the blocking checks on a candidate: ``leaks_L1_prefix_invariance``."""
LIVE_SKILL: Final = "live_skill"
"""Name of the check that holds a champion's live skill against its promise."""
DRIFT: Final = "drift"
"""Name of the check on the dataset that holds the forecaster champion's features and losses against what they were."""
EXPECTATIONS: Final = "expectations"
"""Name of the blocking check on a market table."""
CROSS_CHECKS: Final = "cross_checks"
"""Name of the check that holds a market table against others."""


def market(table: str) -> AssetKey:
    """Asset of a market table."""
    return AssetKey([MARKET, table])


def external(table: str) -> AssetKey:
    """Asset of a table of what comes from elsewhere."""
    return AssetKey([EXTERNAL, table])


def candidate(kind: str) -> AssetKey:
    """Asset of the newest trained model of a kind."""
    return AssetKey([MODELS, f"{kind}_candidate"])


def validation(kind: str) -> AssetKey:
    """Asset of what a candidate of a kind was found to be worth."""
    return AssetKey([VALIDATION, kind])


def champion(kind: str) -> AssetKey:
    """Asset of a seat: who holds it."""
    return AssetKey([CHAMPIONS, kind])


def shadow(kind: str) -> AssetKey:
    """Asset of how a seat's holder does live, the challenger beside it."""
    return AssetKey([SHADOW, kind])


def op_name(key: AssetKey) -> str:
    """Name of an asset's op: what its run config is keyed by."""
    return "__".join(key.path)


ALL_CANDIDATES: Final = tuple(candidate(kind) for kind in KINDS)
