"""Hostile uploads to a running service: each gets a 4xx with a reason, and it goes on unharmed,
within the memory that it states."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import socket
import threading
import zlib
from importlib.util import find_spec

import numpy as np
import pytest
from asgi_client import form
from serve_process import Service

Image = pytest.importorskip("PIL.Image", reason="Pillow (the extra serve) is absent")

pytestmark = [
    pytest.mark.skipif(find_spec("uvicorn") is None, reason="uvicorn (the extra serve) is absent"),
    pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc"),
]

MAX_BYTES, MAX_PIXELS = 1 << 20, 2_000_000


def encoded(pixels: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def attacks() -> dict[str, tuple[bytes, str | None, tuple[int, ...]]]:
    """By name: body, content type, and the statuses that are right."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    jpeg, png = encoded(noise, "jpeg"), encoded(noise, "png")
    black = np.zeros((9000, 9000), np.uint8)
    bomb = encoded(black, "png", optimize=True)
    small_header = bytearray(bomb)  # says 10 × 10, holds 81 megapixels
    small_header[16:24] = (10).to_bytes(4, "big") * 2
    small_header[29:33] = zlib.crc32(small_header[12:29]).to_bytes(4, "big")
    made: dict[str, tuple[bytes, str | None, tuple[int, ...]]] = {
        "a bomb": (bomb, "image/png", (413,)),
        "a bomb in a form": (*form(("image", "a.png", bomb)), (413,)),
        "a bomb that lies about its size": (bytes(small_header), None, (200, 422)),
        "a bomb of a GIF": (encoded(black, "gif"), None, (413,)),
        "nothing": (b"", None, (415,)),
        "too much": (b"\xff\xd8\xff" + bytes(MAX_BYTES), None, (413,)),
        "HTML": (b"<html><script>", "image/jpeg", (415,)),
        "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", (415,)),
        "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/jpeg", (415,)),
        "a pickle": (b"cos\nsystem\n(S'true'\ntR.", None, (415,)),
        "ten thousand boundaries": (
            b"--b\r\n\r\n" * 10_000,
            "multipart/form-data; boundary=b",
            (400,),
        ),
        "a boundary in itself": (b"--b" * 100_000, "multipart/form-data; boundary=b", (400,)),
        "JSON": (b'{"image": "' + b"A" * 1000 + b'"}', "application/json", (415,)),
    }
    for name, data in (("JPEG", jpeg), ("PNG", png)):
        for cut in (3, 20, 100, len(data) // 2, len(data) - 3):
            # Some decoders fill up what is missing at the very end.
            made[f"a {name} cut at {cut}"] = (data[:cut], None, (415, 422, 200))
    pick = np.random.default_rng(1)
    for i in range(40):
        damaged = bytearray(jpeg if i % 2 else png)
        for at in pick.integers(0, min(len(damaged), 700), 5):
            damaged[at] = int(pick.integers(256))
        made[f"damaged {i}"] = (bytes(damaged), None, (200, 413, 415, 422))
    return made


def peak_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])


def test_hostile_uploads(small_model, tmp_path):
    limits = ("--max-bytes", str(MAX_BYTES), "--max-pixels", str(MAX_PIXELS), "--concurrency", "1")
    running = Service(tmp_path, str(small_model()), *limits, "--body-seconds", "1")
    try:
        good = encoded(np.zeros((30, 40, 3), np.uint8), "jpeg")
        before = running.call("POST", "/classify", good)
        assert before[0] == 200
        for each in (good, encoded(np.zeros((30, 40, 3), np.uint8), "gif")):
            running.call("POST", "/classify", each)  # what decodes it is loaded
        start = peak_kb(running.process.pid)
        for name, (body, kind, right) in attacks().items():
            status, answer = running.call("POST", "/classify", body, kind)
            assert status in right, (name, status, answer)
            assert status == 200 or json.loads(answer)["error"].isprintable()
        # One call: its body twice, an image of MAX_PIXELS four bytes each and again as RGB.
        allowed = 2 * MAX_BYTES + 8 * MAX_PIXELS
        assert (peak_kb(running.process.pid) - start) << 10 <= allowed + (4 << 20)
        slow_clients(running)
        after = running.call("POST", "/classify", good)
        assert json.loads(after[1])["predictions"] == json.loads(before[1])["predictions"]
    finally:
        assert running.stop() == 0
    assert not any("Traceback" in line for line in running.said)


def slow_clients(running: Service) -> None:
    """Fifty that send a body's beginning and wait, while others are answered."""
    held = [socket.create_connection(("127.0.0.1", running.port), 20) for _ in range(50)]
    for each in held:
        each.sendall(b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n\xff\xd8")
    answers: list[int] = []

    def health() -> None:
        answers.append(running.call("GET", "/healthz")[0])

    clients = [threading.Thread(target=health) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    assert answers == [200] * 4
    for each in held:
        response = http.client.HTTPResponse(each)
        response.begin()
        assert response.status == 408
        response.close()
        each.close()
