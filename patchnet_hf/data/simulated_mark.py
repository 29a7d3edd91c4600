"""The mark in the files of simulated captures, by which whatever is trained or measured on them can say so."""

SIMULATED = b"simulated by patchnet_hf, no photograph of anybody"
"""Comment of a JPEG file; it goes with the bytes wherever a dataset takes them, whatever its columns say."""

_BEGINNING = 2048


def is_simulated(file: bytes) -> bool:
    """
    Whether the bytes of an image file carry the mark.

    >>> is_simulated(b"\\xff\\xd8\\xff\\xfe" + SIMULATED), is_simulated(b"\\xff\\xd8\\xff\\xe0 a photograph")
    (True, False)
    """
    return SIMULATED in file[:_BEGINNING]
