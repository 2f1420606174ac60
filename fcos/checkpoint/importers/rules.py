"""Names of parameters in two layouts: a table of rules that is used in both directions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Rule", "rename", "resnet"]

# {i}: a number. {i*3+1}: three times that number, and one. {word}: letters, digits, underscores.
# {rest}: anything, dots as well.
_FIELD = re.compile(r"\{(?P<name>\w+)(?:\*(?P<factor>\d+))?(?P<shift>[+-]\d+)?\}")


@dataclass(frozen=True)
class Rule:
    """One line of a table of names.

    Attributes:
        theirs: the name in another layout, such as ``"layer{s}.{b}.conv{c}.{what}"``. A field of
            one letter is a number, a longer one a word without dots, and ``{rest}`` anything. A
            number may be multiplied and shifted on one side: ``{s+1}``, ``{i*3}``.
        ours: the name in our layout, with the same fields.
        beside: their and our name of another parameter; without it the rule does not apply.
    """

    theirs: str
    ours: str
    beside: tuple[str, str] | None = None

    def translate(self, name: str, names: Collection[str], to_ours: bool = True) -> str | None:
        """Translate a name to the other layout; return ``None`` if the rule does not apply.

        Args:
            name: of a parameter, in their layout or, without ``to_ours``, in ours.
            names: those of all parameters, in the same layout.
            to_ours: the direction.
        """
        source, target = (self.theirs, self.ours) if to_ours else (self.ours, self.theirs)
        fields = _fields(name, source)
        if fields is None:
            return None
        if self.beside and _fill(self.beside[0 if to_ours else 1], fields) not in names:
            return None
        return _fill(target, fields)


def rename(
    name: str, rules: Iterable[Rule], names: Collection[str], to_ours: bool = True
) -> str | None:
    """Translate a name by the first rule that applies; return ``None`` if none does."""
    translated = (rule.translate(name, names, to_ours) for rule in rules)
    return next((new for new in translated if new is not None), None)


def resnet(theirs: str) -> tuple[Rule, ...]:
    """Make the rules for the blocks of a ResNet with torchvision's names (layer1.0.conv1, ...).

    Args:
        theirs: prefix of these names.
    """
    block, ours = theirs + "layer{s}.{b}.", "backbone.bottom_up.res{s+1}.{b}."
    return (
        Rule(block + "conv{c}.weight", ours + "conv{c}.weight"),
        Rule(block + "bn{c}.{what}", ours + "conv{c}.norm.{what}"),
        Rule(block + "downsample.0.weight", ours + "shortcut.weight"),
        Rule(block + "downsample.1.{what}", ours + "shortcut.norm.{what}"),
    )


def _fields(name: str, source: str) -> dict[str, str | int] | None:
    """Return the values of the fields of ``source``, if ``name`` has this form."""
    match = _pattern(source).fullmatch(name)
    if match is None:
        return None
    found: dict[str, str | int] = {}
    for field in _FIELD.finditer(source):
        key, text = field["name"], match[field["name"]]
        if len(key) > 1:
            found[key] = text
            continue
        number, rest = divmod(int(text) - int(field["shift"] or 0), int(field["factor"] or 1))
        if rest or number < 0:
            return None
        found[key] = number
    return found


@lru_cache
def _pattern(source: str) -> re.Pattern[str]:
    parts, end = [], 0
    for field in _FIELD.finditer(source):
        kind = r"\d+" if len(field["name"]) == 1 else r"\w+"
        kind = ".+" if field["name"] == "rest" else kind
        parts += [re.escape(source[end : field.start()]), f"(?P<{field['name']}>{kind})"]
        end = field.end()
    return re.compile("".join(parts) + re.escape(source[end:]))


def _fill(target: str, fields: dict[str, str | int]) -> str:
    def value(field: re.Match[str]) -> str:
        known = fields[field["name"]]
        if isinstance(known, int):
            known = known * int(field["factor"] or 1) + int(field["shift"] or 0)
        return str(known)

    return _FIELD.sub(value, target)
