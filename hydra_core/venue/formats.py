"""Public market data in the exchange's spelling: numbers as strings, terse keys, JSON bytes ready to send.

One function a message. What is sent when is decided in ``rest_public.py`` and ``publisher.py``; the account's messages
are in ``account_formats.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Floats, Liquidation, MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import QUOTE, Pair, base_of
from hydra_core.domain.series import Bars, Series
from hydra_core.simulation.base import Trades
from hydra_core.venue.admission import MAX_QUANTITY
from hydra_core.venue.feed import PairFormat
from hydra_core.venue.fixed_text import Column, joined
from hydra_core.venue.listings import Listing
from hydra_core.venue.orders import CONDITIONAL_TYPES, PLAIN_TYPES, TIMES_IN_FORCE

INTEREST_RATE: Final = "0.00010000"
TRADES_A_MINUTE: Final = 20
"""Declared number of trades in a candle, a minute: the market's trades are derived, so their count says nothing."""


def symbol_row(rules: MarketRules, form: PairFormat, listing: Listing, onboard_ms: int) -> dict[str, Any]:
    """One pair of ``exchangeInfo``."""
    tick, step = f"{rules.tick_size:f}", f"{rules.step_size:f}"
    least, most = f"{rules.min_quantity:f}", f"{MAX_QUANTITY:f}"
    lot = {"minQty": least, "maxQty": most, "stepSize": step}
    base = base_of(rules.pair)
    return {
        "symbol": rules.pair,
        "pair": rules.pair,
        "contractType": "PERPETUAL",
        "deliveryDate": listing.delivery_ms,
        "onboardDate": onboard_ms,
        "status": listing.status,
        "maintMarginPercent": f"{rules.maintenance_margin * 100:f}",
        "requiredMarginPercent": f"{100 / rules.max_leverage:.4f}",
        "baseAsset": base,
        "quoteAsset": QUOTE,
        "marginAsset": QUOTE,
        "pricePrecision": form.price_digits,
        "quantityPrecision": form.quantity_digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", **lot},
            {"filterType": "MARKET_LOT_SIZE", **lot},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": f"{rules.min_notional:f}"},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": str(listing.band[1]),
                "multiplierDown": str(listing.band[0]),
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [*PLAIN_TYPES, *CONDITIONAL_TYPES],
        "timeInForce": list(TIMES_IN_FORCE),
    }


def exchange_info(symbols: list[dict[str, Any]], now_ms: int, limits: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of ``exchangeInfo``."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": limits,
        "exchangeFilters": [],
        "assets": [{"asset": QUOTE, "marginAvailable": True, "autoAssetExchange": "0"}],
        "symbols": symbols,
    }


def kline_rows(bars: Bars, interval: Interval, form: PairFormat) -> bytes:
    """Rows of ``klines`` joined by commas, without the outer brackets.

    Quote volumes and the taker's half are derived (typical price x volume, half of it): the market has no other.
    """
    if not len(bars):
        return b""
    quote = bars.volume * (bars.high + bars.low + bars.close) / 3
    count = TRADES_A_MINUTE * interval.ms // 60_000
    prices = [Column(one, form.price_digits) for one in (bars.open, bars.high, bars.low, bars.close)]
    volume, taken = (Column(one, form.quantity_digits) for one in (bars.volume, bars.volume / 2))
    return joined(
        [
            "[", Column(bars.ts), *(part for price in prices for part in (',"', price, '"')),
            ',"', volume, '",', Column(bars.ts + (interval.ms - 1)),
            ',"', Column(quote, 5), f'",{count},"', taken, '","', Column(quote / 2, 5), '","0"],',
        ],
        len(bars),
    )[:-1]  # fmt: skip


def bare_kline_rows(bars: Bars, interval: Interval, form: PairFormat) -> str:
    """Rows of the candles that nothing is traded in: volumes are 0, as the exchange writes them."""
    price = form.price
    row = f'[%d,"{price}","{price}","{price}","{price}","0",%d,"0",{interval.ms // 1_000},"0","0","0"]'
    columns = [getattr(bars, name).tolist() for name in ("ts", "open", "high", "low", "close")]
    return ",".join(map(row.__mod__, zip(*columns, (bars.ts + (interval.ms - 1)).tolist(), strict=True)))


