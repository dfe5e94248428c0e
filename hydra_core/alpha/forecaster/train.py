"""Training of one forecaster: ridge first, then the network from it, the best epoch on later rows kept.

Read top to bottom: settings come in, windows are gathered by index, one loss, one loop. Not here: which rows are whose
(``research/folds``), what the result must pass (``research/gates``), the sealed artifact (``artifact``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hydra_core.alpha.forecaster.linear import LABEL_CLIP, LinearModel, fit_linear
from hydra_core.alpha.forecaster.network import ForecastNetwork, NetworkHyper
from hydra_core.alpha.forecaster.windows import Features, WindowShape, usable_rows
from hydra_core.domain.market import Bools, Floats, Ints

DIRECTION_WEIGHT = 0.1
"""Weight of the direction loss: it shapes the shared layers, the forecast itself is the regression."""
CAUTION = 0.7
"""The transformer's share is fitted on few independent rows: this much of the fitted value is used."""
WINDOW = WindowShape()
_CHUNK = 1024

EpochReport = Callable[[int, int, float], None]
"""Called after every epoch with (epoch, epochs, validation loss); may raise to stop the training."""


@dataclass(frozen=True, eq=False)
class TrainedForecaster:
    """A trained network with what it was chosen by.

    Parameters
    ----------
    losses : validation loss before training (the ridge) and after every epoch; the least one was kept
    kept_epoch : 0 when the ridge alone was best
    """

    network: ForecastNetwork
    linear: LinearModel
    shape: WindowShape
    hyper: NetworkHyper
    losses: tuple[float, ...]
    kept_epoch: int

    def predict(self, features: Features, rows: Ints, threads: int = 1) -> Floats:
        """Standardised expected return for rows of a (T, P, F) array, shape (n, P); NaN where a window is."""
        torch.set_num_threads(threads)
        usable = usable_rows(features, self.shape)[rows]
        clean = np.nan_to_num(features)
        out = np.empty((rows.size, features.shape[1]))
        self.network.eval()
        with torch.inference_mode():
            for first in range(0, rows.size, _CHUNK):
                part = rows[first : first + _CHUNK]
                windows = torch.from_numpy(self.shape.gather(clean, part)).flatten(0, 1)
                out[first : first + part.size] = self.network(windows)[0].reshape(part.size, -1).numpy()
        return np.where(usable, out, np.nan)


def train_forecaster(
    features: Features,
    labels: Floats,
    rows_train: Ints,
    rows_valid: Ints,
    hyper: NetworkHyper,
    *,
    seed: int,
    threads: int = 1,
    shape: WindowShape = WINDOW,
    progress: EpochReport | None = None,
) -> TrainedForecaster:
    """Train on ``rows_train``, keep the epoch that is best on ``rows_valid``.

    Parameters
    ----------
    features : float32 array (T, P, F)
    labels : float64 array (T, P), forward return over the horizon in its standard deviations
    rows_train, rows_valid : row numbers; the caller has purged them
    hyper : NetworkHyper
    seed : of initial weights, order and dropout
    progress : EpochReport, may raise to stop early (a pruned trial)

    Raises
    ------
    InputMissing : too few usable rows
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    usable = usable_rows(features, shape) & np.isfinite(labels)
    train = rows_train[usable[rows_train].any(axis=1)]
    valid = rows_valid[usable[rows_valid].any(axis=1)]
    linear = fit_linear(features, labels, usable, train, valid)
    network = ForecastNetwork(shape, features.shape[2], hyper, linear)
    data = _Batches(np.nan_to_num(features), labels, usable, shape, linear.common)
    losses = [data.share_and_loss(network, valid)[1]]
    best, kept = _copy(network, share=0.0), 0
    steps = max(1, -(-train.size // hyper.batch_rows))
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=hyper.learning_rate, weight_decay=hyper.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, hyper.learning_rate, total_steps=steps * hyper.epochs + 1, pct_start=0.2
    )
    order = np.random.default_rng(seed)
    for epoch in range(1, hyper.epochs + 1):
        network.train()
        for part in np.array_split(order.permutation(train), steps):
            optimizer.zero_grad(set_to_none=True)
            data.loss(network, np.sort(part)).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            schedule.step()
        share, loss = data.share_and_loss(network, valid)
        losses.append(loss)
        if share > 0 and loss < min(losses[:-1]):
            best, kept = _copy(network, share), epoch
        if progress is not None:
            progress(epoch, hyper.epochs, loss)
    network.load_state_dict(best)
    network.eval()
    return TrainedForecaster(network, linear, shape, hyper, tuple(losses), kept)


def _copy(network: ForecastNetwork, share: float) -> dict[str, Tensor]:
    state = {name: value.clone() for name, value in network.state_dict().items()}
    return {**state, "share": torch.full((1,), share)}


class _Batches:
    """Rows to losses: all pairs of a row go through the network together, so their errors can be whitened."""

    def __init__(self, features: Features, labels: Floats, usable: Bools, shape: WindowShape, common: float) -> None:
        self._features = features
        self._labels = np.clip(np.nan_to_num(labels), -LABEL_CLIP, LABEL_CLIP).astype(np.float32)
        self._usable = usable.astype(np.float32)
        self._shape = shape
        self._common = common

    def loss(self, network: ForecastNetwork, rows: Ints, direction: float = DIRECTION_WEIGHT) -> Tensor:
        """Whitened squared error plus the weighted direction loss, over the usable values of the rows."""
        windows = torch.from_numpy(self._shape.gather(self._features, rows)).flatten(0, 1)
        mask = torch.from_numpy(self._usable[rows])
        label = torch.from_numpy(self._labels[rows])
        value, logit = (each.reshape(mask.shape) for each in network(windows))
        total = mask.sum().clamp_min(1)
        loss = self._white(value - label, mask).square().sum() / total
        if direction:
            up = functional.binary_cross_entropy_with_logits(logit, (label > 0).float(), reduction="none")
            loss = loss + direction * (up * mask).sum() / total
        return loss

    def share_and_loss(self, network: ForecastNetwork, rows: Ints) -> tuple[float, float]:
        """Share of the transformer that fits these rows (times :data:`CAUTION`), in [0, 1], and the loss with it."""
        network.eval()
        learnt_left, learnt_square, left_square, count = 0.0, 0.0, 0.0, 0
        with torch.inference_mode():
            for first in range(0, rows.size, _CHUNK):
                part = rows[first : first + _CHUNK]
                windows = torch.from_numpy(self._shape.gather(self._features, part)).flatten(0, 1)
                mask = torch.from_numpy(self._usable[part])
                skip = network.skip_value(windows).reshape(mask.shape)
                learnt = self._white(network(windows)[0].reshape(mask.shape) - skip, mask)
                left = self._white(torch.from_numpy(self._labels[part]) - skip, mask)
                learnt_left += float((learnt * left).sum())
                learnt_square += float(learnt.square().sum())
                left_square += float(left.square().sum())
                count += int(mask.sum())
        share = min(max(CAUTION * learnt_left / learnt_square, 0.0), 1.0) if learnt_square > 0 else 0.0
        loss = (left_square - 2 * share * learnt_left + share**2 * learnt_square) / max(1, count)
        return share, loss

    def _white(self, error: Tensor, mask: Tensor) -> Tensor:
        error = error * mask
        return (error - (1 - self._common) * error.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)) * mask
