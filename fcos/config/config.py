"""The config node: detectron2's, with one clear sentence for each mistake in a file or option."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import yaml

import detectron2.config
from fcos.config.files import find_base, find_config
from fcos.config.keys.key import shown
from fcos.config.sentences import sentence_of
from fcos.utils.errors import UserError
from fcos.utils.reading import CONFIG, TooMuchYaml, parse_yaml, read_bytes

_MOST_FILES = 50  # that a config is made of, by _BASE_
_chain: ContextVar[list[str]] = ContextVar("_chain")  # names of the files read for one config


class _WithoutAliases(yaml.SafeLoader):
    """Reads plain values only, and each only once."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias")
        return super().compose_node(parent, index)


class CfgNode(detectron2.config.CfgNode):
    """detectron2's config node; a config here is data and never runs code.

    Three things differ: YAML that would construct Python objects is always refused, an unknown key
    is answered with the nearest known one, and a whole number is taken where a float belongs.
    """

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = False) -> None:
        """Merge a YAML file and the files that its ``_BASE_`` names into this config.

        Args:
            cfg_filename: path of the file, or the name of one that comes with this package
                (:func:`fcos.config.get_config_file`).
            allow_unsafe: only ``False`` is accepted; the argument exists because detectron2 has it.

        Raises:
            UserError: the file is missing, is no YAML mapping, would construct Python objects, or
                has a key or a type of value that this config does not know.
        """
        if allow_unsafe:
            raise UserError("allow_unsafe=True: a config file must not construct Python objects.")
        path = find_config(cfg_filename)
        token = _chain.set([])
        try:
            super().merge_from_file(path, allow_unsafe=False)
        except UserError as error:
            raise UserError(f"{cfg_filename}: {error}") from None
        except yaml.constructor.ConstructorError as error:
            raise UserError(
                f"{cfg_filename}: refused, because it would construct a Python object "
                f"({error.problem}); a config holds plain values only."
            ) from None
        except TooMuchYaml as error:
            raise UserError(f"{cfg_filename} is not a usable config: {error}.") from None
        except yaml.YAMLError as error:
            raise UserError(f"{cfg_filename} is not valid YAML: {sentence_of(error)}") from None
        except (AssertionError, AttributeError, NotImplementedError, OSError, ValueError) as error:
            raise UserError(
                f"{cfg_filename} is not a usable config: {sentence_of(error)}"
            ) from None
        finally:
            _chain.reset(token)

    def merge_from_text(self, text: str) -> None:
        """Merge YAML that is complete in itself, of an unknown source.

        Args:
            text: a mapping of keys to values, without ``_BASE_`` and without aliases, which a few
                lines can multiply until the memory is full.

        Raises:
            UserError: it is something else, or has a key or a type of value that is unknown here.
        """
        try:
            content = yaml.load(text, _WithoutAliases)
            if not isinstance(content, dict):
                raise UserError("It is no mapping of keys to values.")
            self.merge_from_other_cfg(type(self)(content))
        except UserError:
            raise
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError) as error:
            raise UserError(f"It is not a usable config: {sentence_of(error)}") from None
        except (ValueError, yaml.YAMLError) as error:
            raise UserError(f"It is not valid YAML: {sentence_of(error)}") from None
        except (MemoryError, RecursionError):
            raise UserError("It is nested too deeply.") from None

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> Any:
        """Read a YAML file and those that ``_BASE_`` names, also ones that come with this package.

        Args:
            filename: path of the file.
            allow_unsafe: see :meth:`merge_from_file`.

        Raises:
            ValueError: it cannot be read, or is no mapping of keys to values; or the files that
                ``_BASE_`` names are too many, as they are if one leads back to another.
        """
        path = find_base(filename)
        _check_file(path)
        content = super().load_yaml_with_base(path, allow_unsafe=allow_unsafe)
        version = content.get("VERSION", 2) if isinstance(content, dict) else 2
        if type(version) is not int:  # detectron2 compares it
            raise ValueError(f"VERSION is {shown(version)}: set it to 2, or leave it out")
        return content

    def merge_from_other_cfg(self, cfg_other: detectron2.config.CfgNode) -> None:
        """Merge another config node into this one.

        Raises:
            UserError: ``cfg_other`` has a key or a type of value that this config does not know.
        """
        for key in leaves(cfg_other):
            self._check_known(key)
        cfg_other = cfg_other.clone()
        _make_floats(cfg_other, self)
        self._merge(super().merge_from_other_cfg, cfg_other)

    def merge_from_list(self, cfg_list: list[str]) -> None:
        """Merge ``[KEY, VALUE, KEY, VALUE, ...]`` as given on a command line.

        Below a node that takes new keys, such as DATASETS.CUSTOM, a value is YAML, and replaces
        what was there: ``DATASETS.CUSTOM "{pets: {VOC: pets}}"``.

        Raises:
            UserError: a key has no value, is unknown, or its value is of another type.
        """
        if len(cfg_list) % 2:
            raise UserError(
                "Options are pairs of KEY and VALUE, but the last one, "
                f"{cfg_list[-1]!r}, stands alone: {' '.join(map(str, cfg_list))}"
            )
        for key, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            self._check_known(key)
            if self._takes_new_keys(key):
                self._set_new(key, value)
            else:
                self._merge(self._merge_option, [key, value], key)

    def _merge_option(self, option: list[Any]) -> None:
        key, value = option
        now: Any = self
        for part in key.split("."):
            now = now[part]
        super().merge_from_list([key, _as_type_of(now, self._decode_cfg_value(value), value)])

    def _takes_new_keys(self, key: str) -> bool:
        """Whether a key is, or is below, a node that takes new ones."""
        node: Any = self
        for part in key.split("."):
            node = node[part]
            if isinstance(node, detectron2.config.CfgNode) and node.is_new_allowed():
                return True
        return False

    def _set_new(self, key: str, value: Any) -> None:
        try:
            content = parse_yaml(value) if isinstance(value, str) else value
        except yaml.YAMLError as error:
            raise UserError(f"{key} is not valid YAML: {sentence_of(error)}") from None
        *parents, last = key.split(".")
        node: Any = self
        for part in parents:
            node = node.setdefault(part, CfgNode(new_allowed=True))
        was_node = isinstance(node.get(last), detectron2.config.CfgNode)
        if was_node and not isinstance(content, dict):
            raise UserError(
                f"{key} is {shown(value)}: expected a mapping, such as {{name: value}}."
            )
        node[last] = CfgNode(content, new_allowed=True) if isinstance(content, dict) else content

    def _merge(self, merge: Any, argument: Any, key: str = "") -> None:
        try:
            merge(argument)
        except UserError:
            raise
        except (MemoryError, RecursionError):  # of Python's parser, too
            raise UserError(f"{key or 'A value'} is nested too deeply.") from None
        except (ValueError, AssertionError, AttributeError, KeyError) as error:
            text = sentence_of(error)
            raise UserError(text if key in text else f"{key}: {text}") from None

    def _check_known(self, key: str) -> None:
        node: Any = self
        for part in key.split("."):
            if isinstance(node, detectron2.config.CfgNode) and node.is_new_allowed():
                return
            if not isinstance(node, detectron2.config.CfgNode) or part not in node:
                raise UserError(f"Unknown config key {key}.{_hint(key, list(leaves(self)))}")
            node = node[part]


