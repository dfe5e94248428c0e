"""The catalogue of faults that can be ordered: every kind with its fields and their defaults.

What a kind does is in ``requests.py`` (answers) and in the ``mischief_*`` modules (streams, account, market); how an
order is read and matched is in ``faults.py``. ``docs/venue.md`` tells the same table to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from hydra_core.venue.listings import PERPETUAL_DELIVERY_MS


class Group(Enum):
    """What a fault does to the venue."""

    ANSWER = "answer"
    """Strikes requests as they come."""
    RULE = "rule"
    """Changes what holds until it is withdrawn: at once, or from the request on that ``on`` describes."""
    STREAM = "stream"
    """Changes what streams carry, until used up or withdrawn."""
    ACT = "act"
    """Happens once: at once, or when a request comes that ``on`` describes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: its group, its own fields with their defaults, and what it does in a sentence."""

    group: Group
    fields: Mapping[str, Any]
    words: str


MATCH: Final[Mapping[str, Any]] = MappingProxyType(
    {"method": "", "path": ".*", "symbol": "", "client_id": "", "times": 1, "skip": 0, "chance": 1.0, "after": False}
)
"""Fields of every answer fault and of ``on``: which requests are struck, how often, and on which side of their effect."""

FOREVER: Final = -1
"""``times`` without an end."""


def _answer(words: str, **fields: Any) -> Kind:
    return Kind(Group.ANSWER, MappingProxyType({**MATCH, **fields}), words)


def _rule(words: str, **fields: Any) -> Kind:
    return Kind(Group.RULE, MappingProxyType({**fields, "on": {}}), words)


def _stream(words: str, **fields: Any) -> Kind:
    return Kind(Group.STREAM, MappingProxyType(fields), words)


def _act(words: str, **fields: Any) -> Kind:
    return Kind(Group.ACT, MappingProxyType({**fields, "on": {}}), words)


_MESSAGES: Final[Mapping[str, Any]] = MappingProxyType(
    {"private": None, "streams": "", "event": "", "execution": "", "times": 1, "skip": 0, "chance": 1.0}
)
"""Which messages are meant: connections, stream names (``user`` is the user stream), ``e`` and ``x`` of the message."""

INTERNAL: Final = "Internal error; unable to process your request. Please try again."

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # answers
        "status": _answer("an HTTP status with an HTML page", status=503, retry_after=0),
        "refuse": _answer("a code with words", status=400, code=-1001, message=INTERNAL, retry_after=0),
        "reset": _answer("the connection is cut"),
        "hang": _answer("the answer comes late, or 504 when nothing was done", seconds=1.0),
        "malformed": _answer("the answer is spoilt", how="truncated", field=""),
        "gone": _answer("a path family is retired", status=410, times=FOREVER),
        "maintenance": _answer("every exchange path says no", how="code", times=FOREVER),
        # rules of the exchange
        "limits": _rule(
            "other budgets (0 keeps one), in another minute",
            weight_limit=0,
            order_limit=0,
            window_s=60.0,
            ban_s=120.0,
            calls_before_ban=20,
        ),
        "ban": _rule("418 for everything for a while", seconds=1.0, retry_after=0),
        "invisible": _rule("young orders are not to be seen", client_id="", seconds=0.0, times=FOREVER, lists=True),
        "clock_drift": _rule("the exchange's clock is ahead (or behind)", ms=0),
        "key_life": _rule("listen keys live shorter", seconds=3600.0),
        "connection_life": _rule("connections live shorter, each further one longer", seconds=86400.0, stagger_s=0.0),
        "filters": _rule(
            "other filters of a pair (empty keeps one)",
            symbol="",
            tick_size="",
            step_size="",
            min_quantity="",
            min_notional="",
            band_low="",
            band_high="",
        ),
        "brackets": _rule(
            "another leverage table (0 or empty keeps a part)", symbol="", max_leverage=0, maintenance="", cap=0
        ),
        "position_mode": _rule("the account stands in hedge mode", dual=True),
        "listing": _rule(
            "a pair's standing", symbol="", status="SETTLING", delivery_ms=PERPETUAL_DELIVERY_MS, vanish=False
        ),
        "strict_reduce_only": _rule("resting reduce-only orders use up the position (-4118)"),
        "partial": _rule(
            "incoming orders are filled in parts",
            symbol="",
            client_id="",
            parts=2,
            share=1.0,
            then="rest",
            times=1,
        ),
        # the market
        "shock": _rule("prices jump from now on", symbol="", factor=1.0),
        "book_shape": _rule("a wide, thin book", symbol="", widen=0.0, thin=1.0),
        "funding_interval": _rule("another settlement interval", symbol="", hours=4, from_ms=0, jitter_ms=0),
        "candle_gap": _rule("candles do not exist", symbol="", interval="", from_ms=0, to_ms=0),
        "candle_corrected": _rule(
            "a closed candle is told otherwise",
            symbol="",
            interval="1m",
            back=1,
            close_factor=1.001,
            volume_factor=1.0,
            resend=True,
        ),
        # streams
        "stall": _stream("open sockets fall silent, messages are lost", private=None, streams="", seconds=0.0),
        "deny": _stream("dials are refused", private=None, status=503, retry_after=1, seconds=0.0, times=FOREVER),
        "no_pong": _stream("pings are not answered", private=None, seconds=0.0),
        "spoilt": _stream("messages are spoilt", **_MESSAGES, how="truncated", field=""),
        "duplicate": _stream("messages come twice", **_MESSAGES),
        "lose": _stream("messages are lost", **_MESSAGES),
        "late": _stream("messages come after the ones that follow them", **_MESSAGES, behind=1),
        "book_gap": _stream("the book's sequence breaks", symbol="", how="skip", times=1),
        "candle_unclosed": _stream("a candle's closing message never comes", symbol="", interval="", times=1),
        "candle_late": _stream(
            "a candle's closing message comes late in market time", symbol="", interval="", ms=5_000, times=1
        ),
        "flood": _stream("so many messages a wall second of state streams", streams=".*", rate=5_000, seconds=1.0),
        # acts
        "drop": _act("sockets are closed, or cut", private=None, streams="", code=1001, reason="dropped", abort=False),
        "expire_listen_key": _act("the listen key ends", event=True, close=True),
        "replay": _act("past user events come again", count=1, event=""),
        "fill": _act("resting orders are filled", symbol="", client_id="", quantity="", parts=1),
        "end_order": _act("resting orders are ended by another hand", symbol="", client_id="", status="CANCELED"),
        "trigger": _act("waiting conditional orders are set off", symbol="", client_id=""),
        "liquidate": _act("the account is liquidated"),
        "adl": _act("a position is deleveraged", symbol="", share=1.0, price=""),
        "settle": _act("a delisted pair's position is settled", symbol=""),
        "foreign_order": _act(
            "somebody else orders on the account",
            symbol="",
            side="BUY",
            quantity="",
            price="",
            client_id="web_manual",
            reduce_only=False,
        ),
        "position": _act("a position is what it was not", symbol="", quantity="0", entry="", tell=True),
        "wallet": _act("money comes or goes", symbol="", amount="0", reason="WITHDRAW"),
    }
)
"""Every kind by its name."""
