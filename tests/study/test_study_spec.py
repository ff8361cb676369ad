"""What a study may say, and what it is told when it says something else."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

import tiny_study
from infoplane.data import catalogue
from infoplane.study.check import check
from infoplane.study.load import load_study, named_studies, parse_value, read_study, scales_of, validate
from infoplane.study.plan import make_plan
from infoplane.study.spec import StudySpec


@pytest.fixture
def load(tmp_path):
    """Returns a function that loads the tiny study with changes by dotted path."""
    path = str(tiny_study.write_study(tmp_path))
    return lambda changes=None: load_study(path, changes)


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("sed", "seed"),
        ("data.nme", "name"),
        ("data.evalution", "evaluation"),
        ("subject.hiden", "hidden"),
        ("subject.train.learning_rat", "learning_rate"),
        ("density.filter", "filters"),
        ("density.residual_layer", "residual_layers"),
        ("fit.update", "updates"),
        ("fit.warmstart", "warm_start"),
        ("reconstruction.bath", "batch"),
        ("contrastive.candidate", "candidates"),
        ("samples.imges", "images"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_nearest_match(load, refuses, path, nearest):
    with refuses(f"unknown key '{path}'", "did you mean", f"'{nearest}'", "tiny.yaml"):
        load({path: 1})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("subject.kind", "nash", ("subject.kind", "'nash'", "nash-cnn")),
        ("density.kind", "pixel", ("density.kind", "'pixel'", "pixelcnn")),
        ("density.likelihood", "softmax", ("density.likelihood", "categorical", "logistic_mixture")),
        ("fit.schedule", "cosine", ("fit.schedule", "'cosine'", "linear")),
        ("measure", ["nse"], ("measure.0", "'nse'", "nce")),
    ],
)
def test_an_unknown_choice_is_told_the_legal_ones(load, refuses, path, value, words):
    with refuses(*words):
        load({path: value})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", "zero"),
        ("seed", -1),
        ("seed", 1.5),
        ("title", 3),
        ("layers", "conv1"),
        ("layers", [3]),
        ("measure", "nce"),
        ("data", 3),
        ("data.evaluation", "all"),
        ("data.decoding", 1),
        ("data.options", [1]),
        ("subject", "nash-cnn"),
        ("subject.filters", [16]),
        ("subject.filters", [0, 3]),
        ("subject.dropout", 1.0),
        ("subject.train", 3),
        ("subject.train.updates", 0),
        ("density", 5),
        ("density.filters", "many"),
        ("density.filters", 0),
        ("density.dropout", 1.5),
        ("fit.updates", "many"),
        ("fit.updates", 0),
        ("fit.updates", 1.5),
        ("fit.learning_rate", 0),
        ("fit.held_out", 1.0),
        ("fit.betas", [0.9]),
        ("fit.betas", [0.9, 1.0]),
        ("fit.betas", [-0.1, 0.9]),
        ("name", "../elsewhere"),
        ("name", "two words"),
        ("name", "a/b"),
        ("name", ".hidden"),
        ("name", ""),
        ("reconstruction.batch", None),
        ("contrastive.candidates", 1),
        ("samples.each", 0),
    ],
)
def test_a_wrong_type_or_value_is_named_with_its_path(load, refuses, path, value):
    with refuses("tiny.yaml", path, "received"):
        load({path: value})


@pytest.mark.parametrize("section", ["fit", "reconstruction"])
def test_a_fit_that_is_limited_by_time_is_refused(load, refuses, section):
    # Its twin would get another number of updates.
    with refuses(f"{section}.minutes in a study", f"{section}.updates"):
        load({f"{section}.minutes": 2.0})


def test_a_fit_that_may_stop_before_its_twin_is_refused(load, refuses):
    with refuses("fit.patience beside usable information"):
        load({"fit.patience": 2})
    assert load({"fit.patience": 2, "measure": ["nce"]}).fit.patience == 2


@pytest.mark.parametrize(
    "changes", [{"seed": 10**23}, {"fit.learning_rate": float("inf")}, {"fit.decay": 2}, {"contrastive.batches": 0}]
)
def test_numbers_out_of_range_are_refused_before_anything_runs(load, refuses, changes):
    with refuses(next(iter(changes))):
        load(changes)


def test_a_checkpoint_beyond_the_last_update_is_refused(load, refuses):
    with refuses("subject.train", "checkpoint 51 lies beyond the last of 50 updates; legal: 0 to 50, and end"):
        load({"subject.train.updates": 50, "subject.train.checkpoints": [0, 50, 51, "end"]})


def test_a_plain_name_is_taken(load):
    assert load({"name": "run-2_b.1"}).name == "run-2_b.1"


def test_an_unknown_study_is_told_the_nearest(refuses):
    with refuses("unknown study", "'digit'", "did you mean 'digits'?"):
        load_study("digit")
    with refuses("unknown study", "give the path of a .yaml file", "digits"):
        load_study("zzzzzzzzz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("cannot read the study", "absent.yaml", "no such file")),
        (b"title: [", ("not valid YAML",)),
        (b"\xff\xfe\x00", ("cannot read the study",)),
        (b"", ("not a mapping", "nothing in ", ".yaml")),
        (b"- 1\n- 2\n", ("not a mapping", "a list in ", ".yaml")),
        (b"title: No data\n", ("data is missing", "a section with the keys name,")),
        (b"1: 2\n", ("1",)),
    ],
)
def test_a_file_that_is_no_study(tmp_path, refuses, content, words):
    path = tmp_path / "absent.yaml"
    if content is not None:
        path.write_bytes(content)
    with refuses(*words):
        load_study(str(path))


def test_layers_need_a_network_and_names_of_their_own(load, refuses):
    with refuses("layers without a network", "conv1"):
        load({"subject": None})
    with refuses("distinct", "conv1, conv1"):
        load({"layers": ["conv1", "conv1"]})
    with refuses("none called input"):
        load({"latents": ["input"]})


def test_a_dotted_path_sets_one_field(load):
    before, after = load(), load({"fit.updates": 7, "subject.train.batch": 5, "data.options.levels": 4})
    assert (after.fit.updates, after.subject.train.batch, after.data.options) == (7, 5, {"levels": 4})
    changed = after.model_dump()
    changed["fit"]["updates"], changed["subject"]["train"]["batch"], changed["data"]["options"] = 3, 8, {}
    assert changed == before.model_dump()


@pytest.mark.parametrize("path", ["layers.0", "title.size", "fit.updates.more"])
def test_a_path_through_what_has_no_fields(load, refuses, path):
    with refuses("cannot set a field", path, "no fields"):
        load({path: 1})


def test_values_are_read_as_yaml_reads_them(refuses):
    values = {
        "100": 100,
        "1e-3": 0.001,
        "yes": "yes",
        "0.5": 0.5,
        "[a, 2]": ["a", 2],
        "null": None,
        "true": True,
        "a b": "a b",
    }
    assert {text: parse_value(text) for text in values} == values
    with refuses("cannot read the value", "["):
        parse_value("[")


def test_numbers_written_as_python_writes_them(load):
    assert load({"fit.learning_rate": parse_value("1e-3")}).fit.learning_rate == 0.001


def test_the_resolved_study_says_everything_and_reads_back_the_same(load, tmp_path):
    spec = load({"title": "Über «x»", "seed": 3})
    text = spec.to_yaml()
    written = yaml.safe_load(text)
    # What was left to a default is there, of the constructors as well.
    assert written["density"]["mixtures"] == 10
    assert written["fit"]["guard"] == 4.0
    assert written["subject"]["train"]["patience"] is None
    assert written["title"] == "Über «x»"
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    again = read_study(path)
    assert again == spec
    assert again.to_yaml() == text
    assert make_plan(again).cells == make_plan(spec).cells


#: (study, scale, data set) for every scale of every study of this kind that comes with the package, and for other data
#: sets; for the other kind see test_noisy_spec.py
NAMES = [name for name in named_studies() if isinstance(load_study(name), StudySpec)]
EVERY_STUDY = [(name, scale, None) for name in NAMES for scale in scales_of(name) or [None]]
EVERY_STUDY += [("nash-layers", scale, name) for scale in ("paper", "laptop")
                for name in ("fashion_mnist", "cifar10_exact_subset")]  # fmt: skip
EVERY_STUDY += [pytest.param(name, scale, "cinic10_layout", marks=pytest.mark.xdist_group("cinic10_layout"))
                for name in NAMES if load_study(name).data.name == "cinic10"
                for scale in ("paper", "laptop")]  # fmt: skip


@pytest.mark.usefixtures("read_once")
@pytest.mark.parametrize(("name", "scale", "dataset"), EVERY_STUDY)
def test_every_named_study_loads_checks_and_plans(name, scale, dataset):
    spec = load_study(name, {"data.name": dataset} if dataset else {}, scale=scale)
    assert (spec.name, spec.scale) == (name, scale)
    if scale is not None and spec.layers:  # as published, or as well as can be
        assert spec.readers == ("own" if scale == "paper" else "later")
    assert validate(yaml.safe_load(spec.to_yaml()), where=name) == spec
    plan = make_plan(spec)
    for layer in ("input", *spec.latents, *spec.layers):
        for refit in range(1, spec.fit.refits + 1):
            assert tiny_study.role(plan, "density", layer, refit) in plan.cells
    seen = set()
    for cell in plan.cells.values():
        assert set(cell.needs.values()) <= seen, "a cell comes after those it needs"
        seen.add(cell.name)
    if spec.data.name not in ("digits", "truth") and "INFOPLANE_DATA" not in os.environ:
        pytest.skip(f"INFOPLANE_DATA is not set: no files of {spec.data.name} to check the study against")
    if spec.data.name in catalogue.BY_NAME and catalogue.locate(spec.data.name) is None:
        pytest.skip(f"no files of {spec.data.name} to check the study against")
    check(spec)


SCALED = (
    tiny_study.STUDY
    + """
