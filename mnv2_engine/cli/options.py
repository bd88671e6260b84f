"""The options of every command, and the text of --help."""

from __future__ import annotations

import argparse
from typing import Any

from ..answers import DEFAULT_THRESHOLD
from ..model.input_spec import FITS, PRESETS, RESAMPLES
from ..model.packed import CLASSIFIERS, PLAIN_DTYPES
from ..network.layer import PADDINGS
from ..network.quantization import CALIBRATION_LIMIT, DEFAULT_RANGE_METHOD, RANGE_METHODS
from ..plan.shapes import PRECISIONS
from .arguments import (
    EXIT_CODES,
    add_backend,
    add_command,
    add_decoding,
    add_json,
    add_precision,
    add_threads,
    number,
    positive,
    resolution,
)
from .bench_options import add_bench
from .convert import FRAMEWORKS, add_meaning
from .serve import add_serve

MODEL_VARIABLE = "MNV2_MODEL"


def parser(version: str) -> argparse.ArgumentParser:
    """The parser of the command line; what it parses has `command`, the command's name."""
    made = argparse.ArgumentParser(
        prog="mnv2",
        description="MobileNetV2 and EfficientNet-Lite on the CPU, in as little memory as can be.",
        epilog="examples:\n"
        "  mnv2 demo\n"
        "  mnv2 convert mobilenet_v2_1.0_224_quant.tflite mnv2.npz --labels imagenet\n"
        "  mnv2 quantize mnv2.npz mnv2_int8.npz --calibrate photos/\n"
        "  mnv2 export mnv2.npz mnv2.onnx\n"
        "  mnv2 classify photo.jpg --model mnv2.npz\n"
        "  mnv2 detect photo.jpg --model person.npz\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"mnv2 {version}")
    commands = made.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for add in (
        _add_demo,
        _add_convert,
        _add_inspect,
        _add_quantize,
        _add_export,
        _add_evaluate,
        _add_classify,
        _add_embed,
        _add_detect,
        _add_info,
        _add_verify,
        _add_plan,
        _add_networks,
        _add_warmup,
        add_serve,
        add_bench,
    ):
        add(commands)
    return made


def _add_demo(commands: Any) -> None:
    demo = add_command(
        commands,
        "demo",
        "classify a bundled photograph with an ImageNet checkpoint",
        "The checkpoint comes with the extra `demo`. It is converted on first use into the cache\n"
        "folder: $MNV2_HOME if set, else mnv2_engine in $XDG_CACHE_HOME or ~/.cache.\n"
        "With --detect: find the person in another photograph, with the SSDLite detector of the\n"
        "extra `demo-detect`.",
        "examples:\n  mnv2 demo\n  mnv2 demo --detect --draw found.png\n",
    )
    demo.add_argument("--detect", action="store_true", help="find objects instead")
    demo.add_argument(
        "--draw", metavar="OUT.png", help="with --detect: the photograph with what was found"
    )
    add_json(demo, "one JSON object")


def _add_convert(commands: Any) -> None:
    convert = add_command(
        commands,
        "convert",
        "make a model file out of a checkpoint",
        "Reads TFLite, ONNX, Keras (.h5, .keras), TensorFlow.js (model.json), safetensors,\n"
        "PyTorch (.pt, .pth), frozen TensorFlow graphs (.pb) and .npz. What the checkpoint does\n"
        "not say must be given; the error names the option. OUT.npz appears whole or not at all.\n"
        "docs/convert.md has a recipe for each tool.",
        "examples:\n"
        "  mnv2 convert mobilenet_v2_1.0_224_quant.tflite mnv2.npz --labels imagenet\n"
        "  mnv2 convert mobilenet_v2.pth mnv2.npz --preprocess imagenet --labels imagenet\n"
        "  mnv2 convert dogs.pt dogs.npz --preprocess tf --labels breeds.txt --resolution 160\n",
    )
    convert.add_argument("checkpoint", metavar="CHECKPOINT", help="the file to convert")
    convert.add_argument("out", metavar="OUT.npz", help="the model file to write")
    convert.add_argument(
        "--padding",
        choices=PADDINGS,
        help="same is TensorFlow's, symmetric PyTorch's; a wrong one changes the answers a little",
    )
    convert.add_argument(
        "--preprocess", choices=tuple(PRESETS), help="how the network was given its pixels"
    )
    convert.add_argument(
        "--labels",
        metavar="FILE|imagenet|coco|none",
        help="a UTF-8 file of one label a line, ImageNet's or COCO's own names, or none at all",
    )
    convert.add_argument(
        "--resolution", metavar="N|HxW", type=resolution, help="input height and width in pixels"
    )
    convert.add_argument("--resample", choices=RESAMPLES, help="the filter that resizes images")
    convert.add_argument(
        "--crop-fraction",
        metavar="F",
        type=float,
        help="the part of the resized shorter side that the network sees, such as 0.875",
    )
    convert.add_argument(
        "--fit",
        choices=FITS,
        help="crop cuts the middle out of a picture of other proportions (the default); squash "
        "scales both sides to the network's and cuts nothing, as Keras' load_img and "
        "image_dataset_from_directory do",
    )
    convert.add_argument(
        "--colours",
        choices=("rgb", "bgr", "grey"),
        help="what the network was trained on, if not red, green, blue: bgr as OpenCV reads "
        "pictures, grey three times over; the model file takes red, green and blue all the same",
    )
    convert.add_argument(
        "--weights",
        choices=PLAIN_DTYPES,
        default="float32",
        help="how weights are stored; of 16 bits they make half the file; int8 takes the integers "
        "of a quantised .tflite as they are (default: float32)",
    )
    convert.add_argument(
        "--classifier",
        choices=CLASSIFIERS,
        help="store the classifier's weights alone so, a third of the file, where all others are "
        "float32",
    )
    add_meaning(convert)
    convert.add_argument(
        "--verify",
        choices=FRAMEWORKS,
        help="run the checkpoint in that framework as well, on a few seeded pictures, and print "
        "how far the answers lie apart; the framework must be installed",
    )
    convert.add_argument("--force", action="store_true", help="replace OUT.npz if it exists")


def _add_inspect(commands: Any) -> None:
    inspect = add_command(
        commands,
        "inspect",
        "say what a checkpoint is and what converting it needs",
        "The format, the layers as this engine runs them, what the file says about its use, and\n"
        "which options `mnv2 convert` still needs. Nothing is written.",
        "example:\n  mnv2 inspect model.tflite\n",
    )
    inspect.add_argument("checkpoint", metavar="CHECKPOINT", help="the file to look at")
    add_json(inspect, "one JSON object")


def _add_quantize(commands: Any) -> None:
    quantize = add_command(
        commands,
        "quantize",
        "make an int8 model file out of a float one, or narrow its classifier",
        "Weights and activations become 8 bits: a quarter of the file, and less memory and time.\n"
        "Photographs such as the network will see, some dozens, show how far its activations\n"
        "reach; no labels are needed. Prints every layer's range and signal-to-noise ratio, and\n"
        "how far the answers are those of the float model. OUT.npz appears whole or not at all.",
        "examples:\n"
        "  mnv2 quantize mnv2.npz mnv2_int8.npz --calibrate photos/\n"
        "  mnv2 quantize mnv2.npz mnv2_int8.npz --calibrate a.jpg b.jpg c.jpg --method mse\n"
        "  mnv2 quantize mnv2.npz smaller.npz --classifier int8 --calibrate photos/\n",
    )
    quantize.add_argument("model", metavar="MODEL.npz", help="the model file to quantise")
    quantize.add_argument("out", metavar="OUT.npz", help="the model file to write")
    quantize.add_argument(
        "--calibrate",
        metavar="PHOTO",
        nargs="+",
        help="images, or folders that are searched for them; those that cannot be read, or are of "
        "one colour, are reported and skipped",
    )
    quantize.add_argument(
        "--method",
        choices=RANGE_METHODS,
        help="how far 8 bits reach: minmax, all values; percentile, all but the largest in ten "
        f"thousand; mse, where the squared error is least (default: {DEFAULT_RANGE_METHOD})",
    )
    quantize.add_argument(
        "--classifier",
        choices=CLASSIFIERS,
        help="narrow the weights of the classifier alone, and leave all others float32; "
        "photographs are not needed then, and with --calibrate the error is measured on them",
    )
    quantize.add_argument(
        "--limit",
        metavar="N",
        type=positive,
        default=CALIBRATION_LIMIT,
        help="use at most so many images, evenly spread (default: %(default)s)",
    )
    add_json(quantize, "one JSON object")
    quantize.add_argument("--force", action="store_true", help="replace OUT.npz if it exists")


def _add_export(commands: Any) -> None:
    export = add_command(
        commands,
        "export",
        "write a model file as ONNX, TensorFlow Lite or C",
        "OUT's ending says which; the weights are the same. int8 model files stay int8 and take\n"
        "uint8 pixels; all others become float32 and take normalised pixels. Prints the shapes of\n"
        "the input and the logits, and how pixels are normalised, which the file says too, beside\n"
        "labels and provenance. Needs the extra `onnx` or `tflite`. OUT appears whole or not at\n"
        "all.\n"
        "\n"
        "A .c file has the network and its plan as constants, for programs with the C kernels;\n"
        "the weights stay in the model file, or are an array.",
        "examples:\n"
        "  mnv2 export mnv2.npz mnv2.onnx\n"
        "  mnv2 export mnv2_int8.npz mnv2_int8.tflite\n"
        "  mnv2 export mnv2.npz mnv2.onnx --dynamic-batch\n"
        "  mnv2 export mnv2_int8.npz mnv2_int8.c --include-weights\n",
    )
    export.add_argument("model", metavar="MODEL.npz", help="the model file to export")
    export.add_argument(
        "out", metavar="OUT", help="the file to write, its name ending in .onnx, .tflite or .c"
    )
    export.add_argument(
        "--dynamic-batch",
        action="store_true",
        help="let the first axis, the number of images, be anything (default: 1); not of .c",
    )
    export.add_argument(
        "--include-weights", action="store_true", help=".c: the weights as an array, too"
    )
    export.add_argument(
        "--objects",
        action="store_true",
        help=".onnx of a detector: what is found, too, beside its coded boxes and scores",
    )
    export.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        default=1,
        help=".c: threads that the plan is for (default: 1)",
    )
    add_precision(export)
    add_json(export, "one JSON object")
    export.add_argument("--force", action="store_true", help="replace OUT if it exists")


