"""Numbers as they are printed, and rows as they are looked up."""

import math

import pytest
from markupsafe import Markup
from matplotlib.colors import to_rgb
from synthetic_report import CHECKPOINTS, HOSTILE, contents, row, rows, through_training

from infoplane.estimate import Estimate
from infoplane.report.amounts import amount, duration, information, listing, probability, rounded, with_error
from infoplane.report.contents import Layer
from infoplane.report.drawing import shorten
from infoplane.report.evolution import positions
from infoplane.report.results import Results, differences
from infoplane.report.tables import numbers, steps
from infoplane.report.theme import Palette


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (29.3712, 0.4149, "29.37 ± 0.41"),
        (29.3712, 0.0996, "29.37 ± 0.10"),
        (29.3712, 0.996, "29.4 ± 1.0"),
        (7515.38, 12.3, "7,515 ± 12"),
        (7515.38, 123.4, "7,520 ± 120"),
        (-0.004, 0.19, "0.00 ± 0.19"),
        (-43.73, 0.7, "−43.73 ± 0.70"),
        (0.0021, 0.0004, "0.00210 ± 0.00040"),
        (3.14159, None, "3.142"),
        (123456.7, None, "123,457"),
        (0.0, None, "0"),
        (1.5, 0.0, "1.500 (no spread)"),
        (3.4657359, 1e-9, "3.466 (no spread)"),
        (0.0, 1e-12, "0 (no spread)"),
        (1e-12, 1e-12, "0 (no spread)"),
        (-1e-14, None, "0"),
        (1e-12, 0.1, "0.00 ± 0.10"),
        (math.nan, 0.1, "–"),
        (None, None, "–"),
    ],
)
def test_values_are_rounded_to_their_error(value: float | None, stderr: float | None, text: str) -> None:
    assert with_error(value, stderr) == text


def test_information_is_in_both_units() -> None:
    expected = '<span class="nats">1.000 ± 0.010 nats</span><span class="bits">1.443 ± 0.014 bits</span>'
    assert information(1.0, 0.01) == expected
    assert amount(Estimate(1.0, 0.01)) == expected
    in_bits = Estimate(1.0, 0.01).bits
    assert amount(in_bits) == expected


def test_other_units_have_one_view() -> None:
    assert amount(Estimate(0.973, 0.0094, "fraction")) == "97.30 ± 0.94 %"
    assert amount(Estimate(0.02, 0.001, "squared error")) == "0.0200 ± 0.0010 squared error"


def test_no_spread_stands_behind_the_unit() -> None:
    assert "3.466 nats (no spread)" in information(3.4657359, 1e-9)
    assert "5.000 bits (no spread)" in information(3.4657359, 1e-9)
    assert amount(Estimate(1.0, 0.0, "fraction")) == "100.0 % (no spread)"


def test_small_words() -> None:
    assert [duration(seconds) for seconds in (0.94, 38.2, 233, 7380)] == [
        "0.9 s",
        "38 s",
        "3 min 53 s",
        "2 h 3 min",
    ]
    assert [probability(p) for p in (1e-9, 0.0123, 0.731, None)] == ["< 0.001", "0.012", "0.73", "–"]
    assert listing(["<a>", "b", Markup("<i>c</i>")]) == "&lt;a&gt;, b and <i>c</i>"
    assert rounded(-1e-12, 1.0) == "0.0"
    assert shorten("backbone.encoder.blocks.3.attention.output", 20) == "backbon…ntion.output"
    assert shorten("a\nb\x00c") == "a b c"


def test_pooled_rows_are_preferred_to_single_fits() -> None:
    results = Results(rows())
    found = results.get("conv1", "usable")
    assert found is not None
    assert (found.value, found.refits) == (34.90, 3)
    assert len(results.fits("conv1", "usable")) == 3
    assert results.get("conv1", "entropy") is None


def test_refits_may_be_text_and_missing_values_are_left_out() -> None:
    single = Results([row("a", "nce", -3.0, math.nan, refit="0", refits=1), row("a", "usable", None, None)])
    found = single.get("a", "nce")
    assert found is not None
    assert found.stderr is None
    assert single.get("a", "usable") is None


def test_uncombined_fits_are_flagged() -> None:
    found = Results([row("a", "nce", -3.0, 0.1, refit=refit, refits=1) for refit in (0, 1)]).get("a", "nce")
    assert found is not None
    assert found.flags == ("one of 2 fits that were not combined",)


