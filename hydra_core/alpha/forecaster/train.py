"""Training of one forecaster: ridge first, then the network from it, the best epoch on later rows kept.

Read top to bottom: settings come in, windows are gathered by index on the device, one loss, one loop. A training that was
killed goes on from its checkpoint and ends with the same bits; one whose loss is no longer a number ends with the best
epoch before that, and says so. Not here: which rows are whose (``research/folds``), what the result must pass
(``research/gates``), the sealed artifact (``artifact``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from hydra_core.alpha.forecaster import checkpoints
from hydra_core.alpha.forecaster.batches import CHUNK, Batches, Runtime
from hydra_core.alpha.forecaster.linear import LinearModel, fit_linear
from hydra_core.alpha.forecaster.network import ForecastNetwork, NetworkHyper
from hydra_core.alpha.forecaster.windows import Features, WindowShape, usable_rows
from hydra_core.domain.market import Floats, Ints

WINDOW = WindowShape()
_LEAST_STEPS: Final = 10
"""Of a schedule: with fewer its warm-up has no length."""
CHECKPOINT_STEPS: Final = 500
"""Steps between two checkpoints within an epoch; each epoch ends with one."""
_FROM_RIDGE: Final = ("skip.weight", "skip.bias", "center", "scale")
"""Weights that a warm start takes from the new ridge, not from the network before."""

EpochReport = Callable[[int, int, float], None]
"""Called after every epoch with (epoch, epochs, validation loss); may raise to stop the training."""


def warmed(hyper: NetworkHyper) -> NetworkHyper:
    """Settings of a refit that starts from trained weights: a fifth of the learning rate, a third of the epochs."""
    return replace(hyper, learning_rate=hyper.learning_rate / 5, epochs=max(1, hyper.epochs // 3))


@dataclass(frozen=True, eq=False)
class TrainedForecaster:
    """A trained network with what it was chosen by.

    Parameters
    ----------
    losses : validation loss before training (the ridge) and after every epoch; the least one was kept
    kept_epoch : 0 when what it started from was best: the ridge alone, or the network of a warm start
    diverged : epoch after which the loss was no number and training stopped; 0 where that did not happen
    """

    network: ForecastNetwork
    linear: LinearModel
    shape: WindowShape
    hyper: NetworkHyper
    losses: tuple[float, ...]
    kept_epoch: int
    diverged: int = 0

    def predict(self, features: Features, rows: Ints, threads: int = 1) -> Floats:
        """Standardised expected return for rows of a (T, P, F) array, shape (n, P); NaN where a window is."""
        return self._said(features, rows, threads, lambda windows: self.network(windows)[0])

    def more(self, features: Features, rows: Ints, threads: int = 1) -> Floats | None:
        """What the further heads say of rows, shape (n, P, H, fields); NaN where a window is; None without such heads."""
        if self.network.more is None:
            return None
        return self._said(features, rows, threads, lambda windows: self.network.heads(windows)[2])

    def _said(self, features: Features, rows: Ints, threads: int, say: Callable[[Tensor], Tensor]) -> Floats:
        torch.set_num_threads(threads)
        usable = usable_rows(features, self.shape)[rows]
        clean = np.asarray(features) if self.hyper.cross_layers else np.nan_to_num(features)
        device = self.network.center.device
        parts = [np.empty((0, features.shape[1]))] if not rows.size else []
        self.network.eval()
        with torch.inference_mode():
            for first in range(0, rows.size, CHUNK):
                windows = torch.from_numpy(self.shape.gather(clean, rows[first : first + CHUNK])).to(device)
                parts.append(say(windows).cpu().numpy().astype(np.float64))
        out = np.concatenate(parts)
        return np.where(usable.reshape(usable.shape + (1,) * (out.ndim - 2)), out, np.nan)

    def state(self) -> dict[str, Any]:
        """The weights as arrays, for a later warm start."""
        return {name: value.cpu().numpy().copy() for name, value in self.network.state_dict().items()}


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
    runtime: Runtime | None = None,
    more_labels: Floats | None = None,
    weights: Floats | None = None,
    start: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
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
    runtime : device and precision; default: one CPU thread, 32 bits
    more_labels : (T, P, H), the same returns over the horizons of further heads; None: no such heads
    weights : array (T, P), what each training value counts; None: all the same
    start : weights of :meth:`TrainedForecaster.state` to start from, of a network of the same form
    checkpoint : file of the state; removed at the end

    Raises
    ------
    InputMissing : too few usable rows
    """
    runtime = runtime or Runtime(threads=threads)
    runtime.prepare(seed)
    usable = usable_rows(features, shape) & np.isfinite(labels)
    train = rows_train[usable[rows_train].any(axis=1)]
    valid = rows_valid[usable[rows_valid].any(axis=1)]
    linear = fit_linear(features, labels, usable, train, valid, weights=weights)
    network = ForecastNetwork(
        shape, features.shape[2], hyper, linear, 0 if more_labels is None else more_labels.shape[2]
    ).to(runtime.device)
    before = {name: np.asarray(value) for name, value in (start or {}).items() if name not in _FROM_RIDGE}
    network.load_state_dict({**network.state_dict(), **{name: torch.as_tensor(one) for name, one in before.items()}})
    data = Batches(
        features, labels, usable, shape, linear.common, more=more_labels, keep_gaps=bool(hyper.cross_layers),
        weights=weights, runtime=runtime,
    )  # fmt: skip
    key = ""
    if checkpoint is not None:
        key = checkpoints.training_key(
            hyper, seed, shape, runtime, train, valid, labels, np.asarray(features[train[:: max(1, train.size // 512)]]),
            *(() if weights is None else (weights,)), *before.values(),
        )  # fmt: skip
    loop = _Loop(network, data, hyper, train, valid, seed, warm=start is not None)
    loop.resume(None if checkpoint is None else checkpoints.found(checkpoint, key))
    loop.run(runtime, more_labels is not None, progress, checkpoint, key)
    network.load_state_dict(loop.best)
    network.eval()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return TrainedForecaster(network, linear, shape, hyper, tuple(loop.losses), loop.kept, loop.diverged)


class _Loop:
    """The epochs of one training and all that a checkpoint must hold of them."""

    def __init__(
        self,
        network: ForecastNetwork,
        data: Batches,
        hyper: NetworkHyper,
        train: Ints,
        valid: Ints,
        seed: int,
        *,
        warm: bool,
    ) -> None:
        self.network, self.data, self.hyper = network, data, hyper
        self.train, self.valid = train, valid
        share, loss = data.share_and_loss(network, valid)
        self.losses = [loss]
        self.best, self.kept, self.diverged = _copy(network, share if warm else 0.0), 0, 0
        self.steps = max(1, -(-train.size // hyper.batch_rows))
        self.learning = [weight for weight in network.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.learning, lr=hyper.learning_rate, weight_decay=hyper.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            hyper.learning_rate,
            total_steps=max(self.steps * hyper.epochs + 1, _LEAST_STEPS),
            pct_start=0.2,
        )
        self.order = np.random.default_rng(seed)
        self.epoch, self.step = 1, 0
        network.share.fill_(1.0)

    def run(
        self, runtime: Runtime, heads: bool, progress: EpochReport | None, checkpoint: Path | None, key: str
    ) -> None:
        """Every epoch that is left."""
        say: Any = self.network.heads if heads else self.network
        if runtime.compiled:
            say = torch.compile(say)
        while self.epoch <= self.hyper.epochs and not self.diverged:
            self.network.train()
            before = json.dumps(self.order.bit_generator.state)
            parts = np.array_split(self.order.permutation(self.train), self.steps)
            for step in range(self.step, self.steps):
                self.optimizer.zero_grad(set_to_none=True)
                self.data.loss(self.network, np.sort(parts[step]), say).backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
                self.optimizer.step()
                self.schedule.step()
                if checkpoint is not None and (step + 1) % CHECKPOINT_STEPS == 0:
                    self.step = step + 1
                    checkpoints.keep(checkpoint, key, self._state(before))
            self._judge()
            self.epoch, self.step = self.epoch + 1, 0
            if checkpoint is not None:
                checkpoints.keep(checkpoint, key, self._state(json.dumps(self.order.bit_generator.state)))
            if progress is not None:
                progress(self.epoch - 1, self.hyper.epochs, self.losses[-1])

    def _judge(self) -> None:
        share, loss = self.data.share_and_loss(self.network, self.valid)
        if not math.isfinite(loss):
            self.diverged = self.epoch
            return
        self.losses.append(loss)
        if share > 0 and loss < min(self.losses[:-1]):
            self.best, self.kept = _copy(self.network, share), self.epoch

    def _state(self, order: str) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best,
            "losses": self.losses,
            "kept": self.kept,
            "diverged": self.diverged,
            "epoch": self.epoch,
            "step": self.step,
            "order": order,
            "random": torch.get_rng_state(),
            "device_random": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }

    def resume(self, state: dict[str, Any] | None) -> None:
        """Go on where a checkpoint was written."""
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.best, self.losses, self.kept = state["best"], list(state["losses"]), state["kept"]
        self.diverged, self.epoch, self.step = state["diverged"], state["epoch"], state["step"]
        self.order.bit_generator.state = json.loads(state["order"])
        torch.set_rng_state(state["random"])
        if state["device_random"] is not None:
            torch.cuda.set_rng_state(state["device_random"])


def _copy(network: ForecastNetwork, share: float) -> dict[str, Tensor]:
    state = {name: value.clone() for name, value in network.state_dict().items()}
    return {**state, "share": torch.full_like(network.share, share)}
