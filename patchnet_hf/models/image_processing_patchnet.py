"""Image processor of PatchNet: from face captures to patches at native resolution."""

from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.image_utils import (
    ChannelDimension,
    ImageInput,
    infer_channel_dimension_format,
    to_numpy_array,
)
from transformers.utils import TensorType

MODES = ("patches", "resize")
RESAMPLING = ("bilinear", "area")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def face_region(height: int, width: int, face_box=None, face_expand: float = 1.3) -> tuple[int, int, int, int]:
    """
    The part of an image that patches come from: the face box grown about its centre and clipped to the image.

    Args:
        height, width: size of the image in pixels.
        face_box: `(x, y, w, h)` in pixels, or `None` when the image is already a face crop.
        face_expand: factor on the box's width and height.

    Returns:
        `(top, left, bottom, right)` in pixels, bottom and right exclusive; never empty.

    >>> face_region(100, 100, (40, 40, 20, 20), 1.5)
    (35, 35, 65, 65)
    >>> face_region(100, 80)
    (0, 0, 100, 80)
    """
    if face_box is None:
        return 0, 0, height, width
    x, y, w, h = (float(value) for value in face_box)
    center_x, center_y = x + w / 2, y + h / 2
    half_width, half_height = w * face_expand / 2, h * face_expand / 2
    top, left = max(round(center_y - half_height), 0), max(round(center_x - half_width), 0)
    bottom, right = min(round(center_y + half_height), height), min(round(center_x + half_width), width)
    if bottom <= top or right <= left:
        raise ValueError(f"face box {tuple(face_box)} lies outside the image of {width}x{height} pixels")
    return top, left, bottom, right


def crop_face(image: np.ndarray, face_box=None, face_expand: float = 1.3) -> np.ndarray:
    """The view `(h, w, C)` of `image` `(H, W, C)` that [`face_region`] names; no pixels are copied."""
    top, left, bottom, right = face_region(image.shape[0], image.shape[1], face_box, face_expand)
    return image[top:bottom, left:right]


