"""Where recorded market history lies for the tests that want some; they are skipped where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("HYDRA_TEST_HISTORY") or Path(__file__).resolve().parents[2] / "shared" / "market")


def needs(path: Path) -> pytest.MarkDecorator:
    """Skip a test where a file or folder of the history is absent."""
    return pytest.mark.skipif(not path.exists(), reason=f"no recorded history in {path}; set HYDRA_TEST_HISTORY")
