#!/usr/bin/env python
"""Measures speed on the machine that it runs on."""

import dataclasses
import json
import shlex
import sys
from pathlib import Path

from patchnet_hf.command_line import CommandParser, run_command

DESCRIPTION = """\
Measures speed on the machine that it runs on. All that is compared is called in turn in one run, because machines
differ and are noisy: ratios carry over to other machines better than times.
"""

INFER = """\
Measures how long a model takes to answer: in PyTorch, compiled, as a graph of ONNX Runtime in float32 and int8, and
by pipeline(...). Each way's answers are compared with PyTorch's before it is timed; one that can't run here, or
answers otherwise, is listed with the reason.
"""

INFER_EXAMPLES = """\
examples:
  benchmark.py infer --model outputs/demo
      one capture at a time, as many patches of it as the model was made for
  benchmark.py infer --backbone fastvit_t8 --captures 1 8 --patches 1 9 --json speed.json
      any backbone of timm, with random weights; four shapes of batches
"""

CENTRAL_DIFFERENCE = """\
Measures the first layer of CDCN, a central difference convolution whose difference is held in its kernel, against
the two convolutions that define it, forward and with the gradients of training. Exit code 1 if the one isn't at least
1.3 times as fast forward.
"""

DATA = """\
Measures how many JPEG images a second become batches to train on (read, decoded, augmented, collated): by our recipes,
and by the way of the reference implementation, which decodes whole images, resizes them and augments them twice.
"""

DATA_EXAMPLES = """\
examples:
  benchmark.py data
      pictures of 640 x 480 and of 1920 x 1080 pixels, by the process itself and by workers
  benchmark.py data --sizes 1280x720 --workers 0 4 8 --json data.json
"""

TRAIN = """\
Measures how long a step of training takes (two views of each capture, forward, backward, update): by the Trainer of
scripts/train.py, from views in memory and from JPEG captures; by a bare loop over the same network, which is what the
machine can do at most; and by the way of the reference implementation, in float32 and with its loss in Python.
"""

TRAIN_EXAMPLES = """\
examples:
  benchmark.py train
      ResNet-18 on patches of 160, 32 captures in a step; some five minutes on two cores
  benchmark.py train --backbone fastvit_t8 --patch-size 256 --batch-size 16 --workers 2 --json train.json
  benchmark.py train --device cuda --batch-size 256 --workers 16 --compile
"""

METRICS = """\
Measures how long it takes to compute all numbers of a set of scores (ACER, EER, AUC and the others), and their
confidence intervals.
"""

STARTUP = """\
Measures how long it takes to import the package, against transformers and timm alone, and until --help answers.
"""

ALL = """\
Measures everything that the other commands do, with their defaults: some fifteen minutes on two cores.
"""

ALL_EXAMPLES = """\
examples:
  benchmark.py all --json benchmark.json
  benchmark.py all --model outputs/demo --markdown
"""

SCRIPTS = Path(__file__).parent
VARIANTS = ("eager", "bf16", "compile", "onnx", "int8", "pipeline")


