"""The opening sentence claims what the data supports, and no more."""

import itertools
import re
from typing import Any

import pytest
from markupsafe import Markup
from synthetic_report import NAMES, contents, differences, row

from infoplane.report.inversion.contents import Layer
from infoplane.report.inversion.opening import opening
from infoplane.report.words import Opening
from table_rows import differences_of, numbers_of


def step(first: str, second: str, value: float, stderr: float, p: float | None, **other: Any) -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "kind": "usable",
        "value": value,
        "stderr": stderr,
        "dof": 4.0,
        "p": p,
    } | other


def opened(
    steps: list[dict[str, Any]],
    rows: list[dict[str, Any]] | None = None,
    names: tuple[str, ...] = NAMES,
    chained: bool = True,
) -> Opening:
    layers = [Layer(name, name.upper(), function_of=names[:at] if chained else ()) for at, name in enumerate(names)]
    changes = {} if rows is None else {"numbers": numbers_of(rows)}
    return opening(contents(layers=layers, differences=differences_of(steps), inputs=None, **changes))


def nats(markup: Markup) -> str:
    """The text that a reader of nats sees."""
    return Markup(re.sub(r'<span class="bits">.*?</span>', "", markup)).striptags()


def said(found: Opening) -> str:
    return " ".join(nats(sentence) for sentence in found.detail)


def test_parallel_branches_give_nothing_up_and_their_rises_are_no_fault() -> None:
    found = opened(differences(), chained=False)
    assert nats(found.sentence) == (
        "The density could use 29.37 ± 0.41 nats less about the image from LOGITS than from CONV1."
    )
    for chained in (True, False):
        risen = opened([step("conv1", "conv2", -3.0, 0.1, 1e-6)], chained=chained)
        assert ("cannot hold more" in said(risen)) is chained


def test_a_fall_is_given_up() -> None:
    found = opened(differences())
    assert nats(found.sentence) == (
        "From CONV1 to LOGITS the network gives up 29.37 ± 0.41 nats of what the density can use about the image."
    )
    assert "42.37 ± 0.59 bits" in found.sentence
    assert "The largest step is from CONV1 to CONV2: 23.12 ± 0.52 nats." in said(found)
    assert "Not told apart: FC3 and LOGITS (0.07 ± 0.19 nats)." in said(found)
    assert "297 evaluation images, 3 refits per layer; ± one standard error" in said(found)
    assert "not a bound" in said(found)
    assert [(one.first, one.second) for one in found.steps] == list(itertools.pairwise(NAMES))


def test_names_that_are_numbers_stand_in_quotes_in_sentences() -> None:
    found = opened([step("2", "10", 9.0, 0.4, 1e-6, verdict="falls")], names=("2", "10"))
    assert nats(found.sentence).startswith("From '2' to '10' the network gives up 9.00 ± 0.40 nats")


def test_that_a_map_says_where_values_belong_may_favour_it() -> None:
    layers = [Layer("conv1", "CONV1", spatial=True), Layer("conv2", "CONV2", spatial=False, function_of=("conv1",))]
    steps = differences_of([step("conv1", "conv2", 9.0, 0.4, 1e-6)])
    found = opening(contents(layers=layers, differences=steps, inputs=None))
    assert "that may favour maps." in said(found)


def test_a_tie_is_not_told_apart() -> None:
    found = opened([step("conv1", "conv2", 0.3, 0.4, 0.5)])
    assert nats(found.sentence) == (
        "CONV1 and CONV2 are not told apart: of what the density can use about the image they differ by 0.30 ± 0.40 "
        "nats, which may be chance (p = 0.50, corrected for all that is tested)."
    )
    assert "gives up" not in nats(found.sentence) + said(found)


@pytest.mark.parametrize(("p", "claimed"), [(0.049, True), (0.05, False), (0.051, False)])
def test_the_claim_is_made_below_five_per_cent(p: float, claimed: bool) -> None:
    assert ("gives up" in opened([step("conv1", "conv2", 1.0, 0.4, p)]).sentence) is claimed


def test_a_rise_is_the_density_s() -> None:
    found = opened([step("conv1", "conv2", -2.0, 0.3, 0.001)])
    assert (
        nats(found.sentence)
        == "The density could use 2.00 ± 0.30 nats more about the image from CONV2 than from CONV1."
    )
    assert "the rise at CONV2 is a limit of the density" in said(found)


