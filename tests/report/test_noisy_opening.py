"""What page and table of a study of noisy networks say, and what they do not."""

import dataclasses
import re
from typing import Any

import pytest
import synthetic_noisy
from markupsafe import Markup
from synthetic_noisy import row

from infoplane.report.build import PAGES, table_of
from infoplane.report.claimed import Fall, levels
from infoplane.report.format import setting_text
from infoplane.report.noisy.contents import NoisyContents
from infoplane.report.noisy.opening import noisy_opening
from infoplane.report.noisy.tables import network_tables
from infoplane.report.page import Footnotes
from infoplane.report.tables import Table
from table_rows import falls_of


def printed(contents: NoisyContents) -> str:
    """Returns what closes a run."""
    return table_of(PAGES["flow"], contents)


def lost(layer: str = "layer 1", value: float = 2.0, stderr: float | None = 0.1, **other: Any) -> dict[str, Any]:
    """Returns one row of differences: a clear fall, unless said otherwise."""
    plain = {"network": "", "layer": layer, "kind": "flow", "peak": 28, "end": 10000, "value": value}
    return plain | {"stderr": stderr, "p": 1e-4, "constant": 0.1} | other


def nats(text: object) -> str:
    """What a reader of nats sees."""
    return Markup(re.sub(r'<span class="bits">[^<]*</span>', "", str(text))).striptags()


def said(contents: NoisyContents) -> tuple[str, str]:
    """Returns the headline and what follows it."""
    spoken = noisy_opening(contents)
    return nats(spoken.sentence), " ".join(map(nats, spoken.detail))


def study(*steps: dict[str, Any], names: tuple[str, ...] = ("",), rows: Any = None, **changes: Any) -> NoisyContents:
    """Returns a study of these falls; each network has a number for every layer and epoch."""
    networks = [synthetic_noisy.network(name, falls=True, snapshots=()) for name in names]
    found = [one for name in names for one in synthetic_noisy.rows(name, beta=0.005, bins=(0.05,), falls=True)]
    numbers = synthetic_noisy.of(found if rows is None else rows)
    return NoisyContents(title="t", networks=networks, numbers=numbers, falls=falls_of(steps), **changes)


@pytest.mark.parametrize(
    ("changes", "reading"),
    [
        ({}, "falls"),
        ({"value": -2.0}, "rises"),
        ({"p": 0.05}, "not told apart"),
        ({"p": 0.049}, "falls"),
        ({"value": 0.2}, "not told apart"),  # twice its error is not more than twice its error
        ({"value": 0.201}, "falls"),
        ({"value": -0.201}, "rises"),
        ({"p": None}, "not tested: no claim"),
        ({"stderr": None}, "not tested: no claim"),
        # Whatever the table's verdict is, the page says no other.
        ({"verdict": "not told apart, of this one network"}, "not told apart"),
        ({"value": 0.001, "verdict": "falls, of this one network"}, "falls"),
    ],
)
def test_a_fall_is_claimed_only_where_its_row_says_so(changes: dict, reading: str) -> None:
    contents = study(lost(**changes))
    assert [fall.reading for fall in contents.falls] == [reading]
    assert said(contents)[0].startswith("Layer 1 gives up") == (reading == "falls")


def test_the_headline_is_of_the_largest_fall() -> None:
    headline, rest = said(study(lost("layer 3", 1.0), lost("layer 5", 2.1), lost("layer 1", 3.0, p=0.4)))
    assert headline == "Layer 5 gives up 2.10 ± 0.10 nats about the input between epoch 28 and the end."
    assert "Of the other layers, falls: layer 3 (1.00 ± 0.10 nats); not told apart: layer 1." in rest
    assert "this one trained network, and not of retraining" in rest


LEVELS = {
    "at_first": 3.0, "at_first_stderr": 0.06, "at_peak": 6.0, "at_peak_stderr": 0.08, "at_end": 4.0,
    "at_end_stderr": 0.06,
}  # fmt: skip


def test_layers_that_end_highest_are_not_said_to_keep_a_peak() -> None:
    end = {"peak": 10000, "value": 0.0, "stderr": 0.0, "p": 1.0}
    rose = {"verdict": "rises to the end, of this one network"}
    steps = [lost("layer 5"), lost("layer 1", **end, **rose), lost("layer 4", 0.1, p=0.5)]
    steps += [lost(layer, **end, verdict="highest at the end, of this one network") for layer in ("layer 2", "layer 3")]
    _, rest = said(study(*steps))
    assert (
        "Of the other layers, rises to the end: layer 1; not told apart: layer 4; highest at the end: layer 2 and "
        "layer 3." in rest
    )


