"""What every stage of a research run is handed, and what it hands back.

Not here: the stages themselves (``forecasters``, ``crowds``, ``policies``, ``pipeline``).
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from hydra_core import __version__
from hydra_core.alpha.registry import Card, Estimate, ModelRegistry, write_card
from hydra_core.domain.errors import ArtifactInvalid
from hydra_core.domain.market import Panel
from hydra_core.domain.pairs import Pair
from hydra_core.home import Home
from hydra_core.lake.store import Lake, open_lake
from hydra_core.research.bootstrap import Interval
from hydra_core.research.conditions import Conditions, conditions_of
from hydra_core.research.dataset import Dataset, content_key, remembered
from hydra_core.research.gates import GateVerdict, passed, plausible_correlation
from hydra_core.research.outofsample import Progress, quiet
from hydra_core.risk.limits import Limits
from hydra_core.settings import Settings, TrainingSettings

LIBRARIES: Final = ("numpy", "torch", "onnxruntime", "optuna", "stable-baselines3")


@dataclass(frozen=True)
class Bench:
    """Where a research run works and by which settings.

    Parameters
    ----------
    home : market home; datasets, studies and models lie in it
    exchange : name of the venue in the lake
    pairs : what is learnt from
    training, limits : frozen settings
    progress : called with (stage, done, total)
    lake_url : object store of the lake; empty: the home's folder
    studies_url : database of studies that hosts share; None: the home's journal
    """

    home: Home
    exchange: str
    pairs: tuple[Pair, ...]
    training: TrainingSettings
    limits: Limits
    progress: Progress = quiet
    lake_url: str = ""
    studies_url: SecretStr | None = field(default=None, repr=False)

    @classmethod
    def of(cls, home: Home, settings: Settings, progress: Progress = quiet) -> Bench:
        """The bench that settings describe."""
        limits = Limits(settings.decision, settings.risk, settings.costs, settings.training.horizon_bars)
        return cls(
            home, settings.exchange, settings.pairs, settings.training, limits, progress, settings.lake_url,
            settings.studies_url,
        )  # fmt: skip

    @property
    def datasets(self) -> Path:
        """Folder of the datasets."""
        return self.home.path / "datasets"

    @property
    def registry(self) -> ModelRegistry:
        """The home's models."""
        return ModelRegistry(self.home.models)

    @property
    def lake(self) -> Lake:
        """The home's tables."""
        return open_lake(self.home.lake, self.exchange, self.lake_url)

    def conditions(self, panel: Panel) -> Conditions:
        """What the home knows of the contracts of a panel: settlements, filters, margin."""
        return conditions_of(self.home, self.lake, panel)

    def at_horizon(self, bars: int) -> Bench:
        """The same bench for a dataset whose signals span that many bars; itself where its limits say so already."""
        if bars == self.limits.horizon_bars:
            return self
        return replace(self, limits=replace(self.limits, horizon_bars=bars))

    @property
    def plausible_correlation(self) -> float:
        """Largest believable IC of this market."""
        return plausible_correlation(self.home.market)

    @property
    def settings_key(self) -> str:
        """Key of every setting that changes what is traded on a forecast."""
        limits = self.limits
        return content_key(
            limits.decision.model_dump(), limits.risk.model_dump(), limits.costs.model_dump(), limits.horizon_bars
        )