def _add_evaluate(commands: Any) -> None:
    evaluate = add_command(
        commands,
        "evaluate",
        "measure a model on a folder of images",
        "Accuracy where the true classes are known, with intervals of 95 %, and agreement with\n"
        "another model: the same first classes, and how far the logits lie apart. Classes are\n"
        "labels of the model, WordNet ids where its labels are ImageNet's or carry them, or\n"
        "indices. Images that cannot be read are reported and skipped.",
        "examples:\n"
        "  mnv2 evaluate mnv2.npz imagenet/val/\n"
        "  mnv2 evaluate mnv2_int8.npz photos/ --against mnv2.npz --out results.jsonl\n"
        "  mnv2 evaluate mnv2.npz photos/ --classes truth.csv --against litert:mnv2.tflite\n"
        "  mnv2 evaluate person.npz photos/ --coco instances.json\n\n"
        "With --out, a line of JSON is written for each image as soon as it is done; the same\n"
        "command run again goes on where it stopped (docs/evaluate.md).\n",
    )
    evaluate.add_argument("model", metavar="MODEL.npz", help="the model file to measure")
    evaluate.add_argument("folder", metavar="FOLDER", help="searched for images, subfolders too")
    evaluate.add_argument(
        "--against",
        metavar="OTHER",
        help="another model file, or PEER:FILE with the peer litert, onnxruntime, openvino or "
        "openvino-bf16 (the extra bench) and a file of its own",
    )
    evaluate.add_argument(
        "--classes",
        metavar="folder|prefix|FILE.csv|none",
        default="auto",
        help="where an image's class is said: its sub-folder, the beginning of its file's name, or "
        "a CSV of images and classes (default: found out, and told)",
    )
    evaluate.add_argument(
        "--coco",
        metavar="FILE.json",
        help="of a detector: average precision on the photographs that FILE.json lists with their "
        "objects, in COCO's form (the extra coco)",
    )
    evaluate.add_argument(
        "--index-offset",
        metavar="N",
        type=int,
        help="added to classes that are indices: 1 where they count ImageNet's 1000 and the model "
        "has a background before them",
    )
    evaluate.add_argument(
        "--limit", metavar="N", type=positive, help="take at most so many images, evenly spread"
    )
    evaluate.add_argument(
        "--out", metavar="FILE.jsonl", help="write each image's results there, or go on with it"
    )
    evaluate.add_argument("--force", action="store_true", help="begin FILE.jsonl anew")
    evaluate.add_argument(
        "--strict",
        action="store_true",
        help="fail where an image cannot be read or a class is not the model's",
    )
    add_threads(evaluate, "that share the work of each image, of a peer too")
    add_precision(evaluate)
    add_json(evaluate, "one JSON object")


