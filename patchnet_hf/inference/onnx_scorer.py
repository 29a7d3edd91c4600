"""Exported graphs as scorers."""

import glob
from collections.abc import Iterator, Sequence
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
        threads: that it runs on; `None`: one for each core.

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
        threads: int | None = None,
    ):
        self.path = Path(path)
        self.session, self._runtime = _session_of(self.path, threads)
        metadata = _metadata_of(self.path, self.session)
        if metadata is not None:
            config, processor = metadata.config, metadata.processor
        elif config is None or processor is None:
            raise InputError(
                f"{path} wasn't made by scripts/export_onnx.py, and has no config.json and preprocessor_config.json "
                "beside it to say what it is"
            )
        super().__init__(name, config, processor)
        self.metadata = metadata
        self.takes_pictures = metadata is not None and metadata.input == "picture"
        self.output = GraphOutput() if metadata is None else metadata.output
        self._of_uint8 = metadata is not None and metadata.input != "float"
        self._input = self._checked_input()
        self._outputs = [output.name for output in self.session.get_outputs()]
        self._of_capture = self.output.name if self.output.name in self._outputs else self._outputs[0]
        self._batch, self._views = None, None
        if self.takes_pictures:
            self.prepare = partial(crop_face, face_expand=processor.face_expand)
            return
        batch, views = self._input.shape[0], self._input.shape[1] if len(self._input.shape) == 5 else 1
        # `None` for any number.
        self._batch = batch if isinstance(batch, int) else None
        self._views = views if isinstance(views, int) else None

    def _checked_input(self):
        inputs = self.session.get_inputs()
        dimensions = (3,) if self.takes_pictures else (4, 5)
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
        if not len(captures):
            count = self.processor.grid**2 if self.processor.mode == "patches" else 1
            return ViewScores(np.empty(0), np.empty((0, count)), None)
        if self.takes_pictures:
            of_captures, of_patches = self._run([self._of_capture, self.output.patch_name], captures)
            values, of_patches = np.concatenate(of_captures), np.stack(of_patches)
            return ViewScores(self.output.log_odds(values), self.output.log_odds(of_patches), None)
        if self._views is not None and self._views > 1:
            return self._score_averaging(captures)
        shape = len(captures), len(captures[0])
        of_patches = self.output.log_odds(np.concatenate(self._run([self._of_capture], captures)[0]))
        of_patches = of_patches[: shape[0] * shape[1]].reshape(shape)
        if self._views is None and self.output.kind != "logits":
            # Of rounded or cut-off scores of patches the average isn't quite the graph's own.
            return ViewScores(self._score_averaging(captures).log_odds, of_patches, None)
        calibration = calibration_of(self)
        averaged = calibration.calibrate(mean_log_odds(calibration.uncalibrate(of_patches)))
        return ViewScores(averaged, of_patches, None)

    def _score_averaging(self, captures: Sequence[np.ndarray]) -> ViewScores:
        """Scores of captures whose patches the graph averages itself."""
        types = ["patch_type_logits"] if "patch_type_logits" in self._outputs else []
        results = self._run([self._of_capture, *types], captures, whole=True)
        values, *types = (np.concatenate(parts)[: len(captures)] for parts in results)
        of_patches = np.full((len(captures), len(captures[0])), np.nan)
        if types:
            of_patches = calibration_of(self).calibrate(self._log_odds_of_types(types[0].astype(np.float64)))
        return ViewScores(self.output.log_odds(values), of_patches, None)

    def feeds(self, captures: Sequence[np.ndarray], whole: bool | None = None) -> Iterator[dict[str, np.ndarray]]:
        """
        What the graph is given for captures, run by run.

        A graph for a fixed batch takes no fewer: the last one is filled up with its last entry.

        Args:
            captures: as [`Scorer.prepare`] gives them.
            whole: the patches of a capture go in together; `None`: where the graph is for a fixed number of them.
        """
        if self.takes_pictures:
            yield from ({self._input.name: np.ascontiguousarray(face)} for face in captures)
            return
        views = np.asarray(captures)
        if whole is None:
            whole = self._views is not None and self._views > 1
        if not whole:
            views = views.reshape(-1, *views.shape[2:])
            views = views[:, None] if len(self._input.shape) == 5 else views
        size = self._batch or len(views)
        for start in range(0, len(views), size):
            batch = views[start : start + size]
            filled = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
            pixel_values = filled if self._of_uint8 else self.processor.normalize_views(filled).numpy()
            yield {self._input.name: np.ascontiguousarray(pixel_values)}

    def _run(
        self, names: list[str], captures: Sequence[np.ndarray], whole: bool | None = None
    ) -> list[list[np.ndarray]]:
        """The values of these outputs, from each run."""
        runs = []
        for feed in self.feeds(captures, whole):
            try:
                runs.append(self.session.run(names, feed))
            except Exception as error:  # ONNX Runtime's own classes derive from Exception alone.
                what = "a picture" if self.takes_pictures else "views"
                raise InputError(
                    f"{self.path} can't score {what} of shape {feed[self._input.name].shape}; its input is "
                    f"{self._input.shape}: {str(error).splitlines()[0]}"
                ) from error
        return [list(parts) for parts in zip(*runs, strict=True)]

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

    def interface(self) -> dict[str, dict[str, dict]]:
        """Names, types and shapes of `inputs` and `outputs`; a dimension of any size by its name."""
        return {
            kind: {
                node.name: {"type": node.type.removeprefix("tensor(").rstrip(")"), "shape": node.shape}
                for node in nodes
            }
            for kind, nodes in (("inputs", self.session.get_inputs()), ("outputs", self.session.get_outputs()))
        }

    def _weights_beside(self) -> list[Path]:
        """`model.onnx.data` or `model.onnx_data`, where exporters put the weights of large or all graphs."""
        return sorted(self.path.parent.glob(glob.escape(self.path.name) + "[._]data"))


def _session_of(path: Path, threads: int | None):
    """The graph, loaded, and the version of ONNX Runtime."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InputError(f"{path} needs ONNX Runtime: pip install 'patchnet_hf[onnxruntime]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Threads that wait for more work by spinning gain nothing at our sizes, and take the cores of whatever runs next:
    # on two cores PyTorch took twice its time, and more, in turn with a graph.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes derive from Exception alone.
        raise InputError(f"{path} can't be loaded as an ONNX graph: {str(error).splitlines()[0]}") from error
    return session, onnxruntime.__version__


def _metadata_of(path: Path, session) -> GraphMetadata | None:
    try:
        return GraphMetadata.parse(session.get_modelmeta().custom_metadata_map)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the metadata of {path} are broken: {error}") from error
