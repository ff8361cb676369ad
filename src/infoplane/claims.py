"""What may be said of a difference of layers, a change between checkpoints, a fall: one rule for all of them.

Something is claimed only with three fits or more, and of many hypotheses on one page only what stands after Holm's
correction over all of them. A leaf: it takes numbers, and knows nothing of where they come from.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from infoplane.arguments import check_argument, checked
from infoplane.calls import public

#: fits from which on something may be claimed: retraining moves a number by more than its error given one fit
FITS_FOR_A_CLAIM = 3
#: corrected p below which something is claimed
CLAIM = 0.05
#: what is added to verdicts on the training of a network that was trained once
ONE_NETWORK = "of this one network"

Probability = Annotated[float, Ge(0), Le(1)]
Verdict = Literal["falls", "rises", "not told apart", "too few fits", "not tested", "barred"]

#: verdict -> its words
WORDS: dict[Verdict, str] = {
    "falls": "falls",
    "rises": "rises",
    "not told apart": "not told apart",
    "too few fits": f"fewer than {FITS_FOR_A_CLAIM} fits: no claim",
    "not tested": "not tested: no claim",
    "barred": "no claim",
}


def verdict_of(words: str) -> Verdict:
    """Returns the verdict that such words of a table stand for; any others say why nothing is claimed."""
    told = words.removesuffix(f", {ONE_NETWORK}").replace("networks", "fits")
    known: dict[str, Verdict] = {own: verdict for verdict, own in WORDS.items()}
    return known.get(told, "barred")


@dataclass(frozen=True)
class Hypothesis:
    """One thing that might be claimed.

    Attributes:
        change: By how much the number rises from the first to the second place, or time; its sign is the verdict's.
        p: Two-sided p-value of no change, unrounded; None where there is no test.
        refits: Fits behind either side; None where nothing was fitted.
        terms: What tells one test from another: hypotheses with equal ones are a single one, such as differences of
            layers in NCE and in usable information against one twin. None: like no other.
        barred: Why nothing may be claimed whatever p is, in words; empty: nothing stands in the way.
        negligible: What nobody would speak of, however sure it is, in the unit of `change`.
        training: Whether it speaks of what training does to a network that was trained once.
        counted: What `refits` counts.
    """

    change: float
    p: float | None
    refits: int | None = None
    terms: Hashable = None
    barred: str = ""
    negligible: float = 0.0
    training: bool = False
    counted: Literal["fits", "networks"] = "fits"

    def __post_init__(self) -> None:
        check_argument("the change", self.change, float)
        check_argument("p", self.p, Probability | None)

    @property
    def obstacle(self) -> Verdict | None:
        """Why it is not tested at all, or None where it is."""
        if self.refits is not None and self.refits < FITS_FOR_A_CLAIM:
            return "too few fits"
        if self.barred:
            return "barred"
        return "not tested" if self.p is None else None


@dataclass(frozen=True)
class Claim:
    """What may be said of a hypothesis among others.

    Attributes:
        verdict: In one of a few words.
        words: As it stands in tables.
        p: Corrected for all tests; None where nothing was tested.
        tests: The number of distinct hypotheses that were tested together.
    """

    verdict: Verdict
    words: str
    p: float | None
    tests: int


@checked
def claims(family: Sequence[Hypothesis]) -> list[Claim]:
    """Returns what may be said of each of the hypotheses of one page, corrected for all that are tested (Holm 1979).

    The chance that any of those that are true is claimed to be false is at most `CLAIM`, however they depend on each
    other. A hypothesis of which nothing can be claimed (too few fits, barred) is no test and does not count.

    Examples:
        >>> family = [Hypothesis(change, p, refits=3) for change, p in [(-0.8, 0.001), (0.1, 0.03), (0.2, 0.04)]]
        >>> [claim.verdict for claim in claims(family)]  # corrected, p is 0.003, 0.06 and 0.06
        ['falls', 'not told apart', 'not told apart']
    """
    keys = [index if each.terms is None else ("terms", each.terms) for index, each in enumerate(family)]
    # Of hypotheses that are one, each has the same p but for rounding; the largest is safe.
    distinct: dict[Hashable, float] = {}
    for key, each in zip(keys, family, strict=True):
        if each.obstacle is None and each.p is not None:
            distinct[key] = max(distinct.get(key, 0.0), each.p)
    corrected = dict(zip(distinct, holm(list(distinct.values())), strict=True))
    return [_claim(each, corrected.get(key), len(distinct)) for key, each in zip(keys, family, strict=True)]


@checked
def holm(p: Sequence[Probability]) -> list[float]:
    """Returns the p-values corrected for their number: p_(i) becomes max over j ≤ i of (m − j + 1) p_(j), at most 1."""
    corrected, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = min(1.0, max(largest, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected


@checked
def corrected_for(tests: Annotated[int, Ge(0)], before: Annotated[int, Ge(0)] | None = None) -> str:
    """Returns over how many tests the verdicts of a page are corrected, in sentences; empty where there is none.

    Args:
        before: Over how many those of the run's page before it grew were.
    """
    if not tests:
        return ""
    count = "the one test" if tests == 1 else f"all {tests:,} tests"
    after = "A run that has grown is corrected anew over all that it then holds, so a verdict can change."
    if before:
        after = (
            f"This run {'grew' if tests > before else 'went'} from {before:,} to {tests:,} of them: corrected p-values "
            "and verdicts of its earlier page no longer hold."
        )
    return (
        f"Verdicts are by p-values corrected for {count} of this run (Holm): each distinct difference of layers, "
        f"change between checkpoints and fall from a peak of which something could be claimed. {after}"
    )


def _claim(each: Hypothesis, p: float | None, tests: int) -> Claim:
    if (obstacle := each.obstacle) is not None:
        return Claim(obstacle, each.barred or WORDS[obstacle].replace("fits", each.counted), None, tests)
    verdict: Verdict = "not told apart"
    if p is not None and p < CLAIM and abs(each.change) > each.negligible:
        verdict = "rises" if each.change > 0 else "falls"
    return Claim(verdict, f"{WORDS[verdict]}, {ONE_NETWORK}" if each.training else WORDS[verdict], p, tests)


public(globals(), ("Claim", "Hypothesis", "claims", "corrected_for", "holm", "verdict_of"))
