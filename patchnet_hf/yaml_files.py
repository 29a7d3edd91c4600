"""YAML files that people write."""

import re
from pathlib import Path

import yaml

from .errors import InputError


class _Loader(yaml.SafeLoader):
    """
    YAML as people mean it: `010` and `1_1_01_1` are text, which YAML 1.1 reads as the numbers 8 and 11011, and a key
    that is written twice is an error.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:int"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} is in line {lines[key.value]} and again in line {line}"
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))


def read_yaml_mapping(path: str | Path, kind: str) -> dict:
    """
    The mapping of names to values that a YAML file holds.

    Args:
        path: of the file.
        kind: what the file is called in a message: `"config file"`.

    Raises:
        InputError: the file is missing, is no YAML, has a key twice, or holds something else.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError(f"{kind} {path} doesn't exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} can't be read: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2024-13-45 is a ValueError
        raise InputError(f"{kind} {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{kind} {path} is no mapping of names to values")
    return values
