"""YAML files that people write."""

from pathlib import Path

import yaml

from .errors import InputError


def read_yaml_mapping(path: str | Path, kind: str) -> dict:
    """
    The mapping of names to values that a YAML file holds.

    Args:
        path: of the file.
        kind: what the file is called in a message: `"config file"`.

    Raises:
        InputError: the file is missing, is no YAML, or holds something else.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{kind} {path} doesn't exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} can't be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{kind} {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{kind} {path} is no mapping of names to values")
    return values
