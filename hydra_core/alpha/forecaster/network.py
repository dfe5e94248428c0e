"""The forecaster's network: a patch transformer over each pair's window beside a linear skip on its newest row.

Where asked, what each window comes to attends to the other pairs' of the same row (pairs without a window are masked), and
further heads tell returns and directions over more horizons, quantiles and volatility. The head starts at zero and the skip
at the ridge solution, so training starts from the best linear forecast, which stays as it is: the transformer learns what
is left. Not here: training (``train``), live inference (``artifact``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hydra_core.alpha.forecaster.heads import HEAD_FIELDS, LARGEST_LOG
from hydra_core.alpha.forecaster.linear import FEATURE_CLIP, LinearModel
from hydra_core.alpha.forecaster.windows import WindowShape

_NORMAL: Final = (-1.6449, -1.2816, -0.6745, -0.2533, 0.0, 0.2533, 0.6745, 1.2816, 1.6449)
"""The quantiles of a standard normal: what the quantile head says before it has learnt anything."""


@dataclass(frozen=True, slots=True)
class NetworkHyper:
    """What a sweep may vary in network and training.

    Parameters
    ----------
    cross_layers : layers of attention between the pairs of a row; 0 where each pair is seen alone
    """

    width: int = 32
    layers: int = 2
    heads: int = 4
    patch: int = 8
    dropout: float = 0.1
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    batch_rows: int = 64
    epochs: int = 3
    cross_layers: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields, JSON-serialisable."""
        return asdict(self)


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attend_norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, seen: Tensor | None = None) -> Tensor:
        """Tokens (B, N, D) to tokens of the same shape; those not ``seen`` (B, N) are not attended to."""
        batch, count, width = tokens.shape
        parts = self.mix(self.attend_norm(tokens)).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if seen is None else seen[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        tokens = tokens + self.drop(self.out(mixed.transpose(1, 2).reshape(batch, count, width)))
        return tokens + self.drop(self.feed(self.feed_norm(tokens)))


class ForecastNetwork(nn.Module):
    """Feature windows, raw, to the standardised return and a direction logit.

    Windows have shape (B, steps, F), or (n, P, steps, F) for all pairs of n rows, which attention between pairs needs; what
    is said has the shape without the last two dimensions. Windows that are not finite count as not there.

    Parameters
    ----------
    linear : LinearModel, whose standardisation is built in and whose weights start the skip
    horizons : horizons that the further heads speak of; 0 where there are none
    """

    center: Tensor
    scale: Tensor
    share: Tensor
    """Share of the transformer's word that is added to the skip's: 1 while training, then what later rows say."""

    def __init__(
        self, shape: WindowShape, features: int, hyper: NetworkHyper, linear: LinearModel, horizons: int = 0
    ) -> None:
        super().__init__()
        self.patch, self.patches = hyper.patch, shape.steps // hyper.patch
        self.register_buffer("center", torch.from_numpy(linear.center.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy(linear.scale.astype(np.float32)))
        self.register_buffer("share", torch.ones(1))
        self.embed = nn.Linear(hyper.patch * features, hyper.width)
        self.state = nn.Linear(features, hyper.width)
        self.place = nn.Parameter(torch.randn(self.patches + 1, hyper.width) * 0.02)
        self.blocks = nn.ModuleList(Block(hyper.width, hyper.heads, hyper.dropout) for _ in range(hyper.layers))
        self.norm = nn.LayerNorm(hyper.width)
        self.head = nn.Linear(hyper.width, 2)
        self.skip = nn.Linear(features, 1)
        self.logit_scale = nn.Parameter(torch.ones(1))
        self.cross = nn.ModuleList(Block(hyper.width, hyper.heads, hyper.dropout) for _ in range(hyper.cross_layers))
        self.horizons = horizons
        self.more = nn.Linear(hyper.width, horizons * len(HEAD_FIELDS)) if horizons else None
        with torch.no_grad():
            for zero in (self.head, self.more):
                if zero is not None:
                    zero.weight.zero_()
                    zero.bias.zero_()
            self.skip.weight.copy_(torch.from_numpy(linear.weights.astype(np.float32))[None])
            self.skip.bias.fill_(linear.bias)
        self.skip.requires_grad_(False)

    def skip_value(self, windows: Tensor) -> Tensor:
        """What the linear skip alone forecasts."""
        newest = ((windows[..., -1, :] - self.center) / self.scale).clamp(-FEATURE_CLIP, FEATURE_CLIP)
        value: Tensor = self.skip(torch.nan_to_num(newest) if len(self.cross) else newest).squeeze(-1)
        return value

    def summary(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """What each window comes to (..., D), and the skip's value (...)."""
        standard = ((windows - self.center) / self.scale).clamp(-FEATURE_CLIP, FEATURE_CLIP)
        leading, features = windows.shape[:-2], windows.shape[-1]
        seen = None
        if len(self.cross):
            seen = torch.isfinite(windows).all(-1).all(-1)
            seen = seen | ~seen.any(-1, keepdim=True)  # a row of nobody attends to anybody, and is used by nobody
            standard = torch.nan_to_num(standard)
        flat = standard.reshape(-1, self.patches * self.patch, features)
        newest = flat[:, -1]
        patches = self.embed(flat.reshape(-1, self.patches, self.patch * features))
        tokens = torch.cat([self.state(newest)[:, None], patches], dim=1) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        word = tokens[:, 0].reshape(*leading, -1)
        for block in self.cross:
            word = block(word, seen)
        return self.norm(word), self.skip(newest).reshape(leading)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised return and direction logit."""
        word, skip = self.summary(windows)
        return self._main(word, skip)

    def _main(self, word: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        learnt, logit = self.head(word).unbind(-1)
        value = skip + self.share * learnt
        return value, logit + self.logit_scale * value

    def heads(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised return and direction logit, and what the further heads say, shape (..., H, fields).

        Quantiles do not cross. Returns of further horizons are in standard deviations of those.
        """
        assert self.more is not None, "a network without further heads"
        word, skip = self.summary(windows)
        value, logit = self._main(word, skip)
        said = self.more(word).reshape(*word.shape[:-1], self.horizons, len(HEAD_FIELDS))
        spread = torch.exp(said[..., 2:3].clamp(-LARGEST_LOG, LARGEST_LOG))
        normal = torch.tensor(_NORMAL, dtype=said.dtype, device=said.device)
        levels = torch.sort(said[..., 0:1] + spread * (normal + said[..., 3:]), dim=-1).values
        return value, logit, torch.cat([said[..., :3], levels], dim=-1)
