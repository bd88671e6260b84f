"""Requests a second and latency of `mnv2 serve` beside the same service with other engines.

    python benches/service_load.py MODEL.npz PHOTO.jpg... [--against litert,onnxruntime]
        [--clients 1,2,16,64] [--seconds 4] [--workers 2] [--requests N]

Needs wrk, the extras bench and serve. Everything is on this machine: the client takes a part of
its CPUs, from every engine alike. The engines take turns for each photograph and number of
clients, `--rounds` times; medians are printed. With --requests N, ours alone answers N requests
with 16 clients, and its resident memory is printed before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
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
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--requests", type=int, default=0)
    args = parser.parse_args()
    files = {OURS: args.model}
    with open_model(args.model) as model:
        for name in filter(None, args.against.split(",")):
            files[name] = peer_file(model, PEERS[name])
    if args.requests:
        files = {OURS: args.model}
    servers = [Server(name, path, args.model, args.workers) for name, path in files.items()]
    try:
        with tempfile.TemporaryDirectory() as folder:
            scripts = {}
            for photo in args.photos:
                lua = os.path.join(folder, f"{len(scripts)}.lua")
                with open(lua, "w") as file:
                    file.write(LUA.replace("{photo}", os.path.abspath(photo)))
                scripts[lua] = os.path.basename(photo)
            if args.requests:
                _endurance(servers[0], next(iter(scripts)), args.requests)
                return
            print(
                f"{args.workers} workers, threads=1; requests/s, median ms, p99 ms, errors, "
                "CPU ms a request"
            )
            for lua, name in scripts.items():
                for clients in map(int, args.clients.split(",")):
                    results: dict[str, list[Measured]] = {}
                    for _ in range(args.rounds):
                        for server in servers:
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


def _endurance(server: Server, lua: str, requests: int) -> None:
    answered = errors = 0.0
    server.load(lua, 16, 2)
    print(f"before: {server.megabytes():.2f} MB")
    while answered < requests:
        found = server.load(lua, 16, 10)
        answered, errors = answered + 10 * found.rate, errors + found.errors
        print(
            f"{answered:.0f} requests, {errors:.0f} errors: {server.megabytes():.2f} MB", flush=True
        )


if __name__ == "__main__":
    main()