def test_bits_become_nats_and_flags_are_split() -> None:
    found = Results([row("a", "nce", 1.0, 0.1, unit="bits", flags="one; two", direction="lower")]).get("a", "nce")
    assert found is not None
    assert found.value == pytest.approx(math.log(2))
    assert found.flags == ("one", "two")
    assert found.bound == "lower"


def test_the_twin_belongs_to_every_checkpoint() -> None:
    results = Results([row("a", "nce", -3.0, 0.1), row("input", "cross-entropy", 9.0, 0.1, checkpoint="")])
    assert results.last == "end"
    found = results.get("input", "cross-entropy")
    assert found is not None
    assert found.value == 9.0


def test_every_pooled_number_is_in_the_table() -> None:
    extra = [row("template", "information", 1.386, 0.001, direction="estimate"), row("conv1", "excess", 0.26, 0.05)]
    full = contents(rows=rows() + extra)
    table = numbers(full, Results(full.rows), Palette([layer.name for layer in full.layers]))
    kinds = [column.kind for column in table.columns]
    assert kinds == ["nce", "usable", "contrastive", "label", "mse", "excess", "information"]
    assert [line.name for line in table.lines] == ["conv1", "conv2", "fc3", "logits", "template", "input"]
    cells = [cell for line in table.lines for cell in line.cells if cell]
    # every pooled row but the cross-entropies of layers, which are the NCEs with another sign
    pooled = [one for one in full.rows if one["refit"] == "all" and one["layer"] and one["kind"] != "cross-entropy"]
    assert len(cells) == len(pooled) + 1
    assert table.footnotes == (("a", "saturated: near the ceiling log 64"),)


def _luminance(colour: str) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("count", [1, 2, 4, 12])
def test_layers_differ_in_lightness_and_stand_out_from_the_page(count: int) -> None:
    palette = Palette([f"layer {index}" for index in range(count)])
    for colours, page in ((palette.light, "#ffffff"), (palette.dark, "#14171b")):
        levels = [_luminance(colour) for colour in colours]
        assert levels == sorted(levels)
        assert len(set(colours)) == count
        ground = _luminance(page)
        assert all((max(level, ground) + 0.05) / (min(level, ground) + 0.05) > 2.4 for level in levels)
    assert palette["no such layer"] not in palette.light


def test_counts_are_named() -> None:
    found = [*rows(), row("conv1", "generalisation-gap", 5.0, 0.3, n=99)]
    table = numbers(contents(rows=found), Results(found), Palette(["conv1", "conv2", "fc3", "logits"]))
    behind = {column.kind: column.behind for column in table.columns}
    assert behind["nce"] == "297 images, 3 refits"
    assert behind["contrastive"] == "4 batches, 3 refits"
    assert behind["label"] == "297 images, single fit"
    assert behind["generalisation-gap"] == "99 held-out images, 3 refits"


def test_each_number_says_its_refits_where_those_of_a_column_differ() -> None:
    found = [row("a", "nce", -3.0, 0.1, refits=2), row("b", "nce", -3.0, 0.1)]
    found += [row(name, "usable", 3.0, 0.1, refits=2) for name in ("a", "b")]
    full = contents(layers=[Layer("a", "a"), Layer("b", "b")], rows=found)
    for base, remarks in ((2, ["2 refits", "3 refits", "2 refits"]), (3, ["2 refits", "3 refits", "3 refits"])):
        full = contents(layers=full.layers, rows=[*found, row("input", "cross-entropy", 78.0, 0.4, refits=base)])
        table = numbers(full, Results(full.rows), Palette(["a", "b"]))
        cells = [(line.cells[0], line.cells[1]) for line in table.lines]
        assert [nce.remark for nce, _ in cells if nce is not None] == remarks
        assert all(usable is None or not usable.remark for _, usable in cells)
        assert [column.behind for column in table.columns] == [
            "297 images, refits with each number",
            "297 images, 2 refits",
        ]
        assert "in the refits that both have" in table.matched
    whole = contents()
    assert numbers(whole, Results(whole.rows), Palette(["a"])).matched == ""


def test_differences_say_how_many_images_and_refits_they_are_of() -> None:
    full = contents()
    results = Results(full.rows)
    shown = steps(differences(full.differences, results), full)
    assert [row[4:6] for row in shown] == [("297", "3")] * 4