def cells(contents: NoisyContents, layer: str) -> list[str]:
    """What the page's table says of a layer, in nats."""
    (table,) = (part for part in network_tables(contents) if isinstance(part, Table))
    row = next(row for _, rows in table.groups for row in rows if row[0].text == layer)
    return [nats(entry.text) for entry in row]


def notes(contents: NoisyContents) -> str:
    """What stands below it."""
    return " ".join(
        nats(line) for part in network_tables(contents) if isinstance(part, Footnotes) for line in part.lines
    )


def test_the_numbers_of_the_tables_add_up() -> None:
    contents = study(lost("layer 5", 2.0, **LEVELS))
    lines = printed(contents).splitlines()
    (at,) = [at for at, line in enumerate(lines) if line.startswith("layer 5")]
    assert [re.split(r"  +", line)[1:] for line in lines[at : at + 2]] == [
        ["3.000 ± 0.060", "6.000 ± 0.080", "4.000 ± 0.060", "2.00 ± 0.10", "0.10", "falls", "4.163"],
        ["epoch 0", "epoch 28", "epoch 10,000", "p < 0.001"],
    ]
    assert cells(contents, "layer 5")[1:5] == ["3.000 ± 0.060", "6.000 ± 0.080", "4.000 ± 0.060", "2.00 ± 0.10"]
    assert "peak minus end is what was lost" in notes(contents)
    # Flags are those of the numbers behind it; a layer without levels shows the mean of all, and no remark.
    (fall,) = falls_of([lost("layer 1", peak=640, **LEVELS)])
    flagged = levels(contents.numbers, "", "layer 1", fall)
    assert [(epoch, number.value, number.flags) for epoch, number in flagged if number] == [
        ("0", 3.0, ()), ("640", 6.0, ("within error of its ceiling",)), ("10000", 4.0, ("within error of its ceiling",))
    ]  # fmt: skip
    assert "peak minus end" not in notes(study(lost("layer 5")))


def test_the_peak_is_the_one_that_was_chosen_else_the_highest() -> None:
    numbers = synthetic_noisy.of(
        row("a", "layer 1", epoch, "flow", value, 0.1) for epoch, value in ((2, 4.0), (10, 2.0), (5, 3.0))
    )

    def at(fall: Fall | None) -> list[str]:
        return [epoch for epoch, _ in levels(numbers, "a", "layer 1", fall)]

    assert at(None) == ["2", "2", "10"]
    (fall,) = falls_of([lost(network="a", peak=5, end=10)])
    assert at(fall) == ["2", "5", "10"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0005, "0.0005"), (0.0001, "0.0001"), (1e-5, "10⁻⁵"), (1e-9, "10⁻⁹"), (2.5e-7, "2.5·10⁻⁷"),
        (-1e-6, "−1·10⁻⁶"), (0.0, "0"), (100000.0, "100000"), (-2.0, "-2"),
    ],
)  # fmt: skip
def test_settings_are_written_so_that_nobody_counts_zeros(value: float, words: str) -> None:
    assert setting_text(value) == words


def test_fine_bins_are_powers_of_ten_in_headline_and_table() -> None:
    finer = synthetic_noisy.rows("", beta=None, bins=(1e-9, 0.05), falls=True)
    contents = dataclasses.replace(synthetic_noisy.deterministic(), numbers=synthetic_noisy.of(finer))
    assert said(contents)[0].startswith("H(Bin(T)) with bins of 10⁻⁹ is 8.318 nats in layer 1")
    assert "bins of 10⁻⁹" in printed(contents)


def test_errors_of_arithmetic_are_said_in_words() -> None:
    contents = study(lost("layer 5", 0.0, 0.0), rows=[row("", "layer 5", 28, "flow", 1.5, 1e-12)])
    text = printed(contents)
    assert "1.500 (no spread)" in text
    assert "± 0.0000" not in text


