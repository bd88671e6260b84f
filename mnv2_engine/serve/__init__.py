"""Serving models over HTTP: an ASGI application without a framework, and `mnv2 serve` around it.

>>> from mnv2_engine import Engine, serve
>>> app = serve.app(Engine.load("mnv2.npz"))     # uvicorn module:app, or mount it

request.py and multipart.py read what clients send, within bounds; models.py keeps the engines and
switches them when their files are replaced; application.py answers; metrics.py counts;
description.py is the OpenAPI document; processes.py runs workers that share their weights.
"""

from .application import Application, app
from .limits import Limits

__all__ = ["Application", "Limits", "app"]
