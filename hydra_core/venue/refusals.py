"""The exchange's ways of saying no: numeric codes with the exchange's own words.

Every refusal that a client can be answered with is made here, so that code and wording are written once. How a refusal
travels (HTTP status, JSON body) is here too; when one is due is decided where the rule is.
"""

from __future__ import annotations

from typing import Final

TOO_MANY_ORDERS: Final = -1015


class VenueRefusal(Exception):
    """An answer ``{"code": …, "msg": …}`` with an HTTP status.

    Parameters
    ----------
    code : int
        The exchange's error code, negative.
    message : str
        The exchange's wording; clients match on it.
    status : int
        HTTP status of the answer.
    """

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status

    @property
    def body(self) -> dict[str, object]:
        """The JSON body."""
        return {"code": self.code, "msg": self.message}


def missing_parameter(name: str) -> VenueRefusal:
    """A mandatory parameter is absent or unreadable."""
    return VenueRefusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal_parameter(name: str) -> VenueRefusal:
    """A parameter is there but cannot be read."""
    return VenueRefusal(-1130, f"Data sent for parameter '{name}' is not valid.")


def too_many_requests(retry_words: str) -> VenueRefusal:
    """The weight of the running minute is used up."""
    return VenueRefusal(-1003, f"Too many requests; current limit is reached. {retry_words}", 429)


def banned(until_ms: int) -> VenueRefusal:
    """The address went on calling after 429."""
    return VenueRefusal(-1003, f"Way too many requests; IP banned until {until_ms}.", 418)


def too_many_orders() -> VenueRefusal:
    """The order count of the running window is used up; the exchange says so without ``Retry-After``."""
    return VenueRefusal(TOO_MANY_ORDERS, "Too many new orders; please slow down.", 429)


def maintenance() -> VenueRefusal:
    """The market's recorded span is over."""
    return VenueRefusal(-1000, "System is under maintenance.", 503)


def ahead_of_time() -> VenueRefusal:
    """The request's timestamp lies in the venue's future."""
    return VenueRefusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")


def outside_window() -> VenueRefusal:
    """The request took longer than its recvWindow allows."""
    return VenueRefusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def bad_signature() -> VenueRefusal:
    """The signature does not match the payload."""
    return VenueRefusal(-1022, "Signature for this request is not valid.")


def bad_key() -> VenueRefusal:
    """The API key is absent or unknown."""
    return VenueRefusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def unknown_listen_key() -> VenueRefusal:
    """The listen key has expired or never was."""
    return VenueRefusal(-1125, "This listenKey does not exist.")


def bad_symbol() -> VenueRefusal:
    """The pair is not listed."""
    return VenueRefusal(-1121, "Invalid symbol.")


def not_offered() -> VenueRefusal:
    """The market has no such data at all."""
    return VenueRefusal(-1099, "Not found, unauthenticated, or unauthorized.", 404)


def bad_interval() -> VenueRefusal:
    """The candle interval is unknown, or finer than what was recorded."""
    return VenueRefusal(-1120, "Invalid interval.")


def bad_side() -> VenueRefusal:
    """Neither BUY nor SELL."""
    return VenueRefusal(-1117, "Invalid side.")


def bad_order_type() -> VenueRefusal:
    """The order type is unknown."""
    return VenueRefusal(-1116, "Invalid orderType.")


def bad_time_in_force() -> VenueRefusal:
    """The time in force is unknown."""
    return VenueRefusal(-1115, "Invalid timeInForce.")


def wrong_endpoint() -> VenueRefusal:
    """A conditional order came to the plain order endpoint."""
    return VenueRefusal(
        -4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
    )


def bad_precision() -> VenueRefusal:
    """More decimals than the pair carries."""
    return VenueRefusal(-1111, "Precision is over the maximum defined for this asset.")


def off_tick() -> VenueRefusal:
    """A price between two ticks."""
    return VenueRefusal(-4014, "Price not increased by tick size.")


def price_not_positive() -> VenueRefusal:
    """A price of zero or less."""
    return VenueRefusal(-4001, "Price less than 0.")


def price_too_far(high: bool, limit: str) -> VenueRefusal:
    """A limit price outside the band around the mark price."""
    if high:
        return VenueRefusal(-4016, f"Limit price can't be higher than {limit}.")
    return VenueRefusal(-4024, f"Limit price can't be lower than {limit}.")


