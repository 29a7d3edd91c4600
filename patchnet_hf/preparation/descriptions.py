"""What is known of a capture before its file is opened."""

import re
from dataclasses import dataclass

from ..data.schema import BONA_FIDE, DEFAULT_ATTACK_TYPE, LABELS, LIVE, SPOOF

PATH_COLUMNS = ("device", "subject", "session", "video")
"""Columns of the data contract that a path can tell, beside the label."""

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Description:
    """
    What the path of a file says of its capture.

    Attributes:
        label: 1 for bona fide, 0 for an attack.
        attack_type: `"bonafide"` of bona fides.
        material: what was presented; with the device it makes the patch type.
        device, subject, session, video: `None` where not known.
        split: one of `SPLITS`, or `None`.
    """

    label: int
    attack_type: str
    material: str
    device: str | None = None
    subject: str | None = None
    session: str | None = None
    video: str | None = None
    split: str | None = None

    @property
    def patch_type(self) -> str:
        """
        Device and material, or the material alone where the device isn't known.

        >>> Description(0, "print", "print", device="phone1").patch_type
        'phone1/print'
        """
        return f"{self.device}/{self.material}" if self.device else self.material


def describe(
    label: str | None = None,
    attack_type: str | None = None,
    material: str | None = None,
    split: str | None = None,
    **columns: str | None,
) -> Description:
    """
    A description from texts, with defaults filled in: of the label and the attack type one is enough.

    Args:
        label: `"live"` or `"spoof"`.
        columns: those of `PATH_COLUMNS`.

    Raises:
        ValueError: neither says whether it is an attack, or they disagree, or a value isn't known.

    >>> describe(attack_type="print").label
    0
    >>> describe(label="live").attack_type
    'bonafide'
    """
    if label is None and attack_type is None:
        raise ValueError("neither a label nor an attack type")
    is_live = attack_type is not None and re.sub(r"[\s_-]", "", attack_type).lower() in (BONA_FIDE, LABELS[LIVE])
    if label is None:
        label = LABELS[LIVE if is_live else SPOOF]
    if label not in LABELS:
        raise ValueError(f"label is {label!r}; expected {' or '.join(reversed(LABELS))}")
    if attack_type is not None and is_live != (label == LABELS[LIVE]):
        raise ValueError(f"attack_type is {attack_type!r} although label is {label}")
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    if label == LABELS[LIVE]:
        return Description(LIVE, BONA_FIDE, material or LABELS[LIVE], split=split, **columns)
    attack_type = attack_type or DEFAULT_ATTACK_TYPE
    return Description(SPOOF, attack_type, material or attack_type, split=split, **columns)
