"""The data that a research run works on, prepared once and found again by its content: panel, features, labels, folds.

A dataset is a folder ``datasets/<hash>/`` in the market home. Stages leave their results beside it under a content key, so a
run that was stopped goes on where it stopped. Everything is written whole or not at all.

Not here: reading the lake (``lake.panel``), what is done with the rows (``pipeline``).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from hydra_core import __version__
from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.features.selection import ALL, Selection, select
from hydra_core.alpha.forecaster.windows import Features, WindowShape
from hydra_core.alpha.registry import write_atomically
from hydra_core.domain.errors import DataCorrupt, InputMissing, UsageError
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL, Interval
from hydra_core.domain.market import FIELD_NAMES, Floats, Ints, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.research.folds import Folds, walk_forward
from hydra_core.settings import TrainingSettings

FORMAT: Final = 1
META: Final = "dataset.json"
FEATURES_HASH: Final = "features_sha256"
PANEL: Final = "panel.npz"
FEATURES: Final = "features.npy"
SOURCES: Final = "sources.json"
HORIZONS: Final = "horizons.json"
WINDOW: Final = WindowShape()
EMBARGO_BARS: Final = 288
"""A day between spans, beside the horizon."""
Arrays = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """One history with everything that is derived from it; T rows, P pairs, F features.

    Parameters
    ----------
    folder : where it and the results of stages lie
    version : content hash
    features : float32 array (T, P, F), memory-mapped
    """

    folder: Path
    version: str
    panel: Panel
    feature_names: tuple[str, ...]
    features: Features
    horizon: int
    folds: Folds

    @cached_property
    def sigma(self) -> Floats:
        """Standard deviation per square root of a bar, (T, P)."""
        return labels.volatility_scale(self.panel)

    @cached_property
    def label(self) -> Floats:
        """Forward return in standard deviations of the horizon, (T, P); NaN where the future is not complete."""
        return labels.scaled_return(self.panel, self.horizon)

    @cached_property
    def adverse(self) -> tuple[Floats, Floats]:
        """Adverse excursions of a long and of a short in standard deviations of the horizon, (T, P) each."""
        scale = self.sigma * math.sqrt(self.horizon)
        long, short = labels.adverse_excursion(self.panel, self.horizon)
        return long / scale, short / scale

    @cached_property
    def days(self) -> Ints:
        """UTC day number of each row's close, (T,)."""
        return np.asarray((self.panel.close_ms - 1) // DAY_MS, np.int64)

    @property
    def lockbox_ms(self) -> tuple[int, int]:
        """First and last bar of the lock-box, epoch ms."""
        span = self.folds.lockbox
        return int(self.panel.ts[span.start]), int(self.panel.close_ms[-1])

    @property
    def developed_until_ms(self) -> int:
        """Close of the newest bar that a label of development reaches, epoch ms."""
        newest = min(self.folds.development.end + self.horizon, len(self.panel) - 1)
        return int(self.panel.close_ms[newest])

    @property
    def sources(self) -> dict[str, str]:
        """Name -> SHA-256 of what it was made from in the lake; empty where it was not made from a lake."""
        file = self.folder / SOURCES
        found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        return found

    @property
    def horizons(self) -> dict[str, Any]:
        """How its horizon was chosen, as ``research.horizons`` tells it; empty where the settings named it."""
        file = self.folder / HORIZONS
        found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def stage(self, name: str, *key: object) -> Path:
        """File of a stage's result, without suffix, under a hash of what the stage depends on (the code's version too)."""
        return self.folder / "stages" / f"{name}-{content_key(__version__, FORMAT, *key)}"

    def summary(self) -> dict[str, Any]:
        """What a person wants to know of it, JSON-serialisable."""
        folds = self.folds
        return {
            "version": self.version,
            "pairs": [str(pair) for pair in self.panel.pairs],
            "rows": len(self.panel),
            "start_ms": int(self.panel.ts[0]),
            "end_ms": int(self.panel.close_ms[-1]),
            "inputs": sorted(self.panel.inputs),
            "features": list(self.feature_names),
            "horizon_bars": self.horizon,
            "horizons": self.horizons.get("tried", []),
            "gap_bars": folds.gap,
            "folds": [
                {"train": len(f.train), "valid": len(f.valid), "test": len(f.test)} for f in (*folds.folds, folds.final)
            ],
            "lockbox_start_ms": self.lockbox_ms[0],
        }


def content_key(*parts: object) -> str:
    """Sixteen hex digits over the parts' JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def build_dataset(root: Path, panel: Panel, training: TrainingSettings) -> Dataset:
    """Compute a dataset, or find it where it was computed before.

    Parameters
    ----------
    root : Path, the home's ``datasets`` folder
    panel : Panel; its newest ``training.candles`` rows are used

    Raises
    ------
    InputMissing : the history is too short for the folds, or lacks what a named feature needs
    UsageError : the settings name a feature that does not exist, or that the live plane cannot compute
    """
    panel = panel.last(training.candles)
    chosen = selected_features(panel.inputs, training).features
    plan = walk_forward(
        len(panel),
        training.folds,
        training.horizon_bars,
        EMBARGO_BARS,
        training.lockbox_share,
        warm_up=chosen.lookback + WINDOW.reach,
    )
    version = _version(panel, chosen.names, training.horizon_bars, plan)
    folder = root / version
    if not (folder / META).exists():
        features = chosen.compute(panel)
        arrays = {"ts": panel.ts, **{name: getattr(panel, name) for name in FIELD_NAMES}}
        save_arrays(folder / PANEL, arrays)
        _save_one(folder / FEATURES, features)
        digest = hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()
        meta = {
            "format": FORMAT,
            "pairs": [str(pair) for pair in panel.pairs],
            "interval": str(panel.interval),
            "inputs": sorted(panel.inputs),
            "features": list(chosen.names),
            "horizon": training.horizon_bars,
            "folds": training.folds,
            "lockbox_share": training.lockbox_share,
            FEATURES_HASH: digest,
        }
        write_atomically(folder / META, json.dumps(meta, indent=1, sort_keys=True).encode())
    return open_dataset(root, version)


def selected_features(inputs: Iterable[str], training: TrainingSettings) -> Selection:
    """The features that settings ask for, of a history that holds some inputs; raises as :func:`build_dataset` does."""
    from hydra_core.alpha.forecaster.families import WINDOWED

    return select(training.features, inputs, WINDOW.reach if training.forecaster.family in WINDOWED else 0)


def require_live_lookback(dataset: Dataset, training: TrainingSettings) -> None:
    """Raise UsageError where a dataset prepared for a family that reads one row is taught to one that reads a window."""
    asked = selected_features(dataset.panel.inputs, training.model_copy(update={"features": (ALL,)})).features.names
    beyond = [name for name in dataset.feature_names if name not in asked]
    if beyond:
        raise UsageError(
            f"the {training.forecaster.family} looks back further than is live with {', '.join(beyond)}",
            "Prepare the dataset with this family's settings: materialize `research/dataset` again",
        )


def open_dataset(root: Path, version: str) -> Dataset:
    """A dataset that was prepared before; raises InputMissing when it was not, DataCorrupt when it cannot be read."""
    folder = root / version
    if not (folder / META).exists():
        raise InputMissing(f"no dataset {version[:12]} in {root}", "Prepare it: run `hydra train`")
    try:
        meta = json.loads((folder / META).read_text())
        arrays = load_arrays(folder / PANEL)
        features = np.load(folder / FEATURES, mmap_mode="r")
        panel = Panel(
            pairs=tuple(Pair(pair) for pair in meta["pairs"]),
            interval=Interval(meta["interval"]),
            inputs=frozenset(meta["inputs"]),
            **arrays,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataCorrupt(
            f"dataset {folder} cannot be read: {error}", "Delete the folder and prepare it again"
        ) from error
    chosen = FeatureSet(meta["features"])
    plan = walk_forward(
        len(panel),
        meta["folds"],
        meta["horizon"],
        EMBARGO_BARS,
        meta["lockbox_share"],
        warm_up=chosen.lookback + WINDOW.reach,
    )
    digest = hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()
    altered = digest != meta.get(FEATURES_HASH, digest)
    if altered or _version(panel, chosen.names, meta["horizon"], plan) != version:
        raise DataCorrupt(
            f"dataset {folder} was altered: its {'features' if altered else 'panel'} are not those it is named after",
            "Delete the folder and prepare it again",
        )
    return Dataset(folder, version, panel, chosen.names, features, meta["horizon"], plan)


def _version(panel: Panel, names: tuple[str, ...], horizon: int, plan: Folds) -> str:
    """Content hash of what a dataset is made from."""
    return hashlib.sha256(f"{FORMAT} {panel.content_hash()} {names} {horizon} {plan}".encode()).hexdigest()


def remembered(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON result of a stage: read where it was made before, else made and kept."""
    file = path.with_suffix(".json")
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    made = make()
    write_atomically(file, json.dumps(made, indent=1, sort_keys=True).encode())
    return made


def remembered_arrays(path: Path, make: Callable[[], Arrays]) -> dict[str, Any]:
    """The arrays of a stage: read where they were made before, else made and kept."""
    file = path.with_suffix(".npz")
    if not file.exists():
        save_arrays(file, make())
    return load_arrays(file)


def save_arrays(file: Path, arrays: Arrays) -> None:
    """Write named arrays into one file, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(file, buffer.getvalue())


def load_arrays(file: Path) -> dict[str, Any]:
    """The arrays of :func:`save_arrays`; raises InputMissing when the file is not there."""
    if not file.exists():
        raise InputMissing(f"{file} is not there", "Run the stage that makes it: `hydra train`")
    with np.load(file, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _save_one(file: Path, array: Features) -> None:
    """Write one array in a form that can be memory-mapped, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    with os.fdopen(handle, "wb") as out:
        np.save(out, array, allow_pickle=False)
        out.flush()
        os.fsync(out.fileno())
    Path(name).replace(file)


def usable_span(training: TrainingSettings, end_ms: int) -> int:
    """Where a history of the settings' length that ends at ``end_ms`` begins, epoch ms."""
    return FORECAST_INTERVAL.floor(end_ms) - training.candles * FORECAST_INTERVAL.ms
