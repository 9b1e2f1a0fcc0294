"""The inner loops of the slice stack in C, where the optional extension was built: the functions of numba_stack.py.

The extension is plain C without Python's headers, called through ctypes, which lets go of the interpreter's lock.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
from numpy.ctypeslib import ndpointer

from gen.core.errors import EnvironmentLacks

_HINT = "use the back end numba, which gives the same image"


def _array(dtype: Any, dimensions: int) -> Any:
    return ndpointer(dtype, ndim=dimensions, flags="C_CONTIGUOUS")


_I64, _F64S, _F32S = ctypes.c_int64, _array(np.float64, 2), _array(np.float32, 2)
_SPLAT = [
    *(_array(np.int16, 1), _array(np.int32, 2), _array(np.int64, 1), _array(np.int64, 1), *[_I64] * 4),
    *(_F64S, _F64S, _I64, _F32S, _I64, _I64, _I64),
]
_WARP = [*(_F32S, _I64, _I64, _I64, _F64S, _array(np.float64, 1)), *(ctypes.c_int, _F32S, _I64, _I64, _I64)]


@cache
def load(most_bits: int = 512) -> tuple[Any, Any]:
    """The C functions (splat, warp) of the widest variant that runs here; EnvironmentLacks with the reason if none."""
    files = [Path(__file__).with_name(f"_stack{suffix}") for suffix in EXTENSION_SUFFIXES]
    built = next((file for file in files if file.is_file()), None)
    if built is None:
        raise EnvironmentLacks(
            "the projector's C extension is not built",
            hint=f"install a C compiler and then this package again, or {_HINT}",
        )
    try:
        library = ctypes.CDLL(str(built))
    except OSError as error:
        raise EnvironmentLacks(f"the projector's C extension does not load: {error}", hint=_HINT) from error
    bits = min(library.stack_level(), most_bits)
    if not bits:
        raise EnvironmentLacks("the projector's C extension needs a processor with AVX2", hint=_HINT)
    splat_c, warp_c = library[f"splat_{bits}"], library[f"warp_{bits}"]
    splat_c.argtypes, warp_c.argtypes = _SPLAT, _WARP
    return splat_c, warp_c


def splat(
    values: np.ndarray,
    runs: np.ndarray,
    offset: np.ndarray,
    first: np.ndarray,
    first_block: int,
    end_block: int,
    first_group: int,
    end_group: int,
    columns: np.ndarray,
    rows: np.ndarray,
    first_node: int,
    out: np.ndarray,
    nodes: int,
) -> None:
    """As `drr.backends.numba_stack.splat`; the rows of ``out`` are at least ``nodes`` long, rounded up to 16."""
    blocks = first_block, end_block, first_group, end_group
    if load()[0](values, runs, offset, first, *blocks, columns, rows, first_node, out, *out.shape, nodes):
        raise MemoryError


def warp(
    sums: np.ndarray,
    nodes: int,
    homography: np.ndarray,
    path_mm: np.ndarray,
    parallel: bool,
    out: np.ndarray,
    first_row: int,
    end_row: int,
) -> None:
    """As `drr.backends.numba_stack.warp`."""
    load()[1](sums, *sums.shape, nodes, homography, path_mm, parallel, out, out.shape[1], first_row, end_row)
