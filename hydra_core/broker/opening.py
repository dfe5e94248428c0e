"""Opening an account at an exchange: what a person agrees to, what must hold before, and the books as of that moment.

Nothing is sent here. The agreement is kept with the account and compared with the settings at every start, so that raising a
limit needs a person's word again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from hydra_core.broker.gateway import FIT, Gateway
from hydra_core.broker.gateways import PASSPHRASED, insist_on_orders
from hydra_core.broker.reconcile import INCOME, adjustments, opened_cursor, trades_cursor
from hydra_core.domain.errors import UsageError, VenueUnavailable
from hydra_core.domain.pairs import Pair
from hydra_core.ledger.records import LIVE, Account
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.settings import Settings

LOOKS: Final = 5
CEILINGS: Final = (
    "max_position_notional", "max_total_notional", "max_positions", "max_leverage", "risk_per_trade",
    "day_loss_limit", "drawdown_limit", "position_loss_limit",
)  # fmt: skip
"""Risk settings that a person agrees to: none may be larger at a later start."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What the exchange holds at one moment, and what trading there would be bound by.

    Parameters
    ----------
    wallet : USDT
    positions : in plain words
    limits : name -> ceiling that is agreed to
    proven : whether paper trading stands behind it; without it, the words to agree with say so
    """

    endpoint: Endpoint
    wallet: Decimal
    positions: tuple[str, ...]
    limits: Mapping[str, float]
    proven: bool = False

    @property
    def phrase(self) -> str:
        """The words that a person types to agree: account, money and the two limits that matter most."""
        place = self.endpoint.base_url or self.endpoint.exchange
        return (
            f"trade {self.wallet:.2f} USDT at {place} up to {self.limits['max_position_notional']:g} a position, "
            f"{self.limits['max_total_notional']:g} in all{'' if self.proven else ', not proven on paper'}"
        )


def credentials_of(settings: Settings, endpoint: Endpoint) -> Credentials:
    """The key that orders are signed with.

    Raises
    ------
    UsageError : orders are not allowed, no key is set, or orders cannot be sent to that exchange
    """
    if not settings.live.enabled:
        raise UsageError(
            "trading at an exchange is switched off",
            "Set HYDRA_LIVE__ENABLED=true once you have read docs/live.md",
        )
    insist_on_orders(endpoint.exchange)
    return key_of(settings, endpoint)


def key_of(settings: Settings, endpoint: Endpoint) -> Credentials:
    """The key that is set for an exchange, whether orders are allowed or not; raises UsageError where none is."""
    if settings.exchange_key is None or settings.exchange_secret is None:
        raise UsageError("no API key is set", "Set HYDRA_EXCHANGE_KEY and HYDRA_EXCHANGE_SECRET in the environment")
    passphrase = settings.exchange_passphrase
    if passphrase is None and endpoint.exchange in PASSPHRASED:
        raise UsageError(
            f"no passphrase is set, and {endpoint.exchange} signs with one",
            "Set HYDRA_EXCHANGE_PASSPHRASE in the environment",
        )
    return Credentials(
        settings.exchange_key.get_secret_value(),
        settings.exchange_secret.get_secret_value(),
        passphrase.get_secret_value() if passphrase is not None else "",
    )


async def look(gateway: Gateway, settings: Settings) -> Opening:
    """Read what trading would begin with.

    Raises
    ------
    UsageError : the account is not one that HYDRA can trade on
    VenueError : the exchange cannot be read
    """
    await gateway.synchronise()
    if unfit := await gateway.unfit(settings.pairs):
        raise UsageError(unfit, f"{FIT}: close the account's positions and switch it over")
    held = await gateway.positions()
    words = tuple(f"{fact.quantity:f} {pair} at {fact.entry:f}" for pair, fact in sorted(held.items()))
    return Opening(gateway.endpoint, await gateway.wallet(), words, _limits(settings))


async def open_live(
    gateway: Gateway, ledger: Ledger, pairs: Iterable[Pair], opening: Opening, market_ms: int
) -> Account:
    """Open the account in the ledger as the exchange holds it now, positions included; earlier trades are not read.

    Raises
    ------
    VenueUnavailable : the account moved while it was read
    """
    followed = tuple(pairs)
    for _ in range(LOOKS):
        newest = {pair: await gateway.newest_fill(pair) for pair in followed}
        held = await gateway.positions()
        followed = tuple(dict.fromkeys((*followed, *held)))
        wallet = await gateway.wallet()
        if newest == {pair: await gateway.newest_fill(pair) for pair in followed}:
            break
    else:
        raise VenueUnavailable("the account moved while it was read", "Try again while nothing trades on it")
    terms = json.dumps({"exchange": str(opening.endpoint), "limits": opening.limits}, sort_keys=True)
    account = ledger.open_account(LIVE, wallet, market_ms, LIVE, terms)
    for pair, trade_id in newest.items():
        ledger.set_cursor(account.name, trades_cursor(pair), trade_id)
        ledger.set_cursor(account.name, opened_cursor(pair), trade_id)
    ledger.set_cursor(account.name, INCOME, market_ms)
    for pair, fact in held.items():
        for fill in adjustments(account.name, gateway.endpoint.exchange, pair, None, fact):
            ledger.record_fill(fill, realised=Decimal(0))
    return ledger.account(account.name)


def check_terms(account: Account, settings: Settings, endpoint: Endpoint) -> None:
    """Hold the settings against what a person agreed to.

    Raises
    ------
    UsageError : the account is another exchange's, or a limit is larger than agreed
    """
    terms: dict[str, Any] = json.loads(account.terms or "{}")
    if terms.get("exchange") != str(endpoint):
        raise UsageError(
            f"account {account.name} is at {terms.get('exchange', 'an unknown place')}, this is {endpoint}",
            "Open one here with `hydra live`, or another account with `hydra paper`",
        )
    agreed, now = terms.get("limits", {}), _limits(settings)
    raised = [
        f"{name} {now[name]:g} (agreed {agreed.get(name, 0):g})" for name in CEILINGS if now[name] > agreed.get(name, 0)
    ]
    if raised:
        raise UsageError(f"limits are larger than agreed: {', '.join(raised)}", "Agree to them with `hydra live`")


def _limits(settings: Settings) -> dict[str, float]:
    return {name: float(getattr(settings.risk, name)) for name in CEILINGS}
