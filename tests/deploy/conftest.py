"""A graph and pictures of many kinds for the consumers of docs/deploy.md, and what processor and model say of them."""

import io
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from scipy.special import expit

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.data.decoding import decode_image
from patchnet_hf.data.simulation import write_demo_dataset

PATCH, GRID, SIDE = 32, 2, 96
BOX = (30, 21, 41, 37)  # its edges are rounded, and it ends inside the picture


@dataclass(frozen=True)
class Score:
    """What a consumer says of a picture."""

    verdict: str
    probability: float
    patches: list[float]

    def assert_close(self, other: "Score"):
        np.testing.assert_allclose(self.probability, other.probability, atol=1e-4)
        np.testing.assert_allclose(self.patches, other.patches, atol=1e-4)
        assert self.verdict == other.verdict


def encoded(image: np.ndarray, kind: str, **options) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, format=kind, **options)
    return data.getvalue()


def swapped_profile() -> bytes:
    """A colour profile that takes red for blue, so that whoever heeds it sees other colours."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tXYZ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tXYZ", b"bXYZ", 1)


def all_kinds(live: bytes, attack: bytes) -> dict[str, bytes]:
    """Two captures as files of several sizes and formats, with all that makes decoders disagree."""
    image = decode_image(live)
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "live.jpg": live,
        "attack.jpg": attack,
        "odd_size.jpg": encoded(image[:77, :61], "JPEG", quality=92),
        "one_patch.png": encoded(image[40 : 40 + PATCH, 30 : 30 + PATCH], "PNG"),
        "smaller_than_a_patch.png": encoded(image[40:57, 30:55], "PNG"),
        "narrower_than_a_patch.png": encoded(image[:, 40:51], "PNG"),
        "one_pixel.png": encoded(image[50:51, 50:51], "PNG"),
        "turned.jpg": encoded(image[:50], "JPEG", quality=92, exif=turned),
        "colour_profile.jpg": encoded(image, "JPEG", quality=92, icc_profile=swapped_profile()),
        "colour_profile.png": encoded(image, "PNG", icc_profile=swapped_profile()),
        "progressive.jpg": encoded(image, "JPEG", quality=92, progressive=True, subsampling=0),
        "grey.jpg": encoded(image[..., 0], "JPEG", quality=92),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
    }


@pytest.fixture(scope="session")
def shipped(tmp_path_factory, as_trained):
    """A folder with `model.onnx` and pictures, and `(pictures, expected)`: their bytes and scores by name."""
    pytest.importorskip("onnxscript", reason="the exporter isn't installed: pip install -e .[onnxruntime]")
    from patchnet_hf.export.exporter import export_graph
    from patchnet_hf.export.options import GraphOptions
    from patchnet_hf.inference.graph_outputs import GraphOutput

    folder = tmp_path_factory.mktemp("shipped")
    write_demo_dataset(folder / "demo", {"val_unseen": 2}, size=SIDE, workers=1)
    live, attack = (path.read_bytes() for path in sorted((folder / "demo").rglob("*.jpg")))
    pictures = all_kinds(live, attack)
    torch.manual_seed(0)
    config = PatchNetConfig(
        backbone="test_convnext",
        patch_types=["phone/live", "phone/print", "phone/replay"],
        live_patch_types=["phone/live"],
        image_size=PATCH,
    )
    model = as_trained(PatchNetForImageClassification(config), PATCH)
    processor = PatchNetImageProcessor(patch_size=PATCH, grid=GRID)

    def log_odds(image: np.ndarray, box=None) -> tuple[float, list[float]]:
        """Of a picture and of its patches, each as if it were all there is."""
        # Said, because a picture of one or three rows could also be one whose channels come first.
        views = processor(image, face_boxes=box, return_tensors="pt", input_data_format="channels_last")[
            "pixel_values"
        ]
        with torch.no_grad():
            (whole,), patches = ((z[:, 1] - z[:, 0]).tolist() for z in (model(views).logits, model(views[0]).logits))
        return whole, patches

    images = {name: (decode_image(data), None) for name, data in pictures.items()}
    images["in a photograph"] = (decode_image(live), BOX)
    # Random weights make small differences; calibrated they are spread as a training's.
    raw = [log_odds(*image)[0] for image in images.values()]
    scale = 2 / np.std(raw)
    config.calibration = {"scale": float(scale), "bias": float(-scale * np.mean(raw))}
    found = {name: log_odds(*image) for name, image in images.items()}
    # Between live and attack, whichever of them this network likes better.
    middle = (found["live.jpg"][0] + found["attack.jpg"][0]) / 2
    config.decision_threshold = float(expit(middle))
    expected = {
        name: Score("live" if whole >= middle else "spoof", expit(whole), expit(patches).tolist())
        for name, (whole, patches) in found.items()
    }
    assert {expected["live.jpg"].verdict, expected["attack.jpg"].verdict} == {"live", "spoof"}
    # Whoever swaps colours, forgets the box or doesn't turn the picture gets another score.
    mistakes = {
        "live.jpg": images["live.jpg"][0][..., ::-1],
        "in a photograph": images["live.jpg"][0],
        "turned.jpg": np.rot90(images["turned.jpg"][0]),
    }
    for name, image in mistakes.items():
        assert abs(expit(log_odds(image.copy())[0]) - expected[name].probability) > 0.01, name

    options = GraphOptions(input="picture", output=GraphOutput("probability"))
    export_graph(model, processor, folder / "model.onnx", options)
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
    return folder, pictures, expected


@pytest.fixture(scope="session")
def code_blocks(project):
    """The examples of docs/deploy.md in a language."""

    def blocks(language: str) -> list[str]:
        return re.findall(rf"```{language}\n(.*?)```", (project / "docs" / "deploy.md").read_text(), re.DOTALL)

    return blocks


@pytest.fixture(scope="session")
def box() -> tuple[int, int, int, int]:
    """Of the face `"in a photograph"`, which is `live.jpg`."""
    return BOX


@pytest.fixture(scope="session", name="Score")
def score_class() -> type[Score]:
    return Score
