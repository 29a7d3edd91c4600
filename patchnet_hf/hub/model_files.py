"""Which files of a model's folder go to the Hub: those on a list, and nothing else."""

import json
import tempfile
from collections.abc import Collection, Iterable
from fnmatch import fnmatch
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_import_files

from ..cards.card_pictures import FOLDER as PICTURE_FOLDER
from ..errors import InputError
from ..file_names import CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE
from ..inference.scorers import load_model

# Beside configuration, weights, code and card. Not on it are checkpoints and logs, arguments of the training, which
# hold paths, references, which are of persons, and whatever else a user keeps there.
RESULTS = ("run.json", "metrics.json", "metrics.csv", "learning_curve.png", "calibration.json", "reliability.png")
GRAPHS = ("*.onnx", "*.onnx.data", "*.onnx_data", "export.json")
# By the folder that they lie in.
LISTED = {"": (*RESULTS, *GRAPHS), "onnx": (*GRAPHS, CONFIG_FILE, PROCESSOR_FILE)}
LICENSES = "LICENSE*"

AUTO_CLASSES = {
    CONFIG_FILE: ("AutoConfig", "AutoModelForImageClassification"),
    PROCESSOR_FILE: ("AutoImageProcessor",),
}


def model_files(folder: str | Path) -> dict[str, Path | bytes]:
    """
    What of a model goes to the Hub, without its card.

    The model is loaded first: what doesn't load here would load nowhere. A model that was saved without its code gets
    the code of this package.

    Args:
        folder: of the model.

    Returns:
        Name in the repository to the file, or to the bytes where it has to be another than in the folder.

    Raises:
        InputError: the folder holds no model that could be loaded, or only an exported graph.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{folder} is no folder; expected one that scripts/train.py or save_pretrained has written")
    if not (path / WEIGHTS_FILE).is_file() and any(path.glob("*.onnx")):
        raise InputError(
            f"{folder} holds an exported graph alone; it goes to the Hub beside its model: put it into the model's "
            "folder"
        )
    model, processor = load_model(str(path))
    files: dict[str, Path | bytes] = {name: path / name for name in (CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE)}
    code = remote_code(path)
    if code is None:
        with tempfile.TemporaryDirectory() as saved:
            model.save_pretrained(saved)
            processor.save_pretrained(saved)
            settings = {name: (Path(saved) / name).read_bytes() for name in (CONFIG_FILE, PROCESSOR_FILE)}
            code = {file.name: file.read_bytes() for file in remote_code(Path(saved)).values()}
        files.update(settings)
    files.update(sorted(code.items()))
    files.update({file.name: file for file in sorted(path.glob(LICENSES))})
    for inner, patterns in LISTED.items():
        for pattern in patterns:
            found = sorted((path / inner).glob(pattern))
            files.update({file.relative_to(path).as_posix(): file for file in found})
    return {name: content for name, content in files.items() if isinstance(content, bytes) or content.is_file()}


def outdated_files(there: Iterable[str], new: Collection[str]) -> list[str]:
    """
    Files of a repository that an earlier push has left and a new one doesn't bring: graphs of other weights, say, and
    pictures that no card shows.

    >>> outdated_files(["config.json", "onnx/model.onnx", "notes.txt", "figures/det_val.png"], ["config.json"])
    ['figures/det_val.png', 'onnx/model.onnx']
    """
    ours = {**LISTED, "": (*LISTED[""], "*_patchnet.py"), PICTURE_FOLDER: ("*.png",)}
    outdated = []
    for name in set(there) - set(new):
        folder, _, file = name.rpartition("/")
        if any(fnmatch(file, pattern) for pattern in ours.get(folder, ())):
            outdated.append(name)
    return sorted(outdated)


def remote_code(folder: Path) -> dict[str, Path] | None:
    """
    The code of a model's folder: the files that its configuration names, and all that these import from beside them.

    Returns:
        By name; `None` where there is no code, or not all of it.
    """
    found: dict[str, Path] = {}
    for file, classes in AUTO_CLASSES.items():
        named = json.loads((folder / file).read_text(encoding="utf-8")).get("auto_map") or {}
        for name in classes:
            module, _, _ = str(named.get(name, "")).rpartition(".")
            code = folder / f"{module}.py"
            # `OWNER/NAME--module.Class` is the code of another repository.
            if not module or "--" in module or not code.is_file():
                return None
            found[code.name] = code
            try:
                imported = get_relative_import_files(code)
            except FileNotFoundError:
                return None
            found.update({Path(other).name: Path(other) for other in imported})
    return found
