"""Requests a second and latency of `mnv2 serve` beside the same service with other engines.

    python benches/service_load.py MODEL.npz PHOTO.jpg... [--against litert,onnxruntime]
        [--clients 1,2,16,64] [--seconds 4 | --each N] [--workers 2] [--rounds 1]
    python benches/service_load.py MODEL.npz PHOTO.jpg... --requests 20000

Needs the extras bench and serve. Everything is on this machine: the client takes a part of its
CPUs, from every engine alike. The engines take turns for each photograph and number of clients,
`--rounds` times; medians are printed. wrk, where it is installed, asks for so many seconds, and
forgets the requests that are then under way; with --each N every client sends N requests, and all
of them count, the slowest too: that is the one for the 99th percentile. With --requests, ours alone
answers so many by 16 clients, photographs in turn, and what each worker has for itself is printed
as it goes, with the slope of its second half.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from mnv2_engine.bench.exported import peer_file
from mnv2_engine.bench.service import OURS
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.peers import PEERS

LUA = """
local file = io.open("{photo}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "image/jpeg"
done = function(summary, latency, requests)
   local bad = summary.errors
   io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
      latency:percentile(50), latency:percentile(99),
      bad.connect + bad.read + bad.write + bad.status + bad.timeout))
end
"""


class Measured(NamedTuple):
    rate: float  # requests a second
    median_ms: float
    p99_ms: float
    errors: float
    cpu_ms: float  # of the service's processes, a request: what noise moves least


class Server:
    """One engine's service, in workers of its own."""

    def __init__(self, engine: str, path: str, model: str, workers: int) -> None:
        task = {"engine": engine, "path": path, "model": model, "workers": workers}
        script = (
            "from mnv2_engine.bench.service import served; "
            f"raise SystemExit(served({json.dumps(task)!r}))"
        )
        self.engine = engine
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=os.path.abspath(os.sep),  # not a checkout, which has no core
        )
        line = self.process.stdout.readline()
        self.url = re.search(r"http://\S+?(?=,)", line)[0]

    def processes(self) -> list[int]:
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return [self.process.pid, *map(int, file.read().split())]

    def cpu_seconds(self) -> float:
        """Of all its processes so far."""
        ticks = 0
        for pid in self.processes():
            with open(f"/proc/{pid}/stat") as file:
                ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    async def ask(self, bodies: list[bytes], clients: int, each: int) -> list[float]:
        """Seconds of every request of so many clients; -1: it was not answered with 200."""
        host, port = self.url.removeprefix("http://").split(":")
        turn = itertools.cycle(bodies)

        async def client() -> list[float]:
            reader, writer = await asyncio.open_connection(host, int(port))
            found = []
            for _ in range(each):
                body = next(turn)
                head = f"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
                began = time.perf_counter()
                writer.write(head.encode() + body)
                said = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"content-length: (\d+)", said)[1])
                await reader.readexactly(length)
                took = time.perf_counter() - began
                found.append(took if said.startswith(b"HTTP/1.1 200") else -1.0)
            writer.close()
            return found

        return list(itertools.chain(*await asyncio.gather(*(client() for _ in range(clients)))))

    def bounded(self, photo: str, clients: int, each: int) -> Measured:
        """So many requests of each client, all of which count."""
        with open(photo, "rb") as file:
            body = file.read()
        before, began = self.cpu_seconds(), time.perf_counter()
        found = sorted(asyncio.run(self.ask([body], clients, each)))
        seconds = time.perf_counter() - began
        spent = (self.cpu_seconds() - before) * 1e3 / len(found)
        return Measured(
            len(found) / seconds,
            statistics.median(found) * 1e3,
            found[min(len(found) - 1, round(len(found) * 0.99))] * 1e3,
            sum(each < 0 for each in found),
            spent,
        )

    def private_bytes(self) -> dict[int, int]:
        """What each process has for itself alone."""
        found = {}
        for pid in self.processes():
            with open(f"/proc/{pid}/smaps_rollup") as file:
                sizes = re.findall(r"Private_(?:Clean|Dirty):\s+(\d+)", file.read())
            found[pid] = sum(map(int, sizes)) * 1024
        return found

    def megabytes(self) -> float:
        """Proportional, of all its processes."""
        total = 0
        for pid in self.processes():
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += int(re.search(r"Pss:\s+(\d+)", file.read())[1])
        return total / 1e3

    def load(self, lua: str, clients: int, seconds: float) -> Measured:
        """What wrk and the system say of so many seconds."""
        before = self.cpu_seconds()
        done = subprocess.run(
            [
                *("wrk", "-t", "1", "-c", str(clients), "-d", f"{max(1, round(seconds))}s"),
                *("--timeout", "30s", "-s", lua, f"{self.url}/classify"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        count, micros, p50, p99, errors = map(
            int, re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout).groups()
        )
        spent = (self.cpu_seconds() - before) * 1e3 / max(1, count)
        return Measured(count / micros * 1e6, p50 / 1e3, p99 / 1e3, errors, spent)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--against", default="litert,onnxruntime")
    parser.add_argument("--clients", default="1,2,16,64")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--each", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--requests", type=int, default=0)
    args = parser.parse_args()
    args.model = os.path.abspath(args.model)
    files = {OURS: args.model}
    with open_model(args.model) as model:
        for name in filter(None, args.against.split(",")):
            files[name] = peer_file(model, PEERS[name])
    if args.requests:
        files = {OURS: args.model}
    servers = [Server(name, path, args.model, args.workers) for name, path in files.items()]
    try:
        with tempfile.TemporaryDirectory() as folder:
            if args.requests:
                _endurance(servers[0], args.photos, args.requests)
                return
            scripts = {}
            for photo in args.photos:
                lua = os.path.join(folder, f"{len(scripts)}.lua")
                with open(lua, "w") as file:
                    file.write(LUA.replace("{photo}", os.path.abspath(photo)))
                scripts[lua] = photo
            print(
                f"{args.workers} workers, threads=1; requests/s, median ms, p99 ms, errors, "
                "CPU ms a request"
            )
            for lua, photo in scripts.items():
                name = os.path.basename(photo)
                for clients in map(int, args.clients.split(",")):
                    results: dict[str, list[Measured]] = {}
                    for _ in range(args.rounds):
                        for server in servers:
                            if args.each:
                                found = server.bounded(photo, clients, args.each)
                            else:
                                found = server.load(lua, clients, args.seconds)
                            results.setdefault(server.engine, []).append(found)
                    for engine, rounds in results.items():
                        medians = [statistics.median(each) for each in zip(*rounds, strict=True)]
                        print(
                            f"{name:<24} {clients:>3} clients {engine:<12} {medians[0]:8.1f} "
                            f"{medians[1]:9.1f} {medians[2]:9.1f} {medians[3]:5.0f} "
                            f"{medians[4]:8.2f}",
                            flush=True,
                        )
            for server in servers:
                print(f"{server.engine:<12} {server.megabytes():.1f} MB in all processes")
    finally:
        for server in servers:
            server.stop()


def _endurance(server: Server, photos: list[str], requests: int) -> None:
    clients, samples = 16, 40
    bodies = []
    for photo in photos:
        with open(photo, "rb") as file:
            bodies.append(file.read())
    asyncio.run(server.ask(bodies, clients, 20))
    known = list(server.private_bytes())
    taken: list[list[int]] = []
    answered = errors = 0
    for number in range(samples):
        each = max(1, round(requests / samples / clients))
        found = asyncio.run(server.ask(bodies, clients, each))
        answered, errors = answered + len(found), errors + sum(each < 0 for each in found)
        now = server.private_bytes()
        assert list(now) == known, "a worker has ended"
        taken.append(list(now.values()))
        if number % 4 == 3:
            each_mb = ", ".join(f"{size / 1e6:.2f}" for size in taken[-1])
            print(f"{answered} requests, {errors} errors; MB of the parent and workers: {each_mb}")
    half = taken[samples // 2 :]
    for index, pid in enumerate(known):
        line = statistics.linear_regression(range(len(half)), [row[index] for row in half])
        added = line.slope * (len(half) - 1)
        what = "worker" if index else "parent"
        print(f"{what} {pid}: the second half of the run added {added / 1024:.1f} KiB")


if __name__ == "__main__":
    main()
