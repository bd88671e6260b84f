"""`mnv2 serve` as a process: signals, workers that die, models that are replaced, slow clients."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector
from int8_network import random_int8
from serve_process import Service

from mnv2_engine import Engine
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.serve.processes import MOST_FAILED_STARTS

Image = pytest.importorskip("PIL.Image", reason="Pillow (the extra serve) is absent")

pytestmark = [
    pytest.mark.skipif(find_spec("uvicorn") is None, reason="uvicorn (the extra serve) is absent"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals"),
]


@pytest.fixture(scope="module")
def photo() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(file, "jpeg")
    return file.getvalue()


@pytest.fixture
def service(tmp_path):
    made: list[Service] = []

    def start(*arguments: str) -> Service:
        made.append(Service(tmp_path, *arguments))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        each.close()


def said(body: bytes) -> list[dict[str, object]]:
    return json.loads(body)["predictions"]


def eventually(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_process_answers_and_stops(service, small_model, photo):
    path = small_model()
    running = service(str(path))
    status, body = running.call("POST", "/classify?top_k=2", photo)
    predictions = [each._asdict() for each in Engine.load(path).predict(photo, 2)]
    assert (status, json.loads(body)["predictions"]) == (200, predictions)
    assert json.loads(body)["model"] == "small"
    assert running.call("GET", "/healthz")[0] == 200
    assert b"mnv2_images_total 1\n" in running.call("GET", "/metrics")[1]
    assert running.stop() == 0
    assert running.said == []


def test_detectors_are_served(service, tmp_path, photo):
    """Which answer nothing but boxes, from the start on; one of floats, one of 8 bits."""
    network = small_detector()
    spec, floats, integers = PRESETS["tf"], tmp_path / "floats.npz", tmp_path / "integers.npz"
    write_model(floats, network, seeded_weights(network), spec, None, {})
    weights, quantization = random_int8(network)
    write_model(integers, network, weights, spec, None, {}, quantization)
    running = service(str(floats), str(integers))
    for path in (floats, integers):
        status, body = running.call("POST", f"/models/{path.stem}/detect?threshold=0.2", photo)
        with Engine.load(path) as engine:
            due = engine.detect(photo, 0.2)
        assert (status, len(due) > 0) == (200, True)
        objects = [{**each._asdict(), "box": each.box._asdict()} for each in due]
        assert json.loads(body)["objects"] == objects
    assert running.call("POST", f"/models/{path.stem}/classify", photo)[0] == 404
    assert running.stop() == 0


@contextmanager
def calling(call, clients: int):
    """So many threads that call again and again."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            call()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(clients)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        stop.set()
        for each in threads:
            each.join(30)


def test_a_worker_that_is_killed_is_started_again(service, small_model, photo, request):
    running = service(str(small_model()), "--workers", "2")
    eventually(lambda: len(running.workers()) == 2)
    answers: list[int] = []
    lost: list[Exception] = []

    def client() -> None:
        try:
            answers.append(running.call("POST", "/classify", photo)[0])
        except (OSError, http.client.HTTPException) as error:
            lost.append(error)

    clients = 4
    before = running.workers()
    kills = 10 if request.config.getoption("--every") else MOST_FAILED_STARTS + 1
    with calling(client, clients):
        for _ in range(kills):
            victim = running.workers()[-1]  # the youngest
            os.kill(victim, signal.SIGKILL)
            eventually(
                lambda gone=victim: gone not in running.workers() and len(running.workers()) == 2
            )
            count = len(answers) + 5
            eventually(lambda least=count: len(answers) > least)
    assert set(answers) == {200}
    assert len(lost) <= kills * clients  # those in flight in the killed worker
    assert set(running.workers()) != set(before)
    metrics = running.call("GET", "/metrics")[1].decode()
    assert f"mnv2_worker_starts_total {2 + kills}\n" in metrics
    counted = re.search(r"mnv2_images_total (\d+)", metrics)
    assert int(counted[1]) >= len(answers)  # of the dead workers too
    assert running.stop() == 0
    assert len([line for line in running.said if "starting another" in line]) == kills


@pytest.mark.parametrize("how", ["watched", "SIGHUP"])
def test_a_model_that_is_replaced_loses_no_request(service, small_model, photo, how, request):
    path = small_model()
    seconds = "0.05" if how == "watched" else "0"
    running = service(f"m={path}", "--workers", "2", "--watch", seconds)
    eventually(lambda: len(running.workers()) == 2)
    known, answers = {}, []
    with calling(lambda: answers.append(running.call("POST", "/classify", photo)), 2):
        for seed in range(1, 51 if request.config.getoption("--every") else 5):
            new = small_model(seed=seed, name="new.npz")
            known[seed] = [each._asdict() for each in Engine.load(new).predict(photo)]
            os.replace(new, path)
            if how == "SIGHUP":
                running.process.send_signal(signal.SIGHUP)
            eventually(lambda now=known[seed]: now in [said(body) for _, body in answers[-1:]])
    assert {status for status, _ in answers} == {200}
    known[0] = [each._asdict() for each in Engine.load(small_model(name="old.npz")).predict(photo)]
    assert all(said(body) in known.values() for _, body in answers)
    assert running.stop() == 0


def test_requests_in_flight_are_answered_before_the_end(service, small_model, photo):
    running = service(str(small_model()))
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    connection.putrequest("POST", "/classify")
    connection.putheader("Content-Length", str(len(photo)))
    connection.endheaders(photo[:100])
    time.sleep(0.3)
    running.process.terminate()
    time.sleep(0.3)
    connection.send(photo[100:])
    response = connection.getresponse()
    assert response.status == 200
    response.read()
    connection.close()
    assert running.process.wait(30) == 0


def test_workers_end_with_a_parent_that_was_killed(service, small_model):
    running = service(str(small_model()), "--workers", "2")
    eventually(lambda: len(running.workers()) == 2)
    workers = running.workers()
    running.process.kill()
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))


def test_what_does_not_start(small_model, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, says in (
            (("absent.npz",), "cannot open the model file"),
            ((str(small_model()), "--port", port), "cannot be listened on"),
            ((f"a={small_model()}", f"a={small_model()}"), "two models are named"),
            ((f"a/b={small_model()}",), "model name"),
            ((str(small_model()), "--formats", "svg"), "formats"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "mnv2_engine", "serve", *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                cwd=tmp_path,
                check=False,
            )
            assert done.returncode == 2
            assert says in done.stderr
            assert "Traceback" not in done.stderr


def test_headers_that_do_not_arrive_or_do_not_end(small_model):
    """In the process of the test, to have a short limit."""
    import asyncio

    from mnv2_engine.serve import Limits, processes

    async def scenario() -> None:
        listener = processes._listener("127.0.0.1", 0)
        address = listener.getsockname()
        service = processes.Service({"m": Engine.load(small_model())}, Limits())
        limits = Limits(header_seconds=0.3).checked()
        metrics = processes.Metrics()
        server = asyncio.ensure_future(processes._served(service, limits, listener, metrics, None))
        for sent in (b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\nA: b"):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), 10) == b""  # it is closed
            writer.close()
        reader, writer = await asyncio.open_connection(*address)
        with pytest.raises(ConnectionError):  # noqa: PT012  wherever it is seen first
            for _ in range(1000):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + bytes(1000))
                await writer.drain()
                await asyncio.sleep(0)
            if not (await reader.read()).startswith(b"HTTP/1.1 200"):
                raise ConnectionError
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(server, 20)
        listener.close()

    asyncio.run(scenario())
