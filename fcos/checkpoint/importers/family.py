"""A family of published weights: recognise, read and write its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from fcos.checkpoint.importers.rules import Rule, rename
from fcos.utils.errors import UserError

__all__ = ["HEAD", "Family", "Imported", "Weights"]

Weights = dict[str, Any]  # name -> tensor or numpy array

HEAD = "proposal_generator.fcos_head."


def _as_they_are(weights: Weights) -> Weights:
    return weights


def _no_advice(names: Iterable[str]) -> str:
    return ""


@dataclass(frozen=True)
class Imported:
    """Weights with our names.

    Attributes:
        weights: name -> value. A name that fits no rule is unchanged.
        dropped: names in the file that are not needed to compute anything, such as counters.
        names: our name -> the name in the file.
    """

    weights: Weights
    dropped: tuple[str, ...]
    names: dict[str, str]


@dataclass(frozen=True)
class Family:
    """The layout of one implementation's files.

    Attributes:
        name: as in ``convert --to`` and in ``configs/published/``.
        mark: regular expression for the start of names that only this family has.
        rules: the table of names. The first rule that applies is used, so older spellings come
            last: they are read, but never written.
        kept: regular expression for names that are the same in this family and here.
        dropped: regular expression for names in a file that are not needed here.
        has_scales: whether the head has a scale for each level.
        arrive: changes values, after renaming, if the family computes differently; not in place.
        leave: undoes ``arrive``.
        advice: returns a sentence on how to build a model of this family that takes all of the
            given names, or "".
        note: logged when a file of this family is loaded.
    """

    name: str
    mark: str
    rules: tuple[Rule, ...]
    kept: str = "(?!)"  # none
    dropped: str = "(?!)"
    has_scales: bool = True
    arrive: Callable[[Weights], Weights] = field(default=_as_they_are)
    leave: Callable[[Weights], Weights] = field(default=_as_they_are)
    advice: Callable[[Iterable[str]], str] = field(default=_no_advice)
    note: str = ""

    def is_of(self, names: Iterable[str]) -> bool:
        """Say whether weights with these names are of this family."""
        return any(re.match(self.mark, name) for name in names)

    def to_ours(self, weights: Weights) -> Imported:
        """Convert names and values of this family to ours; values that stay are not copied.

        Raises:
            UserError: two names in the file are the same parameter.
        """
        renamed: Weights = {}
        names: dict[str, str] = {}
        dropped = []
        for name, value in weights.items():
            if re.fullmatch(self.dropped, name):
                dropped.append(name)
                continue
            new = rename(name, self.rules, weights) or name
            if new in renamed:
                raise UserError(f"Two entries of the file are {new}, one of them {name}.")
            renamed[new], names[new] = value, name
        return Imported(self.arrive(renamed), tuple(dropped), names)

    def from_ours(self, weights: Weights) -> Weights:
        """Undo :meth:`to_ours`; add scales of 1 for the levels, or remove them, as in the family.

        Raises:
            UserError: the family has no place for some of the weights.
        """
        weights = _with_scales(weights) if self.has_scales else _without_scales(weights, self.name)
        weights = self.leave(weights)
        renamed: Weights = {}
        homeless = []
        for name, value in weights.items():
            new = rename(name, self.rules, weights, to_ours=False)
            if new is None and re.fullmatch(self.kept, name):
                new = name
            if new is None or new in renamed:
                homeless.append(name)
            else:
                renamed[new] = value
        if homeless:
            raise UserError(
                f"The layout of {self.name} has no place for {len(homeless)} of {len(weights)} "
                f"parameters: {', '.join(homeless[:10])}{', ...' if len(homeless) > 10 else ''}."
            )
        return renamed


def _with_scales(weights: Weights) -> Weights:
    """Add scales of 1 for the levels to a whole detector that has none."""
    if f"{HEAD}bbox_pred.weight" not in weights or f"{HEAD}scales.0.scale" in weights:
        return weights
    levels = [n for n in weights if re.match(r"backbone\.(fpn_output\d|top_block\.p\d)\.weight", n)]
    ones = {f"{HEAD}scales.{level}.scale": torch.ones(1) for level in range(len(levels))}
    return {**weights, **ones}


def _without_scales(weights: Weights, family: str) -> Weights:
    scales = {n: v for n, v in weights.items() if n.startswith(f"{HEAD}scales.")}
    learned = [name for name, v in scales.items() if not bool((torch.as_tensor(v) == 1).all())]
    if learned:
        raise UserError(
            f"The layout of {family} has no factors for the levels, but here they are learned: "
            f"{', '.join(learned)}; only weights trained with MODEL.FCOS.USE_SCALE False fit it."
        )
    return {name: value for name, value in weights.items() if name not in scales}
