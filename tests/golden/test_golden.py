"""Kept runs are as they were; and the comparison sees what it should."""

import json
from pathlib import Path

import pytest

import golden


@pytest.mark.golden
@pytest.mark.parametrize("case", golden.CASES)
def test_numbers_and_words_are_as_they_were(case: str, tmp_path: Path) -> None:
    exact = golden.machine() == json.loads((golden.HERE / golden.MACHINE).read_text())
    # The demo's folder, if the demo has run: it is the same study.
    demo = Path.cwd() / "runs" / case
    assert golden.moved(golden.known(case), golden.made(case, tmp_path / "run", demo), exact=exact) == []


TABLE = "layer,kind,value,stderr\nfc,nce,-70.0,0.5\nfc,mse,0.1,\n"


@pytest.mark.parametrize(
    ("after", "exact", "elsewhere"),
    [
        (TABLE, True, True),
        (TABLE.replace("-70.0", "-70.004"), False, True),
        (TABLE.replace("-70.0", "-70.006"), False, False),
        (TABLE.replace("0.1", "0.2"), False, False),
        (TABLE.replace("nce", "usable"), False, False),
        (TABLE + "x,nce,1,1\n", False, False),
        (TABLE.replace("stderr", "error"), False, False),
    ],
)
def test_a_number_may_move_by_a_hundredth_of_its_error_on_another_processor(
    after: str, exact: bool, elsewhere: bool
) -> None:
    before, after_it = {"results.csv": TABLE}, {"results.csv": after}
    assert (golden.moved(before, after_it, exact=True) == []) == exact
    assert (golden.moved(before, after_it, exact=False) == []) == elsewhere


def test_words_may_not_move_but_for_their_numbers() -> None:
    page = "From conv1 to fc3 the network gives up 21.1 ± 1.1 nats.\n"
    for after, exact, elsewhere in (
        (page, True, True),
        (page.replace("21.1", "1,021.3"), False, True),
        (page.replace("up", "away"), False, False),
    ):
        assert (golden.moved({"page.txt": page}, {"page.txt": after}, exact=True) == []) == exact
        assert (golden.moved({"page.txt": page}, {"page.txt": after}, exact=False) == []) == elsewhere
    assert golden.moved({"page.txt": page}, {}, exact=False) == ["page.txt: gone"]


def test_the_text_of_a_page_leaves_out_how_it_was_made(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(
        "<title>t</title><style>p {}</style><h1>One &amp; two</h1>"
        "<p>three <em>four</em>\n five</p><svg><text>6</text></svg>"
        '<section id="making"><h2>Made</h2><section>in 7 s</section><p>8</p></section><p>nine</p>'
    )
    assert golden.text_of(page) == "One & two\nthree four five\nnine\n"
