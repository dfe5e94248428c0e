"""The exchange's maintenance margin tables, read once as the trader starts and kept beside the other rules of a pair.

They are shown to owners of a key only. Without one, or where an exchange has no such table, a pair keeps the one rate
that is public (paper's liquidation, the liquidation price on show) and the rate that sizing assumes. Not here: what follows
from a table (``risk.margin``, ``risk.limits``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from loguru import logger

from hydra_core.broker.gateways import GATEWAYS, open_gateway
from hydra_core.broker.opening import key_of
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import InputMissing, UsageError, VenueError, VenueUnavailable
from hydra_core.domain.market import MarginSteps, MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.home import Home
from hydra_core.ledger.livestate import LiveStateReader
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.risk.margin import tiers
from hydra_core.settings import Settings

WAIT_S: Final = 15.0
"""Longest wait for the tables, wall seconds: what protects positions starts behind it."""


async def with_margin_tables(
    home: Home, settings: Settings, endpoint: Endpoint, clock: Clock, rules: Mapping[Pair, MarketRules]
) -> dict[Pair, MarketRules]:
    """The rules of the pairs that are traded, with the margin tables that the exchange shows to the key that is set.

    A table that cannot be read, or makes no sense, is the one that the live state kept from the last start, or none: the
    rates assumed then. Either is said once and keeps nothing from trading: a table bounds leverage, it opens nothing.
    """
    traded = {pair: rules[pair] for pair in settings.pairs if pair in rules}
    if endpoint.exchange not in GATEWAYS or settings.exchange_key is None:
        return traded
    try:
        async with asyncio.timeout(WAIT_S):
            steps = await _read(home, settings, endpoint, key_of(settings, endpoint), clock, traded)
    except (VenueError, UsageError) as error:
        reason = str(error)
    except TimeoutError:
        reason = f"no answer within {WAIT_S:g} s"
    else:
        return {pair: replace(one, margin_steps=steps.get(pair, ())) for pair, one in traded.items()}
    kept = _kept(home)
    logger.warning(
        "margin tables cannot be read ({}): {} of {} pairs go by the tables of the last start, the others by assumed rates",
        reason, sum(pair in kept for pair in traded), len(traded),
    )  # fmt: skip
    return {pair: replace(one, margin_steps=kept.get(pair, ())) for pair, one in traded.items()}


async def _read(
    home: Home,
    settings: Settings,
    endpoint: Endpoint,
    credentials: Credentials,
    clock: Clock,
    traded: Mapping[Pair, MarketRules],
) -> dict[Pair, MarginSteps]:
    """What the exchange says; raises VenueError where that is no table."""
    timeout_ms = int(settings.live.timeout_s * 1000)
    async with open_gateway(endpoint, credentials, clock, timeout_ms=timeout_ms, budget_folder=home.limits) as gateway:
        await gateway.synchronise()
        steps = await gateway.margin_steps(traded)
    for pair, table in steps.items():
        try:
            tiers(table)
        except UsageError as error:
            raise VenueUnavailable(f"{pair}: {error.what}") from error
    return steps


def _kept(home: Home) -> dict[Pair, MarginSteps]:
    """Tables of the last start, by pair."""
    with contextlib.suppress(InputMissing), LiveStateReader(home.live_state, ()) as reader:
        reader.refresh()
        return {pair: one.margin_steps for pair, one in reader.readings().rules.items() if one.margin_steps}
    return {}
