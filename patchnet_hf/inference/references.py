"""Few-shot references: a few known captures of a device, and scores by similarity to them.

The patches of a known live capture show what this device makes of a living face; the closer a patch is to them, and
the farther from known attacks where there are any, the more likely it is live. With R references of V patches each:

- Every embedding is projected onto the span of the patch types' weights, the only directions that training has shaped
  to tell patch types apart, and scaled to unit length: `x`.
- `m(S)` is the mean of all patches of the references in S, and `c(S)` the mean product of patches of two *different*
  captures in S: the squared length of the true mean, without the bias that a capture's product with itself has.
- A patch's similarity is `x . m(live) - c(live)` with live references alone: 0 on average for a live capture of that
  device. With attacks it is `x . (m(live) - m(attack)) - (c(live) - c(attack)) / 2`, by how much the mean of the live
  references is nearer than the mean of the attacks, in half squared distances.
- With a single reference `c` is taken from its own patches, or is 1 where it has but one: somewhat too high, which
  moves all scores towards attack. Two or more don't.
- `weight * model scale * similarity`, averaged over patches, is added to the model's own uncalibrated log-odds.

A prototype for each class as few-shot classifiers have it (Snell, Swersky and Zemel, Prototypical Networks, NeurIPS
2017), with the model's decision, made of many captures, as what a few can correct.
"""

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..data.decoding import decode_image
from ..errors import InputError
from ..metrics import PlattCalibration
from ..whole_file import whole_file
from .scorer import Scorer, ViewScores, calibration_of, file_sha256
from .scorers import TorchScorer

WEIGHT = 1 / 8
METADATA_KEY = "patchnet_references"
VERSION = 1
# Directions of the patch types' weights below this share of the strongest are rounding.
RANK_TOLERANCE = 1e-5


class KnownCapture(NamedTuple):
    """
    A capture that is known to be live or an attack.

    Attributes:
        file: its name.
        encoded: the bytes of its file.
        label: 1 = bona fide, 0 = attack.
        face_box: `[x, y, w, h]` in its pixels; `None` for a face crop.
    """

    file: str
    encoded: bytes
    label: int
    face_box: Sequence[int] | None = None


@dataclass(frozen=True)
class References:
    """
    Embeddings of R known captures of one device.

    Attributes:
        embeddings: float32 of shape `(R, V, D)`, of unit length.
        labels: int64 of shape `(R,)`, 1 = bona fide, 0 = attack; at least one is live.
        files: R names.
        captures_sha256: of the R files' bytes, so that they are known again among captures to be evaluated.
        weights_sha256: of the weights that the embeddings are from.
        device: what the user calls the device.
        weight: how much the similarity counts, in units of the model's scale.
        calibration: of the scores with these references; `None`: the model's own.
        decision_threshold: for these scores, a probability; `None`: the model's own.
        developed_on: what `calibration` and `decision_threshold` were chosen on and how, in words.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    files: list[str]
    captures_sha256: list[str]
    weights_sha256: str
    device: str | None = None
    weight: float = WEIGHT
    calibration: PlattCalibration | None = None
    decision_threshold: float | None = None
    developed_on: str | None = None

    @property
    def live_count(self) -> int:
        return int(self.labels.sum())

    @property
    def attack_count(self) -> int:
        return len(self.labels) - self.live_count

    def summary(self) -> str:
        """In a few words.

        >>> References(np.zeros((3, 1, 2)), np.array([1, 1, 0]), ["a", "b", "c"], [], "", "phone").summary()
        '2 live and 1 attack references of phone'
        """
        of_device = "" if self.device is None else f" of {self.device}"
        return f"{self.live_count} live and {self.attack_count} attack references{of_device}"

    def save(self, path: str | Path) -> None:
        """
        Writes a safetensors file, whole or not at all; what isn't an array stands as JSON in its header.

        Raises:
            InputError: it can't be written.
        """
        told = {
            "version": VERSION,
            "files": self.files,
            "captures_sha256": self.captures_sha256,
            "weights_sha256": self.weights_sha256,
            "device": self.device,
            "weight": self.weight,
            "calibration": None if self.calibration is None else self.calibration._asdict(),
            "decision_threshold": self.decision_threshold,
            "developed_on": self.developed_on,
        }
        arrays = {
            "embeddings": np.ascontiguousarray(self.embeddings, dtype=np.float32),
            "labels": np.ascontiguousarray(self.labels, dtype=np.int64),
        }
        path = Path(path)
        try:
            with whole_file(path) as unfinished:
                unfinished.write_bytes(save(arrays, {METADATA_KEY: json.dumps(told)}))
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: str | Path) -> "References":
        """
        Reads what [`References.save`] wrote.

        Raises:
            InputError: the file is missing, broken, or holds no references.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                told = (file.metadata() or {}).get(METADATA_KEY)
                if told is None or not {"embeddings", "labels"} <= set(file.keys()):
                    raise InputError(f"{path} holds no references; scripts/enroll.py makes such a file")
                embeddings, labels = file.get_tensor("embeddings"), file.get_tensor("labels")
        except OSError as error:
            raise InputError(f"{path} can't be read: {error.strerror or error}") from error
        except SafetensorError as error:
            raise InputError(f"{path} is no safetensors file, or is cut off: {error}") from error
        try:
            told = json.loads(told)
            if told["version"] != VERSION:
                raise ValueError(f"version {told['version']}, known is {VERSION}")
            del told["version"]
            if told["calibration"] is not None:
                told["calibration"] = PlattCalibration(**told["calibration"])
            references = cls(embeddings, labels, **told)
            references._check()
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} holds references that can't be used: {error}") from error
        return references

    def _check(self) -> None:
        if self.embeddings.ndim != 3 or self.labels.shape != self.embeddings.shape[:1]:
            raise ValueError(f"embeddings {self.embeddings.shape} for labels {self.labels.shape}")
        if not len(self.files) == len(self.captures_sha256) == len(self.labels):
            raise ValueError(
                f"{len(self.files)} names and {len(self.captures_sha256)} digests for {len(self.labels)} captures"
            )
        if not np.isin(self.labels, (0, 1)).all():
            raise ValueError("labels other than 0 (attack) and 1 (live)")
        if not self.live_count:
            raise ValueError("none of them is live")
        if not np.allclose(np.linalg.norm(self.embeddings, axis=-1), 1, atol=1e-3):
            raise ValueError("embeddings that aren't of unit length")
        if self.calibration is not None and not self.calibration.scale > 0:
            raise ValueError(f"calibration scale {self.calibration.scale}, which isn't positive")
        if self.decision_threshold is not None and not 0 < self.decision_threshold < 1:
            raise ValueError(f"decision threshold {self.decision_threshold}, which is no probability in (0, 1)")


