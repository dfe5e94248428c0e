"""``python benchmarks/research/in_nautilus.py job.npz``: the peer's side of ``event_replay``; prints one JSON object.

It runs in an environment of its own (``benchmarks/peers.txt``) and imports nothing of HYDRA: nautilus_trader needs older
pandas and fsspec than HYDRA pins.
"""

from __future__ import annotations

import json
import sys
import time
from decimal import Decimal

import nautilus_trader
import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, CurrencyType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("BINANCE")
PRICE_DIGITS, SIZE_DIGITS = 2, 3
MS = 1_000_000


class Follow(Strategy):
    """Market orders wherever the list of wanted positions changes: a close, then an entry, where it crosses zero."""

    def __init__(self, wanted: dict[InstrumentId, list[float]], bar_types: list[BarType]) -> None:
        super().__init__()
        self._wanted = {name: iter(positions) for name, positions in wanted.items()}
        self._held = dict.fromkeys(wanted, 0.0)
        self._bar_types = bar_types

    def on_start(self) -> None:
        for one in self._bar_types:
            self.subscribe_bars(one)

    def on_bar(self, bar: Bar) -> None:
        name = bar.bar_type.instrument_id
        wanted, held = next(self._wanted[name]), self._held[name]
        if wanted == held:
            return
        if wanted * held < 0:
            self._send(name, -held, True)
            self._send(name, wanted, False)
        else:
            self._send(name, wanted - held, abs(wanted) < abs(held))
        self._held[name] = wanted

    def _send(self, name: InstrumentId, change: float, reduce_only: bool) -> None:
        side = OrderSide.BUY if change > 0 else OrderSide.SELL
        size = Quantity(abs(change), SIZE_DIGITS)
        self.submit_order(self.order_factory.market(name, side, size, reduce_only=reduce_only))


def instrument(pair: str, fee: str) -> CryptoPerpetual:
    """A linear perpetual with the job's steps and fee."""
    base = pair.removesuffix("USDT")
    return CryptoPerpetual(
        instrument_id=InstrumentId(Symbol(pair), VENUE),
        raw_symbol=Symbol(pair),
        base_currency=Currency(base, 8, 0, base, CurrencyType.CRYPTO),
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=PRICE_DIGITS,
        size_precision=SIZE_DIGITS,
        price_increment=Price(10**-PRICE_DIGITS, PRICE_DIGITS),
        size_increment=Quantity(10**-SIZE_DIGITS, SIZE_DIGITS),
        margin_init=Decimal("0.05"),
        margin_maint=Decimal("0.01"),
        maker_fee=Decimal(fee),
        taker_fee=Decimal(fee),
        ts_event=0,
        ts_init=0,
    )


def main(file: str) -> int:
    """Run the job once."""
    job = np.load(file)
    pairs, fee, cash = [str(one) for one in job["pairs"]], str(job["fee"]), float(job["cash"])
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(
        venue=VENUE, oms_type=OmsType.NETTING, account_type=AccountType.MARGIN, base_currency=USDT,
        starting_balances=[Money(cash, USDT)], default_leverage=Decimal(20),
    )  # fmt: skip
    stamps = ((job["ts"] + int(job["interval_ms"])) * MS).tolist()
    bars, bar_types, wanted = [], [], {}
    for column, pair in enumerate(pairs):
        traded = instrument(pair, fee)
        engine.add_instrument(traded)
        kind = BarType.from_str(f"{traded.id}-5-MINUTE-LAST-EXTERNAL")
        size = Quantity(1e9, SIZE_DIGITS)
        bar_types.append(kind)
        wanted[traded.id] = job["wanted"][:, column].tolist()
        for at, close in zip(stamps, job["close"][:, column].tolist(), strict=True):
            price = Price(close, PRICE_DIGITS)
            bars.append(Bar(kind, price, price, price, price, size, at, at))
    engine.add_data(bars)
    engine.add_strategy(Follow(wanted, bar_types))
    began, cpu = time.perf_counter(), time.process_time()
    engine.run()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    balance = engine.portfolio.account(VENUE).balance_total(USDT)
    told = {
        "version": nautilus_trader.__version__,
        "wall_s": wall,
        "cpu_s": cpu,
        "fills": sum(order.is_closed and order.filled_qty > 0 for order in engine.cache.orders()),
        "orders": engine.cache.orders_total_count(),
        "profit": float(balance.as_decimal() - Decimal(repr(cash))),
        "open": engine.cache.positions_open_count(),
    }
    engine.dispose()
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
