#!/usr/bin/env python3
"""Asks for every page of the web that the documents link to.

    .ci/links.py [FILE...]    # default: all documents in this checkout

A link that answers 4xx or 5xx is dead: exit code 1. A host that cannot be reached is reported: exit
code 2, as the network may be at fault. Needs a network, so .ci/run leaves it out; the links between
pages are tested in tests/test_docs.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("*.md", "*.toml", "*.cff", "*.yml", "*.yaml", "*.ipynb", "LICENSE")
URL = re.compile(r"https?://[^\s<>\"'`\\|{}\[\]]+")
OWN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\]|[\w.-]*\bexample\b)")
SECONDS = 20
# Some hosts refuse what calls itself Python.
HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; link check)"}


def links(text: str) -> list[str]:
    """The pages of the web that a document names, without what ends its sentences."""
    found = []
    for url in URL.findall(text):
        url = url.partition("#")[0].rstrip(".,;:!?*")
        while url.endswith(")") and url.count(")") > url.count("("):
            url = url[:-1].rstrip(".,;:!?*")
        if not OWN.match(url):
            found.append(url)
    return found


def answer(url: str) -> str | int:
    """The status of a page, or why there is none."""
    problem: str | int = ""
    for method in ("HEAD", "GET"):  # not every host answers the first
        request = urllib.request.Request(url, headers=HEADERS, method=method)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as page:
                return int(page.status)
        except urllib.error.HTTPError as error:
            problem = error.code
        except (OSError, ValueError) as error:
            problem = str(getattr(error, "reason", error))
    return problem


def documents() -> list[Path]:
    """Those that are in the repository."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *KINDS]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name]


def main(files: list[Path]) -> int:
    places: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        for url in links(file.read_text("utf-8")):
            places[url].append(file)
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(places, pool.map(answer, places), strict=True))
    dead = [url for url, said in answers.items() if isinstance(said, int) and said >= 400]
    silent = [url for url, said in answers.items() if isinstance(said, str)]
    for url in dead + silent:
        print(f"{url}: {answers[url]}; in {', '.join(map(str, dict.fromkeys(places[url])))}")
    print(f"{len(answers)} links, {len(dead)} dead, {len(silent)} that could not be reached")
    return 1 if dead else 2 if silent else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]] or documents()))
