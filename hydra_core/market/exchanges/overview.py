"""The table of exchanges for people: one cell a capability and exchange, as text and as Markdown. Nothing is decided here."""

from __future__ import annotations

from typing import Final

from hydra_core.domain.errors import UsageError
from hydra_core.market.exchanges import ADAPTERS, EXCHANGES, Capability, Support
from hydra_core.market.exchanges.capabilities import NO_ORDERS, ORDERS

LEGEND: Final = {
    "reads": "HYDRA reads it, checked against a documented message",
    "reads?": "HYDRA reads it, but no documented message was found to check it against: unverified",
    "yes": "the exchange offers it through ccxt; HYDRA does not read it there (orders have modules of their own)",
    "emulated": "ccxt makes it of other calls",
    "no": "not offered: asking for it is an error that says so",
}
"""Word in a cell -> what it means."""


def cell(exchange: str, capability: Capability) -> str:
    """One of :data:`LEGEND`'s words."""
    adapter = ADAPTERS[exchange]
    verified = adapter.verified(capability)
    if verified is not None:
        return "reads" if verified else "reads?"
    offered = adapter.support(capability)
    return {Support.NATIVE: "yes", Support.EMULATED: "emulated", Support.ABSENT: "no"}[offered]


def table() -> dict[str, dict[str, str]]:
    """Capability, by its plain name -> exchange -> cell."""
    return {capability.name.lower(): {name: cell(name, capability) for name in EXCHANGES} for capability in Capability}


def unverified() -> list[tuple[str, str]]:
    """(exchange, what) that HYDRA reads or sends without a documented message or rule to check it against."""
    found = [
        (name, capability.name.lower())
        for name in EXCHANGES
        for capability in Capability
        if cell(name, capability) == "reads?"
    ]
    return found + [(name, "client order ids") for name in EXCHANGES if not ADAPTERS[name].order_ids.source]


def markdown(part: str) -> str:
    """A part of ``docs/exchanges.md``: ``capabilities``, ``orders``, ``unverified``, ``order_ids``, ``quirks``."""
    parts = {
        "capabilities": _capabilities, "orders": _orders, "unverified": _unverified, "order_ids": _order_ids,
        "quirks": _quirks,
    }  # fmt: skip
    if part not in parts:
        raise UsageError(f"no part {part!r}", f"Known: {', '.join(parts)}")
    return parts[part]()


def _capabilities() -> str:
    lines = [f"| capability | {' | '.join(EXCHANGES)} |", "| --- |" + " --- |" * len(EXCHANGES)]
    lines += [f"| {name} | {' | '.join(cells.values())} |" for name, cells in table().items()]
    return "\n".join(lines)


def live_orders(exchange: str) -> tuple[bool, str]:
    """Whether HYDRA sends orders to an exchange, and how, or why not."""
    return (True, ORDERS[exchange]) if exchange in ORDERS else (False, NO_ORDERS[exchange])


def _orders() -> str:
    lines = ["| exchange | live orders | how, or why not |", "| --- | --- | --- |"]
    for name in EXCHANGES:
        taken, words = live_orders(name)
        lines.append(f"| {name} | {'yes' if taken else 'refused'} | {words} |")
    return "\n".join(lines)


def _unverified() -> str:
    return "\n".join(f"- {exchange}: {what}" for exchange, what in unverified())


def _order_ids() -> str:
    lines = ["| exchange | field | an id matches | ours begin with | source |", "| --- | --- | --- | --- | --- |"]
    for name in EXCHANGES:
        rule = ADAPTERS[name].order_ids
        lines.append(f"| {name} | {rule.field} | `{rule.pattern}` | `{rule.ours}` | {rule.source or 'unverified'} |")
    return "\n".join(lines)


def _quirks() -> str:
    lines = []
    for name in EXCHANGES:
        lines += [f"**{name}**", "", *(f"- {quirk}" for quirk in ADAPTERS[name].quirks), ""]
    return "\n".join(lines).strip()
