"""Numbers as they are printed, and rows as they are looked up."""

import dataclasses
import math
import re
from typing import Any

import pytest
from markupsafe import Markup
from matplotlib.colors import to_rgb
from synthetic_report import CHECKPOINTS, HOSTILE, contents, row, rows, through_training

from infoplane.estimate import Estimate
from infoplane.report.drawing import shortened
from infoplane.report.format import amount, duration, information, listed, probability, rounded, with_error
from infoplane.report.inversion.contents import Layer
from infoplane.report.inversion.tables import LayerTables, column_kinds, differences_table
from infoplane.report.page import Facts, Heading
from infoplane.report.tables import Table, TableEntry
from infoplane.report.theme import Palette
from table_rows import numbers_of


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
    assert listed(["<a>", "b", Markup("<i>c</i>")]) == "&lt;a&gt;, b and <i>c</i>"
    assert rounded(-1e-12, 1.0) == "0.0"
    assert shortened("backbone.encoder.blocks.3.attention.output", 20) == "backbon…ntion.output"
    assert shortened("a\nb\x00c") == "a b c"


def test_pooled_numbers_are_preferred_to_single_fits() -> None:
    results = numbers_of(rows())
    found = results.get("conv1", "usable")
    assert found is not None
    assert (found.value, found.refits) == (34.90, 3)
    assert len(results.fits("conv1", "usable")) == 3
    assert results.get("conv1", "entropy") is None


def test_uncombined_fits_are_flagged() -> None:
    found = numbers_of([row("a", "nce", -3.0, 0.1, refit=refit, refits=1) for refit in (0, 1)]).get("a", "nce")
    assert found is not None
    assert found.flags == ("one of 2 fits that were not combined",)


def test_the_twin_belongs_to_every_checkpoint() -> None:
    results = numbers_of([row("a", "nce", -3.0, 0.1), row("input", "cross-entropy", 9.0, 0.1, checkpoint="")])
    assert results.last == "end"
    found = results.get("input", "cross-entropy")
    assert found is not None
    assert found.value == 9.0


def nats(entry: TableEntry) -> list[str]:
    """What an entry says to a reader of nats, line by line."""
    lines = [re.sub(r'<span class="bits">.*?</span>', "", str(line)) for line in (entry.text, *entry.small)]
    return [Markup(line).striptags() for line in lines]


class Tables:
    """The tables of made-up contents, read back."""

    def __init__(self, **changes: Any) -> None:
        full = contents(**changes)
        made = LayerTables(full, Palette([layer.name for layer in full.layers]))
        parts = made.parts()
        below = [line for part in made.footnotes(parts) for line in part.lines]
        self.several, self.notes = made.several, [Markup(line).striptags() for line in below]
        self.kinds = column_kinds(full)
        self.tables = [part for part in parts if isinstance(part, Table)]
        self.titles = [part.title for part in parts if isinstance(part, Heading)]
        self.facts = [name for part in parts if isinstance(part, Facts) for name, _ in part.facts]

    @property
    def heads(self) -> list[str]:
        return [nats(entry)[0] for table in self.tables for entry in table.head]

    def behind(self, name: str) -> str:
        """What is behind the numbers of a column."""
        return next(nats(entry)[-1] for table in self.tables for entry in table.head if nats(entry)[0] == name)

    def rows(self, table: int = 0) -> list[list[list[str]]]:
        return [[nats(entry) for entry in row] for row in self.tables[table].groups[0][1]]


def test_every_pooled_number_is_in_the_table() -> None:
    extra = [row("template", "information", 1.386, 0.001, direction="estimate"), row("conv1", "excess", 0.26, 0.05)]
    every = rows() + extra
    found = Tables(numbers=numbers_of(every))
    assert found.kinds == ["nce", "usable", "contrastive", "label", "mse", "excess", "information"]
    names = [cells[0][0] for cells in found.rows()]
    assert names == ["conv1", "conv2", "fc3", "logits", "template", "no layer, p(x)"]
    shown = [cell for table in range(2) for cells in found.rows(table) for cell in cells[1:] if cell != ["–"]]
    # every pooled row but the cross-entropies of layers, which are the NCEs with another sign
    pooled = [one for one in every if one["refit"] == "all" and one["layer"] and one["kind"] != "cross-entropy"]
    assert len(shown) == len(pooled) + 1
    assert "a saturated: near the ceiling log 64" in found.notes


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
    found = Tables(numbers=numbers_of([*rows(), row("conv1", "generalisation-gap", 5.0, 0.3, n=99)]))
    assert found.behind("NCE") == "297 images, 3 refits"
    assert found.behind("Contrastive bound") == "4 batches, 3 refits"
    assert found.behind("Label information") == "297 images, single fit"
    assert found.behind("Train/held-out gap") == "99 held-out images, 3 refits"


