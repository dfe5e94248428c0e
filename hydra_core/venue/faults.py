"""Faults that a test or a drill orders on the control plane: refused, lost and late answers, dropped and silent streams.

A fault is declared, not improvised: what it matches, where it strikes (before or after the request has had its effect)
and how often. Nothing here happens unless it was ordered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from hydra_core.venue import refusals
from hydra_core.venue.refusals import VenueRefusal

REQUEST_FAULTS: Final = ("status", "refuse", "reset", "hang")
"""``status`` an HTTP status with an HTML page, ``refuse`` a code with words, ``reset`` the connection cut, ``hang`` late."""
STREAM_FAULTS: Final = ("drop", "stall", "deny")
"""``drop`` every connection at once, ``stall`` them silent, ``deny`` new ones; each for ``seconds`` of wall time."""
KEY_FAULTS: Final = ("expire_listen_key",)
KNOWN: Final = (*REQUEST_FAULTS, *STREAM_FAULTS, *KEY_FAULTS)


@dataclass(slots=True)
class Fault:
    """One ordered fault.

    Parameters
    ----------
    kind : one of :data:`KNOWN`
    method, path : str
        Of the requests it strikes: the method (empty: any) and a regular expression for the path.
    times : int
        How many requests it strikes.
    after : bool
        Strike once the request has had its effect, so that only the answer is lost.
    status : int, HTTP status
    code, message : of a refusal
    seconds : float, wall seconds of a hang, stall or denial
    private : bool or None
        Strike user streams, market streams, or both.
    """

    kind: str
    method: str = ""
    path: str = ".*"
    times: int = 1
    after: bool = False
    status: int = 503
    code: int = -1001
    message: str = "Internal error; unable to process your request. Please try again."
    seconds: float = 1.0
    private: bool | None = None

    def matches(self, method: str, path: str) -> bool:
        """Whether it strikes this request."""
        return self.times > 0 and self.method in {"", method} and re.fullmatch(self.path, path) is not None


def read_fault(body: Mapping[str, Any]) -> Fault:
    """The fault that a control request orders; refuses unknown kinds, fields and unreadable patterns."""
    kind = str(body.get("kind", ""))
    if kind not in KNOWN:
        raise refusals.unknown_fault(kind, ", ".join(KNOWN))
    try:
        fault = Fault(**body)
        re.compile(fault.path)
    except (TypeError, re.error) as error:
        raise VenueRefusal(-1100, f"fault cannot be read: {error}") from error
    return fault


class Faults:
    """The request faults in force, and a log of those that struck."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self.struck: list[dict[str, Any]] = []
        self.denied_until_wall_ms = 0

    def arm(self, fault: Fault) -> None:
        """Order a request fault."""
        self._armed.append(fault)

    def clear(self) -> None:
        """Withdraw every fault."""
        self._armed.clear()
        self.denied_until_wall_ms = 0

    def strike(self, method: str, path: str, wall_ms: int) -> Fault | None:
        """The fault that strikes this request, used up by one."""
        fault = next((one for one in self._armed if one.matches(method, path)), None)
        if fault is None:
            return None
        fault.times -= 1
        self._armed = [one for one in self._armed if one.times > 0]
        self.struck.append(
            {"kind": fault.kind, "method": method, "path": path, "after": fault.after, "wall_ms": wall_ms}
        )
        return fault

    def armed(self) -> list[dict[str, Any]]:
        """Faults that wait, as JSON."""
        return [asdict(fault) for fault in self._armed]
