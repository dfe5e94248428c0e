"""Headlines out of RSS and Atom feeds: read by feedparser, made harmless, told apart, and said which pairs they speak of.

A feed is untrusted: its size, its entities and its tags are limited before it is parsed, its titles become plain text, its
links are http(s) or nothing, and its dates are noted but never believed: an entry is known from when it was seen.
"""

from __future__ import annotations

import calendar
import codecs
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from hydra_core.domain.errors import Refused
from hydra_core.domain.intervals import MINUTE_MS
from hydra_core.domain.pairs import Pair, base_of
from hydra_core.domain.text import cleaned, neutralised
from hydra_core.market.external.http import Fetcher, Provider
from hydra_core.market.external.memory import Memory

NAME: Final = "news"
EVERY: Final = Pair("ALL")
"""Stands for the whole market, in the column of pairs and as the pair that the table ``news`` is kept under."""
MAX_BYTES: Final = 1_000_000
MAX_TAGS: Final = 100_000
MAX_ENTRIES: Final = 300
KEEP_MS: Final = 5 * MINUTE_MS
ENCODINGS: Final = frozenset(
    codecs.lookup(name).name
    for name in ("ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1", "iso-8859-15", "cp1250", "cp1251",
                 "cp1252", "koi8-r", "shift_jis", "euc-jp", "gb18030", "gbk", "big5", "euc-kr")
)  # fmt: skip
"""Encodings that a feed may be in; a stranger one could hide what is looked for."""

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "BTC": ("bitcoin",),
    "ETH": ("ethereum", "ether"),
    "SOL": ("solana",),
    "BNB": ("binance coin", "bnb chain"),
    "DOGE": ("dogecoin",),
    "XRP": ("ripple",),
    "ADA": ("cardano",),
    "LTC": ("litecoin",),
}
"""Base asset -> what it is called in a sentence; its ticker counts only in capitals."""
_MARKET: Final = re.compile(
    r"\b(crypto\w*|stablecoins?|altcoins?|defi|digital assets?|perpetual futures|spot etfs?)\b", re.IGNORECASE
)
_PROLOG = re.compile(rb"^\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"'][^>]*\?>", re.IGNORECASE)
_TEXT_PROLOG = re.compile(r"^\s*<\?xml[^>]*\?>", re.IGNORECASE)
_ENTITY = re.compile(r"<!\s*ENTITY|<!\s*DOCTYPE[^>]*\[", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Headline:
    """One entry of a feed.

    Parameters
    ----------
    identifier : str, the same for the same entry however often it is fetched
    feed : str, host of the feed
    title : str, plain text
    link : str, http(s) or empty
    pairs : pairs it speaks of; :data:`EVERY` for the whole market; empty where it speaks of neither
    dated_ms : int or None, the feed's own date
    """

    identifier: str
    feed: str
    title: str
    link: str
    pairs: tuple[Pair, ...]
    dated_ms: int | None

    @property
    def words(self) -> str:
        """The title's bare words: two feeds that carry one story agree on them."""
        return " ".join(re.findall(r"\w+", self.title.lower()))


async def fetch(fetcher: Fetcher, url: str, pairs: Sequence[Pair]) -> list[Headline]:
    """The headlines of a feed now, newest as the feed has them; each once.

    Raises
    ------
    Refused : the feed is too large, declares entities, is no feed, or leads where it may not
    VenueUnavailable : no usable word from it
    """
    host = urlsplit(url).hostname or url
    (name,) = providers((url,))
    who = Provider(name, url)
    return await fetcher.get(
        who, "", partial(parse, who.name, host, pairs, fetcher.memory), keep_ms=KEEP_MS, redirects=3
    )


def providers(urls: Iterable[str]) -> tuple[str, ...]:
    """Under which names the feeds of these addresses are counted, each once."""
    return tuple(dict.fromkeys(f"{NAME} {urlsplit(url).netloc or url}" for url in urls))


def parse(provider: str, host: str, pairs: Sequence[Pair], memory: Memory, body: bytes) -> list[Headline]:
    """Headlines of a feed's bytes; entries that cannot be read are set aside. Raises Refused; see :func:`fetch`."""
    import feedparser

    content = defused(provider, body)
    feed = feedparser.parse(io.BytesIO(content), response_headers={"content-type": "application/xml; charset=utf-8"})
    if not feed.entries and not feed.version:
        memory.set_aside(provider, "neither RSS nor Atom", body[:300])
        raise Refused(f"{provider}: the answer is neither RSS nor Atom", "Correct the feed's address in the settings")
    if feed.bozo:
        memory.set_aside(provider, f"not well-formed, read as far as it goes: {feed.bozo_exception}", body[:200])
    found: dict[str, Headline] = {}
    for entry in feed.entries[:MAX_ENTRIES]:
        one = _headline(host, entry, pairs)
        if one is None:
            memory.set_aside(provider, "an entry without a title", dict(entry))
        else:
            found.setdefault(one.identifier, one)
    return list(found.values())


def defused(provider: str, body: bytes) -> bytes:
    """The feed in UTF-8, checked for what makes a parser explode; raises Refused."""
    if len(body) > MAX_BYTES:
        raise Refused(f"{provider}: a feed of {len(body)} bytes, {MAX_BYTES} are taken", "Nothing of it was used")
    text = _decoded(provider, body)
    if _ENTITY.search(text):
        raise Refused(
            f"{provider}: the feed declares entities of its own", "Nothing of it was parsed; a feed needs none"
        )
    if text.count("<") > MAX_TAGS:
        raise Refused(f"{provider}: more than {MAX_TAGS} tags", "Nothing of it was parsed")
    return b'<?xml version="1.0" encoding="utf-8"?>' + _TEXT_PROLOG.sub("", text).encode()


def pairs_in(title: str, pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Pairs that a title names; :data:`EVERY` where it speaks of the market and names none."""
    named = tuple(pair for pair in pairs if _named(title, base_of(pair)))
    return named or ((EVERY,) if _MARKET.search(title) else ())


def _named(title: str, base: str) -> bool:
    names = "|".join(re.escape(name) for name in NAMES.get(base, ()))
    by_name = names and re.search(rf"\b({names})\b", title, re.IGNORECASE)
    return bool(by_name or re.search(rf"(?<![A-Za-z0-9]){re.escape(base)}(?![A-Za-z0-9])", title))


def _decoded(provider: str, body: bytes) -> str:
    """The feed as text, by its byte order mark or its prolog, UTF-8 otherwise."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        name = "utf-16"
    elif found := _PROLOG.match(body.removeprefix(codecs.BOM_UTF8)):
        name = found.group(1).decode()
    else:
        name = "utf-8"
    try:
        known = codecs.lookup(name).name
    except LookupError:
        known = ""
    if known not in ENCODINGS:
        raise Refused(f"{provider}: a feed in the encoding {name!r}", f"Known: {', '.join(sorted(ENCODINGS))}")
    return body.removeprefix(codecs.BOM_UTF8).decode(known, "replace").replace("\x00", "")


def _headline(host: str, entry: Any, pairs: Sequence[Pair]) -> Headline | None:
    title = neutralised(str(entry.get("title", "")))
    if not title:
        return None
    link = cleaned(str(entry.get("link", "")), 500)
    if urlsplit(link).scheme not in ("http", "https") or " " in link:
        link = ""
    own = str(entry.get("id", "")) or link or title
    dated = entry.get("published_parsed") or entry.get("updated_parsed")
    return Headline(
        identifier=hashlib.sha256(f"{host} {own}".encode()).hexdigest()[:16],
        feed=host,
        title=title,
        link=link,
        pairs=pairs_in(title, pairs),
        dated_ms=calendar.timegm(dated) * 1000 if dated else None,
    )
