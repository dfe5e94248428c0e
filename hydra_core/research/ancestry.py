"""From which standing champion a candidate's networks may start, and what is written of it on the card.

A warm start carries what its ancestors were taught into everything that the new network says. So a network may only start
from weights none of whose ancestors has seen, trained on or chosen by, a row that the new one is scored on; nor trained on
the rows that choose the new one's epoch. The gap between is the same as between a fold's own spans. What may not start from
the champion is trained afresh: the walk-forward's early blocks always, and all of it where the champion is too young.

Not here: the start itself (``alpha.forecaster.train``), its smaller learning rate (``warmed``), folds (``folds``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hydra_core.alpha.forecaster.artifact import Weights, warm_state
from hydra_core.alpha.forecaster.families import STACKED, TRANSFORMER, speaks
from hydra_core.alpha.forecaster.linear import standardisation
from hydra_core.alpha.models import FORECASTER
from hydra_core.alpha.registry import Card
from hydra_core.domain.errors import ArtifactInvalid
from hydra_core.research.bench import Bench
from hydra_core.research.dataset import EMBARGO_BARS, WINDOW, Dataset
from hydra_core.research.folds import Fold
from hydra_core.research.lessons import taught

if TYPE_CHECKING:
    from hydra_core.alpha.forecaster.network import NetworkHyper

DESCENT: Final = "descent"
"""Setting on a forecaster's card: see :meth:`Descent.to_json`."""
_FORM: Final = ("width", "layers", "heads", "patch", "cross_layers")
MOST_SHIFT: Final = 1.0
"""Standard deviations that a feature's median may have moved for weights that were learnt on the old one."""
MOST_SCALE: Final = 2.0
"""Factor by which its standard deviation may differ."""


@dataclass(frozen=True, eq=False)
class Ancestor:
    """The champion whose weights a network starts from.

    Parameters
    ----------
    version : that first brought these weights
    lineage : versions, it first, then what it started from itself
    learnt_until_ms : newest close that a label reached which any of the lineage trained on, epoch ms
    known_until_ms : the same with the labels that chose among epochs
    state : its weights
    """

    version: str
    lineage: tuple[str, ...]
    learnt_until_ms: int
    known_until_ms: int
    state: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Descent:
    """What a candidate's networks start from.

    Parameters
    ----------
    ancestor : None: they start afresh
    why : why afresh, in plain words; empty with an ancestor, and where the settings ask for no warm start
    """

    ancestor: Ancestor | None = None
    why: str = ""

    def start(self, dataset: Dataset, fold: Fold) -> Mapping[str, Any] | None:
        """The weights that a fold's network starts from; None where it has to begin afresh."""
        if self.ancestor is None or self.contact(dataset, fold):
            return None
        return self.ancestor.state

    def contact(self, dataset: Dataset, fold: Fold) -> str:
        """Which rows of a fold some ancestor knows, in plain words; empty where it may start from there."""
        if self.ancestor is None:
            return ""
        opens, gap = dataset.panel.ts, EMBARGO_BARS * dataset.panel.interval.ms
        if int(opens[fold.test.start]) < self.ancestor.known_until_ms + gap:
            return "it has seen rows that are scored"
        if int(opens[fold.valid.start]) < self.ancestor.learnt_until_ms + gap:
            return "it has trained on rows that choose the epoch"
        return ""

    def key(self, dataset: Dataset, fold: Fold) -> tuple[str, ...]:
        """What a fold's result depends on beside its own settings: nothing where it starts afresh."""
        return () if self.ancestor is None or self.contact(dataset, fold) else (self.ancestor.version,)

    def to_json(self, dataset: Dataset) -> dict[str, Any]:
        """What the card says: ``ancestor`` (empty: none), ``lineage``, ``blocks`` of the walk-forward that started there,
        ``why`` and the two moments, those of the whole lineage, this candidate included."""
        final, found = dataset.folds.final, self.ancestor
        learnt, known = _close_ms(dataset, final.train.end), dataset.developed_until_ms
        return {
            "ancestor": found.version if found else "",
            "lineage": list(found.lineage) if found else [],
            "blocks": [n for n, fold in enumerate(dataset.folds.folds, 1) if self.start(dataset, fold) is not None],
            "why": self.why,
            "learnt_until_ms": max(learnt, found.learnt_until_ms) if found else learnt,
            "known_until_ms": max(known, found.known_until_ms) if found else known,
        }


