"""What a study of noisy networks may say, and what it is told when it says something else."""

import itertools
import os

import pytest
import yaml

import tiny_noisy
from infoplane.errors import UsageError
from infoplane.measurements import as_kind
from infoplane.study.families import FAMILIES
from infoplane.study.load import load_study, named_studies, read_study, scales_of, validate
from infoplane.study.noisy_spec import NoisySpec
from infoplane.study.plan import make_noisy_plan

#: the studies of Goldfeld et al. 2018
NOISY = [
    "leaky-pair", "noisy-neuron", "spiral", "szt-binning", "szt-linear", "szt-orthonormal", "szt-relu",
    "szt-relu-orthonormal", "szt-tanh", "szt-tanh-loud",
]  # fmt: skip

PLAIN = """
kind: flow
title: Plain
data: {name: spiral, options: {inputs: 20}}
network: {widths: [3, 2], beta: 0.025}
train: {epochs: 100}
"""


@pytest.fixture
def load(tmp_path):
    """Returns a function that loads a study with changes by dotted path."""
    return lambda changes=None, text=PLAIN: tiny_noisy.load(tmp_path, text, changes)


# --- what is left to defaults ---


def test_bins_and_checkpoints_are_written_out(load):
    spec = load()
    assert spec.bins == (0.25,)  # ten β
    kept = spec.train.checkpoints
    assert (kept[0], kept[1], kept[-1]) == (0, 1, 100)
    assert list(kept) == sorted(set(kept))
    assert 20 <= len(kept) <= 31
    written = yaml.safe_load(spec.to_yaml())
    assert written["bins"] == [0.25]
    assert written["train"]["checkpoints"] == list(kept)
    assert written["estimate"] == {"samples": 100_000, "queries": 10_000, "repeats": 2, "exact": False}
    assert load({"network.beta": 0.005}).bins == (0.05,)


def test_the_last_epoch_is_always_kept_and_order_does_not_matter(load):
    assert load({"train.checkpoints": [7, 0, 7]}).train.checkpoints == (0, 7, 100)
    assert load({"train.checkpoints": [100]}).train.checkpoints == (100,)
    assert load({"train.epochs": 1}).train.checkpoints == (0, 1)


def test_networks_change_what_they_name(load):
    networks = {
        "plain": {},
        "loud": {"network.beta": 0.5, "train.epochs": 10},
        "quiet": {"network.beta": None, "bins": [0.1, 0.2]},
    }
    spec = load({"networks": networks})
    assert spec.names == ["plain", "loud", "quiet"]
    plain, loud, quiet = (spec.one(name) for name in spec.names)
    assert (plain.network, plain.bins) == (spec.network, (0.25,))
    assert (loud.network.beta, loud.bins, loud.train.epochs, loud.train.checkpoints[-1]) == (0.5, (5.0,), 10, 10)
    assert (quiet.network.beta, quiet.bins, quiet.train) == (None, (0.1, 0.2), plain.train)
    # What is not named is the common description's, which stays as it was.
    assert loud.network.widths == (3, 2)
    assert spec.network.beta == 0.025
    assert load().names == [""]


@pytest.mark.parametrize(
    ("marked", "shown"),
    [([], []), ([0], [0]), ([3, 9], [0, 7]), ([4], [7]), ([6, 8, 7], [7]), ([10**9], [20]), ([13, 14], [7, 20])],
)
def test_marked_epochs_are_the_nearest_checkpoints(load, marked, shown):
    spec = load({"marked": marked, "train.epochs": 20, "train.checkpoints": [0, 7]})
    assert spec.shown("") == shown


def test_the_resolved_study_reads_back_the_same(load, tmp_path):
    for text in (PLAIN, tiny_noisy.SPIRAL, tiny_noisy.CHAIN):
        spec = load(text=text)
        path = tmp_path / "study.yaml"
        path.write_text(spec.to_yaml(), encoding="utf-8")
        again = read_study(path)
        assert again == spec
        assert again.to_yaml() == spec.to_yaml()
        assert make_noisy_plan(again).cells == make_noisy_plan(spec).cells


