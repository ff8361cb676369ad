"""Every public function gives the right number or says in one line what it cannot use; a new export is registered here.

A function stands in call_numbers.py or call_models.py with good arguments and what each holds; the lists of bad
inputs are in call_inputs.py. What takes no numbers from outside stands in `OTHERS` with the reason.
"""

import importlib
import inspect
import pkgutil

import pytest
from call_inputs import Call, faults
from call_models import MODELS
from call_numbers import NUMBERS

import infoplane
from infoplane.errors import UsageError

CALLS: dict[str, dict[str, list[Call]]] = {**NUMBERS, **MODELS}
PACKAGES = tuple(CALLS)

RECORD, NAMES, ABSTRACT = "what a function returns", "names", "made by subclasses"
CONTRACT = "of a registry, whose contract tries it"
#: package -> exported name -> why nothing of it is tried here
OTHERS: dict[str, dict[str, str]] = {
    "infoplane": {"InfoplaneError": "an error", "Profile": "tested in test_profile.py", "__version__": NAMES},
    "information": {"Compression": RECORD, "Mean": RECORD, "Seen": RECORD},
    "inversion": {"Curve": RECORD, "SharedCurve": RECORD, "Ranks": RECORD},
    "densities": {"REGISTRY": NAMES, "Density": ABSTRACT, "PixelCNN": CONTRACT},
    "capture": {"Dependence": RECORD, "DependenceWarning": "a warning", "Inputs": "a type", "LayerInfo": RECORD},
    "subjects": {
        **dict.fromkeys(("Descent", "Forward", "Trained", "TrainedEpochs", "Points"), RECORD),
        **dict.fromkeys(("DenseSettings", "DescentSettings", "EpochSettings", "TrainSettings"), "in test_settings.py"),
        **dict.fromkeys(("POINTS", "REGISTRY"), NAMES),
        "LayeredNetwork": "as NoisyNetwork",
        "decode_labels": "trains by train_epochs",
        "descend": "takes Points",
    },
    "claims": {"Claim": RECORD, "verdict_of": "takes words"},
    "estimate": {"Estimate": "of infoplane"},
}


def exported(package: str) -> set[str]:
    """The public names of a package; of a module without a list of them, what is defined there."""
    module = infoplane if package == "infoplane" else importlib.import_module(f"infoplane.{package}")
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }
    return set(getattr(module, "__all__", own))


def test_every_export_is_registered():
    assert exported("estimate") == {"Estimate", "confidence"}  # the reader of modules sees what is defined there
    for package in PACKAGES:
        registered = set(CALLS[package]) | set(OTHERS.get(package, {}))
        assert exported(package) == registered, f"register what {package} exports, see this file's first lines"
        assert not set(CALLS[package]) & set(OTHERS.get(package, {}))


def test_every_package_with_public_names_is_here():
    inner = {
        "engine",
        "measurements",
        "report",
        "study",
        "budget",
        "cli",
        "data",
        "profile",
    }  # of a run's own code; of data, which tests/data has
    packages = {each.name for each in pkgutil.iter_modules(infoplane.__path__) if each.ispkg}
    assert packages == (set(PACKAGES) & packages) | inner


EXPORTED = [(package, name) for package in (*PACKAGES, "data", "profile") for name in sorted(exported(package))]


@pytest.mark.parametrize(("package", "name"), EXPORTED, ids=str)
def test_an_argument_of_another_name_is_one_line_and_still_a_type_error(package, name):
    module = infoplane if package == "infoplane" else importlib.import_module(f"infoplane.{package}")
    called = getattr(module, name)
    of_class = inspect.isclass(called) and not issubclass(called, BaseException) and not inspect.isabstract(called)
    if not of_class and not inspect.isfunction(called):
        pytest.skip("not called")
    with pytest.raises(UsageError) as refused:
        called(zzz=1)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, TypeError) or of_class  # pydantic's settings have words of their own


EVERY = [
    (package, name, index)
    for package, names in CALLS.items()
    for name, calls in names.items()
    for index in range(len(calls))
]
#: whose good arguments take too long, or join processes
NOT_RUN = ("measure", "seconds_per_update", "joined")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("package", "name", "index"), EVERY, ids=str)
def test_bad_inputs_are_refused_in_one_line(package, name, index):
    call = CALLS[package][name][index]
    if name not in NOT_RUN:
        call()
    assert not faults(call)
