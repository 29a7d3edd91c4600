"""What a measurement of inference found, as tables and as JSON."""

from dataclasses import asdict, dataclass

from ..cards.markdown import table as markdown_table
from ..text_table import counted, text_table
from .inference_settings import BASELINE, VARIANTS, InferenceSettings
from .machine import Machine
from .memory import megabytes
from .subject import Subject
from .timing import Timing

HEADER = ("variant", "median ms", "p95 ms", "captures/s", "times as fast", "memory, MB", "log-odds off by")


@dataclass(frozen=True)
class Row:
    """
    One variant.

    Attributes:
        variant: its name on the command line.
        timing: of a batch; `None` where it wasn't timed.
        difference: largest difference of live log-odds from those of PyTorch in float32; `None` where it gave none.
        reason: why it wasn't timed.
        memory: the most that a batch takes beyond the loaded model, in bytes; `None` where the system doesn't tell.
    """

    variant: str
    timing: Timing | None = None
    difference: float | None = None
    reason: str | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Comparison:
    """
    All variants on batches of one shape.

    Attributes:
        captures, patches: in a batch, and of each capture.
        rows: by variant, the baseline first.
        processor: times of the image processor alone on the batch.
    """

    captures: int
    patches: int
    rows: tuple[Row, ...]
    processor: Timing

    def timing(self, variant: str) -> Timing | None:
        """`None` where there is none."""
        return next((row.timing for row in self.rows if row.variant == variant), None)

    def ratio(self, timing: Timing) -> float:
        """Median time of the baseline over that of another: how many times as fast the other is."""
        return self.timing(BASELINE).median / timing.median

    def share(self, seconds: float) -> float:
        """Of the time of the bare network, in PyTorch and float32."""
        return seconds / self.timing(BASELINE).median

    @property
    def pipeline_overhead(self) -> float | None:
        """What `pipeline(...)` takes beyond the bare network, in seconds; `None` where it wasn't timed."""
        timing = self.timing("pipeline")
        return None if timing is None else timing.median - self.timing(BASELINE).median

    def as_json(self) -> dict:
        overheads = {"image_processor": self.processor.median, "pipeline": self.pipeline_overhead}
        return {
            "captures": self.captures,
            "patches": self.patches,
            "variants": {row.variant: self._row_json(row) for row in self.rows},
            "overhead": {
                name: {"ms": 1000 * seconds, "share_of_network": self.share(seconds)}
                for name, seconds in overheads.items()
                if seconds is not None
            },
        }

    def _row_json(self, row: Row) -> dict:
        if row.timing is None:
            return {"not_timed": row.reason, "log_odds_difference": row.difference}
        return {
            "median_ms": 1000 * row.timing.median,
            "p95_ms": 1000 * row.timing.percentile(95),
            "captures_per_second": self.captures / row.timing.median,
            "times_as_fast": self.ratio(row.timing),
            "log_odds_difference": row.difference,
            "memory_bytes": row.memory,
            "ms": [1000 * float(seconds) for seconds in row.timing.seconds],
        }

    def cells(self) -> list[list[str]]:
        """Of the table; those that hold no number are empty."""
        return [[VARIANTS[row.variant], *self._numbers(row)] for row in self.rows]

    def _numbers(self, row: Row) -> list[str]:
        difference = "" if row.difference is None else f"{row.difference:.1g}"
        if row.timing is None:
            return ["not timed", "", "", "", "", difference]
        median, p95 = (f"{1000 * seconds:.1f}" for seconds in (row.timing.median, row.timing.percentile(95)))
        ratio = self.ratio(row.timing)
        per_second = f"{self.captures / row.timing.median:.1f}"
        return [median, p95, per_second, f"{ratio:.2f}", megabytes(row.memory), difference]

    def title(self) -> str:
        """What a batch is."""
        return f"{counted(self.captures, 'capture')} of {counted(self.patches, 'patch', 'patches')}"

    def notes(self) -> list[str]:
        """Sentences under the table: what wasn't timed and why, and what the network isn't alone in taking."""
        notes = [f"{VARIANTS[row.variant]}: not timed, {row.reason}" for row in self.rows if row.timing is None]
        spent = f"image processor: {self._in_network(self.processor.median)}"
        if (overhead := self.pipeline_overhead) is not None:
            spent += f"; pipeline, the image processor included: {self._in_network(overhead)}"
        return [*notes, f"beyond the bare network in PyTorch: {spent}"]

    def _in_network(self, seconds: float) -> str:
        return f"{1000 * seconds:.1f} ms, {100 * self.share(seconds):.0f} % of its time"


@dataclass(frozen=True, eq=False)
class InferenceBenchmark:
    """A measurement: of what, how, on what, and what it found for each shape of batch."""

    subject: Subject
    settings: InferenceSettings
    machine: Machine
    comparisons: tuple[Comparison, ...]

    def as_json(self) -> dict:
        return {
            "benchmark": "infer",
            "machine": self.machine.as_json(),
            "model": self.subject.as_json(),
            "settings": asdict(self.settings),
            "batches": [comparison.as_json() for comparison in self.comparisons],
        }

    def text(self) -> str:
        """Tables for people."""
        parts = [f"{self.subject.text()}\n{self.machine.text()}"]
        for comparison in self.comparisons:
            lines = [self._title(comparison), text_table(HEADER, comparison.cells()), *comparison.notes()]
            parts.append("\n".join(lines))
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """Tables for a document."""
        parts = [f"{self.subject.text()}.\n{self.machine.text()}."]
        for comparison in self.comparisons:
            notes = "\n".join(f"- {note}" for note in comparison.notes())
            parts += [f"{self._title(comparison)}:", markdown_table(HEADER, comparison.cells()), notes]
        return "\n\n".join(parts)

    def _title(self, comparison: Comparison) -> str:
        return f"{comparison.title()}, {counted(self.settings.repeats, 'call')} of each in turn"
