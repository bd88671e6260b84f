"""Checkpoints of every known format -> model files.

>>> from mnv2_engine.convert import convert
>>> convert("mobilenet_v2_1.0_224_quant.tflite", "mnv2.npz", labels="imagenet")
"""

from .conversion import Conversion, convert

__all__ = ["Conversion", "convert"]
