"""Digests that tell captures and datasets again, whatever they are called and wherever they lie."""

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np
from datasets import Dataset

from .views import encoded_images, image_bytes, reading_capture

FINGERPRINT_DIGITS = 16


def capture_digest(row: dict) -> bytes:
    """SHA-256 of a capture's bytes and face box; `row` has `image` as encoded bytes and `face_box`."""
    return capture_digests(image_bytes(row["image"]), row["face_box"])[1]


def capture_digests(data: bytes, face_box: Sequence[int] | None) -> tuple[bytes, bytes]:
    """SHA-256 of the bytes of a capture's file, and of the bytes with its face box."""
    digest = hashlib.sha256(data)
    of_image = digest.digest()
    digest.update(json.dumps(face_box).encode())
    return of_image, digest.digest()


def captures_fingerprint(digests: Iterable[bytes], labels: np.ndarray, attack_types: Sequence[str]) -> str:
    """
    Of a set of captures in their order, equal for the same data however it is stored.

    Args:
        digests: of each capture ([`capture_digest`]).
        labels: int64 of shape `(N,)`.
        attack_types: N names.
    """
    whole = hashlib.sha256()
    for digest in digests:
        whole.update(digest)
    whole.update(json.dumps([labels.tolist(), list(attack_types)]).encode())
    return whole.hexdigest()[:FINGERPRINT_DIGITS]


def image_digests(dataset: Dataset, name: str) -> list[bytes]:
    """
    SHA-256 of each image's bytes, which tells a capture again whatever its order, labels, face box and name are.

    Every image is read, and none decoded.

    Raises:
        InputError: a file that an image lies in can't be read.
    """
    digests = []
    for index, row in enumerate(encoded_images(dataset, ["image"])):
        with reading_capture(row["image"], f"{name}: capture {index}"):
            digests.append(hashlib.sha256(image_bytes(row["image"])).digest())
    return digests
