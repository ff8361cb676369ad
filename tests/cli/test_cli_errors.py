"""Bad input gets one line on standard error, exit code 2, no traceback, and leaves nothing behind."""

import pytest
import torch

import infoplane
import official_files
import tiny_study

IMAGES, LABELS = tiny_study.images_and_labels()


@pytest.fixture
def refused(home, call):
    """Returns a function that calls a command which must be refused with these words, and leave nothing behind."""

    def check(*words, says):
        before = tiny_study.contents(home)
        said = call(*words)
        assert said.code == 2, said
        assert said.out == ""
        (line,) = said.err.splitlines()
        assert line.startswith("infoplane: ")
        for part in says:
            assert part in line, f"{part!r} is not in {line!r}"
        assert "Traceback" not in line
        kept = {name: content for name, content in tiny_study.contents(home).items() if "__pycache__" not in name}
        assert kept == {name: content for name, content in before.items() if "__pycache__" not in name}
        assert not (home / "out").exists()
        assert not (home / "runs").exists()

    return check


# ---- the command line itself ----


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["frobnicate"], ("frobnicate", "see infoplane --help")),
        (["run"], ("Missing argument",)),
        (["run", "digits", "--bogus"], ("--bogus", "see infoplane run --help")),
        (
            ["run", "digits", "--refits", "x"],
            ("--refits cannot be used; received 'x'; legal: a whole number, 1 or more",),
        ),
        (
            ["run", "digits", "--refits", "0"],
            ("--refits cannot be used; received '0'; legal: a whole number, 1 or more",),
        ),
        (["run", "digits", "--seed", "-1"], ("--seed cannot be used; received '-1'", "a whole number, 0 or more")),
        (["run", "digits", "--workers", "-1"], ("--workers cannot be used; received '-1'",)),
        (
            ["layers", "mine:build", "--input", "28"],
            ("does not run on these inputs", "--input is the shape of one input"),
        ),
        (["run", "digits", "extra"], ("extra",)),
        (["run", "digits", "--out"], ("--out",)),
        (["measure", "mine:build", "--data", "digits", "--out", "out"], ("Missing option", "--layers")),
        (["measure", "mine:build", "--data", "digits", "--out", "out", "--layers"], ("--layers without a value",)),
        (["measure", "mine:build", "--layers", "conv", "--kinds", "--data", "digits"], ("--kinds without a value",)),
        (["run", "digits", "--workers", "99999"], ("number of workers", "from 0 to 10000")),
        (["plan", "digits", "--tflops", "many"], ("--tflops cannot be used; received 'many'; legal: a number",)),
        (["measure", "mine:build", "--layers", "conv", "--data", "digits"], ("Missing option", "--out")),
        (["measure", "--layers", "conv", "--data", "digits", "--out", "out"], ("Missing argument",)),
    ],
    ids=" ".join,
)
def test_words_that_make_no_command(refused, words, says):
    refused(*words, says=says)


def test_the_version(call):
    said = call("--version")
    assert (said.code, said.out, said.err) == (0, f"infoplane {infoplane.__version__}\n", "")


# ---- run ----


def test_sizes_of_the_split_that_are_missing_are_named_as_the_study_has_them(refused, home):
    study = "title: Mine\ndata: {{name: {data}}}\nsubject: {{kind: nash-cnn}}\nlayers: [logits]\n"
    path = home / "mine.yaml"
    path.write_text(study.format(data="digits"))
    says = ("mine: sizes of the split are missing", "data.encoding: null", "at least two must be given", "--set")
    refused("run", "mine.yaml", "--out", "out", says=says)
    refused("run", "mine.yaml", "--set", "data.encoding=20", "--out", "out", says=says[:1])
    # Official parts: evaluation has its own, and may be null.
    official_files.write_idx(home / "mnist")
    path.write_text(study.format(data=home / "mnist"))
    says = ("received data.encoding: null, data.decoding: null;", "give data.decoding a number")
    refused("run", "mine.yaml", "--out", "out", says=says)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("fit.updates", ("cannot read --set", "key=value")),
        ("=3", ("cannot read --set",)),
        ("fit.updates=[", ("cannot read the value",)),
        ("fit.update=3", ("unknown key 'fit.update'", "did you mean 'updates'", "tiny.yaml")),
        ("density.filter=3", ("unknown key 'density.filter'", "did you mean 'filters'")),
        ("fit.updates=many", ("fit.updates cannot be used", "a whole number from 1 to", "'many'")),
        ("layers=conv1", ("layers", "'conv1'")),
        ("layers=[conv7]", ("unknown layer", "'conv7'", "did you mean 'conv2'")),
        ("layers=[conv1,conv1]", ("distinct",)),
        ("measure=[nse]", ("measure.0", "'nse'")),
        ("subject.kind=resnet", ("subject.kind", "'resnet'", "nash-cnn")),
        ("subject.filters=[7,-3]", ("subject.filters.1", "a whole number above 0", "received -3")),
        ("data.name=gone.npz", ("no such file", "gone.npz")),
        ("data.name=mine.py", ("cannot tell how to read", "mine.py")),
        ("data.name=digit", ("unknown data set", "'digits'")),
        ("data.evaluation=1000", ("larger than the data set",)),
        ("data.options.levls=3", ("unknown option", "'levls'", "'levels'")),
        ("data.options.levels=2", ("levels", "pass levels=3 or more")),
    ],
)
def test_run_with_a_bad_setting(refused, setting, says):
    refused("run", "tiny.yaml", "--out", "out", "--set", setting, says=says)


