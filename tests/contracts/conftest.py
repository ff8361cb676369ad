"""What another distribution offers passes through the same bodies as what is the package's own."""

from collections.abc import Iterator

import pytest

from plugin_site import visible


@pytest.fixture(autouse=True)
def offered() -> Iterator[None]:
    with visible():
        yield
