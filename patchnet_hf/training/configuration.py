"""Arguments of a run from a YAML file, each of which the command line can override."""

import argparse
import dataclasses
import typing
from collections.abc import Mapping, Sequence

from transformers import HfArgumentParser

from ..command_line import CommandParser
from ..errors import InputError, did_you_mean
from ..yaml_files import read_yaml_mapping
from .help import CONFIG_HELP, USAGE


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and examples as they are written."""


class RunParser(HfArgumentParser, CommandParser):
    """Options for the fields of dataclasses, plus `--config FILE.yaml` that fills the same fields.

    Args:
        dataclass_types: the dataclasses whose fields are options.
        **kwargs: as for `argparse.ArgumentParser`.
    """

    def __init__(self, dataclass_types: Sequence[type], **kwargs):
        kwargs.setdefault("usage", USAGE)
        kwargs.setdefault("formatter_class", _HelpFormatter)
        super().__init__(list(dataclass_types), **kwargs)
        self.add_argument("--config", metavar="FILE.yaml", help=CONFIG_HELP)

    def parse_run(self, argv: Sequence[str] | None = None) -> tuple:
        """
        The dataclasses that the command line and its YAML file describe, in the order given at construction.

        Raises:
            InputError: the YAML file is missing, is no mapping, or has a key or value that doesn't fit.
            SystemExit: (code 2) an option doesn't fit.
        """
        try:
            return self._parsed(argv)
        except InputError as error:
            # Every process of a training reads the same command line.
            error.shared = True
            raise

    def _parsed(self, argv: Sequence[str] | None) -> tuple:
        config, _ = self.parse_known_args(argv)
        if config.config is not None:
            self.set_defaults(**self.checked(config.config, read_yaml_mapping(config.config, "config file")))
        return self._described(vars(self.parse_args(argv)))

    def described_by(self, where: str, given: Mapping) -> tuple:
        """
        The dataclasses that a mapping of options describes, as the YAML file with the same content would.

        Args:
            where: how the user knows these options, for messages.
            given: options and their values; left as it is.

        Raises:
            InputError: a key or value doesn't fit.
        """
        defaults = vars(self.parse_args([]))
        return self._described({**defaults, **self.checked(where, given)})

    def _described(self, values: Mapping) -> tuple:
        outputs = []
        for kind in self.dataclass_types:
            names = [field.name for field in dataclasses.fields(kind) if field.init]
            try:
                outputs.append(kind(**{name: values[name] for name in names}))
            except ValueError as error:
                # transformers checks combinations (strategies, steps, precision) and says what is wrong over lines.
                raise InputError(" ".join(str(error).split())) from error
        return tuple(outputs)

    def checked(self, where: str, given: Mapping) -> dict:
        """
        Options of a YAML file, their values as the command line would give them.

        Raises:
            InputError: an unknown key, or a value that doesn't fit.
        """
        values = dict(given)
        # The first action of a name is the option itself; a flag that is true by default has a second, `--no_NAME`.
        actions = {action.dest: action for action in reversed(self._actions)}
        types = {}
        for kind in self.dataclass_types:
            types.update(typing.get_type_hints(kind))
        known = [name for name in actions if name in types]
        for name, value in values.items():
            if name not in known:
                raise InputError(f"{where}: unknown key {name!r}{did_you_mean(str(name), known)}")
            if value is None and actions[name].default is not None and type(None) not in typing.get_args(types[name]):
                raise InputError(f"{where}: {name} has no value; leave the line out for the default")
            values[name] = self._checked(where, name, value, actions[name])
        return values

    def _checked(self, where: str, name: str, value, action):
        """A YAML value as the option's own parser would take it; lists and mappings as they are."""
        if isinstance(value, dict) and action.type not in (str, dict):
            raise InputError(f"{where}: {name} is a mapping; expected one {getattr(action.type, '__name__', 'value')}")
        if value is None or isinstance(value, dict):
            return value
        if action.nargs in ("+", "*"):
            items = value if isinstance(value, list) else [value]
            return [self._converted(where, name, item, action) for item in items]
        if isinstance(value, list):
            if action.type in (int, float) or action.choices:
                raise InputError(
                    f"{where}: {name} is a list; expected one {getattr(action.type, '__name__', 'value')}"
                )
            return value
        return self._converted(where, name, value, action)

    def _converted(self, where: str, name: str, value, action):
        if isinstance(value, bool) and action.type is str:
            # YAML 1.1 reads a bare `no` as false: `eval_strategy: no` means the strategy of that name.
            value = "true" if value else "no"
        if action.type is not None and not isinstance(value, (dict, list)):
            try:
                value = action.type(str(value)) if not isinstance(value, str) else action.type(value)
            except (TypeError, ValueError):
                expected = getattr(action.type, "__name__", "value").replace("string_to_", "")
                raise InputError(f"{where}: {name} is {value!r}; expected {expected}") from None
            except Exception as error:  # argparse.ArgumentTypeError derives from Exception alone
                raise InputError(f"{where}: {name}: {error}") from None
        if action.choices is not None and value not in action.choices:
            raise InputError(f"{where}: {name} is {value!r}; expected one of {', '.join(map(str, action.choices))}")
        return value
