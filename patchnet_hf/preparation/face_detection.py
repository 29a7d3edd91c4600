"""Where faces are, by dlib's detector: its weights are a part of the library, so nothing is downloaded."""

import threading

import numpy as np

from ..errors import InputError
from .box_files import Box

SMALLEST_FACE = 80
"""Faces of fewer pixels on a side are not found."""


class FaceDetector:
    """
    Finds the largest frontal face of an image (histograms of oriented gradients; King 2009, "Dlib-ml").

    Attributes:
        several: how many images had more than one face, of which the largest was taken.

    Raises:
        InputError: dlib isn't installed.
    """

    def __init__(self):
        try:
            import dlib
        except ImportError:
            raise InputError(
                "--detect needs dlib: pip install 'patchnet_hf[detect]', or pip install -e '.[detect]' in this folder"
            ) from None
        self.several = 0
        self._dlib = dlib
        self._local = threading.local()
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> Box:
        """
        The box of the largest face.

        Args:
            image: `(H, W, 3)` uint8 RGB.

        Raises:
            ValueError: no face is found.
        """
        if not hasattr(self._local, "detector"):  # one for each thread, because it keeps its work space
            self._local.detector = self._dlib.get_frontal_face_detector()
        faces = self._local.detector(np.ascontiguousarray(image), 0)
        if not faces:
            raise ValueError(f"no face found (the detector finds frontal ones of at least {SMALLEST_FACE} pixels)")
        if len(faces) > 1:
            with self._lock:
                self.several += 1
        face = max(faces, key=lambda face: face.area())
        return face.left(), face.top(), face.right() + 1, face.bottom() + 1
