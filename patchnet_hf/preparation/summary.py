"""What a preparation wrote, in counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ..data.schema import LIVE
from ..text_table import counted, text_table
from .rows import PreparedRow


@dataclass
class SplitCounts:
    """
    Counts of one list.

    Attributes:
        images, live: in all, and bona fide.
        attacks, devices, patch_types: name to images, in alphabetical order.
        subjects, videos: how many different ones are named.
        face_boxes: images that have one.
    """

    images: int = 0
    live: int = 0
    attacks: dict[str, int] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    patch_types: dict[str, int] = field(default_factory=dict)
    subjects: int = 0
    videos: int = 0
    face_boxes: int = 0


@dataclass
class PreparationSummary:
    """
    What was written, and what wasn't.

    Attributes:
        output: the folder.
        lists: name of a CSV file to its counts.
        files: how many images and videos were prepared.
        passed_over: ending of a name (or `"hidden"`, `"ignored by the layout"`) to the number of such files.
        rejected: how many files couldn't be used.
        several_faces: images in which the detector found several faces and the largest was taken.
        notes: what the user should know of the result, a sentence each.
    """

    output: str
    lists: dict[str, SplitCounts]
    files: dict[str, int]
    passed_over: dict[str, int]
    rejected: int
    several_faces: int
    notes: list[str]

    def as_json(self) -> dict:
        """All of it as a dictionary."""
        return asdict(self)

    def table(self) -> str:
        """The counts as text, a line for each list and, where there are several, one for all."""
        header = ("list", "images", "live", "attacks", "subjects", "videos", "attack types", "devices")
        rows = [
            (
                name,
                str(counts.images),
                str(counts.live),
                str(counts.images - counts.live),
                str(counts.subjects or "-"),
                str(counts.videos or "-"),
                _shown(counts.attacks),
                _shown(counts.devices),
            )
            for name, counts in self.lists.items()
        ]
        return text_table(header, rows, left=(0, 6, 7))

    def remarks(self) -> list[str]:
        """What there is to say beside the table, a line each."""
        lines = list(self.notes)
        if self.passed_over:
            lines.append(f"passed over: {_shown(self.passed_over)}")
        if self.several_faces:
            lines.append(f"several faces in {counted(self.several_faces, 'image')}: the largest was taken")
        return lines


def count_rows(rows: Sequence[PreparedRow]) -> SplitCounts:
    """Counts the captures of a list."""
    known = [row.description for row in rows]
    return SplitCounts(
        images=len(rows),
        live=sum(description.label == LIVE for description in known),
        attacks=_counted(description.attack_type for description in known if description.label != LIVE),
        devices=_counted(description.device for description in known if description.device),
        patch_types=_counted(description.patch_type for description in known),
        subjects=len({description.subject for description in known if description.subject}),
        videos=len({description.video for description in known if description.video}),
        face_boxes=sum(row.face_box is not None for row in rows),
    )


def _counted(names) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "-"
