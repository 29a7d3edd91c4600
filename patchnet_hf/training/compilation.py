"""What compiling a network needs of the machine."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import SubprocessError

import torch

from ..errors import InputError, first_line


def check_compiler(device: torch.device | str, backend: str | None = None) -> None:
    """
    Compiles one operation, so that a machine that can't is found before anything is trained.

    Args:
        device: that a network is to be compiled for.
        backend: of `torch.compile`; by default the one of its own choice.

    Raises:
        InputError: there is no compiler, or it doesn't work.
    """
    one = torch.zeros(1, device=device)
    try:
        with quiet_compiler():
            torch.compile(torch.sin, dynamic=False, backend=backend or "inductor")(one)
    except torch.OutOfMemoryError:
        raise
    # Without a compiler of C++ or of GPU code, each part that misses it says so in its own way.
    except (OSError, RuntimeError, SubprocessError) as error:
        raise InputError(f"this machine can't compile the network: {first_line(error)}") from error


@contextmanager
def quiet_compiler() -> Iterator[None]:
    """Without the compiler's word that there is no GPU."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