# --- what is refused ---


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("bin", "bins"),
        ("data.nme", "name"),
        ("network.width", "widths"),
        ("network.bta", "beta"),
        ("train.epoch", "epochs"),
        ("train.orthonorml", "orthonormal"),
        ("estimate.sample", "samples"),
        ("sweep.wieghts", "weights"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_nearest_match(load, refuses, path, nearest):
    with refuses(f"unknown key '{path}'", "did you mean", f"'{nearest}'", "flow.yaml"):
        load({path: 1})


def test_an_unknown_key_of_one_network_is_named_with_its_path(load, refuses):
    with refuses("unknown key 'train.orthonorml' in networks.odd", "'orthonormal'"):
        load({"networks": {"odd": {"train.orthonorml": 0.1}}})
    with refuses("unknown key 'seed' in networks.odd"):
        load({"networks": {"odd": {"seed": 3}}})
    with refuses("networks.odd", "network.widths", "received 3"):
        load({"networks": {"odd": {"network.widths": 3}}})
    with refuses("cannot set a field", "train.epochs.more"):
        load({"networks": {"odd": {"train.epochs.more": 3}}})
    with refuses("networks.odd.train.checkpoints lie beyond the last epoch", "[101]", "0 to 100"):
        load({"networks": {"odd": {"train.checkpoints": [101]}}})
    with refuses("networks.quiet.bins of a deterministic network have no default", "bins: [size, …]"):
        load({"networks": {"plain": {}, "quiet": {"network.beta": None}}})


def test_refits_of_another_family_are_told_what_noisy_studies_have(load, refuses):
    with refuses("unknown key 'fit'", "noisy studies have estimate.repeats instead of refits"):
        load({"fit.refits": 3})


def test_a_section_of_one_network_cannot_be_replaced_by_half_of_it(load, refuses):
    networks = {"plain": {}, "quiet": {"bins": [0.1], "network.beta": 0.3}}
    says = ("networks.quiet cannot replace a section", "network: {'beta': 0.1}", "dotted keys of one mapping")
    with refuses(*says, "--set 'networks.quiet={bins: [0.1], network.beta: 0.1}'"):
        load({"networks": networks, "networks.quiet.network.beta": 0.1})
    # What it says to write is what it should be.
    spec = load({"networks": networks, "networks.quiet": yaml.safe_load("{bins: [0.1], network.beta: 0.1}")})
    assert (spec.one("quiet").network.beta, spec.one("quiet").network.widths) == (0.1, (3, 2))
    # Without the refusal this one would silently train at the default rate.
    with refuses("networks.quiet cannot replace a section", "--set 'networks.quiet={train.epochs: 5}'"):
        load({"train.learning_rate": 0.5, "networks.quiet.train.epochs": 5})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"bins": []},
            ("flow.yaml: bins cannot be used; received []; legal: a list of 1 or more, each a number above 0",),
        ),
        (
            {"network.widths": []},
            ("network.widths cannot be used; received []", "a list of 1 to 1,000, each a whole number"),
        ),
        (
            {"networks": {"odd": {"bins": []}}},
            ("networks.odd: bins cannot be used; received []", "a list of 1 or more"),
        ),
        (
            {"sweep.weights": [1, 2, 3]},
            ("sweep.weights cannot be used; received [1, 2, 3]; legal: a list of 2, each a number above 0",),
        ),
        ({"bins": 0.1}, ("bins cannot be used; received 0.1; legal: a list of 1 or more",)),
    ],
)
def test_lists_are_called_lists(load, refuses, changes, words):
    with refuses(*words):
        load(changes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"name": "spiral", "options": {"foo": 7}},
            ("unknown key 'data.options.foo'", "legal: inputs, turns, jitter, test"),
        ),
        (
            {"name": "spiral", "options": {"turns": "many"}},
            ("data.options.turns", "received 'many'", "a number above 0"),
        ),
        ({"name": "szt", "options": {"foo": 7}}, ("unknown key 'data.options.foo' in szt", "legal: path, test")),
        ({"name": "neuron", "options": {"foo": 7}}, ("unknown key 'data.options.foo' in neuron", "legal: none")),
    ],
)
def test_options_that_a_problem_does_not_take_are_told_those_that_it_takes(load, refuses, data, words):
    with refuses(*words):
        FAMILIES["flow"].check(load({"data": data}))


