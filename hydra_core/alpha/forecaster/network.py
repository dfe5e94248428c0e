"""The forecaster's network: a patch transformer over one pair's window beside a linear skip on its newest row.

The head starts at zero and the skip at the ridge solution, so training starts from the best linear forecast, which
stays as it is: the transformer learns what is left. Not here: training (``train``), live inference (``artifact``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hydra_core.alpha.forecaster.linear import FEATURE_CLIP, LinearModel
from hydra_core.alpha.forecaster.windows import WindowShape


@dataclass(frozen=True, slots=True)
class NetworkHyper:
    """What a sweep may vary in network and training."""

    width: int = 32
    layers: int = 2
    heads: int = 4
    patch: int = 8
    dropout: float = 0.1
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    batch_rows: int = 64
    epochs: int = 3

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

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens of the same shape."""
        batch, count, width = tokens.shape
        parts = self.mix(self.attend_norm(tokens)).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.drop(self.out(mixed.transpose(1, 2).reshape(batch, count, width)))
        return tokens + self.drop(self.feed(self.feed_norm(tokens)))


class ForecastNetwork(nn.Module):
    """Feature windows (B, steps, F), raw, to the standardised return (B,) and a direction logit (B,).

    Parameters
    ----------
    linear : LinearModel, whose standardisation is built in and whose weights start the skip
    """

    center: Tensor
    scale: Tensor
    share: Tensor
    """Share of the transformer's word that is added to the skip's: 1 while training, then what later rows say."""

    def __init__(self, shape: WindowShape, features: int, hyper: NetworkHyper, linear: LinearModel) -> None:
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
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.zero_()
            self.skip.weight.copy_(torch.from_numpy(linear.weights.astype(np.float32))[None])
            self.skip.bias.fill_(linear.bias)
        self.skip.requires_grad_(False)

    def skip_value(self, windows: Tensor) -> Tensor:
        """What the linear skip alone forecasts, (B,)."""
        newest = ((windows[:, -1] - self.center) / self.scale).clamp(-FEATURE_CLIP, FEATURE_CLIP)
        value: Tensor = self.skip(newest).squeeze(-1)
        return value

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised return (B,) and direction logit (B,)."""
        standard = ((windows - self.center) / self.scale).clamp(-FEATURE_CLIP, FEATURE_CLIP)
        batch, _, features = standard.shape
        newest = standard[:, -1]
        patches = self.embed(standard.reshape(batch, self.patches, self.patch * features))
        tokens = torch.cat([self.state(newest)[:, None], patches], dim=1) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        learnt, logit = self.head(self.norm(tokens[:, 0])).unbind(-1)
        value = self.skip(newest).squeeze(-1) + self.share * learnt
        return value, logit + self.logit_scale * value
