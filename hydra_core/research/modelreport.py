"""A model's own page: its card, its gates and pictures in one HTML file that needs nothing else. Drawing only."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

from hydra_core.alpha.registry import Card
from hydra_core.domain.intervals import iso
from hydra_core.research.ancestry import DESCENT
from hydra_core.research.bench import Validation
from hydra_core.research.information import PATHS

_STYLE = (
    "body{font:14px system-ui;margin:2rem auto;max-width:60rem}table{border-collapse:collapse}"
    "td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left}.no{background:#f8dede}.yes{background:#e3f4e3}"
)


def card_facts(card: Card) -> dict[str, str]:
    """What a card says, line by line, for people."""
    facts = {
        "kind": card.kind,
        "version": card.version,
        "data": ", ".join(f"{name} {digest[:16]}" for name, digest in card.data_hashes.items()),
        "trained until": iso(card.trained_until_ms),
        "pairs": ", ".join(card.pairs),
        "inputs": ", ".join(card.inputs),
        **({"features": ", ".join(map(str, columns))} if (columns := card.settings.get("features")) else {}),
        "look-back": f"{card.lookback} bars of 5m",
        "horizon": f"{card.horizon_bars} bars of 5m",
        "trials": str(card.trials),
        "seeds": ", ".join(str(seed) for seed in card.seeds),
        "code": card.code_version,
        "libraries": ", ".join(f"{name} {version}" for name, version in card.libraries.items()),
    }
    facts |= {f"taught: {name}": str(word) for name, word in card.settings.get("taught", {}).items()}
    facts |= _descent(card.settings.get(DESCENT, {}))
    if card.settings.get(PATHS):
        facts["ridge over combinatorial paths"] = _paths(card.settings[PATHS])
    for name, seen in card.metrics.items():
        interval = "" if seen.low is None or seen.high is None else f" ({seen.low:.4f} to {seen.high:.4f})"
        facts[name.replace("_", " ")] = f"{seen.value:.4f}{interval}"
    return facts


def _descent(told: dict[str, Any]) -> dict[str, str]:
    """What the networks started from, for people; nothing where nobody asked for a warm start."""
    if told.get("ancestor"):
        blocks = ", ".join(str(number) for number in told["blocks"])
        return {
            "started from": told["ancestor"],
            "lineage": ", ".join(each[:12] for each in told["lineage"]),
            "blocks started from there": blocks or "none: all of them were trained afresh",
        }
    return {"started from": f"afresh: {told['why']}"} if told.get("why") else {}


def _paths(told: dict[str, list[float]]) -> str:
    whole = ", ".join(f"{each:.3f}" for each in sorted(told["paths"]))
    return (
        f"IC {whole} over {len(told['paths'])} paths, {min(told['splits']):.3f} to {max(told['splits']):.3f} over "
        f"{len(told['splits'])} purged splits of development: a diagnosis, never a gate"
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def write_report(card: Card, seen: Validation) -> bytes:
    """The page of one model as UTF-8 bytes."""
    gates = "".join(
        f'<tr class="{"yes" if gate.passed else "no"}"><td>{escape(gate.name)}<td>{escape(gate.note)}</tr>'
        for gate in seen.gates
    )
    about = "".join(f"<tr><th>{escape(name)}<td>{escape(value)}</tr>" for name, value in card_facts(card).items())
    tables = "".join(
        f"<h2>{escape(name)}</h2><table><tr>{''.join(f'<th>{escape(head)}' for head in rows[0])}</tr>"
        + "".join(f"<tr>{''.join(f'<td>{escape(_cell(value))}' for value in row.values())}</tr>" for row in rows)
        + "</table>"
        for name, rows in seen.tables.items()
        if rows
    )
    numbers = "".join(f"<tr><td>{escape(name)}<td>{value:.6g}</tr>" for name, value in sorted(seen.metrics.items()))
    pictures = "".join(
        f'<p><img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for name, png in seen.pictures.items()
        if name != "gates"
    )
    notes = "".join(f"<li>{escape(note)}" for note in card.notes)
    word = "passed every gate" if seen.passed else "did not pass"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(card.kind)} {card.version[:12]}</title>'
        f"<style>{_STYLE}</style><h1>{escape(card.kind)} {card.version[:12]}: {word}</h1><ul>{notes}</ul>"
        f"<h2>Gates</h2><table>{gates}</table>{pictures}{tables}<h2>Card</h2><table>{about}</table>"
        f"<h2>Figures</h2><table>{numbers}</table></html>"
    ).encode()
