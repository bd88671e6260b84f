"""Model files -> ONNX, TensorFlow Lite and C.

>>> from mnv2_engine.export import export
>>> export("mnv2.npz", "mnv2.onnx")
"""

from .exported import Exported
from .exporting import export

__all__ = ["Exported", "export"]