def test_samples_are_counted_beside_the_images_they_are_of() -> None:
    found = [row("conv1", kind, 0.5, 0.1, n=6, refits=1) for kind in ("sample-variance", "sample-accuracy", "nce")]
    names = ["conv1", "conv2", "fc3", "logits"]
    table = numbers(contents(rows=found, each=8), Results(found), Palette(names))
    behind = {column.kind: column.behind for column in table.columns}
    for kind in ("sample-variance", "sample-accuracy"):
        assert behind[kind] == "6 images, 8 samples of each, single fit"
    assert "samples" not in behind["nce"]


@pytest.mark.parametrize("wide", [False, True])
def test_many_columns_make_two_tables_which_hold_every_number_once(wide: bool) -> None:
    kinds = ["nce", "usable", "label", "mse", "generalisation-gap"] + ["contrastive", "forward"] * wide
    found = [row(name, kind, 5.0, 0.3) for name in ("conv1", "fc3") for kind in kinds]
    found.append(row("input", "cross-entropy", 80.0, 1.0))
    table = numbers(contents(rows=found), Results(found), Palette(["conv1", "conv2", "fc3", "logits"]))
    assert len(table.parts) == 1 + wide
    shown = [table.columns[index].kind for part in table.parts for index in part.columns]
    assert sorted(shown) == sorted(kinds)
    # Layers without a number stand where information stands, and are left out of the other one.
    names = [[line.name for line in part.lines] for part in table.parts]
    assert names == [["conv1", "conv2", "fc3", "logits", "input"], ["conv1", "fc3"]][: 1 + wide]
    assert [part.title for part in table.parts] == (
        ["Information", "What was drawn, and the fits themselves"] if wide else [""]
    )


def test_words_in_cells_are_explained() -> None:
    found = [row("a", "nce", -3.0, 0.1), row("a", "contrastive", 4.158883, 0.0, n=6)]
    full = contents(layers=[Layer("a", "a")], rows=found)
    assert [words for words, _ in numbers(full, Results(found), Palette(["a"])).words] == ["no spread"]
    found = [row("a", "nce", -3.0, 0.1, refits=1)]
    assert [words for words, _ in numbers(full, Results(found), Palette(["a"])).words] == ["single fit"]
    found = [row("a", "nce", -3.0, 0.1)]
    assert numbers(full, Results(found), Palette(["a"])).words == ()


def test_the_table_has_a_line_per_layer_and_checkpoint() -> None:
    full = through_training()
    table = numbers(full, Results(full.rows, full.checkpoints), Palette([layer.name for layer in full.layers]))
    assert table.several
    lines = [(line.name, line.checkpoint, line.rows) for line in table.lines]
    assert lines == [
        ("conv1", "0", 4), ("conv1", "100", 0), ("conv1", "1000", 0), ("conv1", "end", 0),
        (HOSTILE, "0", 3), (HOSTILE, "1000", 0), (HOSTILE, "end", 0),
        ("logits", "0", 4), ("logits", "100", 0), ("logits", "1000", 0), ("logits", "end", 0),
        ("input", "", 1),
    ]  # fmt: skip
    assert [name for name, _ in table.network] == [f"Accuracy of the network, checkpoint {at}" for at in CHECKPOINTS]


def test_checkpoints_stand_in_the_planned_order_and_what_has_none_has_every_one() -> None:
    found = [row("a", "nce", value, 0.1, checkpoint=at) for at, value in (("end", -1.0), ("100", -2.0), ("0", -3.0))]
    found += [row("template", "nce", -9.0, 0.1, checkpoint=""), row("input", "cross-entropy", 12.0, 0.1, checkpoint="")]
    results = Results(found, ("0", "100", "end"))
    assert results.checkpoints == ["0", "100", "end"]
    assert results.last == "end"
    assert results.dated("a") == ["0", "100", "end"]
    assert results.dated("template") == []
    for at in ("0", "100", "end", None):
        for name, kind, value in (("template", "nce", -9.0), ("input", "cross-entropy", 12.0)):
            estimate = results.get(name, kind, at)
            assert estimate is not None
            assert estimate.value == value
    earlier = results.get("a", "nce", "100")
    assert earlier is not None
    assert earlier.value == -2.0


def test_update_counts_stand_on_a_logarithmic_scale_that_has_zero() -> None:
    places, counted = positions(("0", "10", "100", "10000", "end"))
    assert counted
    assert places == pytest.approx([0, 1, 2, 4, 5])
    assert positions(("50",)) == ([1.0], True)
    assert positions(("0", "end")) == ([0.0, 1.0], True)
    assert positions(("start", "100", "end")) == ([0.0, 1.0, 2.0], False)
    assert positions(("end",)) == ([0.0], False)
