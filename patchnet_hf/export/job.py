"""The job behind scripts/export_onnx.py: a trained model as one checked ONNX file."""

import json
import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError
from ..evaluation.metrics_file import versions
from ..inference.onnx_scorer import OnnxScorer
from ..inference.scorers import GRAPH_FILE, WEIGHTS_FILE, TorchScorer, load_model
from ..json_files import finite
from ..whole_folder import whole_folder
from .exporter import export_graph
from .output import RECORD_FILE, check_output
from .parity import check_parity, measure_parity, random_captures
from .settings import ExportSettings

NEEDED = ("onnx", "onnxruntime", "onnxscript")
LARGEST = 2**31

Progress = Callable[[str, Iterable], Iterable]


def export_model(
    model: str,
    output: str | os.PathLike,
    settings: ExportSettings | None = None,
    *,
    overwrite: bool = False,
    revision: str | None = None,
    command: str = "",
    progress: Progress = lambda name, batches: batches,
) -> dict:
    """
    Exports a model into a folder, all or nothing, once the graph has been found to give what the model gives.

    Args:
        model: folder or Hub id of a trained model.
        output: folder for `model.onnx`, `config.json`, `preprocessor_config.json` and `export.json`.
        settings: how.
        overwrite: whether an export that is there is replaced.
        revision: branch, tag or commit, of a model of the Hub.
        command: that asked for it, for the record.
        progress: wraps the iteration over the batches of a set, given what is done and the batches.

    Returns:
        What `export.json` holds.

    Raises:
        InputError: something given can't be used, or the graph isn't as good as the model.
    """
    settings = settings or ExportSettings()
    check_packages()
    check_output(output, overwrite)
    reference = load_reference(model, revision)
    settings.check_patches(reference.processor)
    with whole_folder(Path(os.path.realpath(output))) as work:
        path = work / GRAPH_FILE
        try:
            metadata = export_graph(reference.model, reference.processor, path, settings.graph_options())
        except RuntimeError as error:
            raise InputError(
                f"torch can't export {reference.config.backbone}: {next(iter(str(error).splitlines()), error)}"
            ) from error
        graph = OnnxScorer(GRAPH_FILE, path)
        parity = measure_parity(reference, graph, random_captures(reference.processor.patch_size))
        check_parity(parity, graph)
        reference.config.save_pretrained(work)
        reference.processor.save_pretrained(work)
        content = finite(
            {
                "model": reference.description(),
                "graph": graph.interface(),
                "metadata": metadata.properties(),
                "parity": vars(parity),
                "versions": versions(),
                "command": command,
            }
        )
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        (work / RECORD_FILE).write_text(text + "\n", encoding="utf-8")
    return content


def check_packages() -> None:
    """
    Raises:
        InputError: a package that exporting needs isn't installed.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"exporting needs {' and '.join(missing)}: pip install 'patchnet_hf[onnxruntime]'")


def load_reference(model: str, revision: str | None = None) -> TorchScorer:
    """
    The model that is exported, on the processor, where graphs run too.

    Raises:
        InputError: it can't be loaded, is an exported graph already, or is too large for one file.
    """
    path = Path(model)
    if path.suffix == ".onnx" or (path.is_dir() and (path / GRAPH_FILE).is_file()
                                  and not (path / WEIGHTS_FILE).is_file()):  # fmt: skip
        raise InputError(f"{model} is an exported graph already; name the model that it was made from")
    network, processor = load_model(model, revision)
    if sum(parameter.numel() * 4 for parameter in network.parameters()) >= LARGEST:
        raise InputError(f"the weights of {model} are beyond 2 GiB, where an ONNX file ends")
    return TorchScorer(model, network, processor, path / WEIGHTS_FILE if path.is_dir() else None)