def _add_classify(commands: Any) -> None:
    classify = add_command(
        commands,
        "classify",
        "say what photographs show",
        "PHOTO is an image file, a folder (searched for images, subfolders too), or - for one\n"
        "image on standard input. Images that cannot be read are reported and skipped.",
        "examples:\n"
        "  mnv2 classify photo.jpg --model mnv2.npz\n"
        "  mnv2 classify holidays/ --top-k 1\n"
        "  mnv2 classify holidays/ --json > answers.jsonl\n"
        "  mnv2 classify - < photo.jpg\n"
        "  mnv2 classify --ray archive/ --out answers/\n\n"
        "--json writes a line for each image as soon as it is answered,\n"
        '  {"file": …, "predictions": [{"label": …, "index": …, "probability": …}, …], "ms": …}\n'
        '  {"file": …, "error": …}\n'
        "where ms is the time from opening the file to the answer.\n",
    )
    _add_photographs(classify)
    classify.add_argument("--out", metavar="FOLDER", help="with --ray: where Parquet is written")
    classify.add_argument(
        "--top-k", metavar="K", type=positive, default=5, help="answers an image (default: 5)"
    )
    add_json(classify, "one line of JSON for each image")


def _add_embed(commands: Any) -> None:
    embed = add_command(
        commands,
        "embed",
        "write the pooled features of photographs",
        "PHOTO is an image file, a folder (searched for images, subfolders too), or - for one\n"
        "image on standard input. Images that cannot be read are reported.",
        "examples:\n"
        "  mnv2 embed photo.jpg --model mnv2.npz\n"
        "  mnv2 embed holidays/ --out features.npy\n"
        "  mnv2 embed --ray 'archive/*.tar' --out features/\n\n"
        "Without --out it writes a line of JSON for each image,\n"
        '  {"file": …, "features": […], "ms": …}\n'
        '  {"file": …, "error": …}\n'
        "With it features.npy is a float32 array, and line i of features.jsonl names the image of\n"
        "row i. A row whose line has an error is NaN.\n",
    )
    _add_photographs(embed)
    embed.add_argument("--out", metavar="FILE.npy", help="write an array, and FILE.jsonl beside it")
    embed.add_argument("--force", action="store_true", help="replace both if they exist")


