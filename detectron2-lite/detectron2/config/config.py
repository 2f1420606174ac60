"""``CfgNode``, the config tree; ``configurable``, which builds objects from it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import IO, Any

import yaml
from fvcore.common.config import CfgNode as _FvcoreCfgNode
from yacs.config import CfgNode as _YacsCfgNode

from detectron2._missing import missing, missing_names
from detectron2.config.defaults import DEFAULTS
from detectron2.utils.file_io import PathManager

__all__ = ["CfgNode", "configurable", "get_cfg"]

__getattr__ = missing_names(__name__)

CURRENT_VERSION = 2


class CfgNode(_FvcoreCfgNode):
    """A config: nested keys, each with a default that also fixes its type.

    Reading and writing is by attribute (``cfg.SOLVER.BASE_LR``).  fvcore's node adds ``_BASE_``
    (a YAML file that starts from another one) to yacs's; this one adds that a file is only ever
    data and that its ``VERSION`` is looked at.
    """

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[str]:
        return PathManager.open(filename, "r")

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """The content of a YAML file merged over that of its ``_BASE_`` files.

        Args:
            filename: path of the file; ``_BASE_`` paths in it are relative to its folder.
            allow_unsafe: has no effect here. detectron2 takes it as leave to construct Python
                objects, which can run any code.

        Raises:
            ValueError: the file constructs Python objects, is no mapping, or includes itself.
        """
        try:
            content = super().load_yaml_with_base(filename, allow_unsafe=False)
        except yaml.constructor.ConstructorError as error:
            if "constructor for the tag" not in str(error.problem):
                raise
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise ValueError(
                f"Config file '{filename}', line {line}, was refused and nothing in it was run: a "
                "tag such as !!python/... constructs an object, write the plain value instead"
            ) from None
        except RecursionError:
            raise ValueError(f"Config file '{filename}' includes itself through _BASE_") from None
        except TypeError as error:
            raise ValueError(f"Config file '{filename}' holds no KEY: VALUE mapping") from error
        if not isinstance(content, dict):
            raise ValueError(f"Config file '{filename}' holds no KEY: VALUE mapping")
        return content

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = True) -> None:
        """Put the values of a YAML file over those of this config.

        Args:
            cfg_filename: path of the file.
            allow_unsafe: see ``load_yaml_with_base``; without effect.

        Raises:
            FileNotFoundError: there is no such file.
            KeyError: the file has a key that this config has not.
            ValueError: a value of another type than the default's; a file that cannot be read.
            NotImplementedError: the file is of config version 0 or 1.
        """
        if not PathManager.isfile(cfg_filename):
            raise FileNotFoundError(f"Config file '{cfg_filename}' does not exist!")
        loaded = type(self)(self.load_yaml_with_base(cfg_filename, allow_unsafe))
        version = loaded.get("VERSION", CURRENT_VERSION)
        if version in (0, 1):
            raise missing(f"Upgrading '{cfg_filename}', a config file of VERSION {version},")
        if version != CURRENT_VERSION:
            raise ValueError(
                f"Config file '{cfg_filename}' has VERSION {version}; only {CURRENT_VERSION} "
                "is understood"
            )
        self.merge_from_other_cfg(loaded)


def get_cfg() -> CfgNode:
    """A new config with every key of detectron2 and its default (``defaults.py``)."""
    return CfgNode(DEFAULTS)


def configurable(
    init_func: Callable[..., Any] | None = None,
    *,
    from_config: Callable[..., dict[str, Any]] | None = None,
) -> Callable[..., Any]:
    """Let a class or function with explicit arguments be called with a config too.

    On a class, it decorates ``__init__``, and the class has a classmethod ``from_config``::

        class Head(nn.Module):
            @configurable
            def __init__(self, channels, norm=""): ...

            @classmethod
            def from_config(cls, cfg, input_shape):
                return {"channels": input_shape.channels, "norm": cfg.MODEL.FPN.NORM}

        Head(256)                                # explicit
        Head(cfg, input_shape)                   # through from_config
        Head(cfg, input_shape, norm="GN")        # the same, with one argument replaced

    On a function: ``@configurable(from_config=lambda cfg, ...: {...})``.

    Args:
        init_func: the ``__init__`` that is decorated.
        from_config: a function whose first parameter is called ``cfg``; returns the arguments.

    Raises:
        AssertionError: something else than an ``__init__`` or a function is decorated.
        AttributeError: (when called) the class has no ``from_config``.
        TypeError: (when called) ``from_config`` is no classmethod, or its first parameter is not
            ``cfg``.
    """
    if init_func is not None:
        is_init = inspect.isfunction(init_func) and init_func.__name__ == "__init__"
        assert is_init and from_config is None, (
            "@configurable without arguments belongs on a class's __init__; "
            "on a function write @configurable(from_config=...)"
        )
        return _configurable_init(init_func)
    if from_config is None:
        return configurable
    assert inspect.isfunction(from_config), "from_config must be a function"

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if _has_config(args, kwargs):
                return function(**_arguments(from_config, args, kwargs))
            return function(*args, **kwargs)

        wrapped.from_config = from_config  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _configurable_init(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        if not hasattr(cls, "from_config"):
            raise AttributeError(f"{cls.__name__} is @configurable and needs a from_config")
        if not inspect.ismethod(cls.from_config):
            raise TypeError(f"{cls.__name__}.from_config must be a classmethod")
        if _has_config(args, kwargs):
            init(self, **_arguments(cls.from_config, args, kwargs))
        else:
            init(self, *args, **kwargs)

    return wrapped


def _has_config(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return isinstance(args[0] if args else kwargs.get("cfg"), _YacsCfgNode)


def _arguments(
    from_config: Callable[..., dict[str, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """What ``from_config`` makes of a call; keywords that are not its own replace its results."""
    parameters = list(inspect.signature(from_config).parameters.values())
    if not parameters or parameters[0].name != "cfg":
        name = getattr(from_config, "__qualname__", repr(from_config))
        raise TypeError(f"{name} must take 'cfg' as its first argument")
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return from_config(*args, **kwargs)
    own = {p.name for p in parameters}
    forwarded = {key: value for key, value in kwargs.items() if key in own}
    replaced = {key: value for key, value in kwargs.items() if key not in own}
    return {**from_config(*args, **forwarded), **replaced}
