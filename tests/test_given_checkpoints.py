"""Measuring one's own network at earlier checkpoints that one has kept."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import tiny_study
import toy_networks
from infoplane.capture import activations, default_transform
from infoplane.profile import measure
from infoplane.study.results import Results
from infoplane.subjects.given import load_states
from tiny_study import QUICK

IMAGES, LABELS = tiny_study.images_and_labels()


pytestmark = pytest.mark.usefixtures("short")


def earlier(seed: int) -> dict[str, torch.Tensor]:
    """The toy network's weights as they might have been."""
    generator = torch.Generator().manual_seed(seed)
    state = toy_networks.build().state_dict()
    return {name: torch.rand(value.shape, generator=generator) for name, value in state.items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory, short):
    """At two earlier states, one of them from a file of a training script, and as it is."""
    folder = tmp_path_factory.mktemp("given")
    torch.save({"epoch": 5, "state_dict": earlier(5)}, folder / "5.pt")
    network = toy_networks.build()
    before = copy.deepcopy(network.state_dict())
    found = measure(
        network,
        IMAGES,
        LABELS,
        layers=["conv", "fc"],
        checkpoints={"0": earlier(0), "5": folder / "5.pt"},
        out=folder / "out",
        **QUICK,
    )
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    return found


def test_each_checkpoint_is_captured_with_its_own_weights(measured):
    results: Results = measured._results
    data = results.cell("data")
    images = torch.from_numpy(data.array("images")[data.array("evaluation")])
    for name, state in (("0", earlier(0)), ("5", earlier(5)), ("end", toy_networks.build().state_dict())):
        network = toy_networks.build()
        network.load_state_dict(state)
        truth = activations(network, ["conv", "fc"], images, transform=default_transform(3))
        stored = results.cell("capture", checkpoint=name)
        for layer, expected in truth.items():
            assert np.array_equal(stored.array(f"evaluation:{layer}"), expected.numpy()), (name, layer)


def test_the_table_has_every_checkpoint_and_the_profile_speaks_of_the_last(measured):
    rows = measured.frame.filter((measured.frame["kind"] == "nce") & (measured.frame["layer"] == "fc"))
    assert rows["checkpoint"].unique(maintain_order=True).to_list() == ["0", "5", "end"]
    last = rows.filter((rows["checkpoint"] == "end") & (rows["refit"] == "all"))["value"].item()
    assert measured["fc"]["nce"].value == last


def test_the_page_shows_the_information_plane(measured):
    page = (measured.folder / "report.html").read_text(encoding="utf-8")
    assert 'id="plane"' in page
    assert (measured.folder / "figures" / "plane.svg").is_file()


def test_an_earlier_state_changes_the_folder_s_fingerprint(measured, tmp_path, refuses):
    states = {"0": earlier(1), "5": earlier(5)}
    with refuses("another"):
        measure(
            toy_networks.build(),
            IMAGES,
            LABELS,
            layers=["conv", "fc"],
            checkpoints=states,
            out=measured.folder,
            **QUICK,
        )


@pytest.mark.parametrize(
    ("checkpoints", "words"),
    [
        ({"end": {}}, "checkpoints cannot be told apart"),
        ({"": {}}, "checkpoints cannot be told apart"),
        ({"epochs/5": {}}, "checkpoints cannot be told apart"),
        ({"..": {}}, "checkpoints cannot be told apart"),
        ({"5": toy_networks.build().state_dict(), "0": toy_networks.build().state_dict()}, "not in training order"),
        ([{}], "checkpoints cannot be used"),
        ({"1": 3}, "checkpoint '1' cannot be used"),
        ({"1": {"weight": torch.zeros(3)}}, "checkpoint '1' does not fit the model"),
        ({"1": "/nowhere.pt"}, "cannot read the checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_refused(checkpoints, words, refuses):
    with refuses(words):
        load_states(toy_networks.build(), checkpoints)


def test_a_state_is_found_beside_other_things():
    network = nn.Linear(2, 3)
    state = {name: value + 1 for name, value in network.state_dict().items()}
    for wrapped in (state, {"state_dict": state}, {"model_state_dict": state, "epoch": 3}, {"model": state}):
        (found,) = load_states(network, {"1": wrapped}).values()
        assert all(torch.equal(found[name], state[name]) for name in state)
