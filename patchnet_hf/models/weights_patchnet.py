"""Which weights a model may be loaded from: safetensors alone, because loading a pickle can run any code."""

import json
import os

from transformers.utils import (
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    cached_file,
)
from transformers.utils.hub import has_file

SAFE_NAMES = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)
PICKLE_NAMES = (WEIGHTS_NAME, WEIGHTS_INDEX_NAME)


def refusal(source: str | os.PathLike, name: str) -> str:
    """What to say of weights that are a pickle, called `name`, in `source`."""
    return (
        f"the weights in {source} are a pickle ({name}), which could run any code when it is loaded; only safetensors "
        f"are. Ask its author for {SAFE_WEIGHTS_NAME} (save_pretrained writes it), or if you trust the file, convert "
        f"it: safetensors.torch.save_file(torch.load({name!r}, weights_only=True), {SAFE_WEIGHTS_NAME!r}, "
        "{'format': 'pt'})"
    )


def check_safetensors(
    source: str | os.PathLike | None, use_safetensors: bool | None = None, variant: str | None = None, **download
) -> None:
    """
    Makes sure that a model has its weights in safetensors, before anything is read of them.

    Args:
        source: a folder, a file, a model id of the Hub, or `None` for weights that are given otherwise.
        use_safetensors, variant, **download: what `from_pretrained` was given.

    Raises:
        ValueError: pickled weights are asked for, or there are no others; one line says what to do.
        OSError: there are no weights, or no such model.
    """
    if use_safetensors is False:
        raise ValueError("use_safetensors=False asks for pickled weights, which could run any code; leave it out")
    if source is None or download.get("gguf_file") is not None:
        return
    if os.path.isfile(source):
        if not str(source).endswith(".safetensors"):
            raise ValueError(refusal(os.path.dirname(source) or os.curdir, os.path.basename(source)))
        return
    place = {key: download[key] for key in ("revision", "token", "cache_dir", "local_files_only") if key in download}
    subfolder = download.get("subfolder") or ""
    failure = None
    for name in SAFE_NAMES:
        try:
            found = cached_file(source, of_variant(name, variant), subfolder=subfolder, **place)
        except OSError as error:
            failure = failure or error
            continue
        if name == SAFE_WEIGHTS_INDEX_NAME and (pickled := pickled_shard(found)) is not None:
            raise ValueError(refusal(source, pickled))
        return
    for name in PICKLE_NAMES:
        name = of_variant(name, variant)
        if has_file(source, f"{subfolder}/{name}" if subfolder else name, **place):
            raise ValueError(refusal(source, name)) from failure
    # Not left to transformers, which would have another server look for weights to convert.
    raise failure


def of_variant(name: str, variant: str | None) -> str:
    """
    What a file of weights is called in a variant, such as `"fp16"`.

    >>> of_variant("model.safetensors", "fp16"), of_variant("model.safetensors", None)
    ('model.fp16.safetensors', 'model.safetensors')
    """
    stem, _, suffix = name.rpartition(".")
    return name if variant is None else f"{stem}.{variant}.{suffix}"


def pickled_shard(index: str | os.PathLike) -> str | None:
    """The first file of an index of safetensors that is none; transformers loads whatever the index names."""
    with open(index, encoding="utf-8") as file:
        shards = json.load(file)["weight_map"].values()
    return next((shard for shard in shards if not shard.endswith(".safetensors")), None)
