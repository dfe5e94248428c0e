"""The families of forecasters and how one is fitted: linear, polynomial, trees, forest, transformer, and all of them stacked.

A fitted forecaster is a weighted sum of parts, each of one family. The stack weighs the families by forecasts that they made
of rows they had not seen: blocks of the training span, each told by models of the rows before it, purged. Several networks
(seeds, and the whole or the newest part of the rows) make a deep ensemble; where they disagree more than on nearly all later
rows, nothing is said. Not here: each family's own fitting, the sealed artifact (``artifact``).
Source of the ensemble: Lakshminarayanan, Pritzel and Blundell (2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from hydra_core.alpha.forecaster.linear import LinearModel, fit_linear
from hydra_core.alpha.forecaster.polynomial import PolynomialModel, fit_polynomial
from hydra_core.alpha.forecaster.stack import stack_weights
from hydra_core.alpha.forecaster.trees import TreesHyper, TreesModel, fit_forest, fit_trees
from hydra_core.alpha.forecaster.windows import Features, WindowShape
from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.market import Floats, Ints

if TYPE_CHECKING:
    from hydra_core.alpha.forecaster.batches import Runtime
    from hydra_core.alpha.forecaster.network import NetworkHyper
    from hydra_core.alpha.forecaster.train import TrainedForecaster

LINEAR: Final = "linear"
POLYNOMIAL: Final = "polynomial"
TREES: Final = "trees"
FOREST: Final = "forest"
TRANSFORMER: Final = "transformer"
STACKED: Final = "stacked"
FAMILIES: Final = (LINEAR, POLYNOMIAL, TREES, FOREST, TRANSFORMER)
"""The families that a stack weighs."""
WINDOWED: Final = frozenset({TRANSFORMER, STACKED})
"""Families that read a window of feature rows; the others read the newest row alone."""
FIRST_SHARE: Final = 0.4
"""Share of the rows that the first block's models train on."""
VALID_SHARE: Final = 0.15
NEWEST_SHARE: Final = 0.6
"""Every second network of an ensemble trains on the newest part of the rows alone."""
AGREEING: Final = 0.98
"""Share of later rows on which the networks' disagreement is small enough to speak."""


class Part(Protocol):
    """One fitted model."""

    def predict(self, features: Features, rows: Ints) -> Floats:
        """Standardised return for rows of a (T, P, F) array, shape (n, P)."""
        ...


@dataclass(frozen=True)
class Recipe:
    """How families are fitted.

    Parameters
    ----------
    network, trees : settings of those families; None: their defaults
    shape : window of the network
    gap : rows left out between spans that train, choose and test
    networks : number of networks of an ensemble
    blocks : out-of-fold blocks that the stack's weights are fitted on
    families : what a stack weighs
    """

    network: NetworkHyper | None = None
    trees: TreesHyper = field(default_factory=TreesHyper)
    shape: WindowShape = field(default_factory=WindowShape)
    gap: int = 100
    networks: int = 1
    blocks: int = 3
    families: tuple[str, ...] = FAMILIES


@dataclass(frozen=True, eq=False)
class FamilyModel:
    """A fitted forecaster: parts and their weights.

    Parameters
    ----------
    family : what was asked for
    parts : (kind, weight, model); the forecast is the weighted sum
    most_spread : standard deviation between the networks above which nothing is said; inf with one network
    weights : family -> weight in the stack
    notes : plain words on what was chosen
    """

    family: str
    parts: tuple[tuple[str, float, Part], ...]
    shape: WindowShape
    most_spread: float = np.inf
    weights: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def linear(self) -> LinearModel:
        """The ridge among the parts; every forecaster has one, if only with weight 0."""
        return next(part for kind, _, part in self.parts if kind == LINEAR)  # type: ignore[return-value]

    @property
    def network(self) -> TrainedForecaster | None:
        """The first network among the parts."""
        return next((part for kind, _, part in self.parts if kind == TRANSFORMER), None)  # type: ignore[return-value]

    def predict(self, features: Features, rows: Ints, threads: int = 1) -> Floats:
        """Standardised expected return, shape (n, P); NaN where a part knows nothing or the networks disagree."""
        return self.word(features, rows)[0]

    def more(self, features: Features, rows: Ints) -> Floats | None:
        """What the networks' further heads say of rows, their mean, (n, P, H, fields); None without such heads."""
        return mean_of([part for kind, weight, part in self.parts if weight and kind == TRANSFORMER], features, rows)

    def word(self, features: Features, rows: Ints) -> tuple[Floats, Floats]:
        """The forecast and the standard deviation between the networks (0 with one), shape (n, P) each."""
        words = {index: part.predict(features, rows) for index, (_, weight, part) in enumerate(self.parts) if weight}
        total, spread = combined(words, self.parts, (rows.size, features.shape[1]))
        return np.where(spread > self.most_spread, np.nan, total), spread