def test_networks_are_compared() -> None:
    steps = [
        lost("layer 5", 2.1, network="plain"), lost("layer 4", 1.0, network="plain"),
        lost("layer 5", 0.02, network="orthonormal", p=0.8), lost("layer 4", 0.03, network="orthonormal", p=0.7),
        lost("layer 5", 0.7, network="loud"), lost("layer 5", -0.7, network="rising"),
    ]  # fmt: skip
    headline, rest = said(study(*steps, names=("plain", "orthonormal", "loud", "rising")))
    assert headline == (
        "In the plain network, layer 5 gives up 2.10 ± 0.10 nats about the input between epoch 28 and the end."
    )
    for words in (
        "In the plain network, falls: layer 4 (1.00 ± 0.10 nats).",
        "In the orthonormal network, not told apart: layer 5 and layer 4.",
        "In the loud network, falls: layer 5 (0.70 ± 0.10 nats).",
        "In the rising network, rises: layer 5 (0.70 ± 0.10 nats).",
    ):
        assert words in rest, words


@pytest.mark.parametrize(
    ("steps", "headline"),
    [
        (
            [lost("layer 4", 0.15, p=0.1), lost("layer 5", 0.05, p=0.6)],
            "No layer is seen to give up information about the input; nearest to it comes layer 4, with 0.15 ± 0.10 "
            "nats.",
        ),
        ([lost("layer 4", 3.0, p=None)], "Whether a layer gives up information about the input was not tested."),
        ([lost("layer 4", -1.0)], "No layer is seen to give up information about the input."),
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
    assert headline.endswith("Caveat: at layer 5 at epochs 28 and 10,000, saturated.")
    found = [row("", "layer 4", 28, "flow", 3.0, 0.1, flags="saturated")]
    assert "But" not in said(study(lost("layer 5"), rows=found))[0]


def test_without_falls_levels_are_told() -> None:
    headline, rest = said(study())
    assert headline == ("I(X;T) is 8.318 ± 0.040 nats in layer 1 and 4.818 ± 0.080 nats in layer 5 at epoch 10,000.")
    assert "no fall is claimed" in rest


def test_bins_of_a_network_without_noise() -> None:
    headline, rest = said(synthetic_noisy.deterministic())
    assert headline.endswith(
        "; H(Bin(T)) with bins of 0.5 is 6.522 nats in layer 1 and 3.778 nats in layer 5 at epoch 10,000."
    )
    assert "not I(X;T)" in rest
    assert "sample propagation" not in headline + rest


def test_the_table_of_a_run_is_one_line_per_layer() -> None:
    lines = printed(synthetic_noisy.light(synthetic_noisy.three())).splitlines()
    titles = [f"{name} · noise β = 0.005" for name in ("plain", "orthonormal")] + ["deterministic · no noise"]
    groups = [lines.index(title) for title in titles]
    assert [[line.split("  ")[0] for line in lines[at + 1 : at + 11 : 2]] for at in groups] == [
        [f"layer {depth}" for depth in range(1, 6)]
    ] * 3
    assert [re.split(r"  +", line) for line in lines[groups[0] + 9 : groups[0] + 11]] == [
        ["layer 5", "2.418 ± 0.080", "6.481 ± 0.080", "4.818 ± 0.080", "2.130 ± 0.094", "0.11", "falls", "–", "4.163"],
        ["3 units", "epoch 0", "epoch 28", "epoch 10,000", "p < 0.001"],
    ]
    assert re.split(r"  +", lines[groups[2] + 9]) == ["layer 5", *["–"] * 6, "4.818", "–"]
    text = " ".join(" ".join(lines).split())
    for words in (
        "Accuracy of plain: 99.0 % [97.9, 99.5] (at epoch 10,000, on 820 inputs)", "[from, to] is a 95 % interval",
        "not of retraining", "is not I(X;T)", "(a) within error of its ceiling",
    ):  # fmt: skip
        assert words in text, words
    assert [line.count("8.318 ± 0.040 (a)") for line in lines if line.startswith("layer 1")] == [2, 2, 0]
    assert max(map(len, lines)) <= 160


def test_the_table_of_bins_has_a_column_for_each_size() -> None:
    text = printed(synthetic_noisy.deterministic())
    head = text.partition("---")[0]
    assert sorted(map(float, re.findall(r"0\.\d+", head))) == [*synthetic_noisy.BINS]
    assert head.count("H(Bin(T))") == len(synthetic_noisy.BINS)
    assert "8.318" in text
    assert "I(X;T) at first" not in text
    assert "±" not in text.replace("± is one standard error", "")


def test_a_run_without_numbers_says_so() -> None:
    networks = [synthetic_noisy.network("", falls=True, snapshots=())]
    for contents in (NoisyContents(title="t", networks=networks), NoisyContents(title="t")):
        assert printed(contents).startswith("There are no numbers yet.")
