"""What ordered faults do to messages on their way to a listener: silence, loss, spoilt JSON, doubles, another order.

Sequence faults of the book and of candles are ``publisher.py``'s; connections are closed by ``mischief.py``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hydra_core.venue.faults import Fault, Faults
from hydra_core.venue.spoiling import spoilt

_KINDS: Final = ("stall", "lose", "spoilt", "duplicate", "late")
_EVENT: Final = re.compile(rb'"e":"(\w+)"')
_EXECUTION: Final = re.compile(rb'"x":"(\w+)"')


class Listener(Protocol):
    """What the tap has to know of a connection."""

    @property
    def number(self) -> int:
        """Names it."""

    @property
    def listen_key(self) -> str:
        """Of a user stream, else empty."""


@dataclass(slots=True)
class _Held:
    """A message that waits until ``left`` more have gone by on its connection."""

    message: bytes
    left: int


class StreamTap:
    """Every message to every listener passes through it.

    Parameters
    ----------
    faults : Faults
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: dict[tuple[int, str], list[_Held]] = defaultdict(list)
        self._skipped: dict[int, int] = {}

    def through(self, listener: Listener, stream: str, message: bytes) -> Sequence[bytes]:
        """The messages that go out instead of one."""
        faults = self._faults.in_force(*_KINDS)
        if not faults and not self._held:
            return (message,)
        out, freed = [message], self._freed(listener.number, stream)
        for fault in faults:
            if not out:
                break
            if not self._strikes(fault, listener, stream, message):
                continue
            self._faults.note(fault, stream=stream)
            if fault.kind in {"stall", "lose"}:
                out.clear()
            elif fault.kind == "duplicate":
                out.append(message)
            elif fault.kind == "spoilt":
                out = [spoilt(fault["how"], fault["field"], one, fault.rng) for one in out]
            else:
                self._held[listener.number, stream].append(_Held(message, fault["behind"]))
                out.clear()
        return (*out, *freed)

    def let_go(self, number: int, stream: str) -> list[bytes]:
        """Messages of a connection's stream that are held back, no longer."""
        return [one.message for one in self._held.pop((number, stream), [])]

    def _freed(self, number: int, stream: str) -> list[bytes]:
        held = self._held.get((number, stream), [])
        for one in held:
            one.left -= 1
        out = [one.message for one in held if one.left <= 0]
        held[:] = [one for one in held if one.left > 0]
        if not held:
            self._held.pop((number, stream), None)
        return out

    def _strikes(self, fault: Fault, listener: Listener, stream: str, message: bytes) -> bool:
        if fault["private"] not in {None, bool(listener.listen_key)}:
            return False
        if fault["streams"] and re.fullmatch(fault["streams"], stream) is None:
            return False
        if fault.kind == "stall":
            return True
        if not _is(fault["event"], _EVENT, message) or not _is(fault["execution"], _EXECUTION, message):
            return False
        skipped = self._skipped.get(fault.number, 0)
        if skipped < fault["skip"]:
            self._skipped[fault.number] = skipped + 1
            return False
        if fault.rng.random() >= fault["chance"]:
            return False
        fault.use()
        return True


def _is(wanted: str, pattern: re.Pattern[bytes], message: bytes) -> bool:
    """Whether a message's field is the one wanted (any when empty)."""
    if not wanted:
        return True
    found = pattern.search(message)
    return found is not None and re.fullmatch(wanted, found[1].decode()) is not None
