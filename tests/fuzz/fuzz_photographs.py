"""Fuzzes the photograph sources and the resize under address and undefined-behaviour sanitizers.

usage: python tests/fuzz/fuzz_photographs.py SECONDS [SEED [FOLDER]]

Needs a C compiler with sanitizers, the headers of libjpeg-turbo and libpng, and Pillow, which makes
the first files. A fault ends it with exit code 1, and the file is left in crash.bin. With clang,
MNV2_LIBFUZZER=1 builds for libFuzzer instead, which follows the branches, keeps in FOLDER the files
that reach new ones, and leaves a fault's file in crash-HASH.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    "taps",
    "resize",
    "photo",
    "exif",
    "jpeg_look",
    "jpeg_room",
    "png_look",
    "jpeg",
    "png",
    "lines",
]


def first_files(folder: Path) -> list[Path]:
    """Small pictures of every kind that is decoded."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    files = []

    def save(image: Any, name: str, **options: Any) -> None:
        files.append(folder / name)
        image.save(files[-1], exif=exif, **options)

    picture = Image.effect_noise((61, 47), 90).convert("RGB")
    for progressive in (False, True):
        for sampling in ("4:4:4", "4:2:2", "4:2:0"):
            name = f"{progressive}{sampling.replace(':', '')}.jpg"
            save(picture, name, progressive=progressive, subsampling=sampling, quality=40)
        save(picture.convert("L"), f"grey{progressive}.jpg", progressive=progressive)
    save(picture, "restarts.jpg", restart_marker_blocks=3)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        save(picture.convert(mode), f"{mode}.png")
    return files


def build(out: Path, libfuzzer: bool) -> None:
    """The program, of the sources themselves: no library between."""
    sanitizers = "address,undefined" + (",fuzzer" if libfuzzer else "")
    command = [
        *(os.environ.get("CC", "clang" if libfuzzer else "cc"), "-std=c11", "-O1", "-g"),
        *(f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-ffp-contract=off"),
        *("-DMNV2_HAS_JPEG", "-DMNV2_HAS_PNG", "-DMNV2_ISA_NAME=baseline"),
        *(["-DMNV2_LIBFUZZER"] if libfuzzer else []),
        *("-I", str(ROOT / "kernels"), str(Path(__file__).with_name("photographs.c"))),
        *(str(ROOT / "kernels" / "image" / f"{name}.c") for name in SOURCES),
        *("-o", str(out), "-ljpeg", "-lpng", "-lm"),
    ]
    subprocess.run(command, check=True)


def main() -> int:
    seconds, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    libfuzzer = bool(os.environ.get("MNV2_LIBFUZZER"))
    with tempfile.TemporaryDirectory() as folder:
        program, first = Path(folder) / "fuzz_photo", Path(folder) / "first"
        found = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(folder) / "found"
        build(program, libfuzzer)
        first.mkdir()
        found.mkdir(exist_ok=True)
        files = first_files(first)
        if libfuzzer:
            options = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=16384"]
            options += ["-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1"]
            return int(subprocess.call([program, *options, found, first]) != 0)
        return int(subprocess.call([program, str(seconds), str(seed), *map(str, files)]) != 0)


if __name__ == "__main__":
    sys.exit(main())
