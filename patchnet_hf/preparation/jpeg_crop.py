"""Parts of JPEG files without decoding them: the quantisation tables and coefficients stay those of the camera."""

from ..data.decoding import crop_by_turbojpeg, jpeg_orientation, read_jpeg_header, turbojpeg_is_available
from ..data.regions import Region, is_transposed, seen_region, stored_region
from ..errors import InputError

JPEG_START = b"\xff\xd8"
# Where chroma is stored at half resolution, decoders compute a pixel's colour from the pixels next to it. With these
# in the crop, all pixels of the region itself decode as they did before.
_CHROMA_REACH = 2


def check_that_jpegs_can_be_cropped() -> None:
    """
    Raises:
        InputError: libjpeg-turbo isn't installed.
    """
    if not turbojpeg_is_available():
        raise InputError(
            "cropping JPEG files without loss needs libjpeg-turbo: install it with `apt-get install libturbojpeg0` or "
            "`brew install jpeg-turbo`; or keep whole images (--keep-images), or decode and encode again (--reencode)"
        )


def crop_jpeg(data: bytes, region: Region) -> tuple[bytes, Region]:
    """
    The part of a JPEG file around a region, grown outwards to whole blocks.

    Every block of coefficients is one of the original's, under the same quantisation tables. EXIF (so that a turned
    image stays turned as it was), colour profile and comments are kept. A progressive file becomes a baseline one.

    Args:
        data: the file.
        region: in the image as it is seen, within it.

    Returns:
        The new file, and the region that it shows, in the original image as it is seen.

    Raises:
        ValueError: the file isn't one that can be cropped so.
        InputError: libjpeg-turbo isn't installed.
    """
    # A JPEG may have the name of another format, and so be the first that is met.
    check_that_jpegs_can_be_cropped()
    header = read_jpeg_header(data)
    if not header.can_be_cropped:
        raise ValueError(f"the JPEG file can't be cropped without loss: its sampling {header.sampling} is unusual")
    orientation = jpeg_orientation(data, header)
    size = (header.height, header.width) if is_transposed(orientation) else (header.width, header.height)
    wanted = stored_region(region, orientation, *size)
    if len(set(header.sampling)) > 1:
        wanted = wanted.padded(_CHROMA_REACH).clipped(header.width, header.height)
    part = wanted.on_blocks(*header.group_size).clipped(header.width, header.height)
    cropped = crop_by_turbojpeg(data, part, with_metadata=True)
    return cropped, seen_region(part, orientation, *size)
