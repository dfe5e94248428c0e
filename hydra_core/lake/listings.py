"""The exchange's contracts as a lake remembers them: what is listed now, and what is listed no more, with its last filters.

One JSON file beside the tables. A contract that vanishes from the exchange's list keeps its entry: history that was traded by
its rules can still be read by them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.errors import DataCorrupt, HydraError
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.lake.files import Changed, locked, read_versioned, write_versioned
from hydra_core.lake.store import ATTEMPTS, Lake
from hydra_core.market.listings import Listing


@dataclass(frozen=True, slots=True)
class Standing:
    """A contract, and since when and until when it was seen.

    Parameters
    ----------
    pair, status, listed_ms, delivery_ms, rules : as the exchange listed it last
    seen_ms : int, market time at which it was first seen here, epoch ms
    vanished_ms : int, market time from which the exchange listed it no more; 0 while it does
    """

    pair: Pair
    status: str
    listed_ms: int
    delivery_ms: int
    rules: MarketRules
    seen_ms: int
    vanished_ms: int = 0


class Listings:
    """Contracts of one lake's venue.

    Parameters
    ----------
    lake : Lake
    """

    def __init__(self, lake: Lake) -> None:
        self._path: Path = lake.root / f"listings-{lake.venue}.json"

    def read(self) -> dict[Pair, Standing]:
        """Every contract that was ever listed, as it was last; none before the first collection.

        Raises
        ------
        DataCorrupt : the file is not readable
        """
        return self._open()[0]

    def update(self, listed: Mapping[Pair, Listing], now_ms: int) -> dict[Pair, Standing]:
        """Take in what the exchange lists now; returns everything that is known then.

        Parameters
        ----------
        listed : Pair -> Listing, the exchange's whole list; an empty one changes nothing, it is no word on any contract
        now_ms : int, market time, epoch ms
        """
        for _ in range(ATTEMPTS):
            with locked(self._path.with_name(f".{self._path.name}.lock")):
                known, version = self._open()
                fresh = _merged(known, listed, now_ms) if listed else known
                if fresh == known:
                    return known
                rows = {pair: _plain(fresh[pair]) for pair in sorted(fresh)}
                try:
                    write_versioned(self._path, json.dumps(rows, indent=1).encode(), version)
                    return fresh
                except Changed:
                    continue
        raise HydraError(f"others write {self._path} all the time", "Run it again")

    def _open(self) -> tuple[dict[Pair, Standing], str]:
        content, version = read_versioned(self._path)
        try:
            return {Pair(pair): _standing(word) for pair, word in json.loads(content or b"{}").items()}, version
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise DataCorrupt(
                f"{self._path} is not a list of contracts ({error})", "Move it away; listed contracts are read anew"
            ) from error


def _merged(known: Mapping[Pair, Standing], listed: Mapping[Pair, Listing], now_ms: int) -> dict[Pair, Standing]:
    merged = {
        pair: Standing(**{**_fields(listing), "seen_ms": known[pair].seen_ms if pair in known else now_ms})
        for pair, listing in listed.items()
    }
    for pair, standing in known.items():
        if pair not in merged:
            merged[pair] = standing if standing.vanished_ms else replace(standing, vanished_ms=now_ms)
    return merged


def _fields(listing: Listing) -> dict[str, Any]:
    return {name: getattr(listing, name) for name in ("pair", "status", "listed_ms", "delivery_ms", "rules")}


_EXACT: Final = (
    "tick_size",
    "step_size",
    "min_quantity",
    "min_notional",
    "taker_fee",
    "maker_fee",
    "maintenance_margin",
)


def _plain(standing: Standing) -> dict[str, Any]:
    plain = asdict(standing)
    plain["rules"] = {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in plain["rules"].items()
        if name != "margin_steps"  # no listing tells it: it is shown to owners of a key
    }
    return plain


def _standing(word: Mapping[str, Any]) -> Standing:
    rules: dict[str, Any] = {
        name: Decimal(value) if name in _EXACT else value for name, value in dict(word["rules"]).items()
    }
    rules["pair"] = Pair(rules["pair"])
    return Standing(**{**word, "pair": Pair(word["pair"]), "rules": MarketRules(**rules)})
