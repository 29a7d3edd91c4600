"""PatchNet face anti-spoofing (Wang et al., CVPR 2022, arXiv 2203.14325) for the Hugging Face stack.

Importing this package registers the model with transformers' Auto classes: they load it by its type, and what it
saves carries its own code, for those who load it without this package (`trust_remote_code=True`).
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import (
        PatchNetConfig,
        PatchNetForImageClassification,
        PatchNetImageProcessor,
        PatchNetModel,
        PatchNetModelOutput,
        PatchNetOutput,
        PatchNetPreTrainedModel,
    )

__version__ = "0.1.0"

__all__ = [
    "PatchNetConfig",
    "PatchNetForImageClassification",
    "PatchNetImageProcessor",
    "PatchNetModel",
    "PatchNetModelOutput",
    "PatchNetOutput",
    "PatchNetPreTrainedModel",
]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import models

    return getattr(models, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def _is_for_a_script() -> bool:
    """Whether the process is one of this project's scripts, which stand beside the package and parse by it."""
    program = Path(getattr(sys.modules.get("__main__"), "__file__", None) or "")
    folder = program.resolve().parent
    if folder.name != "scripts" or not (folder.parent / __name__ / "__init__.py").is_file() or not program.is_file():
        return False
    return f"from {__name__}.command_line import" in program.read_text(encoding="utf-8", errors="replace")


# A script imports the models once it needs them, which registers them: torch, timm and transformers take seconds to
# import, which --help and the answer to a wrong option don't have. Nobody else's program knows that it would have to.
if not _is_for_a_script():
    from . import models  # noqa: F401
