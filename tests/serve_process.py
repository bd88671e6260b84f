"""`mnv2 serve` as a process, for tests."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import threading
from contextlib import suppress


class Service:
    """A running `mnv2 serve`."""

    def __init__(self, folder, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mnv2_engine", "serve", *arguments, "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        line = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line + self.process.stderr.read()
        self.port = int(found[1])
        self.said: list[str] = []
        self._reader = threading.Thread(target=self.said.extend, args=(self.process.stderr,))
        self._reader.start()

    def call(
        self, method: str, path: str, body: bytes | None = None, kind: str | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            # A service may answer, and hang up, before it has read all of a body that it refuses.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def workers(self) -> list[int]:
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(30)
        self.close()
        return code

    def close(self) -> None:
        """Let go of what a process that has ended said."""
        self._reader.join(10)
        self.process.stderr.close()