def test_two_layers_of_one_density_are_the_same_to_it() -> None:
    words = "no claim: fc3 and logits are read with one density, that of logits"
    alone = step("fc3", "logits", 0.0, 0.0, 1.0, verdict=words, first_read_through="logits", second_read_through="")
    sentence = "What the density could use about the image is the same from FC3 and LOGITS: both are read with that of"
    found = opened([alone])
    assert nats(found.sentence).startswith(f"{sentence} LOGITS")
    assert "claim" not in said(found)
    before = [step("conv2", "fc3", 3.0, 0.1, 1e-6, verdict="falls"), alone]
    found = opened([*before, step("conv2", "logits", 3.0, 0.1, 1e-6, verdict="falls")])
    assert nats(found.sentence).startswith("From CONV2 to LOGITS the network gives up 3.00 ± 0.10 nats")
    assert "No claim: fc3 and logits are read with one density, that of logits." in said(found)


def test_few_fits_make_no_claim() -> None:
    rows = [row("conv1", "usable", 30, 0.4, refits=1), row("conv2", "usable", 10, 0.4, refits=1)]
    found = opened([step("conv1", "conv2", 20.0, 0.4, 1e-6, refits=1)], rows)
    assert nats(found.sentence).startswith("In a single fit the density could use 20.00 ± 0.40 nats less")
    assert "from CONV2 than from CONV1" in found.sentence
    assert "claimed only with 3 refits or more" in said(found)
    found = opened([step("conv1", "conv2", 20.0, 0.4, None)])
    assert nats(found.sentence).startswith("In these fits the density could use")


def test_without_a_direct_difference_the_largest_step_is_told() -> None:
    steps = [step("conv1", "conv2", 1.0, 0.25, 0.01), step("conv2", "fc3", 3.0, 0.5, 0.001)]
    assert "From CONV2 to FC3 the network gives up 3.00 ± 0.50 nats" in nats(opened(steps).sentence)
    # Measured between the two ends, the way from the one to the other is.
    steps.append(step("conv1", "fc3", 4.1, 0.6, 0.001))
    assert "From CONV1 to FC3 the network gives up 4.10 ± 0.60 nats" in nats(opened(steps).sentence)


def test_a_failed_layer_does_not_break_the_chain() -> None:
    steps = [step("conv1", "fc3", 5.0, 0.4, 0.001), step("fc3", "logits", 0.1, 0.4, 0.8)]
    found = opened([*steps, step("conv1", "logits", 5.1, 0.4, 0.001)])
    assert "From CONV1 to LOGITS" in found.sentence
    assert [(one.first, one.second) for one in found.steps] == [("conv1", "fc3"), ("fc3", "logits")]


def test_the_longest_run_is_spoken_of() -> None:
    steps = [step("conv1", "conv2", 5.0, 0.4, 0.001), step("fc3", "logits", 3.0, 0.4, 0.001)]
    steps += [step("logits", "out", 2.0, 0.4, 0.001), step("fc3", "out", 5.1, 0.4, 0.001)]
    assert "From FC3 to OUT" in opened(steps, names=(*NAMES, "out")).sentence


def test_differences_of_nce_are_told_as_such() -> None:
    steps = [step("conv1", "conv2", 7.0, 0.4, 0.001, kind="nce")]
    found = opened(steps, [row("conv1", "nce", -40, 1.0), row("conv2", "nce", -47, 1.0)])
    assert "7.00 ± 0.40" in found.sentence
    assert found.kind == "nce"
    assert "paired differences of negative cross-entropies" in said(found)


def test_differences_of_other_checkpoints_are_left_out() -> None:
    rows = [row(name, "usable", 1.0, 0.1, checkpoint=when) for when in ("0", "end") for name in ("conv1", "conv2")]
    steps = [
        step("conv1", "conv2", 9.0, 0.4, 0.001, checkpoint="0"),
        step("conv1", "conv2", 5.0, 0.4, 0.001, checkpoint="end"),
    ]
    assert "5.00 ± 0.40" in opened(steps, rows).sentence


def test_levels_alone_claim_nothing() -> None:
    rows = [
        row("conv1", "usable", 30, 0.4),
        row("conv2", "usable", 20, 0.4),
        row("fc3", "usable", 10, 0.4, refits=1),
    ]
    found = opened([], rows)
    assert nats(found.sentence) == (
        "The density could use 30.00 ± 0.40 nats about the image from CONV1 "
        "and 10.00 ± 0.40 nats from FC3 (single fit)."
    )
    assert said(found) == "No paired difference between layers was taken, so no fall is claimed."


def test_a_single_layer() -> None:
    found = opened([], [row("fc3", "usable", 5.6, 0.4)])
    assert nats(found.sentence) == "The density could use 5.60 ± 0.40 nats about the image from FC3."
    assert found.detail == ()
    nothing = opened([], [row("fc3", "usable", 0.3, 0.4)])
    assert "could use nothing about the image from FC3 that stands out from its error: 0.30 ± 0.40 nats" in nats(
        nothing.sentence
    )
    nce = opened([], [row("fc3", "nce", -73.0, 0.7)])
    assert nats(nce.sentence) == "The negative cross-entropy is −73.00 ± 0.70 nats at FC3."