def test_inputs_that_are_not_finite_are_not_blamed_on_training(load, refuses):
    with refuses("inputs are not finite", "of 40 of spiral", "data.options"):
        FAMILIES["flow"].check(load({"data.options.jitter": 1e308}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.name": "sprial"}, ("unknown data.name", "did you mean 'spiral'")),
        ({"kind": "flaw"}, ("unknown kind of study", "did you mean 'flow'")),
        ({"kind": ["flow"]}, ("unknown kind of study",)),
        ({"kind": None}, ("unknown kind of study",)),
        ({"network.beta": None}, ("bins of a deterministic network have no default",)),
        ({"network.beta": 1e308}, ("bins must be finite",)),
        ({"train.loss": "mse"}, ("train.loss mse needs one output", "[3, 2]", "read_out: false")),
        ({"train.loss": "mse", "network.widths": [1]}, ("train.loss mse needs one output",)),
        ({"network.read_out": False}, ("train.loss cross-entropy needs one output per class",)),
        ({"network.start": [[1, 0], [1, 0]]}, ("network.start does not fit the layers", "one unit")),
        ({"network.widths": [1, 1], "network.start": [[1, 0]]}, ("network.start does not fit the layers",)),
        ({"train.checkpoints": [0, 101, 200]}, ("checkpoints lie beyond the last epoch", "[101, 200]", "0 to 100")),
        ({"estimate.exact": True}, ("estimate.exact is for chains of single units",)),
    ],
)
def test_sections_that_do_not_go_together(load, refuses, changes, words):
    with refuses(*words):
        load(changes)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("bins", []),
        ("bins", [0.0]),
        ("bins", [float("inf")]),
        ("bins", [float("nan")]),
        ("bins", 0.1),
        ("data", 3),
        ("data.options", [1]),
        ("network.widths", []),
        ("network.widths", [0]),
        ("network.beta", 0),
        ("network.beta", -0.1),
        ("network.activation", "sigmoid"),
        ("network.gain", -1),
        ("train.epochs", 0),
        ("train.batch", 0),
        ("train.learning_rate", 0),
        ("train.learning_rate", float("nan")),
        ("train.loss", "hinge"),
        ("train.orthonormal", -1),
        ("train.checkpoints", [-1]),
        ("networks", [1]),
        ("networks", {"a": 3}),
        ("networks", {"a": {1: 2}}),
        ("estimate.samples", 1),
        ("estimate.queries", 3),
        ("estimate.repeats", 1),
        ("estimate.exact", "maybe"),
        ("marked", [-1]),
        ("marked", 3),
        ("sweep", 3),
        ("sweep", {"weights": [0, 1]}),
        ("sweep", {"betas": []}),
        ("sweep", {"count": 1}),
        ("sweep", {"bias_per_weight": float("inf")}),
    ],
)
def test_a_wrong_type_or_value_is_named_with_its_path(load, refuses, path, value):
    with refuses("flow.yaml", path, "received"):
        load({path: value})


def test_a_study_of_another_kind_does_not_take_these_keys(load, refuses):
    with refuses("unknown key 'density'"):
        load({"density": {"kind": "pixelcnn"}})


# --- options of the problem, which only the problem knows ---