@pytest.mark.parametrize(
    ("study", "says"),
    [
        ("digit", ("unknown study", "'digit'", "did you mean 'digits'?")),
        ("gone.yaml", ("cannot read the study", "gone.yaml")),
        ("tiny.npz", ("unknown study",)),
    ],
)
def test_run_of_what_is_no_study(refused, study, says):
    refused("run", study, "--out", "out", says=says)


def test_run_of_a_broken_file(refused, home):
    (home / "odd.yaml").write_text("title: [")
    refused("run", "odd.yaml", "--out", "out", says=("not valid YAML", "odd.yaml"))
    (home / "odd.yaml").write_text("title: x\ndata: {name: digits}\nsed: 1\n")
    refused("run", "odd.yaml", "--out", "out", says=("unknown key 'sed' in odd.yaml", "did you mean 'seed'"))
    (home / "dir.yaml").mkdir()
    refused("run", "dir.yaml", "--out", "out", says=("cannot read the study",))


def test_data_that_cannot_be_read(refused, arrays, home):
    (home / "bad.npz").write_text("no arrays")
    refused("run", "tiny.yaml", "--out", "out", "--set", "data.name=bad.npz", says=("cannot read bad.npz",))
    arrays("float.npz", images=IMAGES / 2, labels=LABELS)
    refused(
        "run", "tiny.yaml", "--out", "out", "--set", "data.name=float.npz", says=("not uint8", "float64", "float.npz")
    )
    (home / "photos").mkdir()
    refused("run", "tiny.yaml", "--out", "out", "--set", "data.name=photos", says=("no images in the folder", "photos"))


# ---- measure ----


