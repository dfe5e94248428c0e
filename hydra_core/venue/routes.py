"""A REST endpoint: its weight, who may call it, and the function that answers.

The tables of endpoints are in ``rest_public.py`` and ``rest_private.py``; the pipeline that runs them is in
``requests.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

Params = Mapping[str, str]
Answer = bytes | dict[str, Any] | list[Any]


class Access(Enum):
    """What a request has to show."""

    PUBLIC = "public"
    KEY = "key"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint.

    Parameters
    ----------
    answer : callable
        Takes the parameters, returns the JSON body (or its bytes), raises VenueRefusal.
    weight : int or callable of the parameters
    access : Access
    order : bool
        Counts against the order limit.
    """

    answer: Callable[[Params], Answer]
    weight: int | Callable[[Params], int] = 1
    access: Access = Access.PUBLIC
    order: bool = False

    def cost(self, params: Params) -> int:
        """Request weight of a call."""
        return self.weight(params) if callable(self.weight) else self.weight
