"""Networks as ONNX files: written from torch after training, opened with onnxruntime (one thread) in the live plane.

Both libraries are imported where they are used: whoever opens a file needs no torch.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_core.domain.errors import ArtifactInvalid

if TYPE_CHECKING:
    import torch


def export(
    network: torch.nn.Module,
    example: torch.Tensor,
    file: Path,
    *,
    given: str,
    returned: str | tuple[str, ...],
    free: int = 1,
) -> None:
    """Write a network of one input, and of one output or several, whose first dimensions are free.

    Parameters
    ----------
    example : input of the right shape (its free dimensions must be above 1, and differ)
    given, returned : names of input and output, or outputs, in the file
    free : how many dimensions are free
    """
    import torch

    chatter = logging.getLogger("torch.onnx")
    before = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            torch.onnx.export(
                network.eval(),
                (example,),
                str(file),
                input_names=[given],
                output_names=[returned] if isinstance(returned, str) else list(returned),
                dynamic_shapes=({at: torch.export.Dim(name) for at, name in enumerate(("n", "p")[:free])},),
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    finally:
        chatter.setLevel(before)


def open_session(file: Path) -> Any:
    """An onnxruntime session over a file: CPU, one thread, so that it gives the same bits every time.

    Raises
    ------
    ArtifactInvalid : the file is absent or no network
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    faults: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError, *kinds)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except faults as error:
        raise ArtifactInvalid(f"{file} is no network: {error}", "Train the model again") from error
