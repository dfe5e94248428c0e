"""One way to fetch something from a provider: counted, bounded, cached, and never anywhere it should not go.

Not here: what an answer means (one module a provider).
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from hydra_core.domain.errors import HydraError, Refused, UsageError, VenueUnavailable
from hydra_core.market.external.memory import Memory, Quota
from hydra_core.market.limits import backoff

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

AGENT: Final = "hydra-perps"
ATTEMPTS: Final = 3
REDIRECTS: Final = 3
TIMEOUT_S: Final = 20.0
MAX_BYTES: Final = 8_000_000
"""An answer larger than this, packed or unpacked, is refused."""
PAUSE_S: Final = 60.0
"""Pause after a 429 that does not say how long."""
UNLIMITED: Final = Quota()
_DENIED: Final = (401, 403)
_GZIP: Final = 47  # zlib's window bits: gzip or zlib, whichever the header says


@dataclass(frozen=True, slots=True)
class Provider:
    """Who is asked.

    Parameters
    ----------
    name : str, in messages and counts
    base_url : str
    quota : Quota
    headers : Mapping, sent with every request; holds the key, so it is never shown
    key_name : str, environment variable of the key, for messages
    """

    name: str
    base_url: str
    quota: Quota = UNLIMITED
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    key_name: str = ""


class Fetcher:
    """Fetches for providers; open it as an async context manager.

    Parameters
    ----------
    memory : Memory
    local_only : bool, whether only addresses of this machine may be asked: nothing of the real world is mixed into a
        local market
    """

    def __init__(self, memory: Memory, *, local_only: bool = False) -> None:
        self.memory = memory
        self._local_only = local_only
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False, headers={"User-Agent": AGENT})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(
        self,
        provider: Provider,
        path: str,
        read: Callable[[bytes], T],
        params: Mapping[str, Any] | None = None,
        *,
        keep_ms: int = 0,
        redirects: int = 0,
    ) -> T:
        """What ``read`` makes of an answer, from disk while it is still good.

        Parameters
        ----------
        provider : Provider
        path : str, joined to the provider's base
        read : what is made of the body; an answer that it refuses is not kept
        params : Mapping, optional
        keep_ms : int, how long an answer is good for; 0 keeps none
        redirects : int, how many are followed; none where a key is sent

        Raises
        ------
        QuotaSpent : the provider's plan allows no call now
        Refused : the key is not accepted, the answer is too large, or it leads where it may not
        VenueUnavailable : no usable word after several tries
        """
        query = urlencode(sorted((params or {}).items()))
        url = provider.base_url.rstrip("/") + path + (f"?{query}" if query else "")
        key = hashlib.sha256(f"{provider.name} {url}".encode()).hexdigest()
        if keep_ms and (kept := self.memory.answer(key)) is not None:
            return read(kept.body)
        try:
            body = await self._tried(provider, url, 0 if provider.headers else redirects)
            found = read(body)
        except HydraError as error:
            self.memory.went_wrong(provider.name, error.what)
            raise
        self.memory.went_well(provider.name)
        if keep_ms:
            self.memory.keep(key, body, keep_ms)
        return found

    async def _tried(self, provider: Provider, url: str, redirects: int) -> bytes:
        import aiohttp

        pauses = backoff(ATTEMPTS)
        while True:
            self.memory.draw(provider.name, provider.quota)
            try:
                return await self._once(provider, url, redirects)
            except (aiohttp.ClientError, TimeoutError, OSError, _Again) as error:
                said = str(error) or type(error).__name__
                pause = next(pauses, None)
                if pause is None:
                    raise VenueUnavailable(f"{provider.name}: {said}", "Check the address and the network") from error
            await asyncio.sleep(pause)

    async def _once(self, provider: Provider, url: str, redirects: int) -> bytes:
        if self._session is None:
            raise UsageError("the fetcher is not open", "Use it as an async context manager")
        allowed(url, local_only=self._local_only)
        async with self._session.get(url, headers=provider.headers, allow_redirects=False) as answer:
            if answer.status in (301, 302, 303, 307, 308):
                if redirects <= 0:
                    raise Refused(
                        f"{provider.name}: {_shown(url)} leads elsewhere ({answer.status})", "Correct its address"
                    )
                return await self._once(provider, urljoin(url, answer.headers.get("Location", "")), redirects - 1)
            if answer.status in _DENIED:
                raise Refused(
                    f"{provider.name} does not accept the key or plan (HTTP {answer.status})",
                    f"Check {provider.key_name or 'the address'}",
                )
            if answer.status == 429:
                seconds = _pause_s(answer.headers)
                self.memory.pause(provider.name, seconds)
                raise Refused(
                    f"{provider.name}: too many calls (HTTP 429), paused for {seconds:.0f} s", "Lower its quota"
                )
            if answer.status >= 500:
                raise _Again(f"{_shown(url)} answered HTTP {answer.status}")
            if answer.status != 200:
                raise Refused(
                    f"{provider.name}: {_shown(url)} answered HTTP {answer.status}", "Check the metric's name"
                )
            return await self._body(provider, answer)

    async def _body(self, provider: Provider, answer: aiohttp.ClientResponse) -> bytes:
        """The body, unpacked, never more of it in memory than allowed."""
        coding = answer.headers.get("Content-Encoding", "").lower()
        if coding not in ("", "identity", "gzip", "deflate"):
            raise Refused(f"{provider.name}: packed in a way that was not asked for ({coding})", "Nothing was read")
        unpack = zlib.decompressobj(_GZIP) if coding in ("gzip", "deflate") else None
        whole = bytearray()
        async for chunk in answer.content.iter_chunked(65_536):
            room = MAX_BYTES + 1 - len(whole)
            try:
                whole += unpack.decompress(chunk, room) if unpack else chunk[:room]
            except zlib.error as error:
                raise _Again(f"packed answer is broken ({error})") from error
            if len(whole) > MAX_BYTES:
                raise Refused(f"{provider.name}: an answer of more than {MAX_BYTES} bytes", "Nothing of it was used")
        return bytes(whole)


class _Again(Exception):
    """A failure that another try may mend."""


def allowed(url: str, *, local_only: bool) -> None:
    """Raise Refused for an address that must not be asked: no http(s), or not of this machine where only that may be."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"not an http(s) address: {_shown(url)!r}", "Correct it in the settings")
    if local_only and not is_local(url):
        raise Refused(
            f"{parts.hostname} is not on this machine, and this market is a local one",
            "Data of the real world is not mixed into a simulated market",
        )


def is_local(url: str) -> bool:
    """Whether an address is of this machine, by its spelling alone."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _pause_s(headers: Mapping[str, str]) -> float:
    """Seconds that a provider asks for: Retry-After, or Glassnode's x-rate-limit-reset."""
    for name in ("Retry-After", "x-rate-limit-reset"):
        said = headers.get(name, "")
        if said.replace(".", "", 1).isdigit():
            return float(said)
    return PAUSE_S


def _shown(url: str) -> str:
    """The address without its query: nothing secret or long reaches a message."""
    return url.split("?", 1)[0][:200]