def _add_photographs(command: Any, demo: str = "mnv2 demo") -> None:
    """Photographs, on this machine or a cluster, and what answers them."""
    # Not "+": of `--ray photos/` argparse takes photos/ for the address, and `run` puts it right.
    _add_files(command, "*", demo)
    command.add_argument(
        "--ray",
        metavar="ADDRESS",
        nargs="?",
        const="",
        help="by the actors of a Ray cluster: the one at ADDRESS, else the one that runs here, "
        "else one that is started. PHOTO may be globs, Parquet files and WebDataset tars too, "
        "--workers is the most actors, --out a folder for Parquet files. The same command run "
        "again goes on where it stopped (the extra ray; docs/many-machines.md)",
    )
    command.add_argument(
        "--column", metavar="NAME", help="with --ray: what Parquet files hold photographs in"
    )
    command.add_argument(
        "--chunk",
        metavar="N",
        type=positive,
        help="with --ray: photographs that are written at once (default: 50000)",
    )


def _add_files(command: Any, count: str, demo: str) -> None:
    """Photographs, a model, and how it runs; `demo` is the command that makes the default one."""
    command.add_argument("photos", metavar="PHOTO", nargs=count, help="a file, a folder, or -")
    command.add_argument(
        "--model",
        metavar="M.npz",
        help=f"default: ${MODEL_VARIABLE}, else the demo's model once `{demo}` has made it",
    )
    command.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        help="processes that share the images (default: one a CPU that this process has, divided "
        "by --threads; 1 for few images)",
    )
    add_backend(command)
    add_threads(command, "that share the work of each image")
    add_precision(command)
    add_decoding(command)


def _add_detect(commands: Any) -> None:
    detect = add_command(
        commands,
        "detect",
        "find objects in photographs",
        "PHOTO is an image file, a folder (searched for images, subfolders too), or - for one\n"
        "image on standard input. The model must be a detector (docs/detect.md). Images that\n"
        "cannot be read are reported and skipped.",
        "examples:\n"
        "  mnv2 detect photo.jpg --model person.npz\n"
        "  mnv2 detect photo.jpg --draw found.png --threshold 0.3\n"
        "  mnv2 detect holidays/ --json > objects.jsonl\n"
        "  mnv2 detect --ray archive/ --out objects/\n\n"
        "--json writes a line for each image as soon as it is answered,\n"
        '  {"file": …, "objects": [{"label": …, "index": …, "score": …,\n'
        '   "box": {"left": …, "top": …, "right": …, "bottom": …}}, …], "ms": …}\n'
        '  {"file": …, "error": …}\n'
        "Boxes are in pixels of the upright photograph.\n",
    )
    _add_photographs(detect, "mnv2 demo --detect")
    detect.add_argument("--out", metavar="FOLDER", help="with --ray: where Parquet is written")
    detect.add_argument(
        "--threshold",
        metavar="T",
        type=number,
        default=DEFAULT_THRESHOLD,
        help="leave out what scores T or less, 0 to 1 (default: %(default)s)",
    )
    detect.add_argument(
        "--max-objects",
        metavar="N",
        type=positive,
        help="give the best N at most (default: the model file's own)",
    )
    detect.add_argument(
        "--draw", metavar="OUT.png", help="write the photograph with boxes and labels, of one PHOTO"
    )
    detect.add_argument("--force", action="store_true", help="replace OUT.png if it exists")
    add_json(detect, "one line of JSON for each image")