def kline_event(pair: Pair, interval: Interval, bars: Bars, form: PairFormat, closed: bool, event_ms: int) -> bytes:
    """``kline`` message of the one candle in ``bars``."""
    price, quantity = form.price, form.quantity
    opened = int(bars.ts[0])
    volume = float(bars.volume[0])
    quote = volume * float(bars.close[0])
    template = (
        '{"e":"kline","E":%d,"s":"%s","k":{"t":%d,"T":%d,"s":"%s","i":"%s","f":0,"L":0,'
        f'"o":"{price}","c":"{price}","h":"{price}","l":"{price}","v":"{quantity}",'
        f'"n":{TRADES_A_MINUTE * interval.ms // 60_000},"x":%s,"q":"%.5f","V":"{quantity}","Q":"%.5f","B":"0"}}}}'
    )
    return (
        template
        % (
            event_ms,
            pair,
            opened,
            opened + interval.ms - 1,
            pair,
            interval,
            bars.open[0],
            bars.close[0],
            bars.high[0],
            bars.low[0],
            volume,
            "true" if closed else "false",
            quote,
            volume / 2,
            quote / 2,
        )
    ).encode()


def levels(rows: Floats, form: PairFormat) -> list[list[str]]:
    """Book levels as pairs of strings."""
    return [[form.price % price, form.quantity % size] for price, size in rows.tolist()]


def depth_event(
    pair: Pair,
    ids: tuple[int, int, int],
    bids: list[list[str]],
    asks: list[list[str]],
    event_ms: int,
) -> bytes:
    """``depthUpdate`` message; ``ids`` are first and final update id and the final one of the message before."""
    first, final, before = ids
    body = {
        "e": "depthUpdate",
        "E": event_ms,
        "T": event_ms,
        "s": pair,
        "U": first,
        "u": final,
        "pu": before,
        "b": bids,
        "a": asks,
    }
    return orjson.dumps(body)


def book_ticker(quote: Quote, form: PairFormat, update_id: int) -> dict[str, Any]:
    """``bookTicker`` message."""
    return {
        "e": "bookTicker",
        "u": update_id,
        "s": quote.pair,
        "b": form.price % quote.bid,
        "B": form.quantity % quote.bid_size,
        "a": form.price % quote.ask,
        "A": form.quantity % quote.ask_size,
        "T": quote.event_ms,
        "E": quote.event_ms,
    }


def book_ticker_row(quote: Quote, form: PairFormat) -> dict[str, Any]:
    """One row of REST ``ticker/bookTicker``."""
    return {
        "symbol": quote.pair,
        "bidPrice": form.price % quote.bid,
        "bidQty": form.quantity % quote.bid_size,
        "askPrice": form.price % quote.ask,
        "askQty": form.quantity % quote.ask_size,
        "time": quote.event_ms,
    }


def mark_event(mark: MarkReading, form: PairFormat) -> dict[str, Any]:
    """``markPriceUpdate`` message."""
    return {
        "e": "markPriceUpdate",
        "E": mark.event_ms,
        "s": mark.pair,
        "p": form.price % mark.mark,
        "i": form.price % mark.index,
        "P": form.price % mark.index,
        "r": f"{mark.funding_rate:.8f}",
        "T": mark.next_funding_ms,
    }


def premium_index(mark: MarkReading, form: PairFormat) -> dict[str, Any]:
    """One row of ``premiumIndex``; ``lastFundingRate`` is, as on the exchange, the coming settlement's predicted rate."""
    return {
        "symbol": mark.pair,
        "markPrice": form.price % mark.mark,
        "indexPrice": form.price % mark.index,
        "estimatedSettlePrice": form.price % mark.index,
        "lastFundingRate": f"{mark.funding_rate:.8f}",
        "interestRate": INTEREST_RATE,
        "nextFundingTime": mark.next_funding_ms,
        "time": mark.event_ms,
    }


def funding_rows(pair: Pair, settled: Series, marks: Iterable[float], form: PairFormat) -> list[dict[str, Any]]:
    """Rows of ``fundingRate``."""
    return [
        {"symbol": pair, "fundingTime": ts, "fundingRate": f"{rate:.8f}", "markPrice": form.price % mark}
        for ts, rate, mark in zip(settled.ts.tolist(), settled.value.tolist(), marks, strict=True)
    ]


