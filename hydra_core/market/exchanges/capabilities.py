"""What each exchange can and cannot do, as one table, and the error for what it cannot.

The table says what ccxt offers for each exchange; a test holds it against ccxt's own ``has``. What of it HYDRA reads, and
whether the reading was checked against a documented message, is known to the adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from hydra_core.domain.errors import Unsupported, UsageError

EXCHANGES: Final = ("binanceusdm", "bybit", "okx", "bitget", "hyperliquid", "weex")
"""Exchanges that HYDRA knows, by ccxt's ids."""


class Support(StrEnum):
    """How an exchange offers something."""

    NATIVE = "yes"
    EMULATED = "emulated"
    """ccxt makes it of other calls: more requests, and no single moment that it is true of."""
    ABSENT = "no"


class Capability(StrEnum):
    """Something one may want of an exchange; the value is the name in ccxt's ``has``."""

    TIME = "fetchTime"
    CANDLES = "fetchOHLCV"
    MARK_CANDLES = "fetchMarkOHLCV"
    INDEX_CANDLES = "fetchIndexOHLCV"
    PREMIUM_CANDLES = "fetchPremiumIndexOHLCV"
    FUNDING_NOW = "fetchFundingRate"
    FUNDING_INTERVAL = "fetchFundingInterval"
    FUNDING_HISTORY = "fetchFundingRateHistory"
    OWN_FUNDING = "fetchFundingHistory"
    OPEN_INTEREST = "fetchOpenInterest"
    OPEN_INTEREST_HISTORY = "fetchOpenInterestHistory"
    LONG_SHORT_HISTORY = "fetchLongShortRatioHistory"
    MARK_PRICE = "fetchMarkPrice"
    ORDER_BOOK = "fetchOrderBook"
    LIQUIDATIONS = "fetchLiquidations"
    WATCH_CANDLES = "watchOHLCV"
    WATCH_CANDLES_OF_MANY = "watchOHLCVForSymbols"
    WATCH_TRADES = "watchTrades"
    WATCH_ORDER_BOOK = "watchOrderBook"
    WATCH_QUOTES = "watchBidsAsks"
    WATCH_MARK_PRICES = "watchMarkPrices"
    WATCH_LIQUIDATIONS = "watchLiquidations"
    WATCH_LIQUIDATIONS_OF_MANY = "watchLiquidationsForSymbols"
    WATCH_ORDERS = "watchOrders"
    WATCH_MY_TRADES = "watchMyTrades"
    WATCH_POSITIONS = "watchPositions"
    WATCH_BALANCE = "watchBalance"
    CREATE_ORDER = "createOrder"
    TRIGGER_ORDER = "createTriggerOrder"
    STOP_LOSS_ORDER = "createStopLossOrder"
    STOP_MARKET_ORDER = "createStopMarketOrder"
    REDUCE_ONLY = "createReduceOnlyOrder"
    CREATE_ORDERS = "createOrders"
    EDIT_ORDER = "editOrder"
    CANCEL_ORDER = "cancelOrder"
    CANCEL_ALL = "cancelAllOrders"
    DEAD_MANS_SWITCH = "cancelAllOrdersAfter"
    FETCH_ORDER = "fetchOrder"
    OPEN_ORDERS = "fetchOpenOrders"
    MY_TRADES = "fetchMyTrades"
    POSITIONS = "fetchPositions"
    SET_LEVERAGE = "setLeverage"
    SET_MARGIN_MODE = "setMarginMode"
    SET_POSITION_MODE = "setPositionMode"
    LEVERAGE_TIERS = "fetchLeverageTiers"
    MARKET_LEVERAGE_TIERS = "fetchMarketLeverageTiers"


_LETTERS: Final = {"y": Support.NATIVE, "e": Support.EMULATED, "-": Support.ABSENT}
_ROWS: Final[Mapping[Capability, str]] = {
    # one letter an exchange, in the order of EXCHANGES
    Capability.TIME: "yyyyyy",
    Capability.CANDLES: "yyyyyy",
    Capability.MARK_CANDLES: "yyyy-y",
    Capability.INDEX_CANDLES: "yyyy-y",
    Capability.PREMIUM_CANDLES: "yy----",
    Capability.FUNDING_NOW: "yeyyyy",
    Capability.FUNDING_INTERVAL: "e-yy--",
    Capability.FUNDING_HISTORY: "yyyyyy",
    Capability.OWN_FUNDING: "yyyyyy",
    Capability.OPEN_INTEREST: "yyyyyy",
    Capability.OPEN_INTEREST_HISTORY: "yyy---",
    Capability.LONG_SHORT_HISTORY: "yyyy--",
    Capability.MARK_PRICE: "y-yy-y",
    Capability.ORDER_BOOK: "yyyyyy",
    Capability.LIQUIDATIONS: "------",
    Capability.WATCH_CANDLES: "yyyyyy",
    Capability.WATCH_CANDLES_OF_MANY: "yyy--y",
    Capability.WATCH_TRADES: "yyyyyy",
    Capability.WATCH_ORDER_BOOK: "yyyyyy",
    Capability.WATCH_QUOTES: "yyyy--",
    Capability.WATCH_MARK_PRICES: "y-y---",
    Capability.WATCH_LIQUIDATIONS: "yye---",
    Capability.WATCH_LIQUIDATIONS_OF_MANY: "y-y---",
    Capability.WATCH_ORDERS: "yyyyyy",
    Capability.WATCH_MY_TRADES: "yyyyyy",
    Capability.WATCH_POSITIONS: "yyyyyy",
    Capability.WATCH_BALANCE: "yyyyyy",
    Capability.CREATE_ORDER: "yyyyyy",
    Capability.TRIGGER_ORDER: "yyyyyy",
    Capability.STOP_LOSS_ORDER: "yyyy-y",
    Capability.STOP_MARKET_ORDER: "yyyy--",
    Capability.REDUCE_ONLY: "yyy-yy",
    Capability.CREATE_ORDERS: "yyyyy-",
    Capability.EDIT_ORDER: "yyyyy-",
    Capability.CANCEL_ORDER: "yyyyyy",
    Capability.CANCEL_ALL: "yy-y-y",
    Capability.DEAD_MANS_SWITCH: "-yy-y-",
    Capability.FETCH_ORDER: "yyyyyy",
    Capability.OPEN_ORDERS: "yyyyyy",
    Capability.MY_TRADES: "yyyyyy",
    Capability.POSITIONS: "yyyyyy",
    Capability.SET_LEVERAGE: "yyyyyy",
    Capability.SET_MARGIN_MODE: "yyyyyy",
    Capability.SET_POSITION_MODE: "yyyy-y",
    Capability.LEVERAGE_TIERS: "yy----",
    Capability.MARKET_LEVERAGE_TIERS: "eyyy--",
}

