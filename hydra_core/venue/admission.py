"""Order requests: reading the raw parameters and holding them against the pair's filters.

Whatever can be refused without knowing the account is refused here, in the exchange's order and words; margin, position
and duplicates are the engine's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.venue import refusals
from hydra_core.venue.listings import PRICE_BAND
from hydra_core.venue.orders import CONDITIONAL_TYPES, PLAIN_TYPES, TIMES_IN_FORCE

MAX_QUANTITY: Final = Decimal(10_000_000)
_CLIENT_ID: Final = re.compile(r"^[.A-Z:/a-z0-9_-]{1,36}$")
_SIDES: Final = {"BUY": 1, "SELL": -1}


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A readable request for a market or limit order; ``client_id`` is empty when the client gave none."""

    pair: Pair
    side: int
    kind: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    reduce_only: bool
    client_id: str


@dataclass(frozen=True, slots=True)
class AlgoRequest:
    """A readable request for a conditional order."""

    pair: Pair
    side: int
    kind: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    trigger_price: Decimal
    callback_rate: Decimal
    reduce_only: bool
    close_position: bool
    working_type: str
    client_id: str


def required(params: Mapping[str, str], name: str) -> str:
    """A mandatory parameter; refuses with -1102 when absent or empty."""
    value = params.get(name, "")
    if not value:
        raise refusals.missing_parameter(name)
    return value


def whole(params: Mapping[str, str], name: str) -> int | None:
    """An integer parameter, None when absent; refuses with -1130 what is no integer."""
    text = params.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise refusals.illegal_parameter(name)
    return int(text)


def flag(params: Mapping[str, str], name: str) -> bool:
    """A boolean parameter in any case, False when absent; refuses with -1130 other words."""
    text = params.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise refusals.illegal_parameter(name)
    return text == "true"


def decimal(params: Mapping[str, str], name: str) -> Decimal:
    """A mandatory finite number; refuses with -1102."""
    try:
        value = Decimal(required(params, name))
    except InvalidOperation:
        raise refusals.missing_parameter(name) from None
    if not value.is_finite():
        raise refusals.missing_parameter(name)
    return value


def read_order(
    params: Mapping[str, str],
    rules: MarketRules,
    mark: Decimal,
    band: tuple[Decimal, Decimal] = PRICE_BAND,
    *,
    hedged: bool = False,
) -> OrderRequest:
    """The plain order that the parameters ask for, held against the filters.

    Parameters
    ----------
    params : mapping of the request's raw parameters
    rules : MarketRules
    mark : Decimal
        Mark price now, USDT: the reference of the price band and of a market order's notional.
    band : low and high multiple of the mark price between which a limit price must lie
    hedged : bool
        Whether the account stands in hedge mode.

    Raises
    ------
    VenueRefusal : a filter, or an unreadable parameter
    """
    side = _side(params)
    kind = required(params, "type")
    if kind in CONDITIONAL_TYPES:
        raise refusals.wrong_endpoint()
    if kind not in PLAIN_TYPES:
        raise refusals.bad_order_type()
    _one_way(params, hedged)
    time_in_force = _time_in_force(params) if kind == "LIMIT" else "GTC"
    reduce_only = flag(params, "reduceOnly")
    quantity = _quantity(decimal(params, "quantity"), rules)
    price = Decimal(0)
    if kind == "LIMIT":
        price = _price(decimal(params, "price"), rules)
        _banded(price, mark, rules, band)
    _notional(quantity, price or mark, reduce_only, rules)
    return OrderRequest(
        rules.pair, side, kind, time_in_force, quantity, price, reduce_only, _client_id(params, "newClientOrderId")
    )


def read_amendment(
    params: Mapping[str, str], rules: MarketRules, mark: Decimal, band: tuple[Decimal, Decimal]
) -> tuple[Decimal, Decimal]:
    """Quantity and price that an amendment asks for, held against the filters; both are mandatory."""
    quantity, price = _quantity(decimal(params, "quantity"), rules), _price(decimal(params, "price"), rules)
    _banded(price, mark, rules, band)
    return quantity, price


