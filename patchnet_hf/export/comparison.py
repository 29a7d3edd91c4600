"""An exported graph against the model that it was made from, on captures: errors, scores, size and latency."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from scipy.special import expit

from ..benchmarks.timing import interleaved
from ..errors import InputError
from ..evaluation.numbers import metrics_at
from ..evaluation.operating_point import OperatingPoint
from ..evaluation.presentations import Presentations
from ..evaluation.scored_set import ScoredSet
from ..inference.graph_outputs import GraphOutput
from ..inference.onnx_scorer import OnnxScorer
from ..inference.scorer import Scorer
from ..text_table import percent, text_table
from .captures import Capture

RATES = ("acer", "apcer", "bpcer")
# Log-odds that all lie this close together say the same of every capture.
CONSTANT = 1e-3
ADVICE = {
    "int8": "calibrate it on more captures (--captures) or on such as it will see (--calibrate-on), or take --fp16",
    "float16": "take --quantize int8, or leave --fp16 out",
    "float32": "try another --opset",
}


@dataclass(frozen=True)
class Difference:
    """Mean and largest absolute difference of a score over captures."""

    mean: float
    largest: float

    @classmethod
    def of(cls, one: np.ndarray, other: np.ndarray) -> "Difference":
        """Of the scores `(N,)` of the same captures."""
        apart = np.abs(one - other)
        return cls(float(apart.mean()), float(apart.max()))


@dataclass(frozen=True)
class Comparison:
    """
    What a comparison found.

    Attributes:
        dataset: name of the set.
        captures: how many were compared.
        threshold: the model's, as a probability.
        model, graph: `acer`, `apcer` and `bpcer` of each at that threshold, as shares.
        verdicts_changed: captures that one accepts and the other doesn't.
        probability, log_odds: differences of P(live) and of live log-odds, of these as far as the graph's scores tell
            them.
        size_bytes: of the files, by what they hold.
        latency_ms: median time to score one capture on one thread, from its decoded picture on, by what scores it.
    """

    dataset: str
    captures: int
    threshold: float
    model: dict[str, float]
    graph: dict[str, float]
    verdicts_changed: int
    probability: Difference
    log_odds: Difference
    size_bytes: dict[str, int] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)

    @property
    def acer_increase(self) -> float:
        """In percentage points, rounded so that 1.25 points aren't more than 1.25."""
        return round(100 * (self.graph["acer"] - self.model["acer"]), 9)

    def as_json(self) -> dict:
        """For `export.json`."""
        return asdict(self) | {"acer_increase_points": self.acer_increase}

    def text(self) -> str:
        """As a table for people and a line on the scores."""
        names = list(self.size_bytes)
        rates = {names[0]: self.model, names[-1]: self.graph}
        rows = [
            [
                name,
                *(percent(rates[name][rate]) if name in rates else "" for rate in RATES),
                f"{self.size_bytes[name] / 1e6:.1f}",
                f"{self.latency_ms[name]:.1f}",
            ]
            for name in names
        ]
        header = [self.dataset, *(f"{rate.upper()} %" for rate in RATES), "MB", "ms on 1 core"]
        return (
            f"{text_table(header, rows)}\n"
            f"verdicts changed: {self.verdicts_changed} of {self.captures}; P(live) differs by "
            f"{self.probability.mean:.2g} on average and {self.probability.largest:.2g} at most, log-odds by "
            f"{self.log_odds.mean:.2g} and {self.log_odds.largest:.2g}"
        )


def compare_scores(model: ScoredSet, graph: ScoredSet, output: GraphOutput, threshold: float) -> Comparison:
    """
    Compares the scores that a model and its graph give the same captures.

    Args:
        model, graph: in the same order.
        output: what the graph gives, which may round or cut off.
        threshold: a probability.
    """
    told = output.told(model.scores)
    point = OperatingPoint.fixed(threshold, "model")
    rates = [
        {rate: metrics_at(Presentations.of(scored), point)[0][rate] for rate in RATES} for scored in (model, graph)
    ]
    accepted = [scored.scores >= point.threshold_log_odds for scored in (model, graph)]
    return Comparison(
        model.name,
        len(model),
        threshold,
        *rates,
        verdicts_changed=int(np.sum(accepted[0] != accepted[1])),
        probability=Difference.of(expit(told), expit(graph.scores)),
        log_odds=Difference.of(told, graph.scores),
    )


def check_scores(model: np.ndarray, graph: np.ndarray, precision: str) -> None:
    """
    Makes sure that a graph's scores are scores.

    Args:
        model, graph: live log-odds `(N,)` of the same captures.
        precision: of the graph.

    Raises:
        InputError: some aren't numbers, or all are the same where the model's are not.
    """
    if missing := int(np.sum(~np.isfinite(graph))):
        raise InputError(
            f"the {precision} graph is broken: {missing} of {len(graph)} scores aren't numbers; {ADVICE[precision]}"
        )
    if len(model) > 1 and np.ptp(graph) < CONSTANT < np.ptp(model):
        raise InputError(
            f"the {precision} graph is broken: it gives all {len(graph)} captures the same score, log-odds "
            f"{graph.mean():.3g}, where the model's go from {model.min():.3g} to {model.max():.3g}; "
            f"{ADVICE[precision]}"
        )


def check_errors(comparison: Comparison, precision: str, max_acer_increase: float) -> None:
    """
    Makes sure that a graph errs about as seldom as the model.

    Raises:
        InputError: its ACER is higher by more than `max_acer_increase` percentage points.
    """
    if not comparison.acer_increase <= max_acer_increase:
        raise InputError(
            f"the {precision} graph is refused: on {comparison.captures} captures of {comparison.dataset} its ACER is "
            f"{percent(comparison.graph['acer'])} %, the model's {percent(comparison.model['acer'])} %, and "
            f"{max_acer_increase:g} points more are allowed (--max-acer-increase); {ADVICE[precision]}"
        )


def measure_latency(scorers: Mapping[str, Scorer], capture: Capture, repeats: int = 15) -> dict[str, float]:
    """
    Median milliseconds to score one capture, from its decoded picture on, measured in turn.

    On one thread each: whatever else runs on the machine slows those that wait for each other, and not all alike.
    """
    single = {
        name: OnnxScorer(scorer.name, scorer.path, scorer.config, scorer.processor, threads=1)
        if isinstance(scorer, OnnxScorer)
        else scorer
        for name, scorer in scorers.items()
    }

    def call(scorer: Scorer):
        return lambda: scorer.score([scorer.prepare(capture.image, capture.face_box)])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timings = interleaved({name: call(scorer) for name, scorer in single.items()}, repeats)
    finally:
        torch.set_num_threads(threads)
    return {name: 1000 * timing.median for name, timing in timings.items()}
