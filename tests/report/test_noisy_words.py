"""What the page of a study of noisy networks says, and what it does not."""

import dataclasses
import re
from typing import Any

import pytest
import synthetic_noisy
from synthetic_noisy import row

from infoplane.claims import Claim
from infoplane.report import noisy_tables
from infoplane.report.noisy_contents import NoisyContents
from infoplane.report.noisy_numbers import Loss, NoisyNumbers, levels, losses, peak_of, plain
from infoplane.report.noisy_text import table
from infoplane.report.noisy_words import opening


def lost(layer: str = "layer 1", value: float = 2.0, stderr: float | None = 0.1, **other: Any) -> dict[str, Any]:
    """Returns one row of differences: a clear fall, unless said otherwise."""
    plain = {"network": "", "layer": layer, "kind": "flow", "peak": 28, "end": 10000, "value": value}
    return plain | {"stderr": stderr, "p": 1e-4, "constant": 0.1} | other


def said(contents: NoisyContents) -> tuple[str, str]:
    """Returns the headline and what follows it, in nats and without markup."""
    spoken = opening(contents, NoisyNumbers(contents.rows, contents.networks), losses(contents.differences))

    def plain(text: str) -> str:
        return re.sub(r"<[^>]*>", "", re.sub(r'<span class="bits">[^<]*</span>', "", text))

    return plain(spoken.sentence), plain(" ".join(spoken.detail))


def study(*steps: dict[str, Any], names: tuple[str, ...] = ("",), rows: Any = None, **changes: Any) -> NoisyContents:
    """Returns a study of these losses; each network has a number for every layer and epoch."""
    networks = [synthetic_noisy.network(name, falls=True, snapshots=()) for name in names]
    found = [one for name in names for one in synthetic_noisy.rows(name, beta=0.005, bins=(0.05,), falls=True)]
    return NoisyContents(
        title="t", networks=networks, rows=found if rows is None else rows, differences=steps, **changes
    )


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "falls"),
        ({"value": -2.0}, "rises"),
        ({"p": 0.05}, "not told apart"),
        ({"p": 0.049}, "falls"),
        ({"value": 0.2}, "not told apart"),  # twice its error is not more than twice its error
        ({"value": 0.201}, "falls"),
        ({"value": -0.201}, "rises"),
        ({"p": None}, "not tested"),
        ({"p": float("nan")}, "not tested"),
        ({"stderr": None}, "not tested"),
        ({"peak": 10000}, "at the end"),
    ],
)
def test_a_fall_is_claimed_only_where_the_rows_carry_it(changes: dict, verdict: str) -> None:
    (loss,) = losses([lost(**changes)])
    assert loss.verdict == verdict
    headline, _ = said(study(lost(**changes)))
    assert ("gives up 2" in headline or "gives up 0.20" in headline) == (verdict == "falls")


def test_rows_that_say_nothing_are_left_out() -> None:
    broken = [lost(value=None), lost(value=float("nan")), lost(peak=None), lost(kind="binned-entropy")]
    assert losses(broken) == []
    untested = Claim("not tested", "not tested: no claim", None, 0)
    expected = Loss("", "layer 1", 28, 10000, 2.0, None, 1e-4, 0.1, untested)
    assert losses([lost(peak=28.0, stderr=float("nan"))]) == [expected]


def test_the_headline_is_of_the_largest_fall() -> None:
    headline, rest = said(study(lost("layer 3", 1.0), lost("layer 5", 2.1), lost("layer 1", 3.0, p=0.4)))
    assert headline == "Layer 5 gives up 2.10 ± 0.10 nats about the input between epoch 28 and the end."
    assert "Of the other layers, layer 3 (1.00 ± 0.10 nats) loses information; no loss is seen in layer 1." in rest
    assert "this one trained network, and not of retraining" in rest


LEVELS = {
    "at_first": 3.0, "at_first_stderr": 0.06, "at_peak": 6.0, "at_peak_stderr": 0.08, "at_end": 4.0,
    "at_end_stderr": 0.06,
}  # fmt: skip