def read_algo(params: Mapping[str, str], rules: MarketRules, mark: Decimal, *, hedged: bool = False) -> AlgoRequest:
    """The conditional order that the parameters ask for, held against the filters; see :func:`read_order`."""
    if params.get("algoType", "CONDITIONAL") != "CONDITIONAL":
        raise refusals.illegal_parameter("algoType")
    side = _side(params)
    kind = required(params, "type")
    if kind not in CONDITIONAL_TYPES:
        raise refusals.bad_order_type()
    _one_way(params, hedged)
    close_position = flag(params, "closePosition")
    reduce_only = flag(params, "reduceOnly") or close_position
    quantity = Decimal(0) if close_position else _quantity(decimal(params, "quantity"), rules)
    price, trigger, callback = Decimal(0), Decimal(0), Decimal(0)
    if kind in {"STOP", "TAKE_PROFIT"}:
        price = _price(decimal(params, "price"), rules)
    if kind == "TRAILING_STOP_MARKET":
        callback = decimal(params, "callbackRate")
        if not Decimal("0.1") <= callback <= 10:
            raise refusals.illegal_parameter("callbackRate")
        if params.get("activatePrice"):
            trigger = _price(decimal(params, "activatePrice"), rules)
    else:
        trigger = _price(decimal(params, "triggerPrice"), rules)
    working_type = params.get("workingType", "CONTRACT_PRICE")
    if working_type not in {"CONTRACT_PRICE", "MARK_PRICE"}:
        raise refusals.illegal_parameter("workingType")
    if not close_position:
        _notional(quantity, price or trigger or mark, reduce_only, rules)
    return AlgoRequest(
        pair=rules.pair,
        side=side,
        kind=kind,
        time_in_force=_time_in_force(params),
        quantity=quantity,
        price=price,
        trigger_price=trigger,
        callback_rate=callback,
        reduce_only=reduce_only,
        close_position=close_position,
        working_type=working_type,
        client_id=_client_id(params, "clientAlgoId"),
    )


def _side(params: Mapping[str, str]) -> int:
    side = _SIDES.get(required(params, "side"))
    if side is None:
        raise refusals.bad_side()
    return side


def _time_in_force(params: Mapping[str, str]) -> str:
    word = params.get("timeInForce", "GTC")
    if word not in TIMES_IN_FORCE:
        raise refusals.bad_time_in_force()
    return word


def _one_way(params: Mapping[str, str], hedged: bool) -> None:
    if hedged or params.get("positionSide", "BOTH") != "BOTH":
        raise refusals.only_one_way()


def _client_id(params: Mapping[str, str], name: str) -> str:
    text = params.get(name, "")
    if text and not _CLIENT_ID.match(text):
        raise refusals.bad_client_id()
    return text


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _quantity(quantity: Decimal, rules: MarketRules) -> Decimal:
    if quantity <= 0:
        raise refusals.quantity_not_positive()
    if _decimals(quantity) > _decimals(rules.step_size) or quantity % rules.step_size:
        raise refusals.bad_precision()
    if quantity < rules.min_quantity:
        raise refusals.quantity_too_small()
    if quantity > MAX_QUANTITY:
        raise refusals.quantity_too_large()
    return quantity


def _price(price: Decimal, rules: MarketRules) -> Decimal:
    if price <= 0:
        raise refusals.price_not_positive()
    if _decimals(price) > _decimals(rules.tick_size):
        raise refusals.bad_precision()
    if price % rules.tick_size:
        raise refusals.off_tick()
    return price


def _banded(price: Decimal, mark: Decimal, rules: MarketRules, band: tuple[Decimal, Decimal]) -> None:
    low, high = (mark * times // rules.tick_size * rules.tick_size for times in band)
    if price > high:
        raise refusals.price_too_far(True, str(high))
    if price < low:
        raise refusals.price_too_far(False, str(low))


def _notional(quantity: Decimal, price: Decimal, reduce_only: bool, rules: MarketRules) -> None:
    if not reduce_only and quantity * price < rules.min_notional:
        raise refusals.notional_too_small(f"{rules.min_notional.normalize():f}")
