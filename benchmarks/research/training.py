"""Training windows a second of the forecaster beside a stock Dataset and DataLoader around the same network.

Both begin with the same feature and label arrays and end with a trained network: same ridge start, optimiser, schedule
and batch; ours adds the whitening of its loss and judges 32 later rows. What differs is how windows reach
the network: HYDRA gathers a batch by index from one array, the peer asks its dataset window by window. On a GPU ours also
trains as it does there (large batches, bfloat16, compiled), the peer as a tutorial would (workers, 32 bits).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import market
from benchmarks.research.features import BARS, example
from benchmarks.rows import Report, Row, seconds, side_by_side
from hydra_core.alpha import labels
from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.forecaster.batches import Runtime
from hydra_core.alpha.forecaster.linear import fit_linear
from hydra_core.alpha.forecaster.network import ForecastNetwork, NetworkHyper
from hydra_core.alpha.forecaster.train import WINDOW, train_forecaster
from hydra_core.alpha.forecaster.windows import Features, usable_rows
from hydra_core.domain.market import Bools, Floats, Ints, Panel
from hydra_core.settings import TrainingSettings

DAYS, QUICK_DAYS = 60, 12
GOAL, GPU_GOAL = 1.0, 25.0
GPU_NAME = "training on a GPU"
HORIZON = 48
STRIDE = TrainingSettings().stride_bars
"""As by default; days and stride together give about as many windows as a fold of the demo trains on."""
HYPER = NetworkHyper(epochs=1)
GPU_HYPER = replace(HYPER, batch_rows=1024)
"""8192 windows a step: smaller ones are bound by the launching of kernels."""
STOCK_BATCH, STOCK_WORKERS, STOCK_STEPS = 256, 4, 400


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


@dataclass(frozen=True, eq=False)
class Job:
    """Arrays that both sides begin with, and the rows they train and judge on."""

    features: Features
    target: Floats
    usable: Bools
    train: Ints
    valid: Ints

    @classmethod
    def of(cls, panel: Panel, stride: int) -> Job:
        """Every feature that the panel's inputs allow; the last 32 rows are judged."""
        chosen = FeatureSet().available(panel.inputs)
        features, target = chosen.compute(panel), labels.scaled_return(panel, HORIZON)
        usable = usable_rows(features, WINDOW) & np.isfinite(target)
        rows = np.flatnonzero(usable.all(axis=1))[::stride]
        return cls(features, target, usable, rows[:-32], rows[-32:])

    @property
    def windows(self) -> int:
        """Windows of an epoch."""
        return self.train.size * self.target.shape[1]

    def ours(self, hyper: NetworkHyper, runtime: Runtime) -> None:
        """HYDRA's training."""
        train_forecaster(self.features, self.target, self.train, self.valid, hyper, seed=1, runtime=runtime)

    def network(self) -> ForecastNetwork:
        """The same network with the same start."""
        linear = fit_linear(self.features, self.target, self.usable, self.train, self.valid)
        return ForecastNetwork(WINDOW, self.features.shape[2], HYPER, linear)

    def stock(self, device: str, batch: int, workers: int, steps: int) -> int:
        """The tutorial's loop over at most so many batches; returns the windows it saw."""
        torch.set_num_threads(1)
        torch.manual_seed(1)
        chosen_rows = self.train[self.usable[self.train].any(axis=1)]
        data = Windows(np.nan_to_num(self.features), np.nan_to_num(self.target), chosen_rows)
        network = self.network().to(device)
        loader = DataLoader(data, batch_size=batch, shuffle=True, num_workers=workers)
        learning = [weight for weight in network.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=HYPER.learning_rate, weight_decay=HYPER.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, HYPER.learning_rate, total_steps=len(loader) + 1)
        network.train()
        seen = 0
        for step, (windows, label) in enumerate(loader):
            if step == steps:
                break
            seen += len(label)
            wanted = label.to(device)
            optimizer.zero_grad(set_to_none=True)
            value, logit = network(windows.to(device))
            loss = (value - wanted).square().mean()
            loss = loss + 0.1 * functional.binary_cross_entropy_with_logits(logit, (wanted > 0).float())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            schedule.step()
        return seen


def measure(report: Report) -> list[Row]:
    """Windows a second on one CPU thread, and on a GPU where there is one."""
    return [*on_cpu(report), *on_gpu(report)]


def on_cpu(report: Report) -> list[Row]:
    """One row; validation is left out on both sides."""
    report.say("training beside a DataLoader")
    job = Job.of(market.panel(QUICK_DAYS if report.quick else DAYS), STRIDE)
    batch = HYPER.batch_rows * job.target.shape[1]
    turns = side_by_side(
        lambda: job.ours(HYPER, Runtime()),
        lambda: job.stock("cpu", batch, 0, job.windows),
        repeats=1 if report.quick else 5,
    )
    notes = (
        f"stock torch DataLoader, same network and ridge start, 1 thread; {job.windows:,} windows of {WINDOW.steps} x "
        f"{job.features.shape[2]}; {turns}"
    )
    return [Row("training on CPU", job.windows / turns.ours, job.windows / turns.peer, GOAL, "windows/s", notes=notes)]


def on_gpu(report: Report) -> list[Row]:
    """One row; left out where there is no GPU."""
    if not torch.cuda.is_available():
        report.leave_out(GPU_NAME, "there is no GPU here")
        return []
    report.say("training on the GPU beside a DataLoader")
    job = Job.of(example(BARS // 10 if report.quick else BARS), 1)
    runtime = Runtime.best()

    def epochs(count: int) -> float:
        return seconds(lambda: job.ours(replace(GPU_HYPER, epochs=count), runtime))

    epochs(1)  # compiles
    few, many = epochs(2), epochs(12)
    ours = 10 * job.windows / max(many - few, 1e-9)  # start, compilation and ridge are in both and cancel
    job.stock("cuda", STOCK_BATCH, STOCK_WORKERS, 20)
    start = seconds(lambda: job.stock("cuda", STOCK_BATCH, STOCK_WORKERS, 20))
    began = time.perf_counter()
    seen = job.stock("cuda", STOCK_BATCH, STOCK_WORKERS, 20 + STOCK_STEPS) - 20 * STOCK_BATCH
    stock = seen / max(time.perf_counter() - began - start, 1e-9)
    achieved = 3 * flops_of_a_window(job) * ours
    notes = (
        f"peer: stock torch DataLoader, {STOCK_WORKERS} workers, batches of {STOCK_BATCH}, 32 bits, same network; ours: "
        f"windows gathered on the {torch.cuda.get_device_name()}, bfloat16, compiled, "
        f"{GPU_HYPER.batch_rows * job.target.shape[1]:,} windows a step; {achieved / 1e12:.3g} TFLOP/s, "
        f"{achieved / peak_flops():.2%} of what a matrix product reaches here"
    )
    return [Row(GPU_NAME, ours, stock, GPU_GOAL, "windows/s", notes=notes)]


def flops_of_a_window(job: Job) -> float:
    """Floating-point operations of one window's forward pass."""
    network = job.network()
    count = 8
    with FlopCounterMode(display=False) as counted:
        network(torch.zeros(count, WINDOW.steps, job.features.shape[2]))
    return counted.get_total_flops() / count


def peak_flops(size: int = 8192, repeats: int = 20) -> float:
    """Operations a second of a large bfloat16 product on the GPU."""
    one = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)

    def products() -> None:
        for _ in range(repeats):
            torch.mm(one, one)
        torch.cuda.synchronize()

    products()
    return repeats * 2 * size**3 / seconds(products)