@dataclass(frozen=True)
class Candidate:
    """A trained model, or why there is none.

    Parameters
    ----------
    version : content hash; empty where none could be trained, then ``absent`` says why
    metrics : plain figures of its training and its walk-forward
    """

    kind: str
    version: str
    dataset: str
    metrics: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    absent: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {
            "kind": self.kind,
            "version": self.version,
            "dataset": self.dataset,
            "metrics": self.metrics,
            "notes": list(self.notes),
            "absent": self.absent,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Candidate:
        """The inverse of :meth:`to_json`."""
        return cls(**{**values, "notes": tuple(values["notes"])})


@dataclass(frozen=True)
class Validation:
    """What a candidate was found to be worth.

    Parameters
    ----------
    version : of the candidate; empty where there was none to judge
    gates : in the order they are told
    metrics : plain figures
    backtest : trades, net_return, sharpe, max_drawdown in the lock-box
    curves : name -> ``ts`` (epoch ms) and ``value``
    calibration : ``said`` and ``came`` by bin
    origins : as ``research.origins`` tells it; empty where nothing was traded
    pictures : name -> PNG
    tables : name -> rows of plain values with the same columns, e.g. the walk-forward fold by fold
    """

    kind: str
    version: str
    dataset: str
    gates: tuple[GateVerdict, ...]
    metrics: dict[str, float] = field(default_factory=dict)
    backtest: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    calibration: dict[str, list[float]] = field(default_factory=dict)
    origins: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return bool(self.version) and passed(self.gates)

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form, pictures left out."""
        return {
            "kind": self.kind,
            "version": self.version,
            "dataset": self.dataset,
            "passed": self.passed,
            "gates": [gate.to_json() for gate in self.gates],
            "metrics": self.metrics,
            "backtest": self.backtest,
            "curves": self.curves,
            "calibration": self.calibration,
            "origins": self.origins,
            "tables": self.tables,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], pictures: Mapping[str, bytes] | None = None) -> Validation:
        """The inverse of :meth:`to_json`."""
        plain = {name: value for name, value in values.items() if name != "passed"}
        gates = tuple(GateVerdict(**gate) for gate in plain.pop("gates"))
        return cls(**plain, gates=gates, pictures=dict(pictures or {}))

    @classmethod
    def none(cls, candidate: Candidate) -> Validation:
        """The word on a candidate that could not be trained."""
        gate = GateVerdict("trained", False, 0.0, 1.0, candidate.absent or "nothing was trained")
        return cls(candidate.kind, "", candidate.dataset, (gate,))


def remembered_candidate(bench: Bench, stage: Path, make: Callable[[], Candidate]) -> Candidate:
    """The candidate of a stage: found where it was made before and its artifact still stands, else made and kept."""
    made = Candidate.from_json(remembered(stage, lambda: make().to_json()))
    if made.version:
        try:
            bench.registry.path(made.kind, made.version)
        except ArtifactInvalid:
            stage.with_suffix(".json").unlink()
            return Candidate.from_json(remembered(stage, lambda: make().to_json()))
    return made


def require_same_data(bench: Bench, dataset: Dataset, kind: str, version: str) -> None:
    """Raise ArtifactInvalid unless a candidate's card says that it was trained on exactly this dataset."""
    said = bench.registry.card(kind, version).data_hashes.get("dataset", "")
    if said != dataset.version:
        raise ArtifactInvalid(
            f"{kind} {version[:12]} was trained on dataset {said[:12] or 'unnamed'}, judged on {dataset.version[:12]}",
            "Judge it on its own dataset, or train on this one",
        )


def estimate(interval: Interval) -> Estimate:
    """An interval as a card holds it."""
    return Estimate(value=interval.value, low=interval.low, high=interval.high)


def seal(bench: Bench, card: Card, write: Callable[[Path], object]) -> str:
    """Write an artifact's files and its card into a folder of their own, and save it; returns the version."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    with tempfile.TemporaryDirectory(prefix=".artifact-", dir=bench.home.path) as name:
        folder = Path(name)
        write(folder)
        write_card(folder, card.model_copy(update={"libraries": libraries, "code_version": __version__}))
        return bench.registry.save(card.kind, folder)


def card_of(
    bench: Bench,
    dataset: Dataset,
    kind: str,
    inputs: Sequence[str],
    lookback: int,
    settings: Mapping[str, Any],
    trials: int,
) -> Card:
    """What every card says alike; the caller adds metrics and notes."""
    sources = dataset.sources
    return Card(
        kind=kind,
        inputs=tuple(sorted(inputs)),
        lookback=lookback,
        horizon_bars=dataset.horizon,
        pairs=tuple(str(pair) for pair in dataset.panel.pairs),
        trained_until_ms=dataset.developed_until_ms,
        data_hashes={"dataset": dataset.version, **sources},
        settings={"training": bench.training.model_dump(), **settings},
        seeds=(bench.training.seed,),
        trials=trials,
    )
