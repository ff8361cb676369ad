"""What all tests share: one thread, so that they are fast beside other processes and the same everywhere."""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

from infoplane import data
from infoplane.errors import InfoplaneError, UsageError

torch.set_num_threads(1)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their argument: a file's content is long, and may hold the time at which it was written, by
    which two workers would not collect the same tests."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Tests of one file that share what takes long to make run in one process (`--dist loadgroup`): dealt out one by
    one, every process would make it for itself."""
    for item in items:
        made = (of for each in item._fixtureinfo.name2fixturedefs.values() for of in each if of.scope == "module")
        file = item.nodeid.partition("::")[0]
        if item.get_closest_marker("xdist_group") is None and any(of.baseid == file for of in made):
            item.add_marker(pytest.mark.xdist_group(file))


def unpaint(patch: pytest.MonkeyPatch) -> None:
    """Figures are put together and not painted, which takes most of a page's time."""
    patch.setattr("infoplane.report.printing._svg", lambda figure: '<svg viewBox="0 0 1 1"></svg>')
    patch.setattr("infoplane.report.printing.Print.files", {".svg": b"a figure", ".png": b"a figure"})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Runs write pages all over the tests; what these look like is looked at in tests/report, and where a test is
    marked `painted`."""
    if Path(__file__).parent / "report" in item.path.parents or item.get_closest_marker("painted"):
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        unpaint(patch)
        return (yield)


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of this test are not painted, where tests of its folder paint them."""
    unpaint(monkeypatch)


@pytest.fixture(autouse=True)
def no_stored_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever `infoplane bench` has found on this machine, tests do not know of it, nor change it."""
    monkeypatch.setattr("infoplane.study.bench.place", lambda device: Path(__file__) / "nowhere")


_official = functools.cache(
    lambda path, form, options, *how, read=data._official: read(path, form, dict(options), *how)
)


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Official files are read once for all tests of a process that ask for this: 60,000 pictures take 20 seconds."""
    monkeypatch.setattr(
        data, "_official", lambda path, form, options, *how: _official(path, form, tuple(options.items()), *how)
    )


@pytest.fixture
def refuses() -> Callable[..., AbstractContextManager[None]]:
    """Returns a context in which a one-line error, as a rule a `UsageError`, with all these words must be raised."""

    @contextlib.contextmanager
    def context(*words: str, error: type[InfoplaneError] = UsageError) -> Iterator[None]:
        with pytest.raises(error) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert word in message, f"{word!r} is not in {message!r}"

    return context


@pytest.fixture(scope="module")
def short() -> Iterator[None]:
    """Everything but the densities of a measurement cut to what a test can wait for."""
    from infoplane.inversion import FitSettings
    from infoplane.profile import request
    from infoplane.study.spec import StudySpec

    def small(**fields):
        fields["reconstruction"] = FitSettings(updates=3, batch=16, evaluations=1, refits=1)
        fields["samples"] = {"images": 2, "each": 2}
        fields["contrastive"] = {"candidates": 16, "batches": 8}
        return StudySpec(**fields)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "StudySpec", small)
        yield