def test_latents_take_no_part_in_claims() -> None:
    found = opening(contents(layers=[Layer(name, name, latent=name in NAMES[:2]) for name in NAMES], inputs=None))
    assert "fc3 and logits are not told apart: of what the density can use about the image they differ by 0.07" in nats(
        found.sentence
    )
    found = opening(contents(layers=[Layer(name, name, latent=True) for name in NAMES[:2]], inputs=None))
    assert nats(found.sentence).startswith("The density could use 34.90 ± 0.67 nats about the image from conv1 and")
    assert found.detail == ()


def test_fits_named_by_a_difference_count() -> None:
    found = opened([step("conv1", "conv2", 20.0, 0.4, 1e-6, refits=2)])
    assert nats(found.sentence).startswith("In 2 fits the density could use 20.00 ± 0.40 nats less")


FALLING = "the held-out loss still fell at the end: more updates would help"
OVERFIT = "q fits its training data better than held-out data: more data would help"


@pytest.mark.parametrize(
    ("flags", "clause"),
    [
        ({}, "about the image."),
        ({"conv1": FALLING}, "about the image. Caveat: at CONV1, the held-out loss still fell at the end."),
        ({"conv2": OVERFIT}, "about the image."),  # between the ends, it cancels from the headline
        (
            {"conv1": OVERFIT, "logits": OVERFIT},
            "about the image. Caveat: at CONV1 and LOGITS, q fits its training data better than held-out data.",
        ),
        (
            {"conv1": OVERFIT, "logits": OVERFIT, "input": OVERFIT},
            "about the image. Caveat: at CONV1, LOGITS and p(x), q fits its training data better than held-out data.",
        ),
        (
            {"conv1": f"{OVERFIT}; {FALLING}"},
            "Caveat: at CONV1, q fits its training data better than held-out data and the held-out loss still fell at "
            "the end.",
        ),
        (
            {"conv1": OVERFIT, "logits": OVERFIT, "input": FALLING},
            "Caveat: at CONV1 and LOGITS, q fits its training data better than held-out data; at p(x), the held-out "
            "loss still fell at the end.",
        ),
    ],
)
def test_flaws_of_the_fits_are_in_the_headline(flags: dict[str, str], clause: str) -> None:
    twin = f"of p(x): {flags['input']}" if "input" in flags else ""
    own = {name: "; ".join(filter(None, (flags.get(name), twin))) for name in NAMES}
    rows = [row("input", "cross-entropy", 78.0, 0.4, flags=flags.get("input", ""))]
    rows += [row(name, "usable", 10.0, 0.4, flags=own[name]) for name in NAMES]
    assert nats(opened(differences(), rows).sentence).endswith(clause)


def test_p_x_is_behind_usable_information_only() -> None:
    rows = [row(name, "nce", -40.0, 0.4, flags=OVERFIT) for name in NAMES]
    rows += [row("input", "cross-entropy", 78.0, 0.4, flags=OVERFIT)]
    steps = [step("conv1", "conv2", 7.0, 0.4, 0.001, kind="nce")]
    assert nats(opened(steps, rows).sentence).endswith(
        "Caveat: at CONV1 and CONV2, q fits its training data better than held-out data."
    )
    rows = [row(name, "nce", -40.0, 0.4) for name in NAMES]
    rows += [row("input", "cross-entropy", 78.0, 0.4, flags=OVERFIT)]
    assert "But" not in nats(opened(steps, rows).sentence)


def test_levels_name_their_flaws_too() -> None:
    rows = [row("fc3", "usable", 5.6, 0.4, flags=FALLING)]
    assert nats(opened([], rows).sentence).endswith(
        "from FC3. Caveat: at FC3, the held-out loss still fell at the end."
    )


def test_flags_from_outside_are_escaped() -> None:
    rows = [row("fc3", "usable", 5.6, 0.4, flags="<b>odd</b>")]
    assert "&lt;b&gt;odd" in opened([], rows).sentence


def test_the_largest_step_names_the_flaws_of_its_fits() -> None:
    rows = [row(name, "usable", 10.0, 0.4) for name in NAMES]
    plain = opened(differences(), rows).detail
    rows = [row(name, "usable", 10.0, 0.4, flags=FALLING) for name in NAMES]
    largest = [nats(each) for each in opened(differences(), rows).detail if "largest step" in nats(each)]
    assert len(largest) == 1
    # What the headline has said of conv1 is not said again.
    assert "Caveat: at CONV2, " in largest[0]
    assert largest[0].endswith("the held-out loss still fell at the end.")
    assert not any("Caveat" in nats(each) for each in plain)
