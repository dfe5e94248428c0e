"""Orders of faults: reading them, matching them against requests, and the log of what they did.

A fault is declared, not improvised: what it matches, on which side of the effect it strikes and how often. Its choices
come from the venue's seed and its own number, so that the same orders in the same sequence do the same again. Nothing
here happens unless it was ordered; the kinds are in ``fault_kinds.py``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hydra_core.domain.clock import Clock
from hydra_core.venue import refusals
from hydra_core.venue.fault_kinds import FOREVER, KINDS, MATCH, Group
from hydra_core.venue.refusals import VenueRefusal

STRUCK_KEPT: Final = 10_000
CLIENT_ID_NAMES: Final = ("newClientOrderId", "origClientOrderId", "clientAlgoId")
_PATTERNS: Final = ("path", "client_id", "streams", "event")


@dataclass(frozen=True, slots=True)
class Call:
    """A request as faults see it."""

    method: str
    path: str
    params: Mapping[str, str]

    @property
    def client_id(self) -> str:
        """The client's id of the order that the request is about, empty when it names none."""
        return next((self.params[name] for name in CLIENT_ID_NAMES if self.params.get(name)), "")


class Matcher:
    """Which requests are struck: the fields of :data:`fault_kinds.MATCH`."""

    def __init__(self, fields: Mapping[str, Any], rng: random.Random) -> None:
        self._fields = fields
        self._rng = rng
        self._path = re.compile(fields["path"])
        self._client_id = re.compile(fields["client_id"]) if fields["client_id"] else None
        self._skip = int(fields["skip"])
        self.left = int(fields["times"])

    @property
    def after(self) -> bool:
        """Whether it strikes once the request has had its effect."""
        return bool(self._fields["after"])

    @property
    def used_up(self) -> bool:
        """Whether it strikes no more."""
        return self.left == 0

    def strikes(self, call: Call) -> bool:
        """Whether this request is struck; counts it."""
        if self.used_up or not self._fits(call):
            return False
        if self._skip > 0:
            self._skip -= 1
            return False
        if self._rng.random() >= self._fields["chance"]:
            return False
        self.left -= self.left > 0
        return True

    def _fits(self, call: Call) -> bool:
        fields = self._fields
        return (
            fields["method"] in {"", call.method}
            and self._path.fullmatch(call.path) is not None
            and fields["symbol"] in {"", call.params.get("symbol", "")}
            and (self._client_id is None or self._client_id.fullmatch(call.client_id) is not None)
        )


class Fault:
    """One ordered fault: its number, kind, fields (defaults filled in) and its own seeded generator."""

    def __init__(self, number: int, kind: str, fields: Mapping[str, Any], seed: int) -> None:
        self.number = number
        self.kind = kind
        self.fields = fields
        self.rng = random.Random(f"{seed}:{number}:{kind}")
        self.ended = False
        self.left = int(fields.get("times", FOREVER))
        """How often it still does something, of a fault without a matcher; negative without an end."""
        self.active = not fields.get("on")
        """Whether it is in force, not only waiting for a request."""
        self.until_wall_ms = 0
        """When it ends by itself, epoch ms; 0 when it does not."""
        self.matcher: Matcher | None = None
        if KINDS[kind].group is Group.ANSWER:
            self.matcher = Matcher(fields, self.rng)
        elif fields.get("on"):
            self.matcher = Matcher({**MATCH, **fields["on"]}, self.rng)

    def __getitem__(self, name: str) -> Any:
        """A field's value."""
        return self.fields[name]

    @property
    def group(self) -> Group:
        """What it does to the venue."""
        return KINDS[self.kind].group

    @property
    def over(self) -> bool:
        """Whether it is withdrawn or used up."""
        if self.matcher is None or self.group is Group.RULE:
            return self.ended or self.left == 0
        return self.ended or self.matcher.used_up

    def use(self) -> None:
        """Count one time that it did something."""
        self.left -= self.left > 0

    def row(self) -> dict[str, Any]:
        """The order as JSON."""
        return {"id": self.number, "kind": self.kind, **self.fields}