SPOT_ONLY: Final = frozenset({("weex", Capability.WATCH_QUOTES)})
"""Where ccxt's ``has`` says yes of an exchange's spot markets alone: for perpetuals the call is refused."""

TABLE: Final[Mapping[str, Mapping[Capability, Support]]] = {
    exchange: {capability: _LETTERS[letters[place]] for capability, letters in _ROWS.items()}
    for place, exchange in enumerate(EXCHANGES)
}
"""Exchange -> capability -> support."""

INSTEAD: Final[Mapping[Capability, str]] = {
    Capability.OPEN_INTEREST_HISTORY: "Collect its open interest from now on: each reading is kept with its own time",
    Capability.LONG_SHORT_HISTORY: "Leave long_short out of the model's declared inputs for this exchange",
    Capability.MARK_CANDLES: "Use its traded candles, and the mark of each present reading",
    Capability.INDEX_CANDLES: "Use the oracle or index price of each present reading",
    Capability.PREMIUM_CANDLES: "Take the premium from mark and index",
    Capability.LIQUIDATIONS: "No exchange keeps a history of forced orders: capture the stream",
    Capability.WATCH_LIQUIDATIONS: "Forced orders of this exchange cannot be heard: leave them out of the inputs",
    Capability.WATCH_QUOTES: "Follow the top of its order book, or ask for it over REST",
    Capability.WATCH_MARK_PRICES: "Ask for the mark price over REST",
    Capability.DEAD_MANS_SWITCH: "Keep protective stops resting on the exchange instead",
    Capability.CANCEL_ALL: "Cancel the open orders one by one",
    Capability.REDUCE_ONLY: "Close through the exchange's own position stop or close-position call",
    Capability.LEVERAGE_TIERS: "Ask for the tiers of each market, or state max_leverage in the settings",
}
"""What to do where a capability is absent."""


ORDERS: Final[Mapping[str, str]] = {
    "binanceusdm": "every event from the account's stream; the exchange cancels resting orders should HYDRA fall silent",
    "bybit": "unified account, one-way mode; looked up after each receipt and every few seconds, the stream is a bell; "
    "no countdown",
    "okx": "futures account, net mode, cross margin; looked up after each receipt and every few seconds, the stream is a "
    "bell; no countdown",
}
"""Where HYDRA sends orders, and how it is done there."""
NO_ORDERS: Final[Mapping[str, str]] = {
    "bitget": "classic and unified accounts take orders in two ways, and what became of a stop that was triggered is not told "
    "under the stop's id",
    "hyperliquid": "the wallet is not told, only what the account is worth, and orders need the wallet's own private key",
    "weex": "an order of a contract cannot be looked up by its client id: one that was not answered could not be found again",
}
"""Where HYDRA sends no orders, and why: money would not be safe without it."""


class UnsupportedCapability(Unsupported):
    """An exchange does not offer this, or HYDRA does not read it there: an error, never an empty table.

    Parameters
    ----------
    exchange : str
    capability : Capability
    why : str, what stands in the way, where it is not the exchange itself
    """

    def __init__(self, exchange: str, capability: Capability, why: str = "") -> None:
        self.exchange = exchange
        self.capability = capability
        super().__init__(
            f"{exchange} has no {capability.name.lower()} ({capability}{f': {why}' if why else ''})",
            INSTEAD.get(capability, "`hydra exchanges` shows what each exchange offers"),
        )


def known_exchange(exchange: str) -> str:
    """The name if HYDRA knows the exchange; raises UsageError naming the known ones."""
    if exchange not in TABLE:
        raise UsageError(f"unknown exchange {exchange!r}", f"Known: {', '.join(EXCHANGES)}")
    return exchange


def support(exchange: str, capability: Capability) -> Support:
    """How an exchange offers a capability; raises UsageError for an unknown exchange."""
    return TABLE[known_exchange(exchange)][capability]


def require(exchange: str, capability: Capability) -> None:
    """Raise UnsupportedCapability where an exchange does not offer a capability."""
    if support(exchange, capability) is Support.ABSENT:
        raise UnsupportedCapability(exchange, capability)