def _make_floats(given: dict[str, Any], known: dict[str, Any]) -> None:
    """Make floats, in place, of the whole numbers of ``given`` for which ``known`` has floats."""
    for key, value in given.items():
        now = known.get(key)
        if isinstance(value, dict) and isinstance(now, dict):
            _make_floats(value, now)
        else:
            given[key] = _as_type_of(now, value, value)


def _as_type_of(now: Any, value: Any, otherwise: Any) -> Any:
    """Return ``value`` as a float if it is whole and ``now`` is a float, else ``otherwise``."""
    if type(now) is float and type(value) is int:
        with contextlib.suppress(OverflowError):
            return float(value)
    return otherwise


def _check_file(path: str) -> None:
    """Check a file before detectron2 reads it: what it is, and how much it stands for."""
    chain = _chain.get([])
    if path in chain[-1:]:
        raise ValueError(f"_BASE_ of {path} leads back to itself")
    chain.append(path)
    if len(chain) > _MOST_FILES:
        raise ValueError(
            f"_BASE_ leads to more than {_MOST_FILES} files, such as {path}, perhaps in a circle"
        )
    try:
        content = parse_yaml(read_bytes(path, CONFIG, as_text=True).decode("utf-8"), path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason})") from error
    bases = content.get("_BASE_", []) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(
        isinstance(base, str) for base in (bases if isinstance(bases, list) else [bases])
    ):
        what = "no mapping of keys to values" if content is bases else "a _BASE_ that is no path"
        raise ValueError(f"{path} holds {what}")


def leaves(node: detectron2.config.CfgNode, prefix: str = "") -> Iterator[str]:
    """Yield the full names of the keys of a config, such as ``MODEL.FCOS.NORM``."""
    for key, value in node.items():
        if isinstance(value, detectron2.config.CfgNode) and (value or value.is_new_allowed()):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def value_of(node: detectron2.config.CfgNode, key: str) -> Any:
    """Return what a config has under the full name of a key."""
    for part in key.split("."):
        node = node[part]
    return node


def _hint(key: str, known: list[str]) -> str:
    """Name the known key that the user probably meant: first one with the same last part."""
    upper = key.upper()
    same_name = [k for k in known if k.rsplit(".", 1)[-1] == upper.rsplit(".", 1)[-1]]
    near = difflib.get_close_matches(
        upper, same_name or known, n=1, cutoff=0.0 if same_name else 0.6
    )
    return f" Did you mean {near[0]}?" if near else ""
