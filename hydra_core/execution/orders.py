"""The life of an order: one table of moves, and ids that are derived so that repeating a step repeats the id.

Here: which state follows which word. Not here: who speaks to the exchange (``trader``) and where orders are kept
(``ledger``).

An order's state changes only on the exchange's word (:class:`Word`). Silence is a word too: it leads to UNKNOWN, from
where only a look-up by client id leads on; an UNKNOWN order is never sent again and counts at its worst case meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from hydra_core.domain.errors import HydraError
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import OWN, OrderState


class IllegalMove(HydraError):
    """A word that cannot follow an order's state: a fault of ours, the order is looked up and a person is told."""


class Word(StrEnum):
    """What was heard about an order, by answer, stream or look-up; the first three are ours."""

    SENT = "sent"
    WITHDRAWN = "withdrawn"
    """Given up before it was sent."""
    CANCEL_SENT = "cancel sent"
    WORKING = "working"
    """The exchange holds it, nothing is filled."""
    PART_FILLED = "part filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REFUSED = "refused"
    """The exchange said no to the order itself."""
    CANCEL_REFUSED = "cancel refused"
    """The exchange said no to its cancel: something else has happened to it."""
    NO_ANSWER = "no answer"
    """A time-out, 5xx, reset or disconnect after sending, amending or cancelling; or a restart before the answer."""
    ABSENT = "absent"
    """A look-up by client id answered that there is no such order. An order with fills is told CANCELED instead."""


_S, _W = OrderState, Word

MOVES: Final[Mapping[tuple[OrderState, Word], OrderState]] = {
    (_S.NEW, _W.SENT): _S.PENDING,
    (_S.NEW, _W.WITHDRAWN): _S.CANCELED,
    (_S.PENDING, _W.WORKING): _S.OPEN,
    (_S.PENDING, _W.PART_FILLED): _S.PARTIAL,
    (_S.PENDING, _W.FILLED): _S.FILLED,
    (_S.PENDING, _W.CANCELED): _S.CANCELED,
    (_S.PENDING, _W.EXPIRED): _S.EXPIRED,
    (_S.PENDING, _W.REFUSED): _S.REJECTED,
    (_S.PENDING, _W.NO_ANSWER): _S.UNKNOWN,
    (_S.UNKNOWN, _W.WORKING): _S.OPEN,
    (_S.UNKNOWN, _W.PART_FILLED): _S.PARTIAL,
    (_S.UNKNOWN, _W.FILLED): _S.FILLED,
    (_S.UNKNOWN, _W.CANCELED): _S.CANCELED,
    (_S.UNKNOWN, _W.EXPIRED): _S.EXPIRED,
    (_S.UNKNOWN, _W.REFUSED): _S.REJECTED,
    (_S.UNKNOWN, _W.NO_ANSWER): _S.UNKNOWN,
    (_S.UNKNOWN, _W.ABSENT): _S.REJECTED,
    (_S.OPEN, _W.WORKING): _S.OPEN,
    (_S.OPEN, _W.PART_FILLED): _S.PARTIAL,
    (_S.OPEN, _W.FILLED): _S.FILLED,
    (_S.OPEN, _W.CANCELED): _S.CANCELED,
    (_S.OPEN, _W.EXPIRED): _S.EXPIRED,
    (_S.OPEN, _W.NO_ANSWER): _S.UNKNOWN,
    (_S.OPEN, _W.CANCEL_REFUSED): _S.UNKNOWN,
    (_S.OPEN, _W.ABSENT): _S.UNKNOWN,  # a listing may lag behind: one miss ends nothing
    (_S.PARTIAL, _W.WORKING): _S.PARTIAL,  # an older message overtaken by a fill
    (_S.PARTIAL, _W.PART_FILLED): _S.PARTIAL,
    (_S.PARTIAL, _W.FILLED): _S.FILLED,
    (_S.PARTIAL, _W.CANCELED): _S.CANCELED,
    (_S.PARTIAL, _W.EXPIRED): _S.EXPIRED,
    (_S.PARTIAL, _W.NO_ANSWER): _S.UNKNOWN,
    (_S.PARTIAL, _W.CANCEL_REFUSED): _S.UNKNOWN,
    (_S.PARTIAL, _W.ABSENT): _S.UNKNOWN,
    (_S.OPEN, _W.CANCEL_SENT): _S.CANCELING,
    (_S.PARTIAL, _W.CANCEL_SENT): _S.CANCELING,
    (_S.UNKNOWN, _W.CANCEL_SENT): _S.UNKNOWN,  # whether there is anything to cancel is what nobody knows
    (_S.UNKNOWN, _W.CANCEL_REFUSED): _S.UNKNOWN,
    (_S.CANCELING, _W.CANCEL_SENT): _S.CANCELING,
    (_S.CANCELING, _W.WORKING): _S.CANCELING,  # an older message, overtaken by the cancel
    (_S.CANCELING, _W.PART_FILLED): _S.CANCELING,
    (_S.CANCELING, _W.FILLED): _S.FILLED,  # the fill was first
    (_S.CANCELING, _W.CANCELED): _S.CANCELED,
    (_S.CANCELING, _W.EXPIRED): _S.EXPIRED,
    (_S.CANCELING, _W.CANCEL_REFUSED): _S.UNKNOWN,
    (_S.CANCELING, _W.NO_ANSWER): _S.UNKNOWN,
    (_S.CANCELING, _W.ABSENT): _S.UNKNOWN,
    (_S.CANCELED, _W.FILLED): _S.FILLED,  # a fill may overtake its cancel
    (_S.CANCELED, _W.PART_FILLED): _S.CANCELED,  # what was filled before the cancel is kept
    (_S.CANCELED, _W.WORKING): _S.CANCELED,
    (_S.CANCELED, _W.CANCELED): _S.CANCELED,
    (_S.CANCELED, _W.CANCEL_REFUSED): _S.CANCELED,
    (_S.CANCELED, _W.NO_ANSWER): _S.CANCELED,
    (_S.CANCELED, _W.EXPIRED): _S.CANCELED,
    (_S.EXPIRED, _W.FILLED): _S.FILLED,
    (_S.EXPIRED, _W.PART_FILLED): _S.EXPIRED,
    (_S.EXPIRED, _W.WORKING): _S.EXPIRED,
    (_S.EXPIRED, _W.EXPIRED): _S.EXPIRED,
    (_S.EXPIRED, _W.CANCELED): _S.EXPIRED,
    (_S.EXPIRED, _W.CANCEL_REFUSED): _S.EXPIRED,
    (_S.EXPIRED, _W.NO_ANSWER): _S.EXPIRED,
    (_S.FILLED, _W.WORKING): _S.FILLED,
    (_S.FILLED, _W.PART_FILLED): _S.FILLED,
    (_S.FILLED, _W.FILLED): _S.FILLED,
    (_S.FILLED, _W.CANCELED): _S.FILLED,
    (_S.FILLED, _W.EXPIRED): _S.FILLED,
    (_S.FILLED, _W.CANCEL_REFUSED): _S.FILLED,
    (_S.FILLED, _W.NO_ANSWER): _S.FILLED,
    (_S.REJECTED, _W.REFUSED): _S.REJECTED,
    (_S.REJECTED, _W.ABSENT): _S.REJECTED,
    (_S.REJECTED, _W.NO_ANSWER): _S.REJECTED,
    (_S.REJECTED, _W.CANCEL_REFUSED): _S.REJECTED,
    (_S.REJECTED, _W.WORKING): _S.OPEN,  # a look-up that came too early said ABSENT: the exchange's later word holds
    (_S.REJECTED, _W.PART_FILLED): _S.PARTIAL,
    (_S.REJECTED, _W.FILLED): _S.FILLED,
    (_S.REJECTED, _W.CANCELED): _S.CANCELED,
    (_S.REJECTED, _W.EXPIRED): _S.EXPIRED,
}
"""(state, word) -> next state; every pair that is not here is an error."""

