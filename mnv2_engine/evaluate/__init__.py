"""How often a model is right, and how far it answers as another one does.

>>> from mnv2_engine.evaluate import evaluate
>>> print(evaluate("mnv2_int8.npz", "photos/", against="mnv2.npz"))
"""

from .report import Report
from .run import Watcher, evaluate

__all__ = ["Report", "Watcher", "evaluate"]
