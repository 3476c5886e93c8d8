"""What the paper claims, and what our figures say of each claim.

"The paper" is Panigrahi, Saha, Iqrah and Prasad, arXiv 2411.00254.
"""

from __future__ import annotations

import dataclasses

from busaug.experiment.statistics import Estimate


@dataclasses.dataclass(frozen=True)
class Claim:
    """A figure of an arm, or its gain over another arm."""

    text: str
    printed: str
    """Its number as the paper has it."""
    value: float | None
    """The same from 0 to 1; None for a claim without a number."""
    arm: str
    metric: str = "accuracy"
    against: str | None = None
    """The arm that it is a gain over."""
    remark: str = ""
    """What is known of the number without any run."""


PROPOSED = "proposed-la"
_TOGETHER = "impossible beside the accuracy of 92.47 %"

CLAIMS = (
    Claim(
        "accuracy without augmentation",
        "55.21 %",
        0.5521,
        "none",
        remark="53 of the 96 images counted; of all 121 it is 43.80 %",
    ),
    Claim("accuracy, proposed", "92.47 %", 0.9247, PROPOSED),
    Claim("recall, proposed", "94.1 %", 0.941, PROPOSED, "sensitivity", remark=_TOGETHER),
    Claim("specificity, proposed", "99.88 %", 0.9988, PROPOSED, "specificity", remark=_TOGETHER),
    Claim("precision, proposed", "92.5 %", 0.925, PROPOSED, "precision", remark=_TOGETHER),
    Claim(
        "F1, proposed",
        "93.20 %",
        0.932,
        PROPOSED,
        "f1",
        remark="its precision and recall give 93.29 %",
    ),
    Claim(
        "gain in accuracy, proposed over none",
        "+37.26 points",
        0.3726,
        PROPOSED,
        against="none",
        remark="419 times more updates than without",
    ),
    Claim(
        "gain in accuracy by relevance",
        "+37.26 against +20 points",
        0.1726,
        PROPOSED,
        against="proposed-no-xai",
    ),
    Claim("better than mr²NST", "higher accuracy", None, PROPOSED, against="mr2nst"),
    Claim("better than NST with VGG-19", "higher accuracy", None, PROPOSED, against="gram-vgg19"),
)


def verdict(claim: Claim, paper: Estimate | None, honest: Estimate | None) -> str:
    """What our intervals say of a claim, under the paper's protocol and the honest one.

    A gain is shown where the interval lies above zero; a level is met where the interval holds the
    printed number.
    """
    holds = _gained if claim.against is not None else _met
    under_paper, under_honest = holds(claim, paper), holds(claim, honest)
    if under_honest is None:
        if under_paper is None:
            return "not run"
        return "under the paper's protocol " + ("yes" if under_paper else "no")
    if not under_honest:
        if under_paper:
            return "under the paper's protocol only"
        if _exceeded(claim, paper) and not _exceeded(claim, honest):
            return "exceeded, under the paper's protocol only"
        return _against(claim, honest)
    if claim.against is None or claim.value is None:
        return "yes"
    assert honest is not None
    assert honest.high is not None
    return "yes, but smaller" if honest.high < claim.value else "yes"


def _gained(claim: Claim, ours: Estimate | None) -> bool | None:
    return None if ours is None or ours.low is None else ours.low > 0


def _met(claim: Claim, ours: Estimate | None) -> bool | None:
    if ours is None or ours.low is None or ours.high is None or claim.value is None:
        return None
    return ours.low <= claim.value <= ours.high


def _exceeded(claim: Claim, ours: Estimate | None) -> bool:
    """Whether a printed level lies below the whole interval."""
    if claim.against is not None or claim.value is None:
        return False
    return ours is not None and ours.low is not None and ours.low > claim.value


def _against(claim: Claim, honest: Estimate | None) -> str:
    assert honest is not None
    assert honest.low is not None
    assert honest.high is not None
    if claim.against is not None:
        return "no, worse" if honest.high < 0 else "not shown: the interval holds zero"
    assert claim.value is not None
    return "no, ours is higher" if honest.low > claim.value else "no, ours is lower"
