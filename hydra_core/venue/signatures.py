"""Who is calling: API key, timestamp, receive window and HMAC signature of a request.

The payload is checked as it was sent; nothing is decoded and encoded again.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from hydra_core.venue import refusals
from hydra_core.venue.admission import required, whole

DEFAULT_RECV_WINDOW_MS: Final = 5_000
MAX_RECV_WINDOW_MS: Final = 60_000
AHEAD_MS: Final = 1_000
"""A timestamp may lie this far in the venue's future."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The one account's credentials.

    Parameters
    ----------
    api_key, secret : str
    """

    api_key: str
    secret: str

    def check_key(self, key: str | None) -> None:
        """Refuse with -2015 any other API key."""
        if key is None or not hmac.compare_digest(key.encode(), self.api_key.encode()):
            raise refusals.bad_key()

    def read(self, key: str | None, query: str, body: str, now_ms: int, speed: float) -> dict[str, str]:
        """The parameters of a signed request.

        Parameters
        ----------
        key : str or None
            The ``X-MBX-APIKEY`` header.
        query, body : str
            Raw query string and raw form body; the signature covers their concatenation.
        now_ms : int
            Market time, epoch ms.
        speed : float
            Market seconds a wall second: the windows are wall time, so they widen with it.

        Raises
        ------
        VenueRefusal : key, signature, timestamp or a malformed parameter
        """
        self.check_key(key)
        signed_query, in_query = _split(query)
        signed_body, in_body = _split(body)
        signature = in_body or in_query
        if not signature:
            raise refusals.missing_parameter("signature")
        payload = signed_query + signed_body
        expected = hmac.new(self.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise refusals.bad_signature()
        params = parse_params(query) | parse_params(body)
        required(params, "timestamp")
        stamp = whole(params, "timestamp") or 0
        window = whole(params, "recvWindow")
        window = DEFAULT_RECV_WINDOW_MS if window is None else window
        if not 0 < window <= MAX_RECV_WINDOW_MS:
            raise refusals.illegal_parameter("recvWindow")
        scale = max(1.0, speed)
        if stamp >= now_ms + AHEAD_MS * scale:
            raise refusals.ahead_of_time()
        if now_ms - stamp > window * scale:
            raise refusals.outside_window()
        return params


def _split(text: str) -> tuple[str, str]:
    """A raw query or body without its signature, and the signature (empty when there is none)."""
    head, mark, signature = text.rpartition("signature=")
    return (head.removesuffix("&"), signature) if mark else (text, "")


def parse_params(text: str) -> dict[str, str]:
    """Parameters of a query string or form body; the last of a repeated name counts."""
    return dict(parse_qsl(text, keep_blank_values=True))
