"""Training windows a second of the forecaster beside a stock Dataset and DataLoader around the same network.

Both begin with the same feature and label arrays and end with a trained network: same ridge start, optimiser, schedule
and batch; ours adds the whitening of its loss and judges 32 later rows. What differs is how windows reach
the network: HYDRA gathers a batch by index from one array, the peer asks its dataset window by window.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks import market
from benchmarks.rows import Report, Row, side_by_side
from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster.linear import fit_linear
from hydra_core.alpha.forecaster.network import ForecastNetwork, NetworkHyper
from hydra_core.alpha.forecaster.train import WINDOW, train_forecaster
from hydra_core.alpha.forecaster.windows import usable_rows
from hydra_core.settings import TrainingSettings

DAYS = 60
GOAL = 1.0
HORIZON = 48
STRIDE = TrainingSettings().stride_bars
"""As by default; days and stride together give about as many windows as a fold of the demo trains on."""
HYPER = NetworkHyper(epochs=1)


class Windows(Dataset):
    """One pair's window and its label, the way a tutorial writes it."""

    def __init__(self, features: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> None:
        self.features = torch.from_numpy(features)
        self.targets = torch.from_numpy(targets.astype(np.float32))
        self.index = [(int(row), pair) for row in rows for pair in range(features.shape[1])]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, torch.Tensor]:
        row, pair = self.index[at]
        return self.features[row - WINDOW.reach : row + 1 : WINDOW.stride, pair], self.targets[row, pair]


def measure(report: Report) -> list[Row]:
    """One row: windows a second, one thread, validation left out on both sides."""
    report.say("training beside a DataLoader")
    panel = market.panel(DAYS)
    chosen = FeatureSet().available(panel.inputs)
    features, target = chosen.compute(panel), labels.scaled_return(panel, HORIZON)
    usable = usable_rows(features, WINDOW) & np.isfinite(target)
    rows = np.flatnonzero(usable.all(axis=1))[::STRIDE]
    train, valid = rows[:-32], rows[-32:]
    windows = train.size * len(panel.pairs)

    def ours() -> None:
        train_forecaster(features, target, train, valid, HYPER, seed=1, threads=1)

    def peer() -> None:
        torch.set_num_threads(1)
        torch.manual_seed(1)
        whole = usable_rows(features, WINDOW) & np.isfinite(target)
        chosen_rows = train[whole[train].any(axis=1)]
        data = Windows(np.nan_to_num(features), np.nan_to_num(target), chosen_rows)
        network = ForecastNetwork(WINDOW, len(chosen), HYPER, fit_linear(features, target, usable, train, valid))
        loader = DataLoader(data, batch_size=HYPER.batch_rows * len(panel.pairs), shuffle=True)
        learning = [weight for weight in network.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=HYPER.learning_rate, weight_decay=HYPER.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, HYPER.learning_rate, total_steps=len(loader) + 1)
        network.train()
        for batch, label in loader:
            optimizer.zero_grad(set_to_none=True)
            value, logit = network(batch)
            loss = (value - label).square().mean()
            loss = loss + 0.1 * functional.binary_cross_entropy_with_logits(logit, (label > 0).float())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            schedule.step()

    turns = side_by_side(ours, peer, repeats=3)
    notes = (
        f"stock torch DataLoader, same network and ridge start, 1 thread; {windows:,} windows of {WINDOW.steps} x "
        f"{len(chosen)}"
    )
    return [
        Row("training on CPU", windows / turns.ours, windows / turns.peer, GOAL, "windows/s", notes=f"{notes}; {turns}")
    ]
