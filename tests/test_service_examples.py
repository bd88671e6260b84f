"""The services of examples/service, each run where its packages are."""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi_client import call, form

from mnv2_engine import Engine

Image = pytest.importorskip("PIL.Image", reason="Pillow (the extra serve) is absent")

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "service"


@pytest.fixture
def photo() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture
def model(small_model, monkeypatch) -> str:
    path = str(small_model(labels=["ant", "bee", "cat", "dog", "eel"]))
    monkeypatch.setenv("MNV2_MODEL", path)
    return path


def expected(model: str, photo: bytes) -> list[dict[str, Any]]:
    return [each._asdict() for each in Engine.load(model).predict(photo)]


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")
def test_fastapi(model, photo):
    pytest.importorskip("fastapi", reason="FastAPI is absent")
    app = example("fastapi_service").app
    found = call(app, "POST", "/vision/classify", photo)
    assert (found.status, found.json["predictions"]) == (200, expected(model, photo))
    body, kind = form(("image", "a.png", photo))
    assert call(app, "POST", "/vision/models/animals/classify", body, kind).status == 200
    assert call(app, "GET", "/vision/openapi.json").json["servers"] == [{"url": "/vision"}]
    best = expected(model, photo)[0]
    assert call(app, "POST", f"/is-it-a/{best['label']}", photo).json == {
        "probability": best["probability"]
    }
    assert call(app, "POST", "/is-it-a/dog", b"junk").status == 422


@pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn needs fork")
def test_flask_under_gunicorn(model, photo):
    pytest.importorskip("flask", reason="Flask is absent")
    pytest.importorskip("gunicorn", reason="gunicorn is absent")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["--preload", "--workers", "2", "--threads", "2", "--bind", f"127.0.0.1:{port}"]
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *command, "flask_service:app"],
        cwd=FOLDER,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:

        def post(path: str, body: bytes | None) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("POST" if body else "GET", path, body)
                response = connection.getresponse()
                return response.status, response.read()
            finally:
                connection.close()

        end = time.monotonic() + 30
        while True:
            try:
                assert post("/healthz", None)[0] == 200
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.1)
        for _ in range(4):
            status, body = post("/classify", photo)
            assert (status, json.loads(body)["predictions"]) == (200, expected(model, photo))
        assert post("/classify", b"junk")[0] == 422
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


@pytest.mark.filterwarnings("ignore")
def test_celery(model, photo, tmp_path):
    pytest.importorskip("celery", reason="Celery is absent")
    worker = example("celery_worker")
    (tmp_path / "photo.png").write_bytes(photo)
    found = worker.classify.apply(args=[str(tmp_path / "photo.png")]).get()
    assert found == expected(model, photo)