def measuring(model="mine:build", *more, data="tiny.npz", layers=("conv",), out="out", budget="3"):
    words = ["measure", model, "--data", data, "--layers", *layers, "--out", out, "--budget", budget]
    return [*words, "--density", "pixelcnn", *more]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("nowhere:build", ("does not import", "nowhere:build", "No module named 'nowhere'")),
        ("mine.deep:build", ("does not import", "not a package")),
        ("broken:build", ("does not import", "RuntimeError: broken at import")),
        ("leaving:build", ("does not import", "SystemExit: needs a GPU")),
        ("leaves:build", ("the model cannot be built", "leaves:build()", "SystemExit: 3")),
        ("mine:bild", ("unknown name in mine", "'bild'", "did you mean 'build'")),
        ("mine:build.more", ("unknown name in mine", "'more'")),
        ("mine:raises", ("the model cannot be built", "mine:raises()", "ValueError: no weights here")),
        ("mine:gives_nothing", ("not a model", "NoneType")),
        ("mine:number", ("not a model", "int", "torch.nn.Module")),
        ("mine", ("cannot read the model", "package.module:name")),
        ("mine:", ("cannot read the model",)),
        (":build", ("cannot read the model",)),
        (".mine:build", ("does not import",)),
        ("gone.py:build", ("does not import", "no file gone.py")),
    ],
)
@pytest.mark.parametrize("verb", ["measure", "layers"])
def test_a_model_that_cannot_be_had(refused, verb, model, says):
    refused(*(measuring(model) if verb == "measure" else ["layers", model, "--input", "1x4x4"]), says=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (measuring(data="gone.npz"), ("no such file", "gone.npz")),
        (measuring(data="gone/"), ("no such file or folder", "gone")),
        (measuring(data="digit"), ("unknown data set", "'digits'")),
        (measuring(data="mine.py"), ("cannot tell how to read", "mine.py")),
        (measuring(layers=["conv7"]), ("unknown layer", "'conv7'", "did you mean 'conv'")),
        (measuring(layers=["conv", "cov"]), ("unknown layer", "'cov'", "'conv'")),
        (measuring(layers=["conv", "conv"]), ("distinct", "conv, conv")),
        (measuring(layers=["input"]), ("unknown layer", "input")),
        (measuring(budget="10x"), ("cannot read the budget", "'10x'", "90s")),
        (measuring(budget="0"), ("cannot read the budget", "0")),
        (measuring(budget="0m"), ("cannot read the budget", "'0m'")),
        (measuring(budget="-3"), ("cannot read the budget", "'-3'")),
        (measuring("mine:build", "--device", "tpu"), ("unknown device", "'tpu'")),
        (measuring("mine:build", "--levels", "2"), ("fewer levels", "3 or more")),
        (measuring("mine:build", "--levels", "300"), ("levels", "from 2 to 256")),
        (measuring("mine:build", "--transform", "mine:nope"), ("unknown name in mine", "'nope'")),
        (measuring("mine:build", "--transform", "nope"), ("cannot read the transform",)),
        (measuring("mine:build", "--transform", "mine:number"), ("the transform is not a function", "uint8 images")),
        (measuring("mine:build", "--transform", "mine:bad_transform"), ("the transform fails", "cannot do this")),
        (measuring("mine:Exploding", layers=["fc", "output"]), ("finite", "'output'")),
        (measuring(data="digits"), ("does not run on these inputs", "shape")),
        (measuring(out="tiny.npz"), ("output folder", "tiny.npz")),
        (measuring(out="tiny.npz/below"), ("cannot write the output folder", "tiny.npz")),
    ],
    ids=lambda value: " ".join(value[3:]) if isinstance(value, list) else "",
)
def test_measure_of_what_cannot_be_measured(refused, words, says):
    refused(*words, says=says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"images": IMAGES / 2.0}, ("not uint8", "float64", "wrong.npz")),
        ({"images": IMAGES, "labels": LABELS[:-1]}, ("labels in wrong.npz do not match", "(159,)", "(160,)")),
        ({"images": IMAGES, "labels": LABELS / 2.0}, ("labels in wrong.npz are not whole numbers", "float64")),
        ({"images": IMAGES[:1]}, ("too few", "received 1")),
        ({"images": IMAGES[:39]}, ("too few", "received 39", "40 or more")),
        ({"images": IMAGES[:, 0, 0]}, ("wrong rank", "(160, 4)")),
        ({"images": IMAGES, "levels": 2}, ("beyond their levels", "pass levels=3")),
        ({"pixels": IMAGES}, ("no images in wrong.npz", "pixels")),
        ({"images": IMAGES.astype(object)}, ("cannot read wrong.npz",)),
    ],
    ids=lambda value: "",
)
def test_measure_of_arrays_that_make_no_data(refused, arrays, content, says):
    refused(*measuring(data=arrays("wrong.npz", **content)), says=says)


def test_a_gpu_that_is_not_there(refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(*measuring("mine:build", "--device", "cuda"), says=("no GPU", "use cpu"))
    refused("run", "tiny.yaml", "--out", "out", "--device", "cuda", says=("no GPU", "use cpu"))


def test_a_folder_of_something_else(refused, home):
    (home / "thesis").mkdir()
    (home / "thesis" / "thesis.tex").write_text("x")
    refused(*measuring(out="thesis"), says=("not empty and holds no run", "thesis"))
    refused("run", "tiny.yaml", "--out", "thesis", says=("not empty and holds no run", "thesis"))
    refused("report", "thesis", says=("no run in this folder", "thesis"))
    refused("report", "gone", says=("no run in this folder", "gone"))
    refused("report", "tiny.npz", says=("a file", "tiny.npz", "give its folder"))


# ---- layers ----


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ("abc", ("cannot read --input", "'abc'", "3x32x32")),
        ("1x", ("cannot read --input",)),
        ("0x4x4", ("cannot read --input",)),
        ("1x4x-4", ("cannot read --input",)),
        ("3x4x4", ("does not run on these inputs", "channels")),
        ("1x99999999x99999999", ("--input does not fit into memory", "1x99999999x99999999")),
        ("1x9x9", ("does not run on these inputs", "shapes")),
    ],
)
def test_layers_of_a_bad_input(refused, shape, says):
    refused("layers", "mine:build", "--input", shape, says=says)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], ("either --input or --data", "received neither")),
        (["--input", "1x4x4", "--data", "tiny.npz"], ("either --input or --data", "received both")),
        (["--input", "1x4x4", "--transform", "mine:gone"], ("unknown name in mine", "'gone'")),
        (["--data", "tiny.npz", "--transform", "mine:Toy"], ("the transform fails on these images",)),
        (["--data", "gone.npz"], ("no such file or folder",)),
    ],
)
def test_layers_of_bad_options(refused, more, says):
    refused("layers", "mine:build", *more, says=says)
