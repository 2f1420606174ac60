"""What each kind of error costs, by the rules of TIDE (Bolya et al., arXiv:2008.08115)."""

from __future__ import annotations

import dataclasses

from fcos.evaluation.diagnosis.subject import IOU, Subject

__all__ = ["KINDS", "ErrorCost", "ErrorCosts", "error_costs"]

_BACKGROUND = 0.1  # up to this IoU a detection lies on no object

# Kind -> its name in hotcoco, and what it is. The first that fits a wrong detection is its kind.
KINDS = {
    "localisation": ("Loc", "lies on an object of its class, with an IoU of 0.1 to 0.5"),
    "classification": ("Cls", "lies on an object of another class, with an IoU from 0.5 on"),
    "duplicate": ("Dupe", "lies on an object that a detection with a higher score has found"),
    "background": ("Bkg", "lies on nothing: its IoU with every object is at most 0.1"),
    "both": ("Both", "lies on an object of another class, with an IoU of 0.1 to 0.5"),
    "missed": ("Miss", "an object that is not found, nor the target of one of the first two kinds"),
}


@dataclasses.dataclass(frozen=True)
class ErrorCost:
    """A kind of error.

    Attributes:
        kind: of KINDS.
        number: how many there are.
        cost: what AP50 would gain without them, in percent of AP.
    """

    kind: str
    number: int
    cost: float


@dataclasses.dataclass(frozen=True)
class ErrorCosts:
    """The errors of a run.

    Attributes:
        ap50: AP at IoU 0.50, in percent.
        costs: of each kind, in the order of KINDS.
        wrong: what AP50 would gain without any wrong detection.
        missed: what it would gain if every object that is not found were none.
    """

    ap50: float
    costs: list[ErrorCost]
    wrong: float
    missed: float

    @property
    def worst(self) -> ErrorCost:
        """The kind that costs most."""
        return max(self.costs, key=lambda cost: cost.cost)


def error_costs(subject: Subject) -> ErrorCosts:
    """Mend one kind of error at a time and see what AP gains.

    A detection of the wrong class or place becomes a right one, if no other detection finds or
    would find that object; any other wrong detection is taken away; a missed object is no longer
    counted. So the costs do not add up.
    """
    found = subject.evaluated().tide_errors(IOU, _BACKGROUND)
    gains, numbers = found["delta_ap"], found["counts"]
    return ErrorCosts(
        ap50=100 * found["ap_base"],
        costs=[
            ErrorCost(kind, int(numbers[name]), 100 * max(0.0, gains[name]))
            for kind, (name, _) in KINDS.items()
        ],
        wrong=100 * gains["FP"],
        missed=100 * gains["FN"],
    )