UNRESOLVED: Final = frozenset({_S.PENDING, _S.UNKNOWN, _S.CANCELING})
"""Sent, and the exchange's word on it is outstanding."""
LIVE: Final = frozenset({_S.PENDING, _S.UNKNOWN, _S.OPEN, _S.PARTIAL, _S.CANCELING})
"""May still fill: counted at its whole remaining quantity in every exposure."""
RESTING: Final = frozenset({_S.OPEN, _S.PARTIAL})
"""The exchange has it, and it may still fill."""
DONE: Final = frozenset({_S.FILLED, _S.CANCELED, _S.REJECTED, _S.EXPIRED})
"""Nothing more is expected."""

NEVER_ARRIVED: Final = "the exchange does not know it"
"""Reason of an order that was sent and that the exchange, asked long enough, knows nothing of."""
ID_DIGITS: Final = 28
"""Hex digits of a client order id: few enough for every exchange's field, a mark that it is ours included."""


def move(state: OrderState, word: Word) -> OrderState:
    """The state after a word.

    Raises
    ------
    IllegalMove : the word cannot follow the state; the message names both
    """
    try:
        return MOVES[state, word]
    except KeyError:
        possible = ", ".join(sorted(w for s, w in MOVES if s is state))
        raise IllegalMove(f"order is {state.value!r} and hears {word.value!r}", f"Possible here: {possible}") from None


def client_order_id(plan_id: str, pair: Pair, slice_index: int, purpose: str = "slice") -> str:
    """Client order id of one child order: the same arguments give the same id, on any machine.

    Parameters
    ----------
    plan_id : str
    pair : Pair
    slice_index : int, which slice of the plan's schedule
    purpose : str
        Tells orders of one slice apart, e.g. ``close`` and ``slice`` where a target crosses zero, or ``stop``.

    Returns
    -------
    str, 31 characters of ``[a-z0-9-]``
    """
    digest = hashlib.sha256(f"{plan_id}|{pair}|{slice_index}|{purpose}".encode()).hexdigest()
    return f"{OWN}{digest[:ID_DIGITS]}"
