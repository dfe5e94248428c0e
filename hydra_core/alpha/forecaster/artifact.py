"""The forecaster's sealed folder: written after training, read by the live plane without torch.

``forecaster.json`` names the features, the window, the calibration and the parts whose weighted sum is the forecast. A
network is ``model.onnx``: raw feature windows (n, steps, F), or (n, P, steps, F) where pairs attend to each other, with the
normalisation inside, to standardised returns; where it has further heads, what they say is its second output. Trees are
``trees.txt`` and ``forest.txt`` (LightGBM's own format), regressions ``linear.json`` and ``polynomial.json``; the chance of
a rise is ``rise.json`` with its trees in ``rise.txt``. ``network.npy`` holds the first network's weights, for a warm start;
``reference.json`` what every feature was like while it was trained, for drift. Each part's library is imported when it is
opened.

Not here: the card's and the folder's hash (``alpha/registry``), training (``families``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster import trees
from hydra_core.alpha.forecaster.calibration import Calibration
from hydra_core.alpha.forecaster.families import (
    FOREST,
    LINEAR,
    POLYNOMIAL,
    TRANSFORMER,
    TREES,
    FamilyModel,
    Part,
    combined,
    mean_of,
)
from hydra_core.alpha.forecaster.heads import HEAD_FIELDS, HeadsWord
from hydra_core.alpha.forecaster.linear import LinearModel
from hydra_core.alpha.forecaster.polynomial import PolynomialModel
from hydra_core.alpha.forecaster.rise import RiseModel
from hydra_core.alpha.forecaster.windows import Features, WindowShape
from hydra_core.alpha.models import Forecast
from hydra_core.alpha.onnx_files import export, open_session
from hydra_core.domain.errors import ArtifactInvalid, HydraError
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.statistics.shift import Reference
from hydra_core.statistics.view import SIGMA_LOOKBACK

if TYPE_CHECKING:
    from hydra_core.alpha.forecaster.train import TrainedForecaster

MODEL: Final = "model.onnx"
WEIGHTS: Final = "network.npy"
SETTINGS: Final = "forecaster.json"
REFERENCE: Final = "reference.json"
RISE: Final = "rise.json"
RISE_TREES: Final = "rise.txt"
_FILES: Final = {LINEAR: "linear.json", POLYNOMIAL: "polynomial.json", TREES: "trees.txt", FOREST: "forest.txt"}
_CHUNK: Final = 1024


@dataclass(frozen=True, eq=False)
class SealedForecaster:
    """A forecaster read from its folder; satisfies :class:`hydra_core.alpha.models.ForecasterModel`.

    Parameters
    ----------
    parts : (kind, weight, model); the forecast is the weighted sum
    most_spread : standard deviation between networks above which nothing is said
    width : half width of the interval that holds nine returns of ten, in horizon standard deviations; NaN where not measured
    heads : horizons that the networks' further heads speak of, bars
    shift : how far the heads' outer quantiles are moved apart to hold nine returns of ten, in the same units; NaN where the
        heads do not speak of this horizon, then ``width`` makes the interval
    rise : the chance that the price stands higher at the horizon's end; None where it was not taught. No decision reads it
    """

    version: str
    horizon_bars: int
    features: FeatureSet
    shape: WindowShape
    calibration: Calibration
    parts: tuple[tuple[str, float, Part], ...]
    most_spread: float = np.inf
    width: float = np.nan
    heads: tuple[int, ...] = ()
    shift: float = np.nan
    rise: RiseModel | None = None

    @property
    def inputs(self) -> frozenset[str]:
        """Panel inputs it cannot do without."""
        return self.features.inputs

    @property
    def reach(self) -> int:
        """Rows of features before the newest one that it reads."""
        return self.shape.reach if any(kind == TRANSFORMER for kind, _, _ in self.parts) else 0

    @property
    def lookback(self) -> int:
        """Rows before and including the first one asked for."""
        return max(self.features.lookback + self.reach, SIGMA_LOOKBACK)

    def forecast(self, panel: Panel, last: int) -> Forecast:
        """Forecast of the newest ``last`` rows.

        Raises
        ------
        InputMissing : a declared input is absent, or the panel is shorter than a window
        """
        raw, sigma = self._newest(panel, last)
        return to_forecast(raw, sigma, self.calibration, self.horizon_bars)

    def interval(self, panel: Panel, last: int) -> tuple[Floats, Floats]:
        """Log returns between which nine of ten fall, for the newest ``last`` rows, shape (last, P) each; NaN where unknown."""
        raw, sigma = self._newest(panel, last)
        scale = sigma * np.sqrt(self.horizon_bars)
        word = self.heads_word(panel, last) if np.isfinite(self.shift) else None
        if word is not None:
            low, high = word.span(self.horizon_bars)
            known = np.isfinite(raw)
            return (
                np.where(known, (low - self.shift) * scale, np.nan),
                np.where(known, (high + self.shift) * scale, np.nan),
            )
        expected = self.calibration.expected(raw)
        return (expected - self.width) * scale, (expected + self.width) * scale

    def chance(self, panel: Panel, last: int) -> Floats | None:
        """Probability that the price rises over the horizon, newest ``last`` rows, (last, P); None where it was not taught."""
        if self.rise is None:
            return None
        return self.rise.chance(self.features.compute(panel, last), np.arange(last))

    def heads_word(self, panel: Panel, last: int) -> HeadsWord | None:
        """What the further heads say of the newest ``last`` rows, in standard deviations of each horizon; None without them."""
        columns = self.features.compute(panel, last + self.reach)
        return self.more(columns, np.arange(self.reach, self.reach + last))

    def more(self, columns: Features, rows: Ints) -> HeadsWord | None:
        """What the further heads say for rows of feature columns (T, P, F); None without such heads."""
        networks = [part for kind, _, part in self.parts if kind == TRANSFORMER]
        said = mean_of(networks, columns, rows) if self.heads else None
        return None if said is None else HeadsWord(self.heads, said)

    def raw(self, columns: Features, rows: Ints) -> Floats:
        """Uncalibrated standardised returns for rows of feature columns (T, P, F), shape (n, P); NaN where unknown."""
        return self.word(columns, rows)[0]

    def word(self, columns: Features, rows: Ints) -> tuple[Floats, Floats]:
        """Uncalibrated standardised returns, and the standard deviation between the networks (0 with one), (n, P) each."""
        said = {index: part.predict(columns, rows) for index, (_, _, part) in enumerate(self.parts)}
        total, spread = combined(said, self.parts, (rows.size, columns.shape[1]))
        return np.where(spread > self.most_spread, np.nan, total), spread

    def _newest(self, panel: Panel, last: int) -> tuple[Floats, Floats]:
        columns = self.features.compute(panel, last + self.reach)
        raw = self.raw(columns, np.arange(self.reach, self.reach + last))
        return raw, labels.volatility_scale(panel.last(SIGMA_LOOKBACK + last - 1))[-last:]


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """A network's file, opened.

    ``together``: it takes all pairs of a row at once and masks those that are not there; ``horizons``: of its further heads.
    """

    shape: WindowShape
    session: Any
    together: bool = False
    horizons: int = 0

    def predict(self, features: Features, rows: Ints) -> Floats:
        """Standardised return for rows of a (T, P, F) array, shape (n, P); NaN where a window is."""
        return self._run(features, rows, 0, ())

    def more(self, features: Features, rows: Ints) -> Floats | None:
        """What the further heads say, shape (n, P, H, fields); NaN where a window is; None without such heads."""
        return self._run(features, rows, 1, (self.horizons, len(HEAD_FIELDS))) if self.horizons else None

    def _run(self, features: Features, rows: Ints, output: int, of_each: tuple[int, ...]) -> Floats:
        pairs = features.shape[1]
        out = np.empty((rows.size, pairs, *of_each))
        for first in range(0, rows.size, _CHUNK):
            part = rows[first : first + _CHUNK]
            windows = self.shape.gather(features, part)
            known = np.isfinite(windows).all(axis=(2, 3))
            if not self.together:
                windows = np.nan_to_num(windows).reshape(part.size * pairs, self.shape.steps, -1)
            values = self.session.run(None, {"windows": windows})[output].astype(np.float64)
            known = known.reshape(known.shape + (1,) * len(of_each))
            out[first : first + part.size] = np.where(known, values.reshape(part.size, pairs, *of_each), np.nan)
        return out


@dataclass(frozen=True, eq=False)
class OpenTrees:
    """Trees from their text, opened."""

    booster: Any
    trees: int
    share: float

    def predict(self, features: Features, rows: Ints) -> Floats:
        """Standardised return for rows of a (T, P, F) array, shape (n, P); NaN where a feature is."""
        return self.share * trees.say(self.booster, features, rows, self.trees)


def to_forecast(raw: Floats, sigma: Floats, calibration: Calibration, horizon_bars: int) -> Forecast:
    """Calibrated forecast from raw standardised returns.

    Parameters
    ----------
    raw : array (n, P)
    sigma : array (n, P), standard deviation per square root of a bar
    """
    horizon_sigma = sigma * np.sqrt(horizon_bars)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.isfinite(raw) & np.isfinite(horizon_sigma) & (sigma > labels.LEAST_SIGMA)
        return Forecast(
            expected_return=np.where(known, calibration.expected(raw) * horizon_sigma, np.nan),
            confidence=np.where(known, calibration.confidence(raw, horizon_sigma), np.nan),
            adverse_excursion=np.where(known, calibration.adverse_excursion(raw, horizon_sigma), np.nan),
            volatility=np.where(known, horizon_sigma, np.nan),
        )


def write(
    folder: Path,
    model: FamilyModel | TrainedForecaster,
    features: Sequence[str],
    calibration: Calibration,
    horizon_bars: int,
    *,
    width: float = np.nan,
    heads: Sequence[int] = (),
    shift: float = np.nan,
    reference: Mapping[str, Reference] | None = None,
    rise: RiseModel | None = None,
) -> None:
    """Write a trained forecaster into a folder (its card is the caller's); parts of no weight are left out.

    ``heads`` names the horizons of the networks' further heads; those of a forecaster without a network are left out.
    ``reference`` says what each feature was like over the rows it was trained on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(model, FamilyModel):
        model = FamilyModel(TRANSFORMER, ((TRANSFORMER, 1.0, model),), model.shape)
    parts: list[dict[str, Any]] = []
    for kind, weight, part in model.parts:
        if weight:
            number = sum(one["kind"] == TRANSFORMER for one in parts)
            parts.append({"kind": kind, "weight": weight, **_write_part(folder, kind, part, len(features), number)})
    settings = {
        "features": list(features),
        "window": asdict(model.shape),
        "horizon_bars": horizon_bars,
        "calibration": calibration.to_dict(),
        "family": model.family,
        "parts": parts,
        "most_spread": model.most_spread if np.isfinite(model.most_spread) else None,
        "width": width if np.isfinite(width) else None,
    }
    if any("horizons" in one for one in parts):
        moved = shift if np.isfinite(shift) else None
        settings["heads"] = {"horizons": list(heads), "fields": list(HEAD_FIELDS), "shift": moved}
    if rise is not None:
        settings["rise"] = {"file": RISE, "trees": RISE_TREES}
        (folder / RISE).write_text(json.dumps(rise.to_dict()))
        (folder / RISE_TREES).write_text(rise.text)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1, sort_keys=True))
    if reference:
        told = {name: one.to_json() for name, one in reference.items()}
        (folder / REFERENCE).write_text(json.dumps(told, sort_keys=True))


