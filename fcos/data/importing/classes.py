"""Leaving classes out, renaming and merging them."""

from __future__ import annotations

import difflib
import reprlib
from collections import Counter
from collections.abc import Sequence

from fcos.data.importing.labels import Labels
from fcos.utils.errors import UserError
from fcos.utils.values import LONGEST_NAME, is_name

__all__ = ["choose_classes", "parse_renames"]


def parse_renames(words: Sequence[str]) -> dict[str, str]:
    """Read OLD=NEW, ...

    Raises:
        UserError: a word is not of this form, or gives a class two new names.
    """
    renames: dict[str, str] = {}
    for word in words:
        old, sign, new = word.partition("=")
        if not (old and sign and new):
            raise UserError(f"--rename {word!r}: expected OLD=NEW.")
        if renames.get(old, new) != new:
            raise UserError(f"--rename gives {old!r} two names: {renames[old]!r} and {new!r}.")
        renames[old] = new
    return renames


def choose_classes(labels: Labels, drop: Sequence[str], renames: dict[str, str]) -> None:
    """Leave out and rename classes of ``labels``, in place.

    Afterwards its ``class_names`` are complete: in the order of the source, or else of the
    alphabet. Images stay, also those that are left without objects.

    Args:
        labels: the labels.
        drop: names of classes whose objects are left out.
        renames: old -> new name; several classes may get one.

    Raises:
        UserError: no class has such a name, or no class is left.
    """
    used = {labelled.name for image in labels.images for labelled in image.objects}
    names = [*labels.class_names, *sorted(used - set(labels.class_names))]
    for flag, wanted in (("--drop", drop), ("--rename", renames)):
        for name in wanted:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise UserError(
                    f"{flag}: there is no class {name!r}, only {', '.join(names)}.{hint}"
                )
    both = sorted(set(drop) & set(renames))
    if both:
        raise UserError(f"{both[0]!r} cannot be both dropped and renamed.")
    for image in labels.images:
        image.objects = [labelled for labelled in image.objects if labelled.name not in drop]
        for labelled in image.objects:
            labelled.name = renames.get(labelled.name, labelled.name)
    kept = [renames.get(name, name) for name in names if name not in drop]
    labels.class_names = list(dict.fromkeys(kept))
    if not labels.class_names:
        raise UserError("--drop leaves no class." if drop else "No object has a class.")
    for name in labels.class_names:
        if not is_name(name):
            raise UserError(
                f"A class is called {reprlib.repr(name)}: expected a name of at most "
                f"{LONGEST_NAME} characters that can be shown (--rename OLD=NEW)."
            )
    _note_unused(labels)


def _note_unused(labels: Labels) -> None:
    counts = Counter(labelled.name for image in labels.images for labelled in image.objects)
    unused = [name for name in labels.class_names if not counts[name]]
    if unused:
        labels.notes.append(
            f"Classes without an object (--drop leaves them out): {', '.join(unused)}."
        )
