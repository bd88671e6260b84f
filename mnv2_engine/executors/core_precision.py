"""The C core's names of precisions."""

from __future__ import annotations

from ..errors import UnsupportedError
from ..model.packed import classifier_dtype
from ..untyped import Any


def core_precision(lib: Any, precision: str, dtype: str) -> int:
    """The C core's name of computing in `precision` with weights of `dtype`."""
    known = {
        ("float32", "float32"): lib.MNV2_FLOAT32,
        ("float32", "float16"): lib.MNV2_FLOAT16_WEIGHTS,
        ("float32", "bfloat16"): lib.MNV2_BFLOAT16_WEIGHTS,
        ("bfloat16", "bfloat16"): lib.MNV2_BFLOAT16,
        ("int8", "int8"): lib.MNV2_INT8,
    }
    if classifier_dtype(dtype) is not None:
        dtype = "float32"
    if (precision, dtype) not in known:
        raise UnsupportedError(f"the C core does not compute {dtype} weights in {precision}")
    return int(known[precision, dtype])
