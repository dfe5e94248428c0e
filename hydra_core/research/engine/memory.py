"""Memory as the compiled loop meets it: arrays that begin on a cache line, and numbers asked for before they are read.

A bar of eight pairs is one cache line of each column; an array that begins inside a line makes every bar two of them. And a
loop that reads one bar in eight, or turns to another column at every bar, waits a hundred nanoseconds for each line that the
processor could not guess: it is told instead. Neither changes a result. Not here: what is kept in the arrays (``inputs``,
``state``), when a bar is asked for (``accounts``, ``quiet``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic, overload
from numba.np import arrayobj

from hydra_core.domain.market import Floats

LINE: Final = 64
"""Bytes of a cache line."""
ABREAST: Final = LINE // 8
"""Numbers of a cache line."""


def on_lines(shape: tuple[int, ...], value: float | None = None) -> Floats:
    """An array whose first number begins a cache line, filled with a value or, without one, not written at all."""
    size = int(np.prod(shape))
    room = np.empty(size + ABREAST)
    first = -room.ctypes.data % LINE // 8
    out = room[first : first + size].reshape(shape)
    if value is not None:
        out.fill(value)
    return out


def fetch(values: Any, at: Any) -> None:
    """Ask for the cache line of ``values[at]``, a tuple of indices within the array, without waiting for it.

    Compiled, an instruction to the memory; plain Python has none and does nothing.
    """


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(context: Any, values: Any, at: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = arrayobj.make_array(values)(context, builder, args[0])
        indices = cgutils.unpack_tuple(builder, args[1], at.count)
        place = cgutils.get_item_pointer(context, builder, values, array, indices, wraparound=False)
        whole = ir.IntType(32)
        place = builder.bitcast(place, cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [place.type, whole, whole, whole])
        asked = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        builder.call(asked, [place, whole(0), whole(3), whole(1)])  # to read, into the nearest cache, data
        return context.get_dummy_value()

    return types.void(values, at), code


@overload(fetch, jit_options={"error_model": "numpy", "forceinline": True, "_nrt": False})  # type: ignore[untyped-decorator]
def _fetch(values: Any, at: Any) -> Any:
    def compiled(values: Any, at: Any) -> None:
        _prefetch(values, at)

    return compiled
