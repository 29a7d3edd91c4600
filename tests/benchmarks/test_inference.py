"""Every way to run a model gives its answers, or isn't timed and the reason is told."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import logit, softmax
from torch import nn

from patchnet_hf import PatchNetImageProcessor
from patchnet_hf.benchmarks.inference import measure_inference
from patchnet_hf.benchmarks.inference_settings import InferenceSettings
from patchnet_hf.benchmarks.pictures import noise_pictures
from patchnet_hf.benchmarks.subject import Subject
from patchnet_hf.benchmarks.variants import Batch, Unavailable, Variant, VariantMaker, log_odds_of
from patchnet_hf.errors import InputError
from patchnet_hf.export import reference

NO_GPU = not torch.cuda.is_available()


def quick(*variants, **given) -> InferenceSettings:
    return InferenceSettings(variants=variants, **{"threads": 1, "repeats": 2, "warm_up": 0, **given})


def log_odds_by_hand(subject: Subject, pictures: list[np.ndarray]) -> np.ndarray:
    """Live log-odds `(N,)` from embeddings: cosines, probabilities, their mean over patches, and the calibration."""
    config, weight = subject.model.config, subject.model.classifier.weight.detach().double().numpy()
    directions = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    found = []
    for picture in pictures:
        patches = subject.processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"][0]
        with torch.no_grad():
            embeddings = np.stack([subject.model.patchnet(patch[None]).embeddings[0].numpy() for patch in patches])
        probabilities = softmax(config.scale * embeddings.astype(np.float64) @ directions.T, axis=1)
        live = probabilities[:, config.live_patch_type_ids].sum(axis=1).mean()
        found.append(config.calibration["scale"] * logit(live) + config.calibration["bias"])
    return np.array(found)


@pytest.fixture(scope="module")
def expected(subject):
    return log_odds_by_hand(subject, noise_pictures(6))


@pytest.fixture(scope="module")
def maker(subject, tmp_path_factory) -> VariantMaker:
    return VariantMaker(subject, threads=1, folder=tmp_path_factory.mktemp("graphs"))


def log_odds(variant: Variant, subject: Subject, captures: int) -> np.ndarray:
    pictures = noise_pictures(6)
    batches = [Batch.of(pictures[start : start + captures], subject) for start in range(0, 6, captures)]
    return np.concatenate([variant.log_odds(variant.run(batch)) for batch in batches])


@pytest.mark.parametrize("captures", [1, 3])
@pytest.mark.parametrize(
    ("name", "tolerance"), [("eager", 1e-4), ("bf16", 0.1), ("onnx", 1e-4), ("int8", 0.2), ("pipeline", 1e-4)]
)
def test_variants_answer_as_a_computation_by_hand(maker, subject, expected, name, tolerance, captures):
    if name in ("onnx", "int8"):
        pytest.importorskip("onnxruntime")
    given = log_odds(getattr(maker, name)(), subject, captures)
    apart = np.abs(given - expected).max()
    # Of what the captures differ by: an answer that is the same for all of them won't do.
    assert apart < tolerance * np.ptp(expected)
    # It is computed in the precision that it says, not in float32.
    assert name not in ("bf16", "int8") or apart > 1e-4 * np.ptp(expected)


class Smallest(nn.Module):
    """Of few layers, so that compiling takes seconds."""

    def __init__(self, features: int):
        super().__init__()
        self.stem = nn.Conv2d(3, features, kernel_size=8, stride=8)

    def forward(self, pixel_values):
        return self.stem(pixel_values).relu().mean(dim=(2, 3))


@pytest.mark.slow
def test_a_compiled_model_answers_as_a_computation_by_hand(subject, tmp_path):
    subject = replace(subject, model=deepcopy(subject.model))
    subject.model.patchnet.backbone = Smallest(subject.model.patchnet.backbone.num_features)
    compiled = VariantMaker(subject, 1, tmp_path).compile()
    expected = log_odds_by_hand(subject, noise_pictures(6))
    try:
        given = log_odds(compiled, subject, captures=3)
    except Unavailable as error:
        pytest.skip(str(error))
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-4)


def test_all_that_agree_are_timed_and_each_shape_by_itself(subject):
    threads = torch.get_num_threads()
    settings = quick("bf16", "pipeline", captures=(1, 3), patches=(1, 4), repeats=3)
    found = measure_inference(subject, settings).comparisons
    assert [(one.captures, one.patches) for one in found] == [(1, 1), (3, 1), (1, 4), (3, 4)]
    for comparison in found:
        assert [row.variant for row in comparison.rows] == ["eager", "bf16", "pipeline"]
        assert all(row.reason is None and len(row.timing.seconds) == 3 for row in comparison.rows)
        assert len(comparison.processor.seconds) == 3
    assert torch.get_num_threads() == threads


def test_a_variant_that_answers_otherwise_is_told_of_and_not_timed(subject, monkeypatch):
    runs = []

    def turned(maker):
        eager = maker.eager()

        def run(batch):
            runs.append(len(batch.pictures))
            return eager.run(batch).flip(-1)

        return Variant(run, log_odds_of)

    monkeypatch.setattr(VariantMaker, "bf16", turned)
    ((eager, row),) = (one.rows for one in measure_inference(subject, quick("bf16", captures=(4,))).comparisons)
    assert eager.timing is not None
    assert row.timing is None
    assert row.reason.startswith("its answers are wrong: log-odds differ from PyTorch's by up to")
    # Answers that are turned around are off by twice themselves.
    by_hand = 2 * np.abs(log_odds_by_hand(subject, noise_pictures(8))).max()
    assert row.difference == pytest.approx(by_hand, abs=1e-3)
    assert runs == [4, 4]  # the eight pictures of the check, and no more


def test_an_answer_that_is_no_number_fits_into_json(subject, monkeypatch):
    def broken(maker):
        return Variant(lambda batch: np.full((len(batch.pictures), 2), np.nan), log_odds_of)

    monkeypatch.setattr(VariantMaker, "bf16", broken)
    found = measure_inference(subject, quick("bf16"))
    row = found.comparisons[0].rows[1]
    assert (row.timing, row.difference) == (None, None)
    assert "aren't numbers" in row.reason and f"not timed, {row.reason}" in found.text()


def test_graphs_are_left_out_where_a_package_is_missing(subject, monkeypatch):
    monkeypatch.setattr(reference, "NEEDED", ("onnx_that_nobody_has",))
    rows = measure_inference(subject, quick("onnx", "int8")).comparisons[0].rows
    assert [row.timing is None for row in rows] == [False, True, True]
    assert {row.reason for row in rows[1:]} == {
        "exporting needs onnx_that_nobody_has: pip install 'patchnet_hf[onnxruntime]'"
    }


def test_graphs_are_left_out_on_a_gpu_that_onnxruntime_cant_use(subject, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("the ONNX Runtime that is installed can use a GPU")
    maker = VariantMaker(subject, threads=1, folder=tmp_path)
    maker.device = "cuda"
    for make in (maker.onnx, maker.int8):
        with pytest.raises(Unavailable, match="computes on the processor alone"):
            make()


def test_a_model_that_cant_be_compiled_is_left_out(subject, monkeypatch):
    import torch._inductor.config as inductor

    with inductor.patch({"cpp.cxx": ("compiler_that_nobody_has",)}):
        row = measure_inference(subject, quick("compile")).comparisons[0].rows[1]
    assert row.timing is None
    assert row.reason.startswith("it can't be compiled: ") and "\n" not in row.reason


def test_patches_that_the_model_cant_take_are_an_error():
    subject = Subject.random("test_vit", {"img_size": 32}, patch_size=32).resized(40)
    with pytest.raises(InputError, match=r"test_vit can't take patches of 40 x 40: "):
        measure_inference(subject, quick())


def test_a_face_that_is_resized_has_one_patch(subject):
    processor = PatchNetImageProcessor(mode="resize", patch_size=32, resize_size=40)
    resized = Subject(subject.model, processor, trained=True)
    assert measure_inference(resized, quick()).comparisons[0].patches == 1
    with pytest.raises(InputError, match="patches can't be chosen"):
        measure_inference(resized, quick(patches=(9,)))


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_no_gpu_is_an_error(subject):
    with pytest.raises(InputError, match="there is no CUDA device"):
        measure_inference(subject, quick(device="cuda"))


@pytest.mark.skipif(NO_GPU, reason="there is no GPU")
def test_a_gpu_answers_as_the_processor_and_is_waited_for(subject, expected, tmp_path):
    maker = VariantMaker(subject, 1, tmp_path, "cuda")
    batch = Batch.of(noise_pictures(6), subject, "cuda")
    for name, tolerance in (("eager", 0.02), ("bf16", 0.1), ("pipeline", 0.02)):
        variant = getattr(maker, name)()
        given = variant.run(batch)
        assert torch.cuda.current_stream().query()  # all that was asked of the GPU is done
        np.testing.assert_allclose(variant.log_odds(given), expected, rtol=0, atol=tolerance)
    assert maker.model.device.type == "cuda" and subject.model.device.type == "cpu"
    found = measure_inference(subject, quick("bf16", "onnx", "pipeline", device="cuda"))
    assert found.machine.gpu == torch.cuda.get_device_name()
    assert all(row.timing is not None for row in found.comparisons[0].rows if row.variant != "onnx")