def quantity_not_positive() -> VenueRefusal:
    """A quantity of zero or less."""
    return VenueRefusal(-4003, "Quantity less than or equal to zero.")


def quantity_too_small() -> VenueRefusal:
    """Below the pair's least quantity."""
    return VenueRefusal(-4004, "Quantity less than min quantity.")


def quantity_too_large() -> VenueRefusal:
    """Above the pair's greatest quantity."""
    return VenueRefusal(-4005, "Quantity greater than max quantity.")


def notional_too_small(limit: str) -> VenueRefusal:
    """Price times quantity under the pair's minimum."""
    return VenueRefusal(-4164, f"Order's notional must be no smaller than {limit} (unless you choose reduce only).")


def bad_client_id() -> VenueRefusal:
    """The client order id has other characters, or too many."""
    return VenueRefusal(-4015, "Client order id is not valid.")


def duplicate_client_id() -> VenueRefusal:
    """An order of this client id exists already."""
    return VenueRefusal(-4116, "ClientOrderId is duplicated.")


def margin_insufficient() -> VenueRefusal:
    """The available balance does not carry the order."""
    return VenueRefusal(-2019, "Margin is insufficient.")


def reduce_only_rejected() -> VenueRefusal:
    """There is no position for the order to reduce."""
    return VenueRefusal(-2022, "ReduceOnly Order is rejected.")


def reduce_only_used_up() -> VenueRefusal:
    """Resting reduce-only orders already reduce the whole position."""
    return VenueRefusal(-4118, "ReduceOnly Order Failed. Please check your existing position and open orders")


def not_trading() -> VenueRefusal:
    """The pair is not open for new positions."""
    return VenueRefusal(-4140, "Invalid symbol status for opening position.")


def counterparty_too_far() -> VenueRefusal:
    """The best price that a market order would meet lies outside the band around the mark."""
    return VenueRefusal(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")


def nothing_to_modify() -> VenueRefusal:
    """An amendment that changes nothing."""
    return VenueRefusal(-5027, "No need to modify the order.")


def has_position() -> VenueRefusal:
    """The position mode cannot change now."""
    return VenueRefusal(-4068, "Position side cannot be changed if there exists position.")


def would_trigger() -> VenueRefusal:
    """The trigger price is already passed."""
    return VenueRefusal(-2021, "Order would immediately trigger.")


def too_many_open_orders() -> VenueRefusal:
    """The pair's limit of resting orders is reached."""
    return VenueRefusal(-2025, "Reach max open order limit.")


def beyond_bracket() -> VenueRefusal:
    """The position would be larger than its leverage allows."""
    return VenueRefusal(-2027, "Exceeded the maximum allowable position at current leverage.")


def bad_leverage() -> VenueRefusal:
    """The leverage is outside what the pair offers."""
    return VenueRefusal(-4028, "Leverage is not valid.")


def leverage_too_high() -> VenueRefusal:
    """The open position does not allow this leverage."""
    return VenueRefusal(-2028, "Leverage is smaller than permitted: insufficient margin balance.")


def same_margin_mode() -> VenueRefusal:
    """The margin mode is what it was."""
    return VenueRefusal(-4046, "No need to change margin type.")


def same_position_mode() -> VenueRefusal:
    """The position mode is what it was."""
    return VenueRefusal(-4059, "No need to change position side.")


def only_one_way() -> VenueRefusal:
    """Hedge mode was asked for or assumed; this venue nets each pair into one position."""
    return VenueRefusal(-4061, "Order's position side does not match user's setting.")


def cross_only() -> VenueRefusal:
    """Isolated margin was asked for; this venue's account is cross-margined."""
    return VenueRefusal(-4047, "Margin type cannot be changed if there exists open orders.")


def unknown_order() -> VenueRefusal:
    """A query named no known order."""
    return VenueRefusal(-2013, "Order does not exist.")


def cannot_cancel() -> VenueRefusal:
    """A cancel named no open order."""
    return VenueRefusal(-2011, "Unknown order sent.")


def unknown_fault(kind: str, known: str) -> VenueRefusal:
    """The control plane was asked for a fault that does not exist."""
    return VenueRefusal(-1100, f"Unknown fault {kind!r}. Known: {known}.")
