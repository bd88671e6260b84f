"""MobileNetV2 and its kin on a CPU, with megabytes to spare: fused kernels, a memory contract.

>>> from mnv2_engine import Engine
>>> engine = Engine.load("mnv2_1.0.npz")
>>> for p in engine.predict("photo.jpg", top_k=5):
...     print(p.label, p.probability)
"""

from .accounting import Stats
from .detect.found import Box, Detection
from .engine import Engine, Info, Prediction
from .errors import (
    CheckpointError,
    InputError,
    MissingExtraError,
    MnvError,
    ModelFileError,
    UnsupportedError,
)
from .plan.steps import Plan, Step

__version__ = "0.1.0"

__all__ = [
    "Box",
    "CheckpointError",
    "Detection",
    "Engine",
    "Info",
    "InputError",
    "MissingExtraError",
    "MnvError",
    "ModelFileError",
    "Plan",
    "Prediction",
    "Stats",
    "Step",
    "UnsupportedError",
    "__version__",
]
