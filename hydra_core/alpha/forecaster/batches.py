"""The rows of a training on its device: windows gathered there by index, errors whitened, losses taken.

The whole data set is moved to the device once; a batch is a handful of row numbers. Not here: the loop over epochs
(``train``), the network (``network``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hydra_core.alpha.forecaster.heads import LARGEST_LOG, QUANTILES
from hydra_core.alpha.forecaster.linear import LABEL_CLIP
from hydra_core.alpha.forecaster.network import ForecastNetwork
from hydra_core.alpha.forecaster.windows import Features, WindowShape
from hydra_core.domain.market import Bools, Floats, Ints

DIRECTION_WEIGHT: Final = 0.1
"""Weight of the direction loss: it shapes the shared layers, the forecast itself is the regression."""
HEADS_WEIGHT: Final = 0.1
"""Weight of the further heads' losses together, for the same reason."""
CAUTION: Final = 0.7
"""The transformer's share is fitted on few independent rows: this much of the fitted value is used."""
CHUNK: Final = 1024


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how a network is trained.

    Parameters
    ----------
    device : as torch names it
    bf16 : matrix products in bfloat16; sums, losses and weights stay in 32 bits
    compiled : the network compiled before the first step (about half a minute)
    threads : of the CPU
    """

    device: str = "cpu"
    bf16: bool = False
    compiled: bool = False
    threads: int = 1

    @classmethod
    def best(cls, threads: int = 1) -> Runtime:
        """A GPU with bfloat16 and compilation where there is one, else the CPU."""
        if torch.cuda.is_available():
            return cls("cuda", bf16=True, compiled=True, threads=threads)
        return cls(threads=threads)

    def prepare(self, seed: int) -> None:
        """Set threads, seed and, on a GPU, the algorithms that give the same bits every time."""
        torch.set_num_threads(self.threads)
        torch.manual_seed(seed)
        if self.device.startswith("cuda"):
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.benchmark = False
            torch.use_deterministic_algorithms(True, warn_only=True)

    def cast(self) -> torch.autocast:
        """The context that a forward pass runs in."""
        return torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.bf16)


class Batches:
    """Rows to losses: all pairs of a row go through the network together, so their errors can be whitened.

    Parameters
    ----------
    features : float32 array (T, P, F)
    labels : array (T, P), standardised forward returns
    usable : array (T, P), where window and label are known
    common : weight of the cross-section's mean
    more : array (T, P, H), the same returns over the further heads' horizons; None without such heads
    keep_gaps : leave what is not finite as it is, for a network that masks it
    weights : array (T, P), what each value counts in the losses; None: all the same
    """

    def __init__(
        self,
        features: Features,
        labels: Floats,
        usable: Bools,
        shape: WindowShape,
        common: float,
        *,
        more: Floats | None = None,
        keep_gaps: bool = False,
        weights: Floats | None = None,
        runtime: Runtime,
    ) -> None:
        self._runtime = runtime
        clean = np.array(features, np.float32) if keep_gaps else np.nan_to_num(features)
        clipped = np.clip(np.nan_to_num(labels), -LABEL_CLIP, LABEL_CLIP).astype(np.float32)
        self._features = torch.from_numpy(clean).to(runtime.device)
        self._labels = torch.from_numpy(clipped).to(runtime.device)
        self._usable = torch.from_numpy(usable.astype(np.float32)).to(runtime.device)
        self._back = shape.stride * torch.arange(shape.steps - 1, -1, -1, device=runtime.device)
        self._common = common
        self._more = None
        if more is not None:
            self._more = torch.from_numpy(np.clip(more, -LABEL_CLIP, LABEL_CLIP).astype(np.float32)).to(runtime.device)
        self._counts = None
        if weights is not None:
            self._counts = torch.from_numpy(np.nan_to_num(weights).astype(np.float32)).to(runtime.device)
        self._levels = torch.tensor(QUANTILES, device=runtime.device)

    def windows(self, rows: Tensor) -> Tensor:
        """Windows of every pair that end at some rows (n,), shape (n, P, steps, F), gathered on the device."""
        return self._features[rows[:, None] - self._back].permute(0, 2, 1, 3)

    def loss(self, network: ForecastNetwork, rows: Ints, say: Any = None) -> Tensor:
        """Whitened squared error plus the weighted losses of the other heads, over the usable values of the rows.

        Parameters
        ----------
        say : what is called with the windows; default: the network's own pass
        """
        at = torch.from_numpy(rows).to(self._runtime.device)
        mask, label = self._usable[at], self._labels[at]
        with self._runtime.cast():
            said = (say or (network if self._more is None else network.heads))(self.windows(at))
        value, logit = said[0].float(), said[1].float()
        square = self._white(value - label, mask).square()
        up = functional.binary_cross_entropy_with_logits(logit, (label > 0).float(), reduction="none")
        if self._counts is not None:
            square, mask = square * self._counts[at], mask * self._counts[at]
        total = mask.sum().clamp_min(1)
        loss = square.sum() / total
        loss = loss + DIRECTION_WEIGHT * (up * mask).sum() / total
        if self._more is not None:
            loss = loss + HEADS_WEIGHT * self._further(said[2].float(), self._more[at], mask)
        return loss

    def _further(self, said: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        """Squared error, log loss of the direction, Gaussian score of the volatility and pinball loss of the quantiles.

        ``said`` has shape (n, P, H, fields), ``label`` (n, P, H); ``mask`` (n, P) is 0 where nothing counts.
        """
        known = torch.isfinite(label) & (mask > 0)[..., None]
        label = torch.nan_to_num(label)
        error = said[..., 0] - label
        up = functional.binary_cross_entropy_with_logits(said[..., 1], (label > 0).float(), reduction="none")
        spread = said[..., 2].clamp(-LARGEST_LOG, LARGEST_LOG)
        score = spread + 0.5 * error.detach().square() * torch.exp(-2 * spread)
        below = label[..., None] - said[..., 3:]
        pinball = torch.maximum(self._levels * below, (self._levels - 1) * below).mean(-1)
        each = error.square() + up + score + pinball
        return torch.where(known, each, 0.0).sum() / known.sum().clamp_min(1)

    def share_and_loss(self, network: ForecastNetwork, rows: Ints) -> tuple[float, float]:
        """Share of the transformer that fits these rows (times :data:`CAUTION`), in [0, 1], and the loss with it."""
        network.eval()
        learnt_left, learnt_square, left_square, count = 0.0, 0.0, 0.0, 0
        share = float(network.share[0])
        with torch.inference_mode():
            network.share.fill_(1.0)
            for first in range(0, rows.size, CHUNK):
                part = torch.from_numpy(rows[first : first + CHUNK]).to(self._runtime.device)
                windows, mask = self.windows(part), self._usable[part]
                skip = network.skip_value(windows)
                with self._runtime.cast():
                    value = network(windows)[0].float()
                learnt = self._white(value - skip, mask)
                left = self._white(self._labels[part] - skip, mask)
                learnt_left += float((learnt * left).sum())
                learnt_square += float(learnt.square().sum())
                left_square += float(left.square().sum())
                count += int(mask.sum())
            network.share.fill_(share)
        share = min(max(CAUTION * learnt_left / learnt_square, 0.0), 1.0) if learnt_square > 0 else 0.0
        loss = (left_square - 2 * share * learnt_left + share**2 * learnt_square) / max(1, count)
        return share, loss

    def _white(self, error: Tensor, mask: Tensor) -> Tensor:
        error = error * mask
        return (error - (1 - self._common) * error.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)) * mask