def test_layers_that_end_highest_are_not_said_to_keep_a_peak() -> None:
    end = {"peak": 10000, "value": 0.0, "stderr": 0.0, "p": 1.0}
    steps = [
        lost("layer 5"), lost("layer 1", **end, **LEVELS), lost("layer 2", **end, **LEVELS | {"at_first": 3.9}),
        lost("layer 3", **end), lost("layer 4", 0.1, p=0.5),
    ]  # fmt: skip
    _, rest = said(study(*steps))
    assert (
        "Of the other layers, no loss is seen in layer 4; layer 1 rose to the end; layers 2 and 3 are highest at the "
        "end." in rest
    )


def test_the_numbers_of_the_tables_add_up() -> None:
    contents = study(lost("layer 5", 2.0, **LEVELS))
    (line,) = [
        line for line in table(contents.rows, contents.differences, contents.networks).splitlines()
        if line.startswith("layer 5")
    ]  # fmt: skip
    assert re.split(r"  +", line)[2:6] == [
        "3.000 ± 0.060", "6.000 ± 0.080 (28)", "4.000 ± 0.060 (10,000)", "2.00 ± 0.10 (lost)"
    ]  # fmt: skip
    found = NoisyNumbers(contents.rows, contents.networks)
    page = noisy_tables.numbers(contents, found, losses(contents.differences))
    cells = next(line for line in page.groups[0][1] if line.layer == "layer 5").cells
    nats = [re.findall(r'class="nats">([^<]*)', str(cell.text))[0] for cell in cells[:4] if cell]
    assert nats == ["3.000 ± 0.060", "6.000 ± 0.080", "4.000 ± 0.060", "2.00 ± 0.10"]
    assert "peak minus end is what was lost" in page.remark
    # Flags are those of the numbers behind it; a layer without levels shows the mean of all, and no remark.
    behind = [lost("layer 1", peak=640, **LEVELS)]
    flagged = levels(found, "", "layer 1", losses(behind))
    assert [(epoch, number.value, number.flags) for epoch, number in flagged if number] == [
        (0, 3.0, ()), (640, 6.0, ("within error of its ceiling",)), (10000, 4.0, ("within error of its ceiling",))
    ]  # fmt: skip
    assert not noisy_tables.numbers(contents, found, losses([lost("layer 5")])).remark


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0005, "0.0005"), (0.0001, "0.0001"), (1e-5, "10⁻⁵"), (1e-9, "10⁻⁹"), (2.5e-7, "2.5·10⁻⁷"),
        (-1e-6, "−1·10⁻⁶"), (0.0, "0"), (100000.0, "100000"), (-2.0, "-2"),
    ],
)  # fmt: skip
def test_settings_are_written_so_that_nobody_counts_zeros(value: float, words: str) -> None:
    assert plain(value) == words


def test_fine_bins_are_powers_of_ten_in_headline_and_table() -> None:
    full = synthetic_noisy.deterministic()
    finer = dataclasses.replace(
        full, rows=[{**one, "bin": 1e-9} if one.get("bin") == 0.0005 else one for one in full.rows]
    )
    assert said(finer)[0].startswith("With bins of 10⁻⁹ every layer")
    assert "H(Bin), 10⁻⁹" in table(finer.rows, finer.differences, finer.networks)


def test_errors_of_arithmetic_are_said_in_words() -> None:
    contents = study(lost("layer 5", 0.0, 0.0), rows=[row("", "layer 5", 28, "flow", 1.5, 1e-12)])
    text = table(contents.rows, contents.differences, contents.networks)
    assert "1.500 (no spread)" in text
    assert "± 0.0000" not in text