def _add_info(commands: Any) -> None:
    info = add_command(
        commands,
        "info",
        "say what a model file holds and what runs it",
        "Network, preprocessing, labels, provenance and backend. Without a model: version,\n"
        "backends and why one cannot be used, instruction sets, threads and cache folder.",
        "examples:\n  mnv2 info mnv2.npz\n  mnv2 info\n",
    )
    info.add_argument("model", metavar="M.npz", nargs="?", help="a model file")
    add_backend(info)
    add_precision(info)
    add_json(info, "one JSON object")


def _add_verify(commands: Any) -> None:
    verify = add_command(
        commands,
        "verify",
        "check a model file: checksums, finite weights, one prediction",
        "Opening a model file checks its form and reads no weight. This reads all of them, so it\n"
        "takes as long as the disk does: for health checks, and after a file was copied.",
        "examples:\n  mnv2 verify mnv2.npz\n  mnv2 verify mnv2.npz && systemctl reload mnv2\n\n"
        "Exit code 1: the file is absent, damaged, or not one that this version runs.\n",
    )
    verify.add_argument("model", metavar="M.npz", help="a model file")
    add_backend(verify)
    add_json(verify, "one JSON object")


def _add_plan(commands: Any) -> None:
    plan = add_command(
        commands,
        "plan",
        "say how a model runs and how much memory that takes",
        "Every step with its bytes, beside what the same layers need block by block and one after\n"
        "the other; then which blocks stream into which, and where each buffer lies.",
        "examples:\n  mnv2 plan mnv2.npz\n  mnv2 plan mnv2.npz --photo photo.jpg --svg plan.svg\n",
    )
    plan.add_argument("model", metavar="M.npz", help="a model file")
    add_threads(plan, "that the work is planned for")
    add_precision(plan)
    plan.add_argument(
        "--photo",
        metavar="FILE",
        help="say, or draw, first what decoding that photograph takes, a JPEG or a PNG",
    )
    answer = plan.add_mutually_exclusive_group()
    add_json(answer, "one JSON object")
    answer.add_argument(
        "--svg",
        metavar="FILE",
        help="draw memory over the course of a prediction, and print little",
    )
    plan.add_argument("--force", action="store_true", help="replace FILE if it exists")


def _add_networks(commands: Any) -> None:
    networks = add_command(
        commands,
        "networks",
        "list the published networks that run, or plan one of them",
        "Needs no model file. Names are those of timm, torchvision, Keras, TF-Slim, the\n"
        "ProxylessNAS hub and the MCUNet zoo. With a name: the plan of that network on one thread.",
        "examples:\n  mnv2 networks\n  mnv2 networks fbnetc_100 --resolution 160 --classes 10\n",
    )
    networks.add_argument("name", metavar="NAME", nargs="?", help="a published name")
    networks.add_argument(
        "--resolution", metavar="N|HxW", type=resolution, help="other than the published one"
    )
    networks.add_argument(
        "--classes", metavar="N", type=positive, help="other than the published count"
    )
    networks.add_argument(
        "--precision", choices=tuple(PRECISIONS), help="what to compute in (default: float32)"
    )
    add_json(networks, "JSON, an object a network, or one of the plan")


def _add_warmup(commands: Any) -> None:
    warmup = add_command(
        commands,
        "warmup",
        "compile the kernels of the numba backend ahead of time",
        "The kernels of float models and those of int8 ones, or only those that M.npz needs. They\n"
        "are kept in Numba's cache: in $NUMBA_CACHE_DIR if set, else beside the package, else in\n"
        "~/.cache/numba, where it can write. The C core needs no warm-up.",
        "examples:\n  mnv2 warmup\n  mnv2 warmup mnv2.npz\n",
    )
    warmup.add_argument(
        "model", metavar="M.npz", nargs="?", help="a model file to run once with them"
    )
    add_json(warmup, "one JSON object")
