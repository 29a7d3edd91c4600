"""Exported graphs as scorers."""

import glob
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from ..errors import InputError
from ..models import PatchNetConfig, PatchNetImageProcessor
from ..models.image_processing_patchnet import crop_face
from .graph_metadata import GraphMetadata
from .graph_outputs import GraphOutput
from .scorer import Scorer, ViewScores, calibration_of, file_sha256, mean_log_odds


class OnnxScorer(Scorer):
    """
    An exported graph in ONNX Runtime on the processor.

    Graphs of `scripts/export_onnx.py` say in their metadata what they take and give. Of others the input is
    `pixel_values`, `(B, 3, P, P)` or `(B, V, 3, P, P)`, and the first output or the one called `logits` is `(B, 2)`,
    spoof and live. A graph of single patches, or with any number of views, sees each patch alone and the patches are
    averaged here, as the model does.

    Args:
        path: the graph.
        config, processor: of a graph whose metadata don't hold them.

    Raises:
        InputError: onnxruntime isn't installed, or the graph can't be loaded, has other inputs or outputs, or its
            configuration is nowhere.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        config: PatchNetConfig | None = None,
        processor: PatchNetImageProcessor | None = None,
    ):
        self.path = Path(path)
        self.session, self._runtime = _session_of(self.path)
        metadata = _metadata_of(self.path, self.session)
        if metadata is not None:
            config, processor = metadata.config, metadata.processor
        elif config is None or processor is None:
            raise InputError(
                f"{path} wasn't made by scripts/export_onnx.py, and has no config.json and preprocessor_config.json "
                "beside it to say what it is"
            )
        super().__init__(name, config, processor)
        self._of_pictures = metadata is not None and metadata.input == "picture"
        self._of_uint8 = metadata is not None and metadata.input != "float"
        self._kind = GraphOutput() if metadata is None else metadata.output
        self._input = self._checked_input()
        outputs = [output.name for output in self.session.get_outputs()]
        self._output = self._kind.name if self._kind.name in outputs else outputs[0]
        if self._of_pictures:
            self.prepare = partial(crop_face, face_expand=processor.face_expand)
            return
        self._types = "patch_type_logits" if "patch_type_logits" in outputs else None
        batch, self._views = self._input.shape[0], self._input.shape[1] if len(self._input.shape) == 5 else 1
        self._batch = batch if isinstance(batch, int) else None
        # A graph for a fixed number of views averages them itself.
        self._whole = isinstance(self._views, int) and self._views > 1

    def _checked_input(self):
        inputs = self.session.get_inputs()
        dimensions = (3,) if self._of_pictures else (4, 5)
        kind = "uint8" if self._of_uint8 else "float"
        if len(inputs) != 1 or len(inputs[0].shape) not in dimensions or inputs[0].type != f"tensor({kind})":
            found = "; ".join(f"{node.name} {node.type} {node.shape}" for node in inputs)
            wanted = " or ".join(map(str, dimensions))
            raise InputError(f"{self.path} has inputs {found}; expected one, {kind}, of {wanted} dimensions")
        return inputs[0]

    def score(self, captures: Sequence[np.ndarray]) -> ViewScores:
        """
        As [`Scorer.score`].

        Raises:
            InputError: the graph is for another number or size of views.
        """
        if self._of_pictures:
            return self._score_pictures(captures)
        views = np.asarray(captures)
        captures, count = views.shape[:2]
        if not captures:
            return ViewScores(np.empty(0), np.empty((0, count)), None)
        pixel_values = views if self._of_uint8 else self.processor.normalize_views(views).numpy()
        if self._whole:
            values, types = self._run(pixel_values)
            of_patches = np.full((captures, count), np.nan)
            if types is not None:
                of_patches = calibration_of(self).calibrate(self._log_odds_of_types(types.astype(np.float64)))
            return ViewScores(self._kind.log_odds(values), of_patches, None)
        patches = pixel_values.reshape(captures * count, *pixel_values.shape[2:])
        values, _ = self._run(patches[:, None] if len(self._input.shape) == 5 else patches)
        of_patches = self._kind.log_odds(values).reshape(captures, count)
        calibration = calibration_of(self)
        averaged = calibration.calibrate(mean_log_odds(calibration.uncalibrate(of_patches)))
        return ViewScores(averaged, of_patches, None)

    def _score_pictures(self, faces: Sequence[np.ndarray]) -> ViewScores:
        """Scores of face crops of any size, one by one, as such graphs take them."""
        of_captures, of_patches = [], []
        names = [self._output, self._kind.patch_name]
        for face in faces:
            try:
                values, patches = self.session.run(names, {self._input.name: np.ascontiguousarray(face)})
            except Exception as error:  # ONNX Runtime's own classes derive from Exception alone.
                raise InputError(
                    f"{self.path} can't score a picture of shape {face.shape}: {str(error).splitlines()[0]}"
                ) from error
            of_captures.append(self._kind.log_odds(values))
            of_patches.append(self._kind.log_odds(patches))
        if not of_captures:
            count = self.processor.grid**2 if self.processor.mode == "patches" else 1
            return ViewScores(np.empty(0), np.empty((0, count)), None)
        return ViewScores(np.concatenate(of_captures), np.stack(of_patches), None)

    def _run(self, pixel_values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        names = [self._output] + ([self._types] if self._types else [])
        size = self._batch or len(pixel_values)
        results = []
        try:
            for start in range(0, len(pixel_values), size):
                batch = np.ascontiguousarray(pixel_values[start : start + size])
                # A graph for a fixed batch takes no fewer: the last one is filled up, and the filling dropped.
                filled = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
                results.append([part[: len(batch)] for part in self.session.run(names, {self._input.name: filled})])
        except Exception as error:  # ONNX Runtime's own classes derive from Exception alone.
            raise InputError(
                f"{self.path} can't score views of shape {pixel_values.shape}; its input is {self._input.shape}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        values, *types = (np.concatenate(parts) for parts in zip(*results, strict=True))
        return values, types[0] if types else None

    def _log_odds_of_types(self, patch_type_logits: np.ndarray) -> np.ndarray:
        live = np.zeros(patch_type_logits.shape[-1], dtype=bool)
        live[self.config.live_patch_type_ids] = True
        return logsumexp(patch_type_logits[..., live], axis=-1) - logsumexp(patch_type_logits[..., ~live], axis=-1)

    def description(self) -> dict[str, str]:
        """As [`Scorer.description`]."""
        return {
            "model": self.name,
            "runs_on": f"ONNX Runtime {self._runtime}, cpu",
            "weights_sha256": file_sha256(self.path, *self._weights_beside()),
        }

    def _weights_beside(self) -> list[Path]:
        """`model.onnx.data` or `model.onnx_data`, where exporters put the weights of large or all graphs."""
        return sorted(self.path.parent.glob(glob.escape(self.path.name) + "[._]data"))


def _session_of(path: Path):
    """The graph, loaded, and the version of ONNX Runtime."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InputError(f"{path} needs ONNX Runtime: pip install 'patchnet_hf[onnxruntime]'") from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes derive from Exception alone.
        raise InputError(f"{path} can't be loaded as an ONNX graph: {str(error).splitlines()[0]}") from error
    return session, onnxruntime.__version__


def _metadata_of(path: Path, session) -> GraphMetadata | None:
    try:
        return GraphMetadata.parse(session.get_modelmeta().custom_metadata_map)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the metadata of {path} are broken: {error}") from error