def main() -> int:
    parser = CommandParser(prog="benchmark.py", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_data(commands)
    _add_train(commands)
    _add_infer(commands)
    _add_metrics(commands)
    _add_startup(commands)
    _add_central_difference(commands)
    _add_all(commands)
    arguments = parser.parse_args()
    return arguments.run(arguments)


def _add_data(commands) -> None:
    command = commands.add_parser(
        "data", help="images a second from files to batches", description=DATA, epilog=DATA_EXAMPLES
    )
    command.set_defaults(run=_data)
    command.add_argument(
        "--sizes",
        nargs="+",
        type=_size,
        metavar="WIDTHxHEIGHT",
        help="of the pictures in pixels (default: 640x480 1920x1080)",
    )
    command.add_argument("--images", type=int, default=64, metavar="N", help="of each size (default: 64)")
    command.add_argument(
        "--workers",
        nargs="+",
        type=int,
        metavar="N",
        help="numbers of data workers, 0 for the process itself (default: 0, 1, 2, 4 ... up to the cores)",
    )
    command.add_argument("--repeats", type=int, default=9, metavar="N", help="timed passes of each (default: 9)")
    command.add_argument(
        "--augmentation",
        default="configs/augmentation/medium2.json",
        metavar="FILE",
        help="of the recipe resize and the reference (default: configs/augmentation/medium2.json)",
    )
    _add_output(command)


def _add_train(commands) -> None:
    command = commands.add_parser("train", help="steps of training a second", description=TRAIN, epilog=TRAIN_EXAMPLES)
    command.set_defaults(run=_train)
    trained = command.add_argument_group("what is trained")
    trained.add_argument("--backbone", default="resnet18", metavar="NAME", help="of timm (default: resnet18)")
    trained.add_argument(
        "--backbone-kwargs", type=_mapping, default={}, metavar="JSON", help="further arguments of the backbone"
    )
    trained.add_argument("--patch-size", type=int, default=160, metavar="PIXELS", help="side of a view (default: 160)")
    trained.add_argument("--batch-size", type=int, default=32, metavar="N", help="captures in a step (default: 32)")
    trained.add_argument(
        "--precision", default="auto", metavar="NAME", help="auto, float32, bfloat16 or float16 (default: auto)"
    )
    trained.add_argument("--compile", action="store_true", help="compile the network")
    data = command.add_argument_group("JPEG captures")
    data.add_argument("--size", type=_size, default=(640, 480), metavar="WIDTHxHEIGHT", help="(default: 640x480)")
    data.add_argument("--workers", type=int, default=1, metavar="N", help="data workers (default: 1)")
    measured = command.add_argument_group("measurement")
    measured.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what computes (default: cpu)")
    measured.add_argument("--threads", type=int, metavar="N", help="to compute with (default: one for each core)")
    measured.add_argument("--steps", type=int, metavar="N", help="timed steps of a turn (default: 4, on a GPU 100)")
    measured.add_argument("--repeats", type=int, default=5, metavar="N", help="turns of each way (default: 5)")
    _add_output(command)


def _add_metrics(commands) -> None:
    command = commands.add_parser("metrics", help="numbers of ten million scores", description=METRICS)
    command.set_defaults(run=_metrics)
    command.add_argument("--scores", type=int, default=10_000_000, metavar="N", help="(default: 10000000)")
    command.add_argument("--repeats", type=int, default=3, metavar="N", help="timed computations (default: 3)")
    _add_output(command)


def _add_startup(commands) -> None:
    command = commands.add_parser("startup", help="imports and --help", description=STARTUP)
    command.set_defaults(run=_startup)
    command.add_argument("--repeats", type=int, default=5, metavar="N", help="timed starts of each (default: 5)")
    _add_output(command)


def _add_all(commands) -> None:
    command = commands.add_parser("all", help="all of these", description=ALL, epilog=ALL_EXAMPLES)
    command.set_defaults(run=_all)
    command.add_argument(
        "--model", metavar="DIR", help="a trained model for infer (default: ResNet-18 with random weights)"
    )
    _add_output(command)


def _add_infer(commands) -> None:
    infer = commands.add_parser(
        "infer", help="latency and throughput of a model", description=INFER, epilog=INFER_EXAMPLES
    )
    infer.set_defaults(run=_infer)
    subject = infer.add_argument_group("model")
    which = subject.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", metavar="DIR", help="a trained model: a folder, or an id of the Hub")
    which.add_argument("--backbone", metavar="NAME", help="an architecture of timm, with random weights")
    subject.add_argument("--revision", metavar="NAME", help="branch, tag or commit, of a model of the Hub")
    subject.add_argument(
        "--backbone-kwargs",
        type=_mapping,
        metavar="JSON",
        help="further arguments of it, such as '{\"img_size\": 160}'",
    )
    subject.add_argument(
        "--patch-size", type=int, metavar="PIXELS", help="side of a patch (default: the model's own, or 160)"
    )
    batches = infer.add_argument_group("batches")
    batches.add_argument("--captures", type=int, nargs="+", default=[1], metavar="N", help="in a batch (default: 1)")
    batches.add_argument(
        "--patches",
        type=int,
        nargs="+",
        metavar="N",
        help="of each capture, square numbers (default: the model's own)",
    )
    measured = infer.add_argument_group("measurement")
    measured.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME",
        help=f"of {', '.join(VARIANTS)} (default: all); eager is always measured",
    )  # fmt: skip
    measured.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what computes (default: cpu)")
    measured.add_argument("--threads", type=int, metavar="N", help="to compute with (default: one for each core)")
    measured.add_argument("--repeats", type=int, default=30, metavar="N", help="timed calls of each (default: 30)")
    _add_output(infer)


def _add_central_difference(commands) -> None:
    command = commands.add_parser(
        "central-difference", help="a layer of CDCN, in one convolution or two", description=CENTRAL_DIFFERENCE
    )
    command.set_defaults(run=_central_difference)
    command.add_argument(
        "--patch-size", type=int, default=160, metavar="PIXELS", help="side of a patch (default: 160)"
    )
    command.add_argument("--patches", type=int, default=9, metavar="N", help="in a batch (default: 9)")
    command.add_argument("--threads", type=int, metavar="N", help="to compute with (default: one for each core)")
    command.add_argument("--repeats", type=int, default=30, metavar="N", help="timed calls of each (default: 30)")
    _add_output(command)


def _add_output(command) -> None:
    output = command.add_argument_group("output")
    output.add_argument("--json", metavar="FILE", help="write every number to a file")
    output.add_argument("--markdown", action="store_true", help="print the tables as Markdown")


def _mapping(text: str) -> dict:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


# How argparse calls it in a message.
_mapping.__name__ = "JSON mapping"


def _size(text: str) -> tuple[int, int]:
    width, height = text.lower().split("x")
    return int(width), int(height)


_size.__name__ = "WIDTHxHEIGHT"