def pad_to_patch(image: np.ndarray, patch_size: int) -> np.ndarray:
    """`image` `(H, W, C)`, where a side is shorter than `patch_size` padded to it evenly by reflection."""
    missing = [max(patch_size - side, 0) for side in image.shape[:2]]
    if not any(missing):
        return image
    return np.pad(image, [(m // 2, m - m // 2) for m in missing] + [(0, 0)], mode="reflect")


def grid_offsets(length: int, patch_size: int, count: int) -> list[int]:
    """
    Start positions of `count` patches spread evenly over `length` pixels, the first and last at the borders.

    >>> grid_offsets(100, 40, 3)
    [0, 30, 60]
    >>> grid_offsets(100, 40, 1)
    [30]
    """
    last = length - patch_size
    if count == 1:
        return [last // 2]
    return [round(index * last / (count - 1)) for index in range(count)]


def grid_corners(height: int, width: int, patch_size: int, grid: int) -> list[tuple[int, int]]:
    """
    `(top, left)` of `grid * grid` patches, row by row, in an image of at least `patch_size` on each side.

    >>> grid_corners(40, 100, 40, 2)
    [(0, 0), (0, 60), (0, 0), (0, 60)]
    """
    rows, columns = grid_offsets(height, patch_size, grid), grid_offsets(width, patch_size, grid)
    return [(top, left) for top in rows for left in columns]


def grid_patches(image: np.ndarray, patch_size: int, grid: int) -> np.ndarray:
    """`(grid * grid, patch_size, patch_size, C)` patches of `image` `(H, W, C)`, row by row, never resized."""
    image = pad_to_patch(image, patch_size)
    corners = grid_corners(image.shape[0], image.shape[1], patch_size, grid)
    return np.stack([image[top : top + patch_size, left : left + patch_size] for top, left in corners])


def area_weights(length: int, other_length: int, size: int) -> torch.Tensor:
    """
    What each pixel of a side contributes to each pixel of the resized side, as OpenCV's `INTER_AREA` weighs them.

    A new pixel is the mean over the stretch of old pixels that it covers. Where a side of the image grows, OpenCV
    takes but two pixels for each new one along both sides: the first of its stretch and the next. Along a growing
    side that is all of the stretch; along a side that shrinks while the other one grows it isn't.

    Args:
        length: pixels along this side.
        other_length: pixels along the image's other side.
        size: pixels along each side of the resized image.

    Returns:
        `(size, length)` float32, each row of sum 1. Exporters can trace it for any lengths.

    >>> area_weights(4, 4, 2)
    tensor([[0.5000, 0.5000, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.5000, 0.5000]])
    >>> area_weights(2, 2, 3)
    tensor([[1.0000, 0.0000],
            [0.5000, 0.5000],
            [0.0000, 1.0000]])
    """
    # In float64, with OpenCV's own order of operations and its step to float32: a boundary of a new pixel that falls
    # on one of an old pixel then counts to the side that it has it on.
    old = torch.arange(length, dtype=torch.float64)
    new = torch.arange(size, dtype=torch.float64).unsqueeze(1)
    pixels = torch.full((), length, dtype=torch.float64)
    others = torch.full((), other_length, dtype=torch.float64)
    # Not `size / pixels`, which torch makes a product with the reciprocal.
    inverse = torch.full((), size, dtype=torch.float64) / pixels
    scale = torch.ones((), dtype=torch.float64) / inverse
    covered = (torch.minimum((new + 1) * scale, old + 1) - torch.maximum(new * scale, old)).clamp(min=0)
    first = torch.minimum((new * scale).floor(), pixels - 1)
    share = (new + 1 - (first + 1) * inverse).clamp(min=0).to(torch.float32)
    share = torch.where(first < pixels - 1, share - share.floor(), torch.zeros_like(share))
    two = (old == first) * (1 - share) + (old == first + 1) * share
    weights = torch.where((pixels >= size) & (others >= size), covered, two.to(torch.float64))
    return (weights / weights.sum(dim=1, keepdim=True)).to(torch.float32)


def area_resized(image: torch.Tensor, size: int) -> torch.Tensor:
    """`image` `(H, W, C)` uint8 as `(size, size, C)` float32, whole numbers from 0 to 255, by [`area_weights`]."""
    height, width, channels = image.shape
    rows, columns = area_weights(height, width, size), area_weights(width, height, size)
    lines = rows @ image.to(torch.float32).reshape(height, width * channels)
    lines = lines.reshape(size, width, channels).permute(1, 0, 2).reshape(width, size * channels)
    resized = (columns @ lines).reshape(size, size, channels).permute(1, 0, 2)
    return resized.round().clamp(0, 255)


def bilinear_resized(image: torch.Tensor, size: int) -> torch.Tensor:
    """`image` `(H, W, C)` uint8 as `(size, size, C)` float32, whole numbers, bilinear with half-pixel centres."""
    pixels = image.permute(2, 0, 1).unsqueeze(0).to(torch.float32)
    resized = F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False)
    return resized.round().clamp(0, 255)[0].permute(1, 2, 0)


def resize_image(image: np.ndarray, size: int, resampling: str = "bilinear") -> np.ndarray:
    """
    `image` `(H, W, 3)` uint8 resized to `(size, size, 3)` uint8.

    Args:
        resampling: `"bilinear"`, with half-pixel centres and without smoothing, or `"area"`, as [`area_weights`] has
            it; both equal OpenCV's of that name up to rounding.
    """
    resized = area_resized if resampling == "area" else bilinear_resized
    return resized(torch.from_numpy(np.ascontiguousarray(image)), size).to(torch.uint8).numpy()


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def row_constants(
    mean: tuple[float, ...], std: tuple[float, ...], rescale_factor: float, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    What is taken off a row of pixels, and what it is divided by, each `(width * 3,)` float32.

    Kept, because to copy them to a GPU in each step of a training would wait for it.
    """
    rows = (torch.tensor(values) / rescale_factor for values in (mean, std))
    mean, std = (values.repeat(width).to(device) for values in rows)
    return mean, std


def list_of_images(images: ImageInput) -> list:
    """One image, a list of them or a batched array `(B, ...)` as a list of images; a 2-D array is a grey image."""
    if isinstance(images, (list, tuple)):
        return list(images)
    return list(images) if getattr(images, "ndim", 3) == 4 else [images]


def as_rgb_uint8(image, input_data_format: str | ChannelDimension | None = None) -> np.ndarray:
    """A PIL image, array or tensor as `(H, W, 3)` uint8.

    Raises:
        ValueError: the array isn't uint8, or has neither one nor three channels. Patches carry the sensor's own
            values, so values that were already rescaled are refused instead of guessed at.
    """
    if isinstance(image, Image.Image):
        # Upright, as training decodes files; face boxes are in upright pixels.
        image = ImageOps.exif_transpose(image)
        if not image.mode.startswith("I;16"):
            return np.asarray(image.convert("RGB"))
        # Pillow would clip 16-bit grey at 255; its upper byte is the picture.
        image = (np.asarray(image) >> 8).astype(np.uint8)
    array = to_numpy_array(image)
    if array.dtype != np.uint8:
        raise ValueError(f"an image has dtype {array.dtype}; expected uint8 values from 0 to 255")
    if array.ndim == 2:
        array = array[..., None]
        input_data_format = ChannelDimension.LAST
    layout = input_data_format or infer_channel_dimension_format(array)
    if ChannelDimension(layout) == ChannelDimension.FIRST:
        array = array.transpose(1, 2, 0)
    if array.shape[-1] == 1:
        array = array.repeat(3, axis=-1)
    if array.shape[-1] != 3:
        raise ValueError(f"an image has shape {array.shape}; expected three channels (RGB)")
    return array


class PatchNetImageProcessor(BaseImageProcessor):
    r"""
    Prepares face captures for PatchNet.

    Args:
        mode (`str`, *optional*, defaults to `"patches"`):
            `"patches"`: a uniform `grid x grid` of patches at native resolution, as the paper does; an image smaller
            than a patch is padded by reflection, never stretched. `"resize"`: the whole face resized to
            `resize_size` and its central `patch_size` square, as imported checkpoints expect.
        patch_size (`int`, *optional*, defaults to 160):
            Side of a patch in pixels.
        grid (`int`, *optional*, defaults to 3):
            Patches along each side of the face, in mode "patches".
        resize_size (`int`, *optional*, defaults to 232):
            Side that the face is resized to, in mode "resize".
        resampling (`str`, *optional*, defaults to `"bilinear"`):
            How the face is resized, in mode "resize": `"bilinear"`, or `"area"` as OpenCV's `INTER_AREA` does, which
            imported checkpoints were trained with.
        face_expand (`float`, *optional*, defaults to 1.3):
            Factor on the sides of a face box, where boxes are given.
        rescale_factor (`float`, *optional*, defaults to 1/255):
            Multiplies the uint8 values before normalisation.
        image_mean, image_std (`list[float]`, *optional*, default to ImageNet's):
            Per RGB channel, on rescaled values.

    Raises:
        ValueError: an option is outside its range.
    """

    model_input_names = ["pixel_values"]

    def __init__(
        self,
        mode: str = "patches",
        patch_size: int = 160,
        grid: int = 3,
        resize_size: int = 232,
        face_expand: float = 1.3,
        rescale_factor: float = 1 / 255,
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        resampling: str = "bilinear",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
        if patch_size < 1 or grid < 1:
            raise ValueError(f"patch_size is {patch_size} and grid {grid}; expected at least 1")
        if mode == "resize" and resize_size < patch_size:
            raise ValueError(f"resize_size is {resize_size}, smaller than patch_size {patch_size}")
        if resampling not in RESAMPLING:
            raise ValueError(f"resampling is {resampling!r}; expected one of {', '.join(RESAMPLING)}")
        for name, values in (("image_mean", image_mean), ("image_std", image_std)):
            if values is not None and len(values) != 3:
                raise ValueError(f"{name} is {values}; expected three values, for red, green and blue")
        if face_expand <= 0:
            raise ValueError(f"face_expand is {face_expand}; expected a positive factor")
        self.mode = mode
        self.patch_size = patch_size
        self.grid = grid
        self.resize_size = resize_size
        self.resampling = resampling
        self.face_expand = face_expand
        self.rescale_factor = rescale_factor
        self.image_mean = list(IMAGENET_MEAN if image_mean is None else image_mean)
        self.image_std = list(IMAGENET_STD if image_std is None else image_std)

    def views(self, image: np.ndarray, face_box=None) -> np.ndarray:
        """
        The patches that a decision is averaged over.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            face_box: `(x, y, w, h)` in pixels of `image`, or `None` for a face crop.

        Returns:
            `(V, patch_size, patch_size, 3)` uint8; V is `grid * grid` in mode "patches" and 1 in mode "resize".
        """
        face = crop_face(image, face_box, self.face_expand)
        if self.mode == "patches":
            return grid_patches(face, self.patch_size, self.grid)
        return grid_patches(resize_image(face, self.resize_size, self.resampling), self.patch_size, 1)

    def normalize_views(self, views: np.ndarray | torch.Tensor) -> torch.Tensor:
        """
        Rescaled and normalised patches, channels first.

        Args:
            views: `(..., H, W, 3)` uint8.

        Returns:
            `(..., 3, H, W)` float32. The memory stays channels-last, which the convolutions of CPUs and tensor cores
            take without a copy.
        """
        views = torch.as_tensor(views)
        constants = (tuple(self.image_mean), tuple(self.image_std), self.rescale_factor)
        mean, std = row_constants(*constants, views.shape[-2], views.device)
        # In place and over whole rows: a pass over three values at a time takes five times as long.
        rows = views.flatten(-2).to(torch.float32, copy=True).sub_(mean).div_(std)
        return rows.reshape(views.shape).movedim(-1, -3)

    def preprocess(
        self,
        images: ImageInput,
        face_boxes=None,
        return_tensors: str | TensorType | None = None,
        input_data_format: str | ChannelDimension | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            images: one or several PIL images, uint8 arrays or uint8 tensors.
            face_boxes: for each image `(x, y, w, h)` in its pixels or `None`; one box alone for one image.
            return_tensors: `"pt"`, `"np"` or `None` (a list of arrays).
            input_data_format: channel order of arrays where it can't be inferred.

        Returns:
            `pixel_values`: `(B, V, 3, patch_size, patch_size)` float32.

        Raises:
            ValueError: the numbers of images and boxes differ, an image isn't uint8, or a box misses its image.
        """
        images = [as_rgb_uint8(image, input_data_format) for image in list_of_images(images)]
        if face_boxes is None:
            face_boxes = [None] * len(images)
        elif len(images) == 1 and np.ndim(face_boxes) == 1 and len(face_boxes) == 4:
            face_boxes = [face_boxes]
        if len(face_boxes) != len(images):
            raise ValueError(f"{len(images)} images but {len(face_boxes)} face boxes")
        views = np.stack([self.views(image, box) for image, box in zip(images, face_boxes, strict=True)])
        pixel_values = self.normalize_views(views)
        if return_tensors is None:
            return BatchFeature({"pixel_values": list(pixel_values.numpy())})
        if TensorType(return_tensors) != TensorType.PYTORCH:
            pixel_values = pixel_values.numpy()
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)


__all__ = ["PatchNetImageProcessor"]