def references(folder: Path) -> dict[str, Reference]:
    """What each feature was like while the forecaster was trained; empty for one sealed without it.

    Raises
    ------
    ArtifactInvalid : the file is there and makes no sense
    """
    file = folder / REFERENCE
    if not file.exists():
        return {}
    try:
        return {str(name): Reference.from_json(one) for name, one in json.loads(file.read_text()).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactInvalid(f"{file} says nothing of its features: {error}", "Train it again") from error


def renew(folder: Path, calibration: Calibration, width: float) -> None:
    """Put another calibration into a copied folder that is not sealed yet; what the heads say is not its concern."""
    settings = json.loads((folder / SETTINGS).read_text())
    settings |= {"calibration": calibration.to_dict(), "width": width}
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1, sort_keys=True))


def _write_part(folder: Path, kind: str, part: Any, features: int, number: int) -> dict[str, Any]:
    """Write one part's file; returns what its entry says beside kind and weight."""
    if kind == TRANSFORMER:
        file = MODEL if number == 0 else f"model_{number}.onnx"
        _export(folder / file, part, features)
        entry = {"file": file, "together": bool(part.hyper.cross_layers)}
        if part.network.more is not None:
            entry["horizons"] = part.network.horizons
        if number == 0:
            state = part.state()
            np.save(folder / WEIGHTS, np.concatenate([value.ravel() for value in state.values()]).astype(np.float32))
            entry["state"] = [[name, list(value.shape)] for name, value in state.items()]
        return entry
    file = _FILES[kind]
    if kind in (TREES, FOREST):
        (folder / file).write_text(part.text)
        return {"file": file, "trees": part.trees, "share": part.share}
    (folder / file).write_text(json.dumps(part.to_dict()))
    return {"file": file}