@pytest.mark.parametrize("options", [{"input": 3}, {"inputs": "many"}, {"seed": 3}, {"turns": [1]}])
def test_options_that_the_problem_does_not_take(load, refuses, options):
    spec = load({"data.options": options})
    for look in (FAMILIES["flow"].check, FAMILIES["flow"].costs):
        with refuses(f"data.options.{next(iter(options))}", "spiral"):
            look(spec)


# --- the named studies ---


def test_the_studies_of_noisy_networks_are_there():
    assert [name for name in named_studies() if isinstance(load_study(name), NoisySpec)] == NOISY


@pytest.mark.parametrize(("name", "scale"), list(itertools.product(NOISY, ("paper", "laptop"))))
def test_every_named_study_loads_checks_and_plans(name, scale):
    spec = load_study(name, scale=scale)
    assert isinstance(spec, NoisySpec)
    assert (spec.name, spec.scale) == (name, scale)
    assert scales_of(name) == ["paper", "laptop"]
    assert spec.figure.startswith("Goldfeld et al. 2018, ")
    assert spec.marked
    assert validate(yaml.safe_load(spec.to_yaml()), where=name) == spec
    plan = make_noisy_plan(spec)
    seen = set()
    for cell in plan.cells.values():
        assert set(cell.needs.values()) <= seen, "a cell comes after those it needs"
        seen.add(cell.name)
    for network in spec.names:
        one = spec.one(network)
        noisy = one.network.beta is not None
        for epoch in one.train.checkpoints:
            assert plan.name("clustering", network, 0, str(epoch)) in plan.cells
            for repeat in (1, spec.estimate.repeats):
                assert (plan.name("flow", network, repeat, str(epoch)) is not None) == noisy
    if spec.data.name == "szt" and "INFOPLANE_DATA" not in os.environ:
        pytest.skip("INFOPLANE_DATA is not set: no files of szt to check the study against")
    loaded = FAMILIES["flow"].check(spec)
    assert len(loaded.arrays["inputs"]) == {"szt": 4096, "spiral": 1000, "neuron": 4, "pair": 8}[spec.data.name]
    costs = FAMILIES["flow"].costs(spec)
    assert all(costs.of(as_kind(cell)) for cell in plan.cells.values())


def test_the_paper_s_conditions():
    spec = {name: load_study(name, scale="paper") for name in NOISY}
    szt = [name for name in NOISY if name.startswith("szt-")]
    for name in szt:
        assert spec[name].network.widths == (10, 7, 5, 4, 3)  # 12 before them, 2 after
        if name != "szt-binning":
            assert spec[name].estimate.samples == 4_000_000
    betas = {name: spec[name].network.beta for name in szt}
    assert betas == {
        "szt-binning": None, "szt-linear": 0.01, "szt-orthonormal": 0.005, "szt-relu": 0.01,
        "szt-relu-orthonormal": 0.01, "szt-tanh": 0.005, "szt-tanh-loud": 0.01,
    }  # fmt: skip
    orthonormal = {
        (study, network, spec[study].one(network).train.orthonormal)
        for study in szt
        for network in spec[study].names
        if spec[study].one(network).train.orthonormal
    }
    assert orthonormal == {(name, "orthonormal", 5e-5) for name in ("szt-orthonormal", "szt-relu-orthonormal")}
    assert spec["szt-tanh"].bins == (0.05,)
    neuron, pair, spiral = spec["noisy-neuron"], spec["leaky-pair"], spec["spiral"]
    assert (neuron.network.beta, neuron.train.learning_rate, neuron.network.gain) == (0.01, 0.01, 0)
    assert (pair.train.learning_rate, pair.network.activation) == (0.001, "leaky")
    assert set(spiral.network.widths) == {3}
    assert [spiral.one(name).bins for name in spiral.names] == [(0.05,), (0.05,), (0.001,)]


def test_the_family_of_a_study_without_kind_is_not_this_one(load):
    with pytest.raises(UsageError, match="unknown key 'network'"):
        load(text=PLAIN.replace("kind: flow", "").replace("{name: spiral, options: {inputs: 20}}", "{name: digits}"))
