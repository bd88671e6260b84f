"""Speed and memory of this engine beside other engines, measured so that they can be believed.

>>> from mnv2_engine.bench import bench
>>> print(bench("mnv2.npz", against=["litert", "onnxruntime"]))

Everyone runs the same weights, in turn, in a process of its own. Nothing here is imported by the
engine.
"""

from .comparison import bench
from .results import Result

__all__ = ["Result", "bench"]
