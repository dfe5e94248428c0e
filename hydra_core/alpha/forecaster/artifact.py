"""The forecaster's sealed folder: written after training, read by the live plane with onnxruntime alone.

``model.onnx`` takes raw feature windows (n, steps, F), normalisation inside, and gives standardised returns (n,);
``forecaster.json`` names the features, the window and the calibration. Not here: the card's and the folder's hash
(``alpha/registry``), training (``train``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster.calibration import Calibration
from hydra_core.alpha.forecaster.windows import Features, WindowShape
from hydra_core.alpha.models import Forecast
from hydra_core.alpha.onnx_files import export, open_session
from hydra_core.domain.errors import ArtifactInvalid, HydraError
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.statistics.view import SIGMA_LOOKBACK

if TYPE_CHECKING:
    from hydra_core.alpha.forecaster.train import TrainedForecaster

MODEL: Final = "model.onnx"
SETTINGS: Final = "forecaster.json"
_CHUNK: Final = 1024


@dataclass(frozen=True, eq=False)
class OnnxForecaster:
    """A forecaster read from its folder; satisfies :class:`hydra_core.alpha.models.ForecasterModel`."""

    version: str
    horizon_bars: int
    features: FeatureSet
    shape: WindowShape
    calibration: Calibration
    session: Any

    @property
    def inputs(self) -> frozenset[str]:
        """Panel inputs it cannot do without."""
        return self.features.inputs

    @property
    def lookback(self) -> int:
        """Rows before and including the first one asked for."""
        return max(self.features.lookback + self.shape.reach, SIGMA_LOOKBACK)

    def forecast(self, panel: Panel, last: int) -> Forecast:
        """Forecast of the newest ``last`` rows.

        Raises
        ------
        InputMissing : a declared input is absent, or the panel is shorter than a window
        """
        reach = self.shape.reach
        columns = self.features.compute(panel, last + reach)
        raw = self.raw(columns, np.arange(reach, reach + last))
        sigma = labels.volatility_scale(panel.last(SIGMA_LOOKBACK + last - 1))[-last:]
        return to_forecast(raw, sigma, self.calibration, self.horizon_bars)

    def raw(self, columns: Features, rows: Ints) -> Floats:
        """Uncalibrated standardised returns for rows of feature columns (T, P, F), shape (n, P); NaN where unknown."""
        pairs = columns.shape[1]
        out = np.empty((rows.size, pairs))
        for first in range(0, rows.size, _CHUNK):
            part = rows[first : first + _CHUNK]
            windows = self.shape.gather(columns, part).reshape(part.size * pairs, self.shape.steps, -1)
            known = np.isfinite(windows).all(axis=(1, 2))
            values = self.session.run(None, {"windows": np.nan_to_num(windows)})[0].astype(np.float64)
            out[first : first + part.size] = np.where(known, values, np.nan).reshape(part.size, pairs)
        return out


def to_forecast(raw: Floats, sigma: Floats, calibration: Calibration, horizon_bars: int) -> Forecast:
    """Calibrated forecast from raw standardised returns.

    Parameters
    ----------
    raw : array (n, P)
    sigma : array (n, P), standard deviation per square root of a bar
    """
    horizon_sigma = sigma * np.sqrt(horizon_bars)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.isfinite(raw) & np.isfinite(horizon_sigma) & (horizon_sigma > 0)
        return Forecast(
            expected_return=np.where(known, calibration.expected(raw) * horizon_sigma, np.nan),
            confidence=np.where(known, calibration.confidence(raw, horizon_sigma), np.nan),
            adverse_excursion=np.where(known, calibration.adverse_excursion(raw, horizon_sigma), np.nan),
            volatility=np.where(known, horizon_sigma, np.nan),
        )


def write(
    folder: Path, model: TrainedForecaster, features: Sequence[str], calibration: Calibration, horizon_bars: int
) -> None:
    """Export a trained forecaster into a folder (its card is the caller's)."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)

    class Export(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model.network

        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            value: torch.Tensor = self.network(windows)[0]
            return value

    example = torch.zeros(2, model.shape.steps, len(features))
    export(Export(), example, folder / MODEL, given="windows", returned="value")
    settings = {
        "features": list(features),
        "window": asdict(model.shape),
        "horizon_bars": horizon_bars,
        "calibration": calibration.to_dict(),
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1, sort_keys=True))


def load(folder: Path, version: str) -> OnnxForecaster:
    """The forecaster in a folder; raises ArtifactInvalid when a file is absent or does not make sense."""
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        return OnnxForecaster(
            version=version,
            horizon_bars=int(settings["horizon_bars"]),
            features=FeatureSet(settings["features"]),
            shape=WindowShape(**settings["window"]),
            calibration=Calibration.from_dict(settings["calibration"]),
            session=open_session(folder / MODEL),
        )
    except (OSError, ValueError, KeyError, TypeError, HydraError) as error:
        raise ArtifactInvalid(f"forecaster in {folder} cannot be loaded: {error}", "Train it again") from error
