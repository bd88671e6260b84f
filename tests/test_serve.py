"""The ASGI application: what it answers, what it refuses and with which status, what it counts."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import struct
import threading
import zlib
from contextlib import suppress

import numpy as np
import pytest
from asgi_client import call, form, request
from detector_network import seeded_weights, small_detector
from hypothesis import given
from hypothesis import strategies as st

from mnv2_engine import Engine, InputError, UnsupportedError, serve
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.serve import Limits
from mnv2_engine.serve.bodies import Held
from mnv2_engine.serve.endpoints import ENDPOINTS, Endpoint, Parameter
from mnv2_engine.serve.images import size_of
from mnv2_engine.serve.multipart import parts_of
from mnv2_engine.serve.request import Refused

Image = pytest.importorskip("PIL.Image", reason="Pillow (the extra serve) is absent")

LABELS = ["ant", "bee", "cat", "dog", "eel"]


@pytest.fixture(scope="module")
def photo() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg")
    return file.getvalue()


@pytest.fixture
def engine(small_model) -> Engine:
    return Engine.load(small_model(labels=LABELS))


def expected(engine: Engine, photo: bytes, top_k: int = 5) -> list[dict[str, object]]:
    return [each._asdict() for each in engine.predict(photo, top_k)]


# --- answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", None, "text/plain"])
def test_an_image_is_answered_whatever_it_is_called(engine, photo, kind):
    found = call(serve.app(engine), "POST", "/classify?top_k=3", photo, kind)
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.json["predictions"] == expected(engine, photo, 3)
    assert (found.json["file"], found.json["model"]) == (None, "default")
    assert found.json["ms"] > 0


def test_a_form_with_an_image(engine, photo):
    app = serve.app(engine)
    for files in (
        [("image", "holidays/dog\u202e.jpg", photo)],
        [("note", None, b"a dog"), ("image", None, photo)],
        [("note", None, b"--limi"), ("whatever", "dog.jpg", photo), ("image", None, b"")],
    ):
        body, kind = form(*files)
        found = call(app, "POST", "/classify", body, kind)
        assert found.json["predictions"] == expected(engine, photo)
        assert found.json["file"] in (r"dog\u202e.jpg", "dog.jpg", None)
    body, kind = form(("image", "a.jpg", photo), boundary="a'()+_,-./:=?")
    quoted = kind.replace("boundary=", 'boundary="') + '"; charset=utf-8'
    assert call(app, "POST", "/classify", body, quoted).status == 200


def test_a_body_in_pieces(engine, photo):
    pieces = [photo[i : i + 100] for i in range(0, len(photo), 100)]
    messages = [{"type": "http.request", "body": each, "more_body": True} for each in pieces]
    messages.append({"type": "http.request"})

    async def receive():
        return messages.pop(0)

    found = call(serve.app(engine), "POST", "/classify", receive=receive)
    assert found.json["predictions"] == expected(engine, photo)


def test_models_by_name(engine, small_model, photo):
    other = Engine.load(small_model(seed=4, labels=LABELS, name="other.npz"))
    app = serve.app({"first": engine, "an-other.1": other})
    for path, one, name in (
        ("/classify", engine, "first"),
        ("/models/first/classify", engine, "first"),
        ("/models/an-other.1/classify", other, "an-other.1"),
    ):
        found = call(app, "POST", path, photo)
        assert (found.json["model"], found.json["predictions"]) == (name, expected(one, photo))
    listed = call(app, "GET", "/models").json["models"]
    assert [each["name"] for each in listed] == ["first", "an-other.1"]
    assert listed[1]["identity"] == other.identity
    missing = call(app, "POST", "/models/none%0a/classify", photo)
    assert (missing.status, missing.json["kind"]) == (404, "not_found")
    with pytest.raises(InputError, match="model name"):
        serve.app({"a/b": engine})
    with pytest.raises(InputError, match="no model"):
        serve.app({})


@pytest.mark.parametrize("full_path", [None, "/vision/classify"])
def test_mounted_below_another_application(engine, photo, full_path):
    found = call(serve.app(engine), "POST", "/classify", photo, root="/vision", full_path=full_path)
    assert found.status == 200
    document = call(serve.app(engine), "GET", "/openapi.json", root="/vision").json
    assert document["servers"] == [{"url": "/vision"}]


def test_what_else_is_answered(engine):
    app = serve.app(engine)
    assert call(app, "GET", "/healthz").body == b"ok\n"
    assert call(app, "HEAD", "/healthz").body == b""
    assert call(app, "GET", "/readyz").status == 200
    app.ready = False
    assert call(app, "GET", "/readyz").status == 503
    document = call(app, "GET", "/openapi.json").json
    assert set(document["paths"]) == {
        *("/classify", "/models/{name}/classify", "/detect", "/models/{name}/detect", "/models"),
        *("/healthz", "/readyz", "/metrics", "/openapi.json"),
    }


def test_a_detector_answers_with_objects(engine, photo, tmp_path):
    network = small_detector()
    path = tmp_path / "detector.npz"
    write_model(path, network, seeded_weights(network), PRESETS["tf"], ["one", "two"], {})
    with Engine.load(path) as detector:
        app = serve.app({"things": detector, "names": engine})
        found = call(app, "POST", "/detect?threshold=0.1&max_objects=3", photo)
        assert found.status == 200
        due = detector.detect(photo, 0.1, 3)
        assert found.json["objects"] == [
            {**each._asdict(), "box": each.box._asdict()} for each in due
        ]
        assert 0 < len(due) <= 3
        for target, reason in (
            ("/classify", "`detect`"), ("/models/names/detect", "is no detector"),
        ):  # fmt: skip
            refused = call(app, "POST", target, photo)
            assert refused.status == 404
            assert reason in refused.json["error"]
        for query in ("threshold=2", "threshold=nan", "max_objects=0", "top_k=1"):
            assert call(app, "POST", f"/detect?{query}", photo).status == 400


# --- what is refused ----------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 64) + b"IDAT" + bytes(68)


REFUSED = {
    "nothing": ("POST", "/classify", b"", None, 415, "no image: expected jpeg"),
    "junk": ("POST", "/classify", bytes(1000), "image/jpeg", 415, "no image"),
    "text": ("POST", "/classify", b"hello", "text/plain", 415, "no image"),
    "a damaged image": ("POST", "/classify", b"\xff\xd8\xff\xe0" + bytes(99), None, 422, "decoded"),
    "a format that is not let in": ("POST", "/classify", b"II*\0" + bytes(99), None, 415, "TIFF"),
    "a bomb": ("POST", "/classify", png_header(9000, 9000), None, 413, "81000000|9000×9000"),
    "a larger bomb": ("POST", "/classify", png_header(60000, 60000), None, 413, "pixels"),
    "too long": ("POST", "/classify", bytes(5001), None, 413, "5000 bytes"),
    "no number": ("POST", "/classify?top_k=many", b"", None, 400, "top_k 'many'"),
    "zero": ("POST", "/classify?top_k=0", b"", None, 400, "top_k"),
    "digits": ("POST", "/classify?top_k=²", b"", None, 400, "query|top_k"),
    "twice": ("POST", "/classify?top_k=1&top_k=2", b"", None, 400, "twice"),
    "a parameter": ("POST", "/classify?topk=1", b"", None, 400, "'topk'"),
    "many parameters": ("POST", "/classify?" + "a=1&" * 99, b"", None, 400, "query"),
    "a path": ("GET", "/classify/", b"", None, 404, "expected one of /classify"),
    "a line in a path": ("GET", "/a\nERROR", b"", None, 404, r"/a\\nERROR"),
    "a method": ("GET", "/classify", b"", None, 405, "POST"),
    "another method": ("POST", "/metrics", b"", None, 405, "GET"),
    "a mixture": ("POST", "/classify", b"", "multipart/mixed; boundary=a", 415, "form-data"),
    "no boundary": ("POST", "/classify", b"", "multipart/form-data", 400, "boundary"),
    "a long boundary": (
        *("POST", "/classify", b"", "multipart/form-data; boundary=" + "a" * 71),
        *(400, "boundary has 71"),
    ),
    "no parts": ("POST", "/classify", b"--a--", "multipart/form-data; boundary=a", 400, "0 files"),
    "two files": (
        *("POST", "/classify", *form(("a", "a.jpg", b"1"), ("b", "b.jpg", b"2"))),
        *(400, "2 files"),
    ),
    "ten thousand boundaries": (
        *("POST", "/classify", b"--a\r\n\r\n" * 700, "multipart/form-data; boundary=a"),
        *(400, "cut short|content-disposition|parts"),
    ),
    "many parts": (
        *("POST", "/classify", *form(*[("a", None, b"")] * 65)),
        *(400, "more than 64 parts"),
    ),
    "a form that was cut short": (
        *("POST", "/classify", form(("a", "a.jpg", b"1"))[0][:-12]),
        *("multipart/form-data; boundary=limit", 400, "cut short"),
    ),
    "base64": (
        *("POST", "/classify"),
        b"--a\r\nContent-Disposition: form-data; name=image\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n\r\n--a--",
        *("multipart/form-data; boundary=a", 400, "send it as it is"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(engine, case):
    method, path, body, kind, status, says = REFUSED[case]
    app = serve.app(engine, Limits(max_bytes=5000))
    found = call(app, method, path.replace("²", "%C2%B2"), body, kind)
    assert found.status == status, found
    assert set(found.json) == {"error", "kind"}
    assert re.search(says, found.json["error"]), found.json
    assert found.json["error"].isprintable()
    if status == 405:
        assert found.headers["allow"]
    assert f'mnv2_requests_total{{code="{status}"}} 1' in metrics_of(app)
    assert "mnv2_held_bytes 0\n" in metrics_of(app)


def metrics_of(app) -> str:
    found = call(app, "GET", "/metrics")
    assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
    return found.body.decode()


def test_a_length_that_is_too_large_is_refused_before_the_body(engine):
    async def receive():
        raise AssertionError("the body was asked for")

    found = call(
        serve.app(engine),
        "POST",
        "/classify",
        receive=receive,
        headers={"content-length": "9" * 30},
    )
    assert (found.status, found.headers["connection"]) == (413, "close")


def test_a_body_that_never_ends_is_cut_off(engine):
    async def receive():
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    app = serve.app(engine, Limits(max_bytes=5000))
    assert call(app, "POST", "/classify", receive=receive, headers={}).status == 413
    assert "mnv2_held_bytes 0\n" in metrics_of(app)


def test_a_body_that_does_not_come(engine):
    async def receive():
        await asyncio.sleep(60)

    app = serve.app(engine, Limits(body_seconds=0.05))
    found = call(app, "POST", "/classify", receive=receive)
    assert (found.status, found.json["kind"]) == (408, "slow")


def test_a_client_who_leaves(engine):
    async def receive():
        return {"type": "http.disconnect"}

    app = serve.app(engine)
    assert call(app, "POST", "/classify", receive=receive).status == 0
    assert 'mnv2_errors_total{kind="gone"} 1' in metrics_of(app)


def test_an_error_inside_is_not_told_to_the_client(engine, photo, monkeypatch, caplog):
    app = serve.app(engine)

    def broken(*_, **limits):
        raise RuntimeError("the secret path")

    monkeypatch.setattr(engine, "predict", broken)
    with caplog.at_level(logging.ERROR, "mnv2_engine.serve"):
        found = call(app, "POST", "/classify", photo)
    assert (found.status, found.json["kind"]) == (500, "internal")
    assert b"secret" not in found.body
    assert "the secret path" in caplog.text


@pytest.mark.parametrize(
    "limits",
    [{"max_bytes": 0}, {"formats": ()}, {"formats": ("jpeg", "svg")}, {"waiting": -1}],
)
def test_limits_that_make_no_sense(engine, limits):
    with pytest.raises(InputError, match=next(iter(limits))):
        serve.app(engine, Limits(**limits))


@pytest.mark.parametrize("form", ["jpeg", "png", "gif", "bmp", "webp"])
@pytest.mark.parametrize("size", [(1, 1), (300, 7), (2, 1025)])
def test_the_size_is_found_in_every_header(form, size):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, form)
    assert size_of(memoryview(file.getvalue()), form) == size
    if form == "webp":
        for options in ({"lossless": True}, {"exif": b"Exif\0\0" + bytes(20)}):
            file = io.BytesIO()
            Image.new("RGB", size).save(file, form, **options)
            assert size_of(memoryview(file.getvalue()), form) == size
    if form == "jpeg":
        exif = Image.Exif()
        exif[270] = "a" * 5000
        file = io.BytesIO()
        Image.new("RGB", size).save(file, form, exif=exif, progressive=True, comment=b"\xff\xc0")
        assert size_of(memoryview(file.getvalue()), form) == size


@given(st.binary(max_size=60), st.sampled_from(["jpeg", "png", "gif", "bmp", "webp", "tiff"]))
def test_no_header_is_too_odd_for_a_size(data, form):
    magic = {"jpeg": b"\xff\xd8\xff", "webp": b"RIFF\0\0\0\0WEBPVP8"}.get(form, b"")
    width, height = size_of(memoryview(magic + data), form)
    assert width >= 0
    assert height >= 0


# --- many at once -------------------------------------------------------------------------


@pytest.fixture
def slow(engine, monkeypatch):
    """The engine, whose calls wait for `slow.gate`."""
    engine.gate, engine.inside = threading.Event(), threading.Semaphore(0)
    predict = Engine.predict

    def waiting(*arguments, **limits):
        engine.inside.release()
        assert engine.gate.wait(20)
        return predict(engine, *arguments, **limits)

    engine.predict = waiting
    yield engine
    engine.gate.set()


def test_no_more_at_once_than_there_are_places(slow, photo):
    app = serve.app(slow, Limits(concurrency=2, waiting=1))

    async def scenario():
        calls = [asyncio.ensure_future(request(app, "POST", "/classify", photo)) for _ in range(4)]
        for _ in range(2):
            await asyncio.to_thread(slow.inside.acquire, timeout=20)
        refused = await calls[3]
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert not slow.inside.acquire(timeout=0.05)
        text = (await request(app, "GET", "/metrics")).body.decode()
        assert "mnv2_running 2\n" in text
        assert "mnv2_waiting 1\n" in text
        assert f"mnv2_held_bytes {3 * len(photo)}\n" in text
        slow.gate.set()
        return [each.status for each in await asyncio.gather(*calls[:3])]

    assert asyncio.run(scenario()) == [200, 200, 200]
    text = metrics_of(app)
    assert "mnv2_running 0\n" in text
    assert "mnv2_waiting 0\n" in text
    assert "mnv2_images_total 3\n" in text
    assert 'mnv2_request_seconds_bucket{le="+Inf"} 4\n' in text


def test_who_leaves_or_waits_too_long_gives_the_turn_up(slow, photo):
    app = serve.app(slow, Limits(concurrency=1, wait_seconds=0.2))

    async def scenario():
        first = asyncio.ensure_future(request(app, "POST", "/classify", photo))
        await asyncio.to_thread(slow.inside.acquire, timeout=20)
        messages = [{"type": "http.request", "body": photo}]

        async def leaving():
            return messages.pop() if messages else {"type": "http.disconnect"}

        left = await request(app, "POST", "/classify", receive=leaving)
        late = await request(app, "POST", "/classify", photo)
        slow.gate.set()
        last = asyncio.ensure_future(request(app, "POST", "/classify", photo))
        return [each.status for each in (await first, left, late, await last)]

    assert asyncio.run(scenario()) == [200, 0, 503, 200]
    assert "mnv2_held_bytes 0\n" in metrics_of(app)


def test_bodies_together_are_bounded_and_wait_for_room(slow, photo):
    app = serve.app(slow, Limits(concurrency=1, held_bytes=2 * len(photo), max_bytes=len(photo)))
    most = 0

    async def scenario():
        nonlocal most
        calls = [asyncio.ensure_future(request(app, "POST", "/classify", photo)) for _ in range(6)]
        await asyncio.to_thread(slow.inside.acquire, timeout=20)
        for _ in range(20):
            await asyncio.sleep(0)
        most = app._held.bytes
        slow.gate.set()
        return [each.status for each in await asyncio.gather(*calls)]

    assert asyncio.run(scenario()) == [200] * 6
    assert most == 2 * len(photo)
    assert "mnv2_held_bytes 0\n" in metrics_of(app)


def test_who_waits_too_long_for_room_is_told_to_come_again(slow, photo):
    limits = Limits(concurrency=1, held_bytes=len(photo), wait_seconds=0.1)
    app = serve.app(slow, limits)

    async def scenario():
        first = asyncio.ensure_future(request(app, "POST", "/classify", photo))
        await asyncio.to_thread(slow.inside.acquire, timeout=20)
        late = await request(app, "POST", "/classify", photo)
        slow.gate.set()
        return (await first).status, late, await request(app, "POST", "/classify", photo)

    first, late, last = asyncio.run(scenario())
    assert (first, late.status, late.headers["retry-after"], last.status) == (200, 503, "1", 200)
    assert "bytes of other requests" in late.json["error"]
    # What is larger than all room never has any.
    assert call(app, "POST", "/classify", photo + b"\0").status == 413
    assert "mnv2_held_bytes 0\n" in metrics_of(app)


@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=5), min_size=1, max_size=9),
    st.integers(40, 300),
    st.randoms(use_true_random=False),
)
def test_bodies_in_pieces_never_wait_for_each_other_for_ever(bodies, limit, random):
    """Each has up to 200 bytes in all, some of them break off; order and pauses are at random."""
    held = Held(limit, 200)

    async def one(chunks: list[int]) -> None:
        got, body = 0, object()
        try:
            for chunk in chunks:
                if got + chunk > held.most or random.random() < 0.1:
                    return
                await held.take(body, chunk, 20)
                got += chunk
                assert held.bytes <= limit
                for _ in range(random.randrange(3)):
                    await asyncio.sleep(0)
        finally:
            held.ended(body)
            for _ in range(random.randrange(3)):
                await asyncio.sleep(0)
            held.give_back(got)

    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*map(one, bodies)), 5)

    asyncio.run(all_of_them())
    assert held.bytes == 0


# --- an endpoint more ---------------------------------------------------------------------


def test_an_endpoint_is_declared_in_one_place(engine, photo, monkeypatch):
    def counted(engine, image, least, **bounds):
        if least == 1:
            raise UnsupportedError("it does not count")
        assert set(bounds) == {"max_pixels", "formats"}
        return {"count": len([each for each in engine.predict(image) if each[2] >= least])}

    least = Parameter("least", "Probability.", float, 0.25, 0, lambda limits: 1)
    count = Endpoint("Count", counted, (least,), {"count": {"type": "integer"}})
    monkeypatch.setitem(ENDPOINTS, "count", count)
    app = serve.app({"one": engine})
    for path in ("/count?least=0", "/models/one/count?least=0.0"):
        found = call(app, "POST", path, photo)
        assert (found.status, found.json["count"], found.json["model"]) == (200, 5, "one")
    for query, status in (
        ("least=1", 404),
        ("least=1.5", 400),
        ("least=nan", 400),
        ("top_k=1", 400),
    ):
        assert call(app, "POST", f"/count?{query}", photo).status == status
    assert "/models/NAME/count" in call(app, "GET", "/no").json["error"]
    document = call(app, "GET", "/openapi.json").json
    post = document["paths"]["/models/{name}/count"]["post"]
    assert [each["name"] for each in post["parameters"]] == ["name", "least"]
    assert post["parameters"][1]["schema"] == {
        **{"type": "number", "minimum": 0, "maximum": 1, "default": 0.25}
    }
    schema = post["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    answer = document["components"]["schemas"][schema.rpartition("/")[2]]
    assert set(answer["required"]) == {"file", "model", "count", "ms"}
    assert 'mnv2_request_seconds_bucket{le="+Inf"} 6\n' in metrics_of(app)


# --- models that are replaced -------------------------------------------------------------


def test_a_replaced_file_is_switched_to(engine, small_model, photo):
    app = serve.app(engine, watch_seconds=0)
    path, before = engine.info.path, expected(engine, photo)
    assert not asyncio.run(app.reload(only_changed=True))
    new = small_model(seed=8, labels=LABELS, name="new.npz")
    os.replace(new, path)
    assert call(app, "POST", "/classify", photo).json["predictions"] == before
    assert asyncio.run(app.reload(only_changed=True))
    found = call(app, "POST", "/classify", photo).json["predictions"]
    assert found == expected(Engine.load(path), photo) != before
    assert "mnv2_model_reloads_total 1\n" in metrics_of(app)
    assert asyncio.run(app.reload())  # as SIGHUP, whether it changed or not


def test_replaced_files_are_looked_for_while_requests_come(engine, small_model, photo):
    app = serve.app(engine, watch_seconds=1e-9)
    os.replace(small_model(seed=8, labels=LABELS, name="new.npz"), engine.info.path)

    async def scenario():
        await request(app, "POST", "/classify", photo)
        await asyncio.gather(*app._tasks)
        return await request(app, "POST", "/classify", photo)

    found = asyncio.run(scenario()).json["predictions"]
    assert found == expected(Engine.load(engine.info.path), photo)


def test_a_file_that_is_not_sound_is_not_switched_to(engine, small_model, photo, tmp_path, caplog):
    app = serve.app(engine, watch_seconds=0)
    before = expected(engine, photo)
    damaged = bytearray(small_model(seed=8, labels=LABELS, name="new.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.npz").write_bytes(damaged)
    os.replace(tmp_path / "damaged.npz", engine.info.path)
    for _ in range(3):  # and is complained of once
        assert not asyncio.run(app.reload(only_changed=True))
    assert len([r for r in caplog.records if "checksum" in r.getMessage()]) == 1
    assert call(app, "POST", "/classify", photo).json["predictions"] == before
    assert "mnv2_model_reload_failures_total 1\n" in metrics_of(app)


def test_a_file_that_is_overwritten_costs_no_request(engine, small_model, photo):
    app = serve.app(engine, watch_seconds=0)
    path = engine.info.path
    new = small_model(seed=8, labels=LABELS, name="new.npz").read_bytes()
    with open(path, "r+b") as file:
        file.write(new)
    os.utime(path, ns=(0, 10**9))
    found = call(app, "POST", "/classify", photo)
    assert found.json["predictions"] == expected(Engine.load(path), photo)
    os.truncate(path, 4096)
    lost = call(app, "POST", "/classify", photo)
    assert (lost.status, lost.json["kind"], lost.headers["retry-after"]) == (503, "model", "5")


# --- multipart ----------------------------------------------------------------------------


@given(
    st.lists(
        st.sampled_from([b"--a", b"\r\n", b"--", b"Content-Disposition: form-data", b'="', b"x"])
    )
)
def test_any_form_is_read_or_refused(pieces):
    body = b"".join(pieces)
    with suppress(Refused):
        parts = parts_of(body, b"a")
        assert all(0 <= part.start <= part.end <= len(body) for part in parts)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_every_content_is_found_again(contents):
    body, _ = form(*[("f", "f.jpg", each) for each in contents], boundary="some-boundary")
    found = [bytes(body[part.start : part.end]) for part in parts_of(body, b"some-boundary")]
    assert found == contents