scales:
  small: {{fit.updates: 2, density.filters: 3}}
  laptop: {{fit.updates: 1}}
datasets:
  digits:
    every: {{layers: [logits], density.filters: 5}}
    laptop: {{density.dropout: 0.2}}
"""
)


def test_scales_change_what_they_name_and_the_caller_has_the_last_word(tmp_path):
    path = str(tiny_study.write_study(tmp_path, SCALED))
    assert scales_of(path) == ["paper", "small", "laptop"]
    found = {scale: load_study(path, scale=scale) for scale in (None, "paper", "small", "laptop")}
    assert {scale: spec.scale for scale, spec in found.items()} == {
        None: "laptop", "paper": "paper", "small": "small", "laptop": "laptop"
    }  # fmt: skip
    assert {scale: spec.fit.updates for scale, spec in found.items()} == {None: 1, "paper": 3, "small": 2, "laptop": 1}
    assert found["small"].density.model_extra["filters"] == 3
    assert load_study(path, {"fit.updates": 7}, scale="small").fit.updates == 7
    # The scale is in the resolved study, so that two scales do not share a folder.
    assert (
        found["small"].to_yaml() != load_study(path, {"fit.updates": 2, "density.filters": 3}, scale="paper").to_yaml()
    )


def test_a_note_says_what_was_changed(tmp_path):
    path = Path(tiny_study.write_study(tmp_path, SCALED))
    content = yaml.safe_load(path.read_text())
    assert load_study(str(path), {"fit.updates": 7}).note is None
    path.write_text(yaml.safe_dump(content | {"note": "One update only."}))

    def note(**changes):
        return load_study(str(path), {key.replace("__", "."): value for key, value in changes.items()}).note

    assert note() == note(name="other") == "One update only."
    assert note(fit__updates=7, seed=3) == note(seed=3, fit__updates=7)
    assert note(fit__updates=7, seed=3) == "One update only. Changed here: fit.updates = 7, seed = 3."
    assert note(layers=["conv1"], data__name="digits") == (
        'One update only. Changed here: data.name = digits, layers = ["conv1"].'
    )
    assert note(note="Mine.", seed=3) == "Mine."


def test_a_data_set_changes_what_the_study_says_of_it(tmp_path):
    path = str(tiny_study.write_study(tmp_path, SCALED))
    other = load_study(path, {"data.name": "digits"}, scale="laptop")
    assert (other.layers, other.density.model_extra["filters"]) == (("logits",), 5)
    assert (other.density.model_extra["dropout"], other.fit.updates) == (0.2, 1)
    paper = load_study(path, {"data.name": "digits", "density.filters": 9}, scale="paper")
    assert (paper.density.model_extra["filters"], paper.density.model_extra["dropout"]) == (9, 0.1)
    assert load_study(path, {"data.name": "truth"}, scale="paper").layers == ("conv1", "logits")
    # However the data set is asked for.
    assert load_study(path, {"data": {"name": "digits"}}, scale="laptop").layers == ("logits",)
    content = yaml.safe_load(Path(path).read_text())
    content["data"]["name"] = "digits"
    (tmp_path / "copied.yaml").write_text(yaml.safe_dump(content))
    assert load_study(str(tmp_path / "copied.yaml"), scale="laptop").layers == ("logits",)


def test_a_data_set_asked_for_by_its_path_is_known_by_its_files(tmp_path):
    labels, pixels = np.zeros((4, 1), np.uint8), np.zeros((4, 3072), np.uint8)
    for name in [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]:
        (tmp_path / name).write_bytes(np.hstack([labels, pixels]).tobytes())
    (tmp_path / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    spec = load_study("nash-layers", {"data.name": str(tmp_path)}, scale="paper")
    assert (spec.density.model_extra["likelihood"], spec.data.encoding) == ("logistic_mixture", 20000)


def test_scales_that_do_not_exist_or_cannot_be_read(tmp_path, refuses):
    path = str(tiny_study.write_study(tmp_path, SCALED))
    with refuses("unknown scale", "'labtop'", "did you mean 'laptop'?"):
        load_study(path, scale="labtop")
    with refuses("cannot read the study"):
        load_study("nul\0.yaml")
    with refuses("unknown scale", "'laptop'", "there is only one"):
        load_study("digits", scale="laptop")
    for bad in ("scales: 3", "scales: [a]", "scales: {{a: 3}}", "scales: {{a: {{1: 2}}}}", "scales: {{1: {{}}}}"):
        broken = str(tiny_study.write_study(tmp_path, tiny_study.STUDY + bad, "broken"))
        with refuses("scales cannot be read"):
            load_study(broken)
    unknown = str(
        tiny_study.write_study(tmp_path, tiny_study.STUDY + "scales: {{laptop: {{fit.updats: 3}}}}", "unknown")
    )
    with refuses("fit.updats", "did you mean 'updates'"):
        load_study(unknown)
    for bad in ("3", "{{digits: 3}}", "{{digits: {{every: 3}}}}", "{{digits: {{every: {{1: 2}}}}}}"):
        broken = str(tiny_study.write_study(tmp_path, tiny_study.STUDY + f"datasets: {bad}", "sets"))
        with refuses("datasets cannot be read"):
            load_study(broken, {"data.name": "digits"})


def test_checkpoints_are_in_training_order_with_the_finished_network_last(tmp_path):
    spec = tiny_study.tiny(tmp_path, subject__train__updates=100, subject__train__checkpoints=["end", 100, 0, 20, 100])
    assert spec.checkpoints == ("0", "20", "100", "end")
    assert tiny_study.tiny(tmp_path).checkpoints == ("end",)


def test_the_named_studies_are_the_files():
    folder = Path(tiny_study.main.__code__.co_filename).parents[1] / "studies"
    assert named_studies() == sorted(path.stem for path in folder.glob("*.yaml"))
    assert {"digits", "known-truth", "nash-layers"} <= set(named_studies())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.name": "digit"}, ("unknown data set", "'digits'")),
        ({"data.name": "gone.npz"}, ("no such file", "gone.npz")),
        ({"data.options": {"levl": 4}}, ("unknown option", "'levl'", "'levels'")),
        ({"data.evaluation": 100}, ("larger than the data set", "evaluation=100", "at most 160")),
        ({"data.evaluation": 3}, ("data.evaluation", "at least 4")),
        ({"data.encoding": 0}, ("no images to train the network on",)),
        ({"layers": ["conv7"]}, ("unknown layer", "'conv7'", "'conv2'")),
        ({"latents": ["template"]}, ("unknown latent", "'template'")),
        ({"subject.kernel": 9}, ("too small for this network", "4×4")),
        ({"subject.train.checkpoints": [2]}, ("subject.train.checkpoints", "add end")),
    ],
)
def test_what_only_the_data_or_the_network_can_tell_is_checked_before_anything_runs(load, refuses, changes, words):
    with refuses(*words):
        check(load(changes))


def test_checking_leaves_the_random_state_alone(load):
    import torch

    state = torch.get_rng_state()
    check(load())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_study_that_is_like_another_one(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "like: resnet-classifier\ntitle: Mine\nfit.refits: 2\nlayers: [h3]\ndensity_at: {}\n"
        "scales: {laptop: {fit.updates: 7}, small: {fit.updates: 5}}\n"
    )
    theirs, mine = load_study("resnet-classifier", scale="laptop"), load_study(str(path), scale="laptop")
    assert (mine.name, mine.title, mine.layers) == ("mine", "Mine", ("h3",))
    # Whatever the file says goes before all that the other one says, of its scales too; its own scale before that.
    assert (mine.fit.updates, mine.fit.refits) == (7, 2)
    assert mine.fit.batch == theirs.fit.batch
    assert mine.subject == theirs.subject
    assert mine.density == theirs.density
    small = load_study(str(path), scale="small")
    assert (small.fit.updates, small.fit.refits) == (5, 2)
    assert scales_of(str(path)) == ["paper", "laptop", "mid", "small"]


def test_the_study_that_one_is_like_must_come_with_the_package(tmp_path, refuses):
    path = tmp_path / "mine.yaml"
    path.write_text("like: resnet-clasifier\n")
    with refuses("study that", "'resnet-clasifier'", "did you mean 'resnet-classifier'?"):
        load_study(str(path))


def test_a_study_that_is_no_file_is_not_waited_for(tmp_path, refuses):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    (tmp_path / "folder.yaml").mkdir()
    for path in sorted(tmp_path.iterdir()):
        for read in (load_study, lambda name: read_study(Path(name))):
            with refuses("cannot read the study", "no regular file"):
                read(str(path))


def test_a_study_of_too_many_entries_is_refused_unread(tmp_path, refuses):
    path = tiny_study.write_study(tmp_path)
    start = path.read_text()
    for listed in ("".join(f"\n- layer{at}" for at in range(100_000)), f"[{', '.join(map(str, range(100_000)))}]"):
        path.write_text(f"{start}\nlatents: {listed}\n")
        with refuses("tiny.yaml: too many entries", "20,000 at most"):
            load_study(str(path))
    with refuses("--set: too many entries"):
        parse_value(f"[{'1,' * 20_001}]")


def test_nothing_is_measured_twice(load, refuses):
    with refuses("what is measured must be distinct", "measure: nce, nce"):
        load({"measure": ["nce", "nce"]})
