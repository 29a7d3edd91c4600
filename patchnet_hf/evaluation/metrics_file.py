"""`metrics.json`: every number of an evaluation, and what was evaluated."""

from dataclasses import asdict

from ..inference.scorer import Scorer
from ..json_files import finite
from ..versions import versions_of
from .job import Evaluation
from .numbers import SetNumbers

METRICS_FILE = "metrics.json"
LIBRARIES = ("torch", "transformers", "timm", "datasets", "numpy", "scipy", "onnxruntime")


def as_json(evaluation: Evaluation) -> dict:
    """What `metrics.json` holds: numbers that aren't finite are `None`."""
    settings, point = evaluation.settings, evaluation.point
    content = {
        "level": settings.level,
        "operating_point": asdict(point),
        "interval_settings": {
            "confidence": settings.intervals.confidence,
            "resamples": settings.intervals.resamples,
            "seed": settings.intervals.seed,
        },
        "sets": {name: _numbers_json(numbers) for name, numbers in evaluation.sets.items()},
        "total": _numbers_json(evaluation.total),
        "evaluated": {
            "model": _model_json(evaluation.scorer),
            "data": {name: _data_json(evaluation, name) for name in evaluation.sets},
            "versions": versions_of(LIBRARIES),
            "date": evaluation.date,
            "command": evaluation.command,
        },
    }
    return finite(content)


def _numbers_json(numbers: SetNumbers) -> dict:
    content = asdict(numbers)
    del content["name"]
    return content


def _model_json(scorer: Scorer) -> dict:
    config, processor = scorer.config, scorer.processor
    return {
        **scorer.description(),
        "backbone": config.backbone,
        "patch_types": list(config.patch_types),
        "live_patch_types": list(config.live_patch_types),
        "decision_threshold": config.decision_threshold,
        "calibration": config.calibration,
        "mode": processor.mode,
        "patch_size": processor.patch_size,
        "grid": processor.grid if processor.mode == "patches" else 1,
    }


def _data_json(evaluation: Evaluation, name: str) -> dict:
    scored, counts = evaluation.scored[name], evaluation.sets[name].counts
    left_out = evaluation.data.left_out.get(name)
    return {
        "dataset": evaluation.data.given[name],
        "fingerprint": scored.fingerprint,
        **{key: counts[key] for key in ("images", "subjects", "videos")},
        "devices": sorted({value for value in scored.columns["device"] if value}),
        "sources": sorted({value for value in scored.columns["source"] if value}),
        **({"left_out_as_references": left_out} if left_out else {}),
    }
