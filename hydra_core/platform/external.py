"""What may be asked of the world beside the exchange: settings, keys and the home's kind made into sources, and how they stand.

A local market is a world of its own: nothing real is mixed into it, so its sources may only be on this machine. A source
without a key or a list is absent, and the reason is a plain word in `hydra status`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hydra_core.domain.clock import Clock, SystemClock
from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.tables import CROSS_BASIS, CROSS_FUNDING, DERIVATIVES, NEWS, ONCHAIN
from hydra_core.home import Home
from hydra_core.lake.gather import Sources
from hydra_core.lake.store import open_lake
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.exchanges.capabilities import known_exchange
from hydra_core.market.external import coinglass, glassnode
from hydra_core.market.external.http import is_local
from hydra_core.market.external.memory import Memory, Quota
from hydra_core.market.external.news import providers
from hydra_core.platform.markets import described
from hydra_core.settings import Settings

MEMORY: Final = "external.db"
LOCAL: Final = "this market is a local one: only sources on this machine are read"


def sources_of(home: Home, settings: Settings, venue_url: str = "") -> Sources:
    """The sources that the settings name and the home allows.

    Parameters
    ----------
    home, settings : the market home and all settings
    venue_url : str, address of the home's local venue; empty: that of the settings

    Raises
    ------
    UsageError : an exchange to compare with is not known
    """
    local = described(home).local
    part = settings.external
    absent: dict[str, str] = {}

    def allowed(url: str) -> bool:
        return not local or bool(url and is_local(url))

    chain = curve = None
    if settings.glassnode_api_key is None:
        absent[ONCHAIN] = f"no {glassnode.KEY_NAME}"
    elif not allowed(part.glassnode_url):
        absent[ONCHAIN] = LOCAL
    else:
        quota = Quota(part.glassnode_per_minute, part.glassnode_per_day)
        chain = glassnode.provider(settings.glassnode_api_key.get_secret_value(), part.glassnode_url, quota)
    if settings.coinglass_api_key is None:
        absent[DERIVATIVES] = f"no {coinglass.KEY_NAME}"
    elif not allowed(part.coinglass_url):
        absent[DERIVATIVES] = LOCAL
    else:
        key = settings.coinglass_api_key.get_secret_value()
        curve = coinglass.provider(key, part.coinglass_url, Quota(part.coinglass_per_minute))
    feeds = tuple(url for url in part.news_feeds if allowed(url))
    if not feeds:
        absent[NEWS] = LOCAL if part.news_feeds else "no HYDRA_EXTERNAL__NEWS_FEEDS"
    exchanges = {name: _endpoint(name, word) for name, word in part.exchanges.items()}
    near = {
        name: where for name, where in exchanges.items() if not local or (where.base_url and is_local(where.base_url))
    }
    if not near:
        absent[CROSS_FUNDING] = absent[CROSS_BASIS] = LOCAL if exchanges else "no HYDRA_EXTERNAL__EXCHANGES"
    reference = settings.exchange
    home_url = (venue_url or settings.venue_url) if local else ""
    if near and not (local and not home_url):
        near = {reference: Endpoint(settings.exchange, home_url or None), **near}
    return Sources(
        lake_root=open_lake(home.lake, settings.exchange, settings.lake_url).root,
        limits=home.limits,
        memory=home.path / MEMORY,
        pairs=settings.pairs,
        history_days=part.history_days,
        local_only=local,
        glassnode=chain,
        metrics=part.glassnode_metrics,
        resolution=part.glassnode_resolution,
        coinglass=curve,
        series=part.coinglass_series,
        interval=part.coinglass_interval,
        feeds=feeds,
        exchanges=near,
        reference=reference,
        absent=absent,
    )


def standings(home: Home, settings: Settings, clock: Clock | None = None) -> Iterator[tuple[str, bool | None, str]]:
    """(source, healthy, word) of every source for `hydra status`; absent or failed is no fault, but worth knowing."""
    clock = clock or SystemClock()
    try:
        sources = sources_of(home, settings)
    except HydraError as error:
        yield "external data", False, str(error)
        return
    named = {
        "on-chain": ((glassnode.NAME,) if sources.glassnode else (), ONCHAIN),
        "derivatives": ((coinglass.NAME,) if sources.coinglass else (), DERIVATIVES),
        "news": (providers(sources.feeds), NEWS),
    }
    path = sources.memory
    for source, (names, table) in named.items():
        if not names:
            yield source, None, f"absent: {sources.absent[table]}"
        elif not path.exists():
            yield source, None, "not asked yet"
        else:
            yield source, *_word(path, names, clock)
    compared = [name for name in sources.exchanges if name != sources.reference]
    detail = f"compared with {', '.join(compared)}" if compared else f"absent: {sources.absent[CROSS_FUNDING]}"
    yield "other exchanges", None, detail


def _word(path: Path, names: tuple[str, ...], clock: Clock) -> tuple[bool | None, str]:
    try:
        with Memory(path, clock) as memory:
            all_of_them = [memory.standing(name) for name in names]
    except HydraError as error:
        return False, str(error)
    now = clock.wall_ms()
    words = []
    for one in all_of_them:
        since = f"{(now - one.ok_ms) / 60_000:.0f} min ago" if one.ok_ms else "never answered"
        said = f"{one.provider}: {since}, {one.calls_today} calls today"
        said += f", {one.broken} pieces set aside" if one.broken else ""
        words.append(said + (f", last problem: {one.problem}" if one.problem else ""))
    return None if any(one.problem for one in all_of_them) else True, "; ".join(words)


def _endpoint(name: str, word: str) -> Endpoint:
    """``bybit`` or ``binanceusdm@http://127.0.0.1:8899`` as an endpoint; raises UsageError."""
    exchange, _, url = word.partition("@")
    if url and not is_local(url):
        raise UsageError(
            f"exchange {name}: {url} is not on this machine", "Leave the address out to ask the exchange itself"
        )
    return Endpoint(known_exchange(exchange.strip()), url.strip() or None)
