"""The YAML at the top of cards, in the Hub's own words."""

import math
import re
from collections.abc import Mapping, Sequence

from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from ..errors import InputError
from .markdown import plain
from .model_folder import ModelFolder
from .results import SetResult

TASK = "image-classification"
TAGS = ("face-anti-spoofing", "presentation-attack-detection", "liveness-detection", "patchnet", "timm")
METRICS = (
    ("acer", "acer", "ACER"),
    ("apcer", "apcer", "APCER of the worst attack type"),
    ("bpcer", "bpcer", "BPCER"),
    ("eer", "eer", "EER"),
    ("auc", "roc_auc", "AUC"),
)
# Datasets of captures have no id of the Hub that could be linked to; a name without an owner would link to another.
DATASET_TYPE = "patchnet-captures"
DIGITS = 6


def checked_license(license: str | None) -> str | None:
    """
    A licence's identifier as the Hub writes them.

    Raises:
        InputError: it is none.

    >>> checked_license("Apache-2.0")
    'apache-2.0'
    """
    if license is None:
        return None
    found = license.strip().lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", found):
        raise InputError(f"license is {license!r}; expected an identifier of the Hub, such as apache-2.0 or other")
    return found


def checked_repo(repo: str | None) -> str | None:
    """
    The id of a repository.

    Raises:
        InputError: it isn't OWNER/NAME.
    """
    if repo is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", repo, re.ASCII):
        raise InputError(f"repo is {repo!r}; expected OWNER/NAME, as in someone/patchnet")
    return repo


def model_metadata(
    folder: ModelFolder,
    name: str,
    results: Sequence[tuple[str, str | None, SetResult]],
    license: str | None,
    more: Mapping | None = None,
) -> ModelCardData:
    """
    The metadata of a model's card.

    Args:
        folder: of the model.
        name: of the model.
        results: what was measured, each with the name of its set, and of the evaluation that it is from; `None` where
            there is no other evaluation to tell it from.
        license: of the weights; `None`: none is stated.
        more: further entries; `tags` are added to those of every card.
    """
    more = dict(more or {})
    further = more.pop("tags", None) or []
    tags = [*TAGS, *(["onnx"] if folder.graphs else []), *([further] if isinstance(further, str) else further)]
    measured = [entry for of_set in results for entry in eval_results(*of_set)]
    base = base_model(folder)
    entries = {
        "license": license,
        "library_name": "transformers",
        "pipeline_tag": TASK,
        "tags": tags,
        "metrics": list(dict.fromkeys(entry.metric_type for entry in measured)) or None,
        "model_name": plain(name) if measured else None,
        "eval_results": measured or None,
        **({"base_model": base, "base_model_relation": "finetune"} if base else {}),
    }
    return ModelCardData(**{**entries, **{key: value for key, value in more.items() if value is not None}})


def eval_results(name: str, evaluation: str | None, result: SetResult) -> list[EvalResult]:
    """
    The rates of a set as the Hub's results, shares in [0, 1]; those that aren't defined are left out.

    Args:
        name: of the set.
        evaluation: that it is of, where there are several.
        result: of the set.
    """
    return [
        EvalResult(
            task_type=TASK,
            task_name="Face presentation attack detection",
            dataset_type=DATASET_TYPE,
            dataset_name=plain(name),
            # Results of the same type, configuration and split are of the same set for the Hub.
            dataset_split=plain(result.name),
            dataset_config=None if evaluation is None else plain(evaluation),
            metric_type=kind,
            metric_name=title,
            metric_value=round(result.rates[key].value, DIGITS),
        )
        for key, kind, title in METRICS
        if key in result.rates and not math.isnan(result.rates[key].value)
    ]


def base_model(folder: ModelFolder) -> str | None:
    """The model of the Hub that the training started from, if it did and the record says so."""
    return ((folder.run or {}).get("start") or {}).get("hub_id")


def dataset_metadata(name: str, captures: int, license: str | None, tags: Sequence[str]) -> DatasetCardData:
    """The metadata of a dataset's card; its columns and sizes are written by `datasets` when it is pushed."""
    return DatasetCardData(
        license=license,
        task_categories=[TASK],
        pretty_name=plain(name),
        size_categories=[size_category(captures)],
        tags=list(tags),
    )


def size_category(count: int) -> str:
    """
    The Hub's name of a size.

    >>> size_category(999), size_category(1000), size_category(10**6)
    ('n<1K', '1K<n<10K', '1M<n<10M')
    """
    names = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    limits = [10**power for power in range(3, 3 + len(names))]
    for index, limit in enumerate(limits):
        if count < limit:
            return f"{names[index - 1]}<n<{names[index]}" if index else "n<1K"
    return "n>1T"
