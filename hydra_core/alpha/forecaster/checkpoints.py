"""The state of a training that was stopped: written whole or not at all, found again by exactly the same training.

Not here: what is trained (``train``). A checkpoint of other data, settings or seed is never taken up.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hydra_core.alpha.registry import write_atomically


def training_key(*parts: object) -> str:
    """SHA-256 over arrays (their bytes) and whatever else (its text) makes a training what it is."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(f"{part!r}".encode())
    return digest.hexdigest()


def keep(file: Path, key: str, state: dict[str, Any]) -> None:
    """Replace the checkpoint."""
    buffer = io.BytesIO()
    torch.save({"key": key, **state}, buffer)
    write_atomically(file, buffer.getvalue())


def found(file: Path, key: str) -> dict[str, Any] | None:
    """The checkpoint of the training with that key, or None: there is none, it is another's, or it cannot be read."""
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError):
        return None
    return state if isinstance(state, dict) and state.get("key") == key else None
