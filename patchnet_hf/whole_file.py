"""Files that are whole or as they were."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """
    A path beside `path` to write to; what is there becomes `path` when the block ends, and is gone if that fails.

    Raises:
        OSError: it can't be put in place.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> with whole_file(file) as unfinished:
    ...     _ = unfinished.write_text("1 2 3")
    >>> file.read_text(), [entry.name for entry in file.parent.iterdir()]
    ('1 2 3', ['numbers.txt'])
    """
    unfinished = path.with_name(path.name + ".part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