def speaks(state: Mapping[str, Any]) -> bool:
    """Whether a share of a network's word was used: one that was silenced is no start for a later one.

    Where a signal has turned round, weights that were right before it keep a refit at a fifth of the learning rate wrong for
    weeks, and each of its attempts is thrown away for the weights that it began with.
    """
    return float(np.ravel(state["share"])[0]) > 0


def mean_of(networks: Sequence[Any], features: Features, rows: Ints) -> Floats | None:
    """The mean of what several networks' further heads say, quantiles uncrossed in it as in each; None without such heads."""
    said = [word for network in networks if (word := network.more(features, rows)) is not None]
    return np.mean(np.stack(said), axis=0) if said else None


def combined(
    words: Mapping[int, Floats], parts: tuple[tuple[str, float, Any], ...], shape: tuple[int, int]
) -> tuple[Floats, Floats]:
    """The weighted sum of the parts' words (by index) and the standard deviation between the networks among them."""
    total: Floats = np.zeros(shape)
    for index, word in words.items():
        total = total + parts[index][1] * word
    networks = [word for index, word in words.items() if parts[index][0] == TRANSFORMER]
    spread = np.std(np.stack(networks), axis=0) if len(networks) > 1 else np.zeros(shape)
    return total, spread


def fit_family(
    family: str,
    features: Features,
    labels: Floats,
    train: Ints,
    valid: Ints,
    recipe: Recipe,
    *,
    seed: int,
    threads: int = 1,
    progress: Callable[[int, int, float], None] | None = None,
    checkpoint: Path | None = None,
    start: Mapping[str, Any] | None = None,
    more_labels: Floats | None = None,
    weights: Floats | None = None,
    runtime: Runtime | None = None,
) -> FamilyModel:
    """Fit one family, or all of them stacked.

    Parameters
    ----------
    features : float32 array (T, P, F)
    labels : array (T, P), standardised forward returns
    train, valid : row numbers, ascending, purged of each other
    seed : of everything drawn
    progress : epochs of a network, as its training tells them
    checkpoint : file (its name is extended) that a network's training goes on from
    start : weights that the network starts from; a stack's out-of-fold blocks never do, for these may have seen them
    weights : array (T, P), what each training value counts; None: all the same. What chooses is never weighed
    more_labels, runtime : of a network's training, as it takes them

    Raises
    ------
    InputMissing : too few usable rows
    UsageError : no such family
    """
    fit = _Fit(features, labels, recipe, seed, threads, progress, checkpoint, more_labels, weights, runtime)
    if family == STACKED:
        return fit.stacked(train, valid, start)
    if family not in FAMILIES:
        raise UsageError(f"no family {family!r}", f"Known: {', '.join((*FAMILIES, STACKED))}")
    parts: list[tuple[str, float, Part]]
    if family == TRANSFORMER:
        networks, spread = fit.networks(train, valid, start)
        parts = [(LINEAR, 0.0, networks[0].linear), *fit.shares(networks)]
    else:
        linear = fit.linear(train, valid)
        parts, spread = fit.parts(family, linear, train, valid), np.inf
        if family != LINEAR:
            parts = [(LINEAR, 0.0, linear), *parts]
    return FamilyModel(family, tuple(parts), recipe.shape, spread, {family: 1.0}, fit.said)


