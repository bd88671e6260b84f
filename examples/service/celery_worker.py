"""Celery: celery -A celery_worker worker --concurrency 4. Tasks get paths or bytes, not engines."""

import os

from celery import Celery

from mnv2_engine import Engine

app = Celery("mnv2", broker=os.environ.get("BROKER", "memory://"), backend="cache+memory://")
engine = Engine.load(os.environ["MNV2_MODEL"])  # before the worker forks: its children share it


@app.task(autoretry_for=(MemoryError,), max_retries=2)
def classify(path: str, top_k: int = 5) -> list[dict[str, object]]:
    return [each._asdict() for each in engine.predict(path, top_k)]