def funding_info_row(pair: Pair, hours: int) -> dict[str, Any]:
    """One row of ``fundingInfo``."""
    return {
        "symbol": pair,
        "adjustedFundingRateCap": "0.02000000",
        "adjustedFundingRateFloor": "-0.02000000",
        "fundingIntervalHours": hours,
        "disclaimer": False,
    }


def open_interest_rows(pair: Pair, values: Series, prices: Floats, form: PairFormat) -> list[dict[str, Any]]:
    """Rows of ``openInterestHist``: base units and, at ``prices``, USDT."""
    return [
        {
            "symbol": pair,
            "sumOpenInterest": form.quantity % value,
            "sumOpenInterestValue": "%.4f" % (value * price),
            "timestamp": ts,
        }
        for ts, value, price in zip(values.ts.tolist(), values.value.tolist(), prices.tolist(), strict=True)
    ]


def long_short_rows(pair: Pair, values: Series) -> list[dict[str, Any]]:
    """Rows of ``globalLongShortAccountRatio``; written with the digits that the market carries."""
    return [
        {
            "symbol": pair,
            "longShortRatio": repr(value),
            "longAccount": "%.6f" % (value / (1 + value)),
            "shortAccount": "%.6f" % (1 / (1 + value)),
            "timestamp": ts,
        }
        for ts, value in zip(values.ts.tolist(), values.value.tolist(), strict=True)
    ]


def trade_rows(trades: Trades, form: PairFormat) -> list[dict[str, Any]]:
    """Rows of ``aggTrades``; every derived trade is its own aggregate."""
    return [
        {
            "a": number,
            "p": form.price % price,
            "q": form.quantity % quantity,
            "f": number,
            "l": number,
            "T": ts,
            "m": maker,
        }
        for number, price, quantity, ts, maker in zip(
            trades.trade_id.tolist(),
            trades.price.tolist(),
            trades.quantity.tolist(),
            trades.ts.tolist(),
            trades.buyer_maker.tolist(),
            strict=True,
        )
    ]


def trade_event(pair: Pair, row: dict[str, Any], *, aggregated: bool) -> bytes:
    """``trade`` or ``aggTrade`` message of one of :func:`trade_rows`."""
    ts = row["T"]
    if aggregated:
        return orjson.dumps({"e": "aggTrade", "E": ts, "s": pair, **row})
    body = {"e": "trade", "E": ts, "T": ts, "s": pair, "t": row["a"], "p": row["p"], "q": row["q"], "X": "MARKET"}
    return orjson.dumps(body | {"m": row["m"]})


def liquidation_event(forced: Liquidation, form: PairFormat) -> bytes:
    """``forceOrder`` message: a liquidated long is a forced SELL."""
    price, quantity = form.price % forced.price, form.quantity % forced.quantity
    return orjson.dumps(
        {
            "e": "forceOrder",
            "E": forced.event_ms,
            "o": {
                "s": forced.pair,
                "S": "SELL" if forced.long_side else "BUY",
                "o": "LIMIT",
                "f": "IOC",
                "q": quantity,
                "p": price,
                "ap": price,
                "X": "FILLED",
                "l": quantity,
                "z": quantity,
                "T": forced.event_ms,
            },
        }
    )


def day_ticker(pair: Pair, bars: Bars, last: float, form: PairFormat, now_ms: int) -> dict[str, Any]:
    """One row of ``ticker/24hr`` from the hourly candles of the last day and the last price."""
    opened = float(bars.open[0]) if len(bars) else last
    high = max(last, float(bars.high.max())) if len(bars) else last
    low = min(last, float(bars.low.min())) if len(bars) else last
    volume = float(bars.volume.sum())
    return {
        "symbol": pair,
        "priceChange": form.price % (last - opened),
        "priceChangePercent": "%.3f" % ((last / opened - 1) * 100),
        "weightedAvgPrice": form.price % last,
        "lastPrice": form.price % last,
        "lastQty": form.quantity % 0.0,
        "openPrice": form.price % opened,
        "highPrice": form.price % high,
        "lowPrice": form.price % low,
        "volume": form.quantity % volume,
        "quoteVolume": "%.2f" % (volume * last),
        "openTime": int(bars.ts[0]) if len(bars) else now_ms,
        "closeTime": now_ms,
        "firstId": 0,
        "lastId": 0,
        "count": 0,
    }
