"""MobileNetV2 and its kin on a CPU, with megabytes to spare: fused kernels, a memory contract.

>>> from mnv2_engine import Engine
>>> engine = Engine.load("mnv2_1.0.npz")
>>> for p in engine.predict("photo.jpg", top_k=5):
...     print(p.label, p.probability)
"""

from .accounting import Stats
from .engine import Engine, Prediction
from .errors import (
    CheckpointError,
    InputError,
    MissingExtraError,
    MnvError,
    ModelFileError,
    UnsupportedError,
)
from .untyped import TYPE_CHECKING

if TYPE_CHECKING:
    from .detect.found import Box, Detection
    from .info import Info
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


def __getattr__(name: str) -> object:
    """The public names that a prediction does not need: imported when someone asks for them."""
    if name in ("Box", "Detection"):
        from .detect import found

        return getattr(found, name)
    if name == "Info":
        from .info import Info

        return Info
    if name in ("Plan", "Step"):
        from .plan import steps

        return getattr(steps, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