def test_networks_are_compared_at_the_same_layer() -> None:
    steps = [
        lost("layer 5", 2.1, network="plain"), lost("layer 4", 1.0, network="plain"),
        lost("layer 5", 0.02, network="orthonormal", p=0.8), lost("layer 4", 0.03, network="orthonormal", p=0.7),
        lost("layer 5", 0.7, network="loud"), lost("layer 5", -0.7, network="rising"),
        lost("layer 5", 0.0, network="late", peak=10000),
    ]  # fmt: skip
    headline, rest = said(study(*steps, names=("plain", "orthonormal", "loud", "rising", "late")))
    assert headline == (
        "In the plain network, layer 5 gives up 2.10 ± 0.10 nats about the input between epoch 28 and the end; in the "
        "orthonormal network no loss is seen (0.02 ± 0.10 nats); in the loud network it gives up 0.70 ± 0.10 nats; in "
        "the rising network it gains 0.70 ± 0.10 nats; in the late network it is highest at the end."
    )
    assert "In the plain network, layer 4 (1.00 ± 0.10 nats) also loses information." in rest
    assert "In the orthonormal network, no loss is seen in layer 4." in rest


@pytest.mark.parametrize(
    ("steps", "headline"),
    [
        (
            [lost("layer 4", 0.15, p=0.1), lost("layer 5", 0.05, p=0.6)],
            "No layer is seen to give up information about the input; nearest to it comes layer 4, with 0.15 ± 0.10 "
            "nats.",
        ),
        (
            [lost("layer 4", 3.0, p=None)],
            "Whether a layer gives up information was not tested; layer 4 ends lowest below its peak, by 3.00 ± 0.10 "
            "nats.",
        ),
        ([lost("layer 4", -1.0)], "No layer is seen to give up information about the input."),
        ([lost("layer 4", 0.0, peak=10000)], "I(X;T) of layer 4 is highest at the end of training."),
        (
            [lost("layer 4", 0.0, peak=10000), lost("layer 5", 0.0, peak=10000)],
            "I(X;T) of every layer is highest at the end of training.",
        ),
    ],
)
def test_without_a_fall_none_is_claimed(steps: list, headline: str) -> None:
    assert said(study(*steps))[0] == headline


def test_flags_of_the_numbers_behind_the_headline_follow_it() -> None:
    found = [row("", "layer 5", epoch, "flow", 3.0, 0.1, flags="saturated") for epoch in (28, 10000)]
    headline, _ = said(study(lost("layer 5"), rows=found))
    assert headline.endswith("But: saturated (layer 5 at epochs 28 and 10,000).")
    found = [row("", "layer 4", 28, "flow", 3.0, 0.1, flags="saturated")]
    assert "But" not in said(study(lost("layer 5"), rows=found))[0]


def test_without_losses_levels_are_told() -> None:
    headline, rest = said(study())
    assert headline.startswith(
        "Layer 1 holds 8.318 ± 0.040 nats about the input and layer 5 4.818 ± 0.080 nats at epoch"
    )
    assert "no fall is claimed" in rest


def test_losses_of_unknown_networks_are_not_spoken_of() -> None:
    headline, _ = said(study(lost("layer 5", network="another")))
    assert "gives up" not in headline


def test_bins_of_a_network_without_noise() -> None:
    headline, rest = said(synthetic_noisy.deterministic())
    assert headline == (
        "With bins of 0.0005 every layer has ln 4096 = 8.318 nats at every epoch; with bins of 0.5 layers have 3.778 "
        "nats (layer 5) to 6.522 nats (layer 1) at epoch 10,000."
    )
    assert "no noise" in rest
    assert "I(X;T)" not in headline + rest


def test_a_ceiling_that_was_missed_once_is_not_claimed_for_every_epoch() -> None:
    full = synthetic_noisy.deterministic()
    off = [
        {**one, "value": 8.0} if (one["bin"], one["checkpoint"], one["layer"]) == (0.0005, "3", "layer 2") else one
        for one in full.rows
    ]
    assert "ln 4096 = 8.318 nats; with" in said(dataclasses.replace(full, rows=off))[0]
    off = [{**one, "value": 8.2} if one["bin"] == 0.0005 and one["layer"] == "layer 5" else one for one in full.rows]
    assert "every layer" not in said(dataclasses.replace(full, rows=off))[0]


