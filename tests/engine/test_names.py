"""What a cell is called does not change any more: later versions go on with what this one has computed."""

import pytest

from infoplane.engine.cell import Cell
from infoplane.measurements import KINDS


def test_the_name_of_a_cell_is_what_it_was() -> None:
    params = {"layer": "fc3", "fit": {"updates": 3}, "seed": 1}
    needs = {"data": "data-0123456789ab", "capture": "capture-0123456789ab.abcdef"}
    arithmetic = "torch 2 on cpu"
    plain = Cell.named("density", params, needs, label="fc3-r1", code="c0de", arithmetic=arithmetic)
    assert plain.name == "density-fc3-r1-a297008c5801"
    kept = {"layers": ["fc3"], "checkpoint": "end"}
    some = Cell.named("capture", kept, {}, keeps=("layers",), code="c0de", arithmetic=arithmetic)
    assert some.name == "capture-f6a08fc1db23.215bf5"


#: kind -> the settings that each such cell has in its name, and those that it has where they are not the default
SETTINGS = {
    "data": ("data seed", "fingerprint"),
    "subject": ("subject seed", ""),
    "capture": ("layers checkpoint encoding checkpoints read_as seed", "fingerprint weights activations"),
    "candidate": ("candidate density fit fit_on seed", ""),
    "choice": ("fit_on held_out seed", ""),
    "trunk": ("places fit fit_on seed", ""),
    "density": ("layer density fit fit_on seed contrastive losses", "read_as activations place"),
    "mse": ("layer fit fit_on images seed", "read_as activations"),
    "samples": ("layer density images each seed", "read_as activations"),
    "judge": ("layer", ""),
    "probe": ("layer held_out fit_on seed", "read_as activations"),
    "forward": ("layer fit held_out seed", "read_as activations"),
    "own": ("checkpoint", ""),
    "truth": ("options contrastive draws", ""),
    "points": ("data seed", "fingerprint"),
    "descent": ("network train seed", ""),
    "flow": ("network epoch samples queries seed", ""),
    "quadrature": ("network epochs", ""),
    "sweep": ("sweep samples queries seed", ""),
    "clustering": ("network epoch bins marked seed", ""),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_settings_of_a_kind_of_cell_are_what_they_were(kind: str) -> None:
    fields = KINDS[kind].model_fields
    always, others = (set(words.split()) for words in SETTINGS[kind])
    assert always == {name for name, field in fields.items() if field.is_required()}
    # More may come: at their defaults they are in no name.
    assert others <= fields.keys() - always


def test_every_kind_of_cell_is_frozen_here() -> None:
    assert set(SETTINGS) <= set(KINDS)