FRESH: Final = Descent()


def descent_of(bench: Bench, dataset: Dataset, hyper: NetworkHyper | None) -> Descent:
    """What the networks of a candidate on this dataset start from by the settings and the standing champion.

    The champion may be of this very dataset, when a run is made again: then the candidate has the champion's own ancestor, so
    that the same candidate comes out.

    Parameters
    ----------
    hyper : the network to be trained; None where the family has none
    """
    chosen = bench.training.forecaster
    if chosen.refit == "fresh":
        return FRESH
    if hyper is None or chosen.family not in (TRANSFORMER, STACKED):
        return Descent(why=f"the family {chosen.family} has no network")
    registry = bench.registry
    version = registry.champion(FORECASTER)
    if version is None:
        return Descent(why="nobody held the seat")
    try:
        card = registry.card(FORECASTER, version)
        if card.data_hashes.get("dataset") == dataset.version:
            before = card.settings.get(DESCENT, {})
            version = str(before.get("ancestor", ""))
            if not version:
                return Descent(why=str(before.get("why", "")) or "the champion was trained afresh on these very data")
            card = registry.card(FORECASTER, version)
        found = warm_state(registry.path(FORECASTER, version))
    except ArtifactInvalid as error:
        return Descent(why=f"the champion cannot be read: {error}")
    name = registry.origin(FORECASTER, version)
    if found is None:
        return Descent(why=f"the champion {name[:12]} has no network")
    if not speaks(found.state):
        return Descent(why=f"nothing that the network of the champion {name[:12]} says is used")
    other = _unlike(bench, dataset, hyper, card, found)
    if other:
        return Descent(why=f"the champion {name[:12]} differs in {other}")
    told = card.settings.get(DESCENT, {})
    made = Descent(
        Ancestor(
            name,
            (name, *(str(each) for each in told.get("lineage", ()))),
            # A card of before says only what trained and chose together ended with: then all of it counts as trained on.
            int(told.get("learnt_until_ms", card.trained_until_ms)),
            int(told.get("known_until_ms", card.trained_until_ms)),
            found.state,
        )
    )
    contact = made.contact(dataset, dataset.folds.final)
    return Descent(why=f"not from the champion {name[:12]}: {contact}") if contact else made


def _unlike(bench: Bench, dataset: Dataset, hyper: NetworkHyper, card: Card, found: Weights) -> str:
    """The first thing in which a champion differs so that its weights mean nothing here; empty where there is none."""
    chosen = bench.training.forecaster
    form, taught_then = card.settings.get("network", {}), card.settings.get("taught", {})
    for what, now, then in (
        ("its features", dataset.feature_names, found.features),
        ("its horizon", dataset.horizon, found.horizon_bars),
        ("the horizons of its further heads", tuple(chosen.more_horizons), found.heads),
        ("its window", WINDOW, found.shape),
        *((f"its network's {name.replace('_', ' ')}", getattr(hyper, name), form.get(name)) for name in _FORM),
        *((f"the {name} it was taught", taught(dataset, chosen)[name], taught_then.get(name))
          for name in ("label", "weights")),
    ):  # fmt: skip
        if now != then:
            return f"{what} ({_short(then)}, now {_short(now)})"
    return _rescaled(bench, dataset, found)


def _rescaled(bench: Bench, dataset: Dataset, found: Weights) -> str:
    """The feature whose standardisation has changed too much; empty where none has."""
    values = np.asarray(dataset.features[dataset.folds.final.train.rows(bench.training.stride_bars)])
    center, scale = standardisation(values[np.isfinite(values).all(axis=2)])
    before = np.maximum(found.state["scale"].astype(np.float64), 1e-12)
    moved = np.abs(center - found.state["center"]) / before / MOST_SHIFT
    wider = np.abs(np.log(scale / before)) / np.log(MOST_SCALE)
    far = np.maximum(moved, wider)
    return f"the scaling of {dataset.feature_names[int(far.argmax())]}" if far.max() > 1.0 else ""


def _close_ms(dataset: Dataset, end: int) -> int:
    """Close of the newest bar that a label of rows before ``end`` reaches, epoch ms."""
    return int(dataset.panel.close_ms[min(end + dataset.horizon, len(dataset.panel) - 1)])


def _short(value: object) -> str:
    return f"{len(value)} of them" if isinstance(value, tuple) and len(value) > 4 else str(value)