def _data(arguments) -> int:
    from patchnet_hf.benchmarks.data import SIZES, DataSettings, default_workers, measure_data
    from patchnet_hf.benchmarks.output import check_json, show_progress

    check_json(arguments.json)
    settings = DataSettings(
        sizes=tuple(arguments.sizes or SIZES),
        images=arguments.images,
        workers=tuple(arguments.workers or default_workers()),
        repeats=arguments.repeats,
        augmentation=arguments.augmentation,
    )
    _report(measure_data(settings, show_progress), arguments)
    return 0


def _train(arguments) -> int:
    from patchnet_hf.benchmarks.output import check_json, show_progress
    from patchnet_hf.benchmarks.training import measure_training
    from patchnet_hf.benchmarks.training_settings import TrainingSettings

    check_json(arguments.json)
    names = (field.name for field in dataclasses.fields(TrainingSettings))
    settings = TrainingSettings(**{name: getattr(arguments, name) for name in names})
    _report(measure_training(settings, show_progress), arguments)
    return 0


def _metrics(arguments) -> int:
    from patchnet_hf.benchmarks.metrics import measure_metrics
    from patchnet_hf.benchmarks.output import check_json, show_progress

    check_json(arguments.json)
    _report(measure_metrics(arguments.scores, arguments.repeats, show_progress), arguments)
    return 0


def _startup(arguments) -> int:
    from patchnet_hf.benchmarks.output import check_json, show_progress
    from patchnet_hf.benchmarks.startup import measure_startup

    check_json(arguments.json)
    _report(measure_startup(SCRIPTS, arguments.repeats, show_progress), arguments)
    return 0


def _all(arguments) -> int:
    from patchnet_hf.benchmarks.everything import measure_all
    from patchnet_hf.benchmarks.output import check_json, show_progress, write_json

    check_json(arguments.json)
    numbers = {"benchmark": "all"}
    # Each when it is there: a quarter of an hour is long to wait, and to lose.
    for name, measured in measure_all(SCRIPTS, arguments.model, show_progress):
        print(
            f"### {name}\n\n{measured.markdown()}\n" if arguments.markdown else f"{name}: {measured.text()}\n\n",
            flush=True,
        )
        numbers[name] = measured.as_json()
        write_json(numbers, arguments.json, "benchmark.py")
    return 0


def _infer(arguments) -> int:
    # Imported only now, so that --help and a wrong option answer at once.
    from patchnet_hf.benchmarks.inference import measure_inference
    from patchnet_hf.benchmarks.inference_settings import InferenceSettings
    from patchnet_hf.benchmarks.output import check_json, show_progress
    from patchnet_hf.benchmarks.subject import PATCH_SIZE, Subject
    from patchnet_hf.errors import InputError

    if arguments.patch_size is not None and arguments.patch_size < 1:
        raise InputError(f"patch size is {arguments.patch_size}; expected at least 1 pixel")
    settings = InferenceSettings(
        captures=tuple(arguments.captures),
        patches=None if arguments.patches is None else tuple(arguments.patches),
        variants=tuple(arguments.variants),
        threads=arguments.threads,
        repeats=arguments.repeats,
        device=arguments.device,
    )
    check_json(arguments.json)
    if arguments.backbone is not None:
        if arguments.revision is not None:
            raise InputError("--revision is for --model; a backbone has none")
        size = PATCH_SIZE if arguments.patch_size is None else arguments.patch_size
        subject = Subject.random(arguments.backbone, arguments.backbone_kwargs, size)
    else:
        if arguments.backbone_kwargs is not None:
            raise InputError("--backbone-kwargs are for --backbone; a model has its own")
        subject = Subject.load(arguments.model, arguments.revision)
        if arguments.patch_size is not None:
            subject = subject.resized(arguments.patch_size)
    _report(measure_inference(subject, settings, show_progress), arguments)
    if arguments.model is not None and not arguments.markdown:
        print(f"next: python scripts/export_onnx.py --model {shlex.quote(arguments.model)} --output DIR")
    return 0


def _central_difference(arguments) -> int:
    from patchnet_hf.benchmarks.central_difference import LEAST_RATIO, measure_central_difference
    from patchnet_hf.benchmarks.output import check_json

    check_json(arguments.json)
    sizes = (arguments.patch_size, arguments.patches, arguments.repeats, arguments.threads)
    benchmark = measure_central_difference(*sizes)
    _report(benchmark, arguments)
    if benchmark.is_slow:
        print(f"benchmark.py: forward, one convolution isn't {LEAST_RATIO} times as fast as two", file=sys.stderr)
    return 1 if benchmark.is_slow else 0


def _report(benchmark, arguments) -> None:
    from patchnet_hf.benchmarks.output import write_json

    print(benchmark.markdown() if arguments.markdown else benchmark.text())
    write_json(benchmark.as_json(), arguments.json, "benchmark.py")


if __name__ == "__main__":
    run_command(main, less_memory="a smaller batch")
