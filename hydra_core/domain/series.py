"""Plain columns as they come from an exchange or a simulation: candles and stamped values, before any alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints


@dataclass(frozen=True, eq=False, slots=True)
class Bars:
    """Candles of one pair: open times (epoch ms, ascending), prices in USDT, volume in base units; all of shape (n,)."""

    ts: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __post_init__(self) -> None:
        for name in ("open", "high", "low", "close", "volume"):
            if getattr(self, name).shape != self.ts.shape:
                raise InputMissing(f"bars: {name} has shape {getattr(self, name).shape}, ts has {self.ts.shape}")

    def __len__(self) -> int:
        return int(self.ts.size)

    @classmethod
    def empty(cls) -> Bars:
        """No bars."""
        none = np.empty(0)
        return cls(np.empty(0, np.int64), none, none, none, none, none)


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """Stamped values of one pair: epoch ms ascending and the value, both of shape (n,)."""

    ts: Ints
    value: Floats

    def __post_init__(self) -> None:
        if self.value.shape != self.ts.shape:
            raise InputMissing(f"series: value has shape {self.value.shape}, ts has {self.ts.shape}")

    def __len__(self) -> int:
        return int(self.ts.size)

    @classmethod
    def empty(cls) -> Series:
        """No values."""
        return cls(np.empty(0, np.int64), np.empty(0))
