"""Millions of photographs on many machines, by Ray Data.

>>> from mnv2_engine.ray import Classifier
>>> photographs = ray.data.read_binary_files("s3://bucket/photos/", include_paths=True)
>>> answers = photographs.map_batches(
...     Classifier,
...     fn_constructor_args=("mnv2.npz",),
...     batch_size=64,
...     batch_format="pyarrow",
...     compute=ray.data.ActorPoolStrategy(min_size=1, max_size=32),
...     **Classifier.ray_remote_args("mnv2.npz"),
... )

batches.py has what actors call; memory.py what they need; shipping.py brings the model file to
each node once; sources.py and job.py are the commands' --ray (docs/many-machines.md).
"""

from .batches import Classifier, Detector, Embedder
from .shipping import ShippedModel, ship

__all__ = ["Classifier", "Detector", "Embedder", "ShippedModel", "ship"]