def read_fault(body: Mapping[str, Any], number: int, seed: int) -> Fault:
    """The fault that a control request orders.

    Raises
    ------
    VenueRefusal : an unknown kind or field, a value of another type, an unreadable pattern
    """
    kind = body.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise refusals.unknown_fault(str(kind), ", ".join(KINDS))
    defaults = KINDS[kind].fields
    given = {name: value for name, value in body.items() if name != "kind"}
    _check(kind, given, defaults)
    if given.get("on"):
        _check(f"{kind}.on", given["on"], MATCH)
    return Fault(number, kind, {**defaults, **given}, seed)


def _check(what: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name not in defaults:
            known = ", ".join(defaults) or "none"
            raise VenueRefusal(-1100, f"fault {what} has no field {name!r}. Fields: {known}.")
        usual = defaults[name]
        if not _fits(value, usual):
            raise VenueRefusal(-1100, f"fault {what}: {name} is {value!r}, it takes {type(usual).__name__}.")
        if name in _PATTERNS and isinstance(value, str):
            try:
                re.compile(value)
            except re.error as error:
                raise VenueRefusal(-1100, f"fault {what}: {name} is no pattern: {error}") from error


def _fits(value: Any, usual: Any) -> bool:
    if usual is None:
        return value is None or isinstance(value, bool)
    if isinstance(usual, bool) or isinstance(value, bool):
        return isinstance(usual, bool) and isinstance(value, bool)
    if isinstance(usual, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(usual))


class Faults:
    """The faults in force, and a log of what they did.

    Parameters
    ----------
    clock : Clock
    seed : int
    """

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._seed = seed
        self._next = 1
        self.armed: list[Fault] = []
        self.struck: list[dict[str, Any]] = []
        self.began: dict[int, int] = {}
        """Market time at which a fault was ordered, by its number, where that matters."""

    def read(self, body: Mapping[str, Any]) -> Fault:
        """The fault that a control request orders, numbered; see :func:`read_fault`."""
        fault = read_fault(body, self._next, self._seed)
        self._next += 1
        return fault

    def arm(self, fault: Fault) -> None:
        """Put a fault in force; a stream fault of some ``seconds`` ends by itself."""
        seconds = fault.fields.get("seconds", 0) if fault.group is Group.STREAM else 0
        if seconds:
            fault.until_wall_ms = self._clock.wall_ms() + int(seconds * 1000)
        self.armed.append(fault)

    def withdraw(self, number: int | None = None) -> list[Fault]:
        """Take one fault, or all, out of force; returns them."""
        gone = [fault for fault in self.armed if number in {None, fault.number}]
        for fault in gone:
            fault.ended = True
        self.armed = [fault for fault in self.armed if not fault.over]
        return gone

    def strike(self, call: Call) -> Fault | None:
        """The answer fault that strikes this request."""
        for fault in self.armed:
            if fault.group is Group.ANSWER and fault.matcher is not None and fault.matcher.strikes(call):
                self.note(fault, method=call.method, path=call.path, after=fault.matcher.after)
                self._sweep()
                return fault
        return None

    def acts(self, call: Call, *, after: bool) -> list[Fault]:
        """Acts and rules that this request sets off on one side of its effect."""
        due = [
            fault
            for fault in self.armed
            if fault.group in {Group.ACT, Group.RULE}
            and fault.matcher is not None
            and fault.matcher.after is after
            and fault.matcher.strikes(call)
        ]
        if due:
            self._sweep()
        return due

    def in_force(self, *kinds: str) -> list[Fault]:
        """Faults of these kinds that are neither used up, nor withdrawn, nor past their time."""
        if not self.armed:
            return []
        now = self._clock.wall_ms()
        chosen = [fault for fault in self.armed if fault.kind in kinds and fault.active and not fault.over]
        return [fault for fault in chosen if not fault.until_wall_ms or now < fault.until_wall_ms]

    def note(self, fault: Fault, **what: Any) -> None:
        """Log what a fault did."""
        if len(self.struck) < STRUCK_KEPT:
            stamps = {"wall_ms": self._clock.wall_ms(), "market_ms": self._clock.market_ms()}
            self.struck.append({"id": fault.number, "kind": fault.kind, **stamps, **what})

    def rows(self) -> list[dict[str, Any]]:
        """Faults in force, as JSON."""
        return [fault.row() for fault in self.armed if not fault.over]

    def _sweep(self) -> None:
        self.armed = [fault for fault in self.armed if not fault.over]