def test_each_number_says_its_refits_where_those_of_a_column_differ() -> None:
    found = [row("a", "nce", -3.0, 0.1, refits=2), row("b", "nce", -3.0, 0.1)]
    found += [row(name, "usable", 3.0, 0.1, refits=2) for name in ("a", "b")]
    layers = [Layer("a", "a"), Layer("b", "b")]
    for base, remarks in ((2, ["2 refits", "3 refits", "2 refits"]), (3, ["2 refits", "3 refits", "3 refits"])):
        twin = row("input", "cross-entropy", 78.0, 0.4, refits=base)
        table = Tables(layers=layers, numbers=numbers_of([*found, twin]))
        assert [cells[1][-1] for cells in table.rows()] == remarks
        assert not any("refits" in line for cells in table.rows() for line in cells[2])
        assert [nats(entry)[-1] for entry in table.tables[0].head[1:]] == [
            "297 images, refits with each number",
            "297 images, 2 refits",
        ]
        assert any("in the refits that both have" in note for note in table.notes)
    assert not any("in the refits that both have" in note for note in Tables().notes)


def test_differences_say_how_many_images_and_refits_they_are_of() -> None:
    (_, shown) = differences_table(contents(), "usable", several=False).groups[0]
    assert [[entry.text for entry in cells[3:5]] for cells in shown] == [["297", "3"]] * 4


def test_samples_are_counted_beside_the_images_they_are_of() -> None:
    found = [row("conv1", kind, 0.5, 0.1, n=6, refits=1) for kind in ("sample-variance", "sample-accuracy", "nce")]
    table = Tables(numbers=numbers_of(found), each=8)
    behind = [nats(entry)[-1] for entry in table.tables[0].head[1:]]
    assert behind == ["6 images, single fit", *["6 images, 8 samples of each, single fit"] * 2]


@pytest.mark.parametrize("wide", [False, True])
def test_many_columns_make_two_tables_which_hold_every_number_once(wide: bool) -> None:
    kinds = ["nce", "usable", "label", "mse", "generalisation-gap"] + ["contrastive", "forward"] * wide
    found = [row(name, kind, 5.0, 0.3) for name in ("conv1", "fc3") for kind in kinds]
    found.append(row("input", "cross-entropy", 80.0, 1.0))
    table = Tables(numbers=numbers_of(found))
    assert len(table.tables) == 1 + wide
    assert len(table.heads) - len(table.tables) == len(kinds) == len(set(table.heads) - {"Layer"})
    # Layers without a number stand where information stands, and are left out of the other one.
    names = [[cells[0][0] for cells in table.rows(index)] for index in range(1 + wide)]
    assert names == [["conv1", "conv2", "fc3", "logits", "no layer, p(x)"], ["conv1", "fc3"]][: 1 + wide]
    assert table.titles == ["Information", "What was drawn, and the fits themselves"] * wide


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([row("a", "nce", -3.0, 0.1), row("a", "contrastive", 4.158883, 0.0, n=6)], ["“no spread”"]),
        ([row("a", "nce", -3.0, 0.1, refits=1)], ["“single fit”"]),
        ([row("a", "nce", -3.0, 0.1)], []),
    ],
)
def test_words_in_cells_are_explained(found: list, words: list[str]) -> None:
    table = Tables(layers=[Layer("a", "a")], numbers=numbers_of(found))
    assert [note.partition(":")[0] for note in table.notes] == words


def test_the_table_has_a_line_per_layer_and_checkpoint() -> None:
    full = through_training()
    tables = Tables(**{field.name: getattr(full, field.name) for field in dataclasses.fields(full)})
    assert tables.several
    heads = [(row[0].text, row[0].rows, len(row)) for row in tables.tables[0].groups[0][1] if row[0].chip]
    assert [(name, rows) for name, rows, _ in heads] == [
        ("conv1", 4), (HOSTILE, 3), ("logits", 4), ("no layer, p(x)", 1),
    ]  # fmt: skip
    wide = max(length for *_, length in heads)
    points = [row[len(row) - wide + 1].text for row in tables.tables[0].groups[0][1]]
    assert points == [*CHECKPOINTS, "0", "1000", "end", *CHECKPOINTS, "–"]
    assert tables.facts == [f"Accuracy of the network, checkpoint {at}" for at in CHECKPOINTS]


def test_checkpoints_stand_in_the_planned_order_and_what_has_none_has_every_one() -> None:
    found = [row("a", "nce", value, 0.1, checkpoint=at) for at, value in (("end", -1.0), ("100", -2.0), ("0", -3.0))]
    found += [row("template", "nce", -9.0, 0.1, checkpoint=""), row("input", "cross-entropy", 12.0, 0.1, checkpoint="")]
    results = numbers_of(found, ("0", "100", "end"))
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