def _export(file: Path, model: TrainedForecaster, features: int) -> None:
    import torch

    network = model.network.to("cpu")

    class Export(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, windows: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
            if network.more is not None:
                value, _, more = self.network.heads(windows)
                return value, more
            value = self.network(windows)[0]
            return value

    leading = (2, 3) if model.hyper.cross_layers else (2,)
    example = torch.zeros(*leading, model.shape.steps, features)
    returned = "value" if network.more is None else ("value", "more")
    export(Export(), example, file, given="windows", returned=returned, free=len(leading))


@dataclass(frozen=True, eq=False)
class Weights:
    """A sealed forecaster's first network to start a refit from, and what it reads and speaks of.

    Parameters
    ----------
    state : as ``TrainedForecaster.state`` gives it
    features : names, in the order that the network reads them
    heads : horizons of its further heads, bars
    """

    state: dict[str, Any]
    features: tuple[str, ...]
    shape: WindowShape
    horizon_bars: int
    heads: tuple[int, ...]


def warm_state(folder: Path) -> Weights | None:
    """What a refit starts from; None where the forecaster has no network.

    Raises
    ------
    ArtifactInvalid : there are weights, and they cannot be read
    """
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        shapes = next((one["state"] for one in settings.get("parts", []) if "state" in one), None)
        if shapes is None:
            return None
        flat = np.load(folder / WEIGHTS, allow_pickle=False)
        sizes = [int(np.prod(shape)) for _, shape in shapes]
        if sum(sizes) != flat.size:
            raise ValueError(f"{flat.size} weights for {sum(sizes)}")
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return Weights(
            {name: part.reshape(shape) for (name, shape), part in zip(shapes, parts, strict=True)},
            tuple(settings["features"]),
            WindowShape(**settings["window"]),
            int(settings["horizon_bars"]),
            tuple(int(each) for each in settings.get("heads", {}).get("horizons", ())),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactInvalid(f"{folder / WEIGHTS} holds no weights: {error}", "Train the model again") from error


def load(folder: Path, version: str) -> SealedForecaster:
    """The forecaster in a folder; raises ArtifactInvalid when a file is absent or does not make sense."""
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        shape = WindowShape(**settings["window"])
        entries = settings.get("parts", [{"kind": TRANSFORMER, "weight": 1.0, "file": MODEL}])
        most, width, heads = settings.get("most_spread"), settings.get("width"), settings.get("heads", {})
        if heads and heads["fields"] != list(HEAD_FIELDS):
            raise ValueError(f"heads that say {', '.join(heads['fields'])}, known are {', '.join(HEAD_FIELDS)}")
        shift = heads.get("shift")
        return SealedForecaster(
            version=version,
            horizon_bars=int(settings["horizon_bars"]),
            features=FeatureSet(settings["features"]),
            shape=shape,
            calibration=Calibration.from_dict(settings["calibration"]),
            parts=tuple((one["kind"], float(one["weight"]), _open(folder, one, shape)) for one in entries),
            most_spread=np.inf if most is None else float(most),
            width=np.nan if width is None else float(width),
            heads=tuple(int(each) for each in heads.get("horizons", ())),
            shift=np.nan if shift is None else float(shift),
            rise=_open_rise(folder, settings.get("rise")),
        )
    except (OSError, ValueError, KeyError, TypeError, HydraError) as error:
        raise ArtifactInvalid(f"forecaster in {folder} cannot be loaded: {error}", "Train it again") from error


def _open_rise(folder: Path, entry: dict[str, Any] | None) -> RiseModel | None:
    """The chance of a rise as its entry names it, its trees looked at once."""
    if entry is None:
        return None
    made = RiseModel.from_dict(json.loads((folder / entry["file"]).read_text()), (folder / entry["trees"]).read_text())
    _ = made.trees  # a damaged text is to be refused here, not at the first question
    return made


def _open(folder: Path, entry: dict[str, Any], shape: WindowShape) -> Part:
    """One part as its entry names it."""
    kind, file = entry["kind"], folder / entry["file"]
    if kind == TRANSFORMER:
        session, horizons = open_session(file), int(entry.get("horizons", 0))
        if len(session.get_outputs()) != (2 if horizons else 1):
            raise ValueError(f"{file} says {len(session.get_outputs())} things, its entry {horizons} further horizons")
        return OnnxNetwork(shape, session, bool(entry.get("together", False)), horizons)
    if kind in (TREES, FOREST):
        return OpenTrees(trees.opened(file.read_text()), int(entry["trees"]), float(entry["share"]))
    if kind == LINEAR:
        return LinearModel.from_dict(json.loads(file.read_text()))
    if kind == POLYNOMIAL:
        return PolynomialModel.from_dict(json.loads(file.read_text()))
    raise ValueError(f"unknown part {kind!r}")