class ReferenceScorer(Scorer):
    """
    A PyTorch model whose scores are moved by the similarity to references.

    Attributes:
        references: as given.
        config: the model's, with the references' calibration and decision threshold where they have them.

    Raises:
        InputError: the references are of other weights, or the model gives no embeddings.
    """

    def __init__(self, scorer: Scorer, references: References):
        weights = weights_fingerprint(scorer)
        if references.weights_sha256 != weights:
            raise InputError(
                f"the references were made by other weights ({references.weights_sha256[:12]}...) than those of "
                f"{scorer.name} ({weights[:12]}...); scripts/enroll.py makes them anew"
            )
        size = scorer.model.patchnet.embedding_size
        if references.embeddings.shape[-1] != size:
            raise InputError(
                f"the references have embeddings of size {references.embeddings.shape[-1]}, those of {scorer.name} "
                f"are of size {size}"
            )
        config = copy.deepcopy(scorer.config)
        if references.calibration is not None:
            config.calibration = references.calibration._asdict()
        if references.decision_threshold is not None:
            config.decision_threshold = references.decision_threshold
            self.threshold_origin = "references"
        super().__init__(scorer.name, config, scorer.processor)
        self.scorer = scorer
        self.references = references
        self._basis = patch_type_directions(scorer)
        points = projected(references.embeddings, self._basis)
        is_live = references.labels == 1
        self._live, self._attacks = points[is_live], points[~is_live]

    def score(self, captures: Sequence[np.ndarray]) -> ViewScores:
        """As [`Scorer.score`]; the similarity of a capture is the mean of its patches'."""
        scored = self.scorer.score(captures)
        if not len(captures):
            return scored
        moved = self.log_odds_of_similarity(scored.embeddings)
        own, new = calibration_of(self.scorer), calibration_of(self)
        return ViewScores(
            new.calibrate(own.uncalibrate(scored.log_odds) + moved.mean(axis=-1)),
            new.calibrate(own.uncalibrate(scored.patch_log_odds) + moved),
            scored.embeddings,
        )

    def log_odds_of_similarity(self, embeddings: np.ndarray) -> np.ndarray:
        """What is added to the uncalibrated log-odds of patches, `(..., D)` to `(...)`."""
        points = projected(embeddings, self._basis)
        return self.references.weight * self.config.scale * similarity(points, self._live, self._attacks)

    def description(self) -> dict[str, str]:
        """As [`Scorer.description`], with `references`."""
        return {**self.scorer.description(), "references": self.references.summary()}


def load_references(path: str | Path | None) -> References | None:
    """[`References.load`] where a file is given."""
    return None if path is None else References.load(path)


def with_references(scorer: Scorer, references: References | None) -> Scorer:
    """The scorer itself, or with references, one that scores by similarity to them ([`ReferenceScorer`])."""
    return scorer if references is None else ReferenceScorer(scorer, references)


