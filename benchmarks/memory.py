"""The most memory that this process has held, for rows that tell memory.

Not ``ru_maxrss``: on Linux a process begins with its parent's figure, so a small child of a large benchmark tells the parent's.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_mb() -> float:
    """Peak resident memory since this program began, MB; elsewhere than on Linux the operating system's own word."""
    if _STATUS.exists():
        told = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(told.split()[1]) / 1024
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
