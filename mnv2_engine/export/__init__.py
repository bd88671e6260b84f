"""Model files -> ONNX and TensorFlow Lite.

>>> from mnv2_engine.export import export
>>> export("mnv2.npz", "mnv2.onnx")
"""

from .exporting import Exported, export

__all__ = ["Exported", "export"]
