""".ci/links.py, which asks for the pages that the documents link to, against a host of our own."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "links.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason=".ci is in a clone only")


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("links_of_documents", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Host(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/there" else 404)
        self.end_headers()

    def do_HEAD(self) -> None:
        self.send_response(405)  # as some hosts do
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def host(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(script, "OWN", script.re.compile("never"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_links_end_where_their_sentence_does(script: ModuleType) -> None:
    text = (
        "[a](https://a.org/x_(y)), <https://b.org/#part>. See https://c.org/d?e=f. `http://g.org`\n"
        "**https://h.org**; http://127.0.0.1:8000/z and https://models.example/m are ours.\n"
    )
    assert script.links(text) == [
        *("https://a.org/x_(y)", "https://b.org/", "https://c.org/d?e=f"),
        *("http://g.org", "https://h.org"),
    ]


def test_a_dead_link_is_told_from_a_host_that_is_not_there(
    script: ModuleType, host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"[good]({host}/there)")
    assert script.main([page]) == 0
    assert capsys.readouterr().out == "1 links, 0 dead, 0 that could not be reached\n"
    page.write_text(f"[good]({host}/there), [bad]({host}/gone), [none](http://127.0.0.1:1/)")
    assert script.main([page]) == 1
    said = capsys.readouterr().out
    assert f"{host}/gone: 404; in {page}" in said
    assert "3 links, 1 dead, 1 that could not be reached" in said
    page.write_text("[none](http://127.0.0.1:1/)")
    assert script.main([page]) == 2