def enroll(scorer: Scorer, captures: Sequence[KnownCapture], device: str | None = None) -> References:
    """
    References from known captures.

    Args:
        scorer: a PyTorch model.
        captures: at least one is live.
        device: what to call their device.

    Raises:
        InputError: no capture is live, one is there twice or can't be decoded, or the model gives no embeddings that
            could be compared.
    """
    weights = weights_fingerprint(scorer)
    labels = np.array([capture.label for capture in captures], dtype=np.int64)
    if not labels.sum():
        raise InputError("no live references; at least one capture that is known to be live is needed")
    digests = [hashlib.sha256(capture.encoded).hexdigest() for capture in captures]
    views, first = [], {}
    for capture, digest in zip(captures, digests, strict=True):
        if digest in first:
            raise InputError(
                f"{first[digest]} and {capture.file} are the same image; references are compared with one another"
            )
        first[digest] = capture.file
        try:
            views.append(scorer.processor.views(decode_image(capture.encoded), capture.face_box))
        except ValueError as error:
            raise InputError(f"{capture.file}: {error}") from error
    embeddings = unit_length(scorer.score(np.stack(views)).embeddings).astype(np.float32)
    return References(embeddings, labels, [capture.file for capture in captures], digests, weights, device)


def read_captures(files: Iterable[str | Path], label: int) -> list[KnownCapture]:
    """
    Image files, each a face crop, all live (1) or attacks (0).

    Raises:
        InputError: a file can't be read.
    """
    captures = []
    for file in files:
        try:
            captures.append(KnownCapture(str(file), Path(file).read_bytes(), label))
        except OSError as error:
            raise InputError(f"{file}: {error.strerror or error}") from error
    return captures


def weights_fingerprint(scorer: Scorer) -> str:
    """
    SHA-256 of the file that a PyTorch model's weights are from.

    Raises:
        InputError: it is no PyTorch model from a file, so that it gives no embeddings or can't be told from others;
            or its scores are no scaled cosines, so that a similarity has no unit to be added to them in.
    """
    if not isinstance(scorer, TorchScorer):
        raise InputError(
            f"{scorer.name} is an exported graph, without embeddings; references need the model it was made from"
        )
    if scorer.config.head != "cosine":
        raise InputError(
            f"{scorer.name} has head {scorer.config.head!r}; similarity to references is added to scaled cosines, of "
            'models with head "cosine"'
        )
    if scorer.weights is None:
        raise InputError(f"{scorer.name} wasn't read from a file; references need a saved model")
    return file_sha256(scorer.weights)


def patch_type_directions(scorer: TorchScorer) -> np.ndarray:
    """Float64 of shape `(D, K')`: an orthonormal basis of the span of the patch types' weights."""
    weight = unit_length(scorer.model.classifier.weight.detach().double().cpu().numpy())
    _, strength, directions = np.linalg.svd(weight, full_matrices=False)
    return directions[strength > RANK_TOLERANCE * strength[0]].T


def projected(embeddings: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """`(..., D)` embeddings in the coordinates of `basis` `(D, K)`, of unit length: float64 `(..., K)`."""
    return unit_length(np.asarray(embeddings, dtype=np.float64) @ basis)


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """`(..., D)` vectors scaled to length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def similarity(points: np.ndarray, live: np.ndarray, attacks: np.ndarray) -> np.ndarray:
    """
    How much nearer patches are to live references, as the module defines it.

    Args:
        points: `(..., K)` of unit length.
        live: `(R, V, K)`, R at least 1.
        attacks: `(R', V, K)`; R' may be 0.

    Returns:
        `(...)`.

    >>> live, attacks = np.array([[[1.0, 0.0]], [[1.0, 0.0]]]), np.array([[[0.0, 1.0]], [[0.0, 1.0]]])
    >>> similarity(np.array([[1.0, 0.0], [0.0, 1.0]]), live, attacks)
    array([ 1., -1.])
    """
    of_live = points @ live.mean(axis=(0, 1))
    if not len(attacks):
        return of_live - mutual_similarity(live)
    difference = mutual_similarity(live) - mutual_similarity(attacks)
    return of_live - points @ attacks.mean(axis=(0, 1)) - difference / 2


def mutual_similarity(references: np.ndarray) -> float:
    """
    Mean product of patches of two different captures, of `(R, V, K)`.

    Of a single capture: of two of its patches at different places; of a single patch: 1.

    >>> mutual_similarity(np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]]]))
    0.3333333333333333
    """
    means = references.mean(axis=1) if len(references) > 1 else references[0]
    count = len(means)
    if count == 1:
        return 1.0
    total = means.sum(axis=0)
    return float((total @ total - np.sum(means**2)) / (count * (count - 1)))