def test_numbers_are_looked_up_by_network_layer_bin_and_epoch() -> None:
    rows = [
        row("a", "layer 1", 10, "flow", 1.0, 0.1, refit=0), row("a", "layer 1", 10, "flow", 2.0, 0.1),
        row("a", "layer 1", 10, "flow", 3.0, 0.1, refit=1), row("a", "layer 1", 2, "flow", 4.0, 0.1, refit=0),
        row("a", "layer 1", 2, "binned-entropy", 5.0, None, bin=0.1),
        row("a", "layer 1", 2, "binned-entropy", 6.0, None, bin=0.01),
        row("b", "layer 1", 2, "flow", 7.0, 0.1), {**row("a", "layer 1", 3, "flow", 8.0, 0.1), "checkpoint": "end"},
        row("a", "layer 1", 5, "flow", float("nan"), 0.1), {**row("a", "layer 2", 2, "flow", 1.0, 0.1), "unit": "bits"},
    ]  # fmt: skip
    networks = [synthetic_noisy.network("a", falls=True, snapshots=())]
    numbers = NoisyNumbers(rows, networks)
    series = numbers.series("a", "layer 1", "flow")
    assert {epoch: estimate.value for epoch, estimate in series.items()} == {2: 4.0, 10: 2.0}
    assert list(series) == [2, 10]
    assert series[2].flags == ("a single estimate",)
    assert series[10].flags == ()
    assert numbers.bins("a") == [0.1, 0.01]
    assert numbers.last("a", "layer 1", "binned-entropy", 0.01)[1].value == 6.0  # type: ignore[index]
    assert not numbers.series("b", "layer 1", "flow")
    assert numbers.series("a", "layer 2", "flow")[2].value == pytest.approx(0.6931472)
    assert peak_of(numbers, "a", "layer 1", []) == 2
    assert peak_of(numbers, "a", "layer 1", losses([lost(network="a")])) == 28


def test_the_table_of_a_run_is_one_line_per_layer() -> None:
    contents = synthetic_noisy.light(synthetic_noisy.three())
    lines = table(contents.rows, contents.differences, contents.networks).splitlines()
    assert lines[0].split("  ")[0] == "network"
    assert len(lines[: lines.index("")]) == 2 + 3 * 5
    (line,) = [line for line in lines if line.startswith("plain") and "layer 5" in line]
    assert re.split(r"  +", line) == [
        "plain", "layer 5", "3", "2.418 ± 0.080", "6.481 ± 0.080 (28)", "4.818 ± 0.080 (10,000)",
        "2.130 ± 0.094 (lost)", "4.163 (0.05)",
    ]  # fmt: skip
    (line,) = [line for line in lines if line.startswith("deterministic") and "layer 5" in line]
    assert re.split(r"  +", line) == ["deterministic", "layer 5", "3", "-", "-", "-", "-", "4.818 (0.001)"]
    text = "\n".join(lines)
    for words in (
        "accuracy of plain at epoch 10,000: 0.990 [0.979, 0.995] (95 % interval, n = 820)", "not of retraining",
        "not I(X;T)",
        "* plain layer 1 at epochs 640 and 10,000: within error of its ceiling",
    ):  # fmt: skip
        assert words in text, words
    assert "8.318 ± 0.040* (10,000)" in text
    assert max(map(len, lines)) <= 150


def test_the_table_of_bins_has_a_column_for_each_size() -> None:
    contents = synthetic_noisy.deterministic()
    text = table(contents.rows, contents.differences, contents.networks)
    assert re.split(r"  +", text.splitlines()[0]) == [
        "layer", "units", "H(Bin), 0.0005", "H(Bin), 0.005", "H(Bin), 0.05", "H(Bin), 0.5",
    ]  # fmt: skip
    assert "8.318" in text
    assert "I(X;T) at first" not in text
    assert "±" not in text.replace("0.9900 ± 0.0040", "")


def test_the_table_of_a_run_without_numbers_is_still_one() -> None:
    networks = [synthetic_noisy.network("", falls=True, snapshots=())]
    assert len(table([], [], networks).splitlines()) == 2 + 5
    assert table([], [], []).startswith("layer")