def inner_blocks(rows: Ints, blocks: int, gap: int) -> list[tuple[Ints, Ints, Ints]]:
    """(train, valid, test) rows of an expanding walk-forward within some ascending rows.

    Raises
    ------
    InputMissing : too few rows
    """
    edges = np.linspace(FIRST_SHARE, 1.0, blocks + 1) * rows.size
    made = []
    for start, end in zip(edges[:-1].astype(int), edges[1:].astype(int), strict=True):
        test = rows[start:end]
        before = rows[rows < test[0] - gap] if test.size else rows[:0]
        valid = before[int(before.size * (1 - VALID_SHARE)) :]
        train = before[before < valid[0] - gap] if valid.size else before
        if min(test.size, valid.size, train.size) == 0:
            raise InputMissing(f"{rows.size} rows in {blocks} blocks with gaps of {gap}", "Collect more history")
        made.append((train, valid, test))
    return made


class _Fit:
    """One fitting: data, recipe and what is said of it."""

    def __init__(
        self,
        features: Features,
        labels: Floats,
        recipe: Recipe,
        seed: int,
        threads: int,
        progress: Callable[[int, int, float], None] | None,
        checkpoint: Path | None,
        more_labels: Floats | None,
        weights: Floats | None,
        runtime: Runtime | None,
    ) -> None:
        self.features, self.labels, self.recipe = features, labels, recipe
        self.seed, self.threads, self.progress, self.checkpoint = seed, threads, progress, checkpoint
        self.more_labels, self.weights, self.runtime = more_labels, weights, runtime
        self.known = np.asarray(np.isfinite(features).all(axis=2))
        self.said: tuple[str, ...] = ()

    def linear(self, train: Ints, valid: Ints) -> LinearModel:
        return fit_linear(self.features, self.labels, self.known, train, valid, weights=self.weights)

    def plain(self, family: str, linear: LinearModel, train: Ints, valid: Ints) -> Part:
        """One part that needs no network, chosen on ``valid``."""
        given = (self.features, self.labels, self.known, train, valid)
        if family == LINEAR:
            return linear
        if family == POLYNOMIAL:
            return fit_polynomial(*given, linear, weights=self.weights)
        if family == FOREST:
            return self.forest(np.concatenate([train, valid]))
        return fit_trees(*given, linear.common, self.recipe.trees, seed=self.seed, weights=self.weights)

    def forest(self, rows: Ints) -> TreesModel:
        return fit_forest(self.features, self.labels, self.known, rows, seed=self.seed, weights=self.weights)

    def parts(self, family: str, linear: LinearModel, train: Ints, valid: Ints) -> list[tuple[str, float, Part]]:
        """The part of a family without a network, fitted again on all rows with what it chose on ``valid``."""
        both = np.concatenate([train, valid])
        if family == FOREST:
            return [(FOREST, 1.0, self.forest(both))]
        chosen = self.plain(family, linear, train, valid)
        given = (self.features, self.labels, self.known, both, valid)
        if isinstance(chosen, LinearModel):
            return [(LINEAR, 1.0, fit_linear(*given, (chosen.penalty,), weights=self.weights))]
        if isinstance(chosen, PolynomialModel):
            few = fit_polynomial(*given, linear, (chosen.penalty,), weights=self.weights)
            self.said += (f"polynomial: {int((few.weights != 0).sum())} of {few.weights.size} columns kept",)
            return [(POLYNOMIAL, 1.0, few)]
        assert isinstance(chosen, TreesModel)
        self.said += (f"trees: {chosen.trees} kept, {chosen.share:.2f} of their word used",)
        if chosen.trees:
            hyper = replace(self.recipe.trees, rounds=chosen.trees)
            chosen = fit_trees(*given, linear.common, hyper, seed=self.seed, like=chosen, weights=self.weights)
        return [(TREES, 1.0, chosen)]

    def networks(
        self, train: Ints, valid: Ints, start: Mapping[str, Any] | None, count: int | None = None
    ) -> tuple[list[TrainedForecaster], float]:
        """The ensemble's networks and the most they may disagree."""
        from hydra_core.alpha.forecaster.network import NetworkHyper
        from hydra_core.alpha.forecaster.train import train_forecaster, warmed

        hyper = self.recipe.network or NetworkHyper()
        start = start if start is not None and speaks(start) else None
        made: list[TrainedForecaster] = []
        for number in range(count or self.recipe.networks):
            rows = train if number % 2 == 0 else train[int(train.size * (1 - NEWEST_SHARE)) :]
            file = None if self.checkpoint is None else self.checkpoint.with_suffix(f".{number}-{train.size}.pt")
            one = train_forecaster(
                self.features,
                self.labels,
                rows,
                valid,
                hyper if start is None else warmed(hyper),
                seed=self.seed + number,
                threads=self.threads,
                shape=self.recipe.shape,
                progress=self.progress,
                runtime=self.runtime,
                more_labels=self.more_labels,
                weights=self.weights,
                start=start,
                checkpoint=file,
            )
            halted = f", stopped after epoch {one.diverged}: its loss was no number" if one.diverged else ""
            self.said += (
                f"epoch {one.kept_epoch} of {one.hyper.epochs} kept, {float(one.network.share[0]):.2f} of the "
                f"transformer's word used{halted}",
            )
            made.append(one)
        if len(made) == 1:
            return made, np.inf
        spread = np.std([one.predict(self.features, valid, self.threads) for one in made], axis=0)
        known = np.isfinite(spread)
        return made, float(np.quantile(spread[known], AGREEING)) if known.any() else np.inf

    def shares(self, networks: Sequence[TrainedForecaster]) -> list[tuple[str, float, Part]]:
        """The networks as parts of one voice."""
        return [(TRANSFORMER, 1.0 / len(networks), one) for one in networks]

    def stacked(self, train: Ints, valid: Ints, start: Mapping[str, Any] | None) -> FamilyModel:
        """Weights from out-of-fold blocks, then every family on all rows."""
        families = self.recipe.families
        weights, carried = self._weights(np.concatenate([train, valid]))
        named = dict(zip(families, weights, strict=True))
        self.said = tuple(f"{family} weighs {weight:.2f}" for family, weight in named.items())
        linear, most = self.linear(train, valid), np.inf
        parts: list[tuple[str, float, Part]] = []
        if not named.get(LINEAR):
            parts.append((LINEAR, 0.0, linear))
        for family, weight in named.items():
            if weight and family == TRANSFORMER:
                networks, most = self.networks(train, valid, carried if start is None else start)
                parts += [(kind, weight * share, part) for kind, share, part in self.shares(networks)]
            elif weight:
                parts += [(kind, weight, part) for kind, _, part in self.parts(family, linear, train, valid)]
        return FamilyModel(STACKED, tuple(parts), self.recipe.shape, most, named, self.said)

    def _weights(self, rows: Ints) -> tuple[tuple[float, ...], Mapping[str, Any] | None]:
        """Weights of the families from what each said of blocks it had not seen, and the last network's own weights.

        The first block's network begins afresh whatever the final one starts from: weights from elsewhere may have seen
        the blocks that are told here.
        """
        families = self.recipe.families
        start: Mapping[str, Any] | None = None
        voices: dict[str, list[Floats]] = {family: [] for family in families}
        told: list[Floats] = []
        common = 1.0
        for first, later, test in inner_blocks(rows, self.recipe.blocks, self.recipe.gap):
            linear = self.linear(first, later)
            common = linear.common
            for family in families:
                part: Part
                if family == TRANSFORMER:
                    (part,), _ = self.networks(first, later, start, count=1)
                    start = part.state()
                else:
                    part = self.plain(family, linear, first, later)
                voices[family].append(part.predict(self.features, test))
            told.append(self.labels[test])
        found = stack_weights([np.concatenate(voices[each]) for each in families], np.concatenate(told), common)
        return found, start
