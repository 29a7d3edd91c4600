"""The job behind scripts/export_onnx.py: a trained model as one checked ONNX file."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import expit

from ..errors import InputError
from ..evaluation.scored_set import ScoredSet
from ..evaluation.scoring import score_dataset
from ..inference.graph_outputs import fit_reach
from ..inference.onnx_scorer import OnnxScorer
from ..inference.scorer import Scorer
from ..inference.scorers import GRAPH_FILE, TorchScorer
from ..whole_folder import whole_folder
from .captures import Capture, ExportData, draw_evenly, load_export_data, random_captures, read_capture
from .comparison import ADVICE, Comparison, check_errors, check_scores, compare_scores, measure_latency
from .exporter import export_graph
from .half_precision import half_log_odds
from .options import GraphOptions
from .output import RECORD_FILE, check_output
from .parity import check_parity, measure_parity
from .quantization import quantize_graph
from .record import Export
from .reference import check_packages, load_reference
from .settings import ExportSettings

FULL_FILE = "float32.onnx"
# Captures of a dataset that a graph is checked on, beside those at random.
CHECKED = 8
# By which half precision may change a probability: at a scale of 30 its rounding is some hundredths of log-odds.
HALF_TOLERANCE = 0.05

Progress = Callable[[str, Iterable], Iterable]


def export_model(
    model: str,
    output: str | os.PathLike,
    settings: ExportSettings | None = None,
    *,
    overwrite: bool = False,
    revision: str | None = None,
    command: str = "",
    progress: Progress = lambda name, steps: steps,
) -> Export:
    """
    Exports a model into a folder, all or nothing, once the graph has been found to give what the model gives.

    Args:
        model: folder or Hub id of a trained model.
        output: folder for `model.onnx`, `config.json`, `preprocessor_config.json` and `export.json`.
        settings: how.
        overwrite: whether an export that is there is replaced.
        revision: branch, tag or commit, of a model of the Hub.
        command: that asked for it, for the record.
        progress: wraps the iteration over batches or captures, given what is done with them.

    Raises:
        InputError: something given can't be used, or the graph isn't as good as the model.
    """
    settings = settings or ExportSettings()
    check_packages()
    check_output(output, overwrite)
    data = load_export_data(settings)
    reference = load_reference(model, revision)
    settings.check_patches(reference.processor)
    scored = None if data is None else _scored(reference, data, "the model", progress)
    job = _Job(settings, reference, data, scored, _captures_to_check(reference, data, settings.seed), progress)
    folder = Path(os.path.realpath(output))
    with whole_folder(folder, check=lambda: check_output(output, overwrite)) as work:
        export = replace(job.run(work), command=command)
        reference.config.save_pretrained(work)
        reference.processor.save_pretrained(work)
        text = json.dumps(export.as_json(), indent=2, ensure_ascii=False, allow_nan=False)
        (work / RECORD_FILE).write_text(text + "\n", encoding="utf-8")
    export.graph.path = folder / GRAPH_FILE
    return export


@dataclass(frozen=True, eq=False)
class _Job:
    """All that is needed to write a graph: settings, the model, the captures with the model's scores."""

    settings: ExportSettings
    reference: TorchScorer
    data: ExportData | None
    scored: ScoredSet | None
    captures: list[Capture]
    progress: Progress

    def run(self, work: Path) -> Export:
        precision, full, path = self.settings.precision, work / FULL_FILE, work / GRAPH_FILE
        options = self.settings.graph_options(self._reach())
        graph = self._exported(full, options)
        parity = measure_parity(self.reference, graph, self.captures)
        check_parity(parity, graph)
        if precision == "int8":
            self._quantize(graph, path)
        elif precision == "float16":
            self._check_half()
            self._exported(path, replace(options, precision=precision))
        else:
            full.rename(path)
        result = OnnxScorer(GRAPH_FILE, path)
        if precision != "float32":
            expected, given = (_score(scorer, self.captures) for scorer in (self.reference, result))
            check_scores(result.output.told(expected), given, precision)
            parity = measure_parity(self.reference, result, self.captures)
        comparison = None
        if self.scored is not None:
            comparison = self._comparison(result, {"float32 graph": graph} if full.exists() else {})
        full.unlink(missing_ok=True)
        return Export(result, self.reference, self.settings, parity, self.data, comparison)

    def _reach(self) -> float | None:
        """Of scores that are rescaled: where the model's scores of the dataset reach."""
        if self.settings.kind not in ("linear", "sigmoid"):
            return None
        try:
            return fit_reach(self.scored.scores)
        except ValueError as error:
            raise InputError(f"--scores {self.settings.kind} can't be fitted on {self.data.given}: {error}") from error

    def _exported(self, path: Path, options: GraphOptions) -> OnnxScorer:
        try:
            export_graph(self.reference.model, self.reference.processor, path, options)
        except (RuntimeError, ValueError) as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(f"{self.reference.config.backbone} can't be exported: {first}") from error
        return OnnxScorer(path.name, path)

    def _quantize(self, graph: OnnxScorer, path: Path) -> None:
        numbers = self.progress("calibrating int8", range(len(self.data.drawn)))
        captures = (read_capture(self.data.drawn, self.data.calibrated_on, number) for number in numbers)
        feeds = (feed for capture in captures for feed in graph.feeds([_prepared(graph, capture)]))
        try:
            quantize_graph(graph.path, path, graph.metadata, feeds)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.reference.config.backbone} can't be quantised: {error}") from error

    def _check_half(self) -> None:
        views = np.stack([_prepared(self.reference, capture) for capture in self.captures])
        try:
            given = half_log_odds(self.reference.model, self.reference.processor.normalize_views(views))
        except ValueError as error:
            raise InputError(f"half precision can't hold the model: {error}; {ADVICE['float16']}") from error
        expected = _score(self.reference, self.captures)
        check_scores(expected, given, "float16")
        if (apart := np.abs(expit(expected) - expit(given)).max()) > HALF_TOLERANCE:
            raise InputError(
                f"the float16 graph is refused: half precision changes P(live) by {apart:.2g} on {len(views)} "
                f"captures, and {HALF_TOLERANCE:g} is allowed; {ADVICE['float16']}"
            )

    def _comparison(self, result: OnnxScorer, between: dict[str, OnnxScorer]) -> Comparison:
        """Of the model and a graph; `between` are further graphs whose size and latency are of interest."""
        precision = self.settings.precision
        scored = _scored(result, self.data, f"the {precision} graph", self.progress)
        check_scores(result.output.told(self.scored.scores), scored.scores, precision)
        found = compare_scores(self.scored, scored, result.output, self.reference.config.decision_threshold)
        check_errors(found, precision, self.settings.max_acer_increase)
        scorers = {"PyTorch": self.reference, **between, f"{precision} graph": result}
        files = [self.reference.weights, *(graph.path for graph in between.values()), result.path]
        sizes = (Path(file).stat().st_size for file in files)
        capture = read_capture(self.data.compared, self.data.given, 0)
        return replace(
            found,
            size_bytes=dict(zip(scorers, sizes, strict=True)),
            latency_ms=measure_latency(scorers, capture),
        )


def _captures_to_check(reference: Scorer, data: ExportData | None, seed: int) -> list[Capture]:
    captures = random_captures(reference.processor.patch_size, seed)
    if data is not None:
        chosen = draw_evenly(data.compared["attack_type"][:], CHECKED, seed)
        captures += [read_capture(data.compared, data.given, index) for index in chosen]
    return captures


def _scored(scorer: Scorer, data: ExportData, named: str, progress: Progress) -> ScoredSet:
    doing = f"scoring {data.name} by {named}"
    try:
        return score_dataset(scorer, data.compared, data.name, progress=lambda batches: progress(doing, batches))
    except InputError as error:
        raise InputError(f"{named} can't be compared: {error}") from error


def _prepared(scorer: Scorer, capture: Capture) -> np.ndarray:
    return scorer.prepare(capture.image, capture.face_box)


def _score(scorer: Scorer, captures: Sequence[Capture]) -> np.ndarray:
    """Live log-odds `(N,)`."""
    return scorer.score([_prepared(scorer, capture) for capture in captures]).log_odds
