"""The model that is exported, and what exporting it needs."""

from importlib.util import find_spec
from pathlib import Path

from transformers.utils import cached_file

from ..errors import InputError
from ..file_names import WEIGHTS_FILE
from ..inference.scorers import GRAPH_FILE, TorchScorer, load_model

NEEDED = ("onnx", "onnxruntime", "onnxscript")
# Of a file of protocol buffers, such as ONNX's.
LARGEST = 2**31


def check_packages() -> None:
    """
    Raises:
        InputError: a package that exporting needs isn't installed.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"exporting needs {' and '.join(missing)}: pip install 'patchnet_hf[onnxruntime]'")


def load_reference(model: str, revision: str | None = None) -> TorchScorer:
    """
    The model that is exported, on the processor, where its graph will run too.

    Raises:
        InputError: it can't be loaded, is an exported graph already, or is too large for one file.
    """
    path = Path(model)
    holds_weights = (path / WEIGHTS_FILE).is_file()
    if path.suffix == ".onnx" or ((path / GRAPH_FILE).is_file() and not holds_weights):
        raise InputError(f"{model} is an exported graph already; name the model that it was made from")
    network, processor = load_model(model, revision)
    if 4 * sum(parameter.numel() for parameter in network.parameters()) >= LARGEST:
        raise InputError(f"the weights of {model} take more than 2 GiB, where an ONNX file ends")
    weights = path / WEIGHTS_FILE if holds_weights else cached_file(model, WEIGHTS_FILE, revision=revision)
    return TorchScorer(model, network, processor, weights)
