"""What rows must be, as data: a readable list of rules a table, weighed by what a failure means.

Critical means that rows which fail must not be trained or traded on; a warning is for a person to look at. Not here: how rules
are run over a table (:mod:`expectations`), and what happens to a single row on its way in (:mod:`believe`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hydra_core.domain.market import FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.tables import (
    BOOK,
    BOOK_LEVELS,
    CANDLE_TABLES,
    CROSS_BASIS,
    CROSS_FUNDING,
    DERIVATIVES,
    INDEX,
    MARK,
    NEWS,
    NEWS_SENTIMENT,
    ONCHAIN,
    PREMIUM,
    REFERENCE_INTERVALS,
    TRADES,
    reference_table,
)

CRITICAL: Final = "critical"
WARNING: Final = "warning"
INFO: Final = "info"

MAX_PRICE: Final = 1e8
"""USDT; nothing that is traded costs more: beyond it is a broken number."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An expectation in data: Great Expectations' class, its arguments, and how grave a failure is."""

    kind: str
    arguments: Mapping[str, Any]
    severity: str = CRITICAL


def _between(column: str, low: float | None, high: float | None, severity: str = CRITICAL, **more: Any) -> Rule:
    return Rule(
        "ExpectColumnValuesToBeBetween", {"column": column, "min_value": low, "max_value": high, **more}, severity
    )


def _at_least(upper: str, lower: str) -> Rule:
    return Rule("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": upper, "column_B": lower, "or_equal": True})


def _positive(column: str, high: float = MAX_PRICE) -> Rule:
    return _between(column, 0, high, strict_min=True)


def _references(kind: str) -> tuple[str, ...]:
    return tuple(reference_table(kind, interval) for interval in REFERENCE_INTERVALS)


_PRICES: Final = ("open", "high", "low", "close")
_BAR_RULES: Final = (
    *(_at_least("high", column) for column in ("open", "close", "low")),
    *(_at_least(column, "low") for column in ("open", "close")),
)
_PRICE_RULES: Final = (*(_positive(column) for column in _PRICES), *_BAR_RULES)
_CANDLE_RULES: Final = (*_PRICE_RULES[:4], _between("volume", 0, None), *_BAR_RULES)
_PREMIUM_RULES: Final = (
    *(_between(column, -0.5, 0.5) for column in _PRICES),
    _between("close", -0.05, 0.05, WARNING),
    *_BAR_RULES,
)
_BOOK_RULES: Final = (
    *(_positive(f"{side}_{level}") for level in range(1, BOOK_LEVELS + 1) for side in ("bid", "ask")),
    *(_between(f"{side}_size_{level}", 0, 1e15) for level in range(1, BOOK_LEVELS + 1) for side in ("bid", "ask")),
    Rule("ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": "ask_1", "column_B": "bid_1"}),
)
_INTERVALS: Final = Rule("ExpectColumnValuesToBeInSet", {"column": "interval_hours", "value_set": [1.0, 2.0, 4.0, 8.0]})
_POINT_IN_TIME: Final = tuple(_at_least(column, "ts") for column in ("published", "seen"))
_WRITTEN: Final = Rule("ExpectColumnValueLengthsToBeBetween", {"column": "metric", "min_value": 1, "max_value": None})
RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    **dict.fromkeys(CANDLE_TABLES, _CANDLE_RULES),
    **dict.fromkeys((*_references(MARK), *_references(INDEX)), _PRICE_RULES),
    **dict.fromkeys(_references(PREMIUM), _PREMIUM_RULES),
    FUNDING: (
        _between("rate", -0.05, 0.05),
        _between("rate", -0.0075, 0.0075, WARNING),
        _INTERVALS,
    ),
    BOOK: _BOOK_RULES,
    TRADES: (
        Rule("ExpectColumnValuesToBeInSet", {"column": "side", "value_set": ["buy", "sell"]}),
        *(_positive(column, 1e15) for column in ("trade_id", "quantity")),
        _positive("price"),
    ),
    OPEN_INTEREST: (_positive("open_interest", 1e15), _positive("open_interest_value", 1e15)),
    LONG_SHORT: (_positive("long_short_ratio", 1e3), _between("long_short_ratio", 0.1, 10.0, WARNING)),
    LIQUIDATIONS: (
        Rule("ExpectColumnValuesToBeInSet", {"column": "side", "value_set": ["long", "short"]}),
        _positive("quantity", 1e15),
        _positive("price"),
    ),
    **dict.fromkeys((ONCHAIN, DERIVATIVES), (*_POINT_IN_TIME, _between("value", -1e18, 1e18), _WRITTEN)),
    NEWS: (
        *_POINT_IN_TIME,
        Rule("ExpectColumnValueLengthsToBeBetween", {"column": "title", "min_value": 1, "max_value": 200}),
        Rule("ExpectColumnValuesToMatchRegex", {"column": "link", "regex": r"^(?:https?://\S+)?$"}),
        Rule("ExpectColumnValuesToNotMatchRegex", {"column": "title", "regex": r"[\x00-\x1f]|<\s*/?\s*script"}),
    ),
    NEWS_SENTIMENT: (
        *_POINT_IN_TIME,
        _between("score", -1, 1),
        Rule("ExpectColumnValuesToBeInSet", {"column": "relevance", "value_set": [0.5, 1.0]}),
    ),
    CROSS_FUNDING: (
        *_POINT_IN_TIME,
        _between("rate", -0.05, 0.05),
        _between("rate_8h", -0.05, 0.05, WARNING),
        _INTERVALS,
    ),
    CROSS_BASIS: (
        *_POINT_IN_TIME,
        _positive("mark"),
        _positive("index"),
        _between("basis", -0.5, 0.5),
        _between("against_reference", -0.05, 0.05, WARNING),
    ),
}
"""Table -> what its rows must be, beside the columns, the absence of nulls and the order."""
