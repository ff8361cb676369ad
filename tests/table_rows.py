"""Rows of tables as a reader of the files would take them: back into numbers, and into what may be claimed of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infoplane.claims import Hypothesis, claims
from infoplane.estimate import Estimate
from infoplane.measurements.numbers import ALL, Number, Numbers, Place
from infoplane.measurements.propagated import fallen
from infoplane.report.claimed import Difference, Fall


def estimate_of(row: Mapping[str, Any]) -> Estimate:
    """Returns the number of a row of results.csv."""
    bound = row["direction"]
    return Estimate(
        row["value"], row["stderr"], row["unit"], row["kind"], None if bound == "none" else bound, row["n"],
        row["refits"], flags=tuple(filter(None, (row["flags"] or "").split("; "))), ceiling=row.get("ceiling"),
        dof=row.get("dof", math.inf), read_through=row.get("read_through", ""),
    )  # fmt: skip


def numbers_of(rows: Iterable[Mapping[str, Any]], checkpoints: Sequence[str] = ()) -> Numbers:
    """Returns the numbers of rows of results.csv."""
    return Numbers(
        [
            Number(
                Place(row["layer"], str(row["checkpoint"]), row.get("network", ""), row.get("bin")),
                str(row.get("refit", ALL)),
                estimate_of(row),
            )
            for row in rows
        ],
        checkpoints,
    )


def differences_of(rows: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Returns differences, with verdicts as if they were the whole family of tests where rows have none."""
    plain = {"checkpoint": "end", "refits": 3, "n": 297, "first_read_through": "", "second_read_through": ""}
    filled = [{**plain, **row, "pooled_dof": row["dof"]} for row in rows]
    found = claims([Hypothesis(-row["value"], row["p"], row["refits"]) for row in filled])
    return [Difference.of(_claimed(claim) | row) for row, claim in zip(filled, found, strict=True)]


def falls_of(rows: Sequence[Mapping[str, Any]]) -> list[Fall]:
    """Returns the falls of noisy networks, likewise."""
    found = claims([fallen(row) for row in rows])
    return [Fall.of(_claimed(claim) | row) for row, claim in zip(rows, found, strict=True)]


def _claimed(claim: Any) -> dict[str, Any]:
    return {"verdict": claim.words, "p_corrected": claim.p, "tests": claim.tests}
