"""What every study has in common, whatever it measures."""

import copy
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

import torch
from annotated_types import Ge, Le
from pydantic import BaseModel, Field, model_validator

from infoplane.errors import UsageError, check_text
from infoplane.settings import Settings
from infoplane.study import yaml12

#: the scale that a study's file describes outside `scales`
PAPER = "paper"
#: the scale that is run where the file has it and none is asked for
LAPTOP = "laptop"


class Study(Settings):
    """What every study says of itself.

    Attributes:
        kind: What it measures, and so what else it says: a key of `infoplane.study.families.FAMILIES`.
        name: Short name; also that of the default output folder.
        title: What the page is called.
        note: A caveat that the page must show.
        figure: Which published figure or table it reproduces.
        scale: Which of the file's scales this is; null where there is only one.
        seed: Decides everything random.
    """

    #: dotted paths of what may change in a run's folder: what is asked and shown, not on what and how it is measured
    may_change: ClassVar[tuple[str, ...]] = ("title", "note", "figure")
    #: names that stand in an error's path for one of several models -> that model; no file knows of them
    variants: ClassVar[dict[str, type[BaseModel]]] = {}

    kind: str
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str
    note: str | None = None
    figure: str | None = None
    scale: str | None = None
    seed: Annotated[int, Ge(0), Le(2**31)] = 0

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        check_texts(self.model_dump())
        return self

    @property
    def data_name(self) -> str:
        """The data set, or problem, that it is of."""
        return vars(self)["data"].name  # a field of every family, which says more of it

    def resolve(self) -> Self:
        """Returns the study with what was left to defaults written out.

        Raises:
            UsageError: Settings do not go together.
        """
        return self

    def on(self, device: torch.device, begun: "Study | None" = None) -> Self:
        """Returns the study with what depends on the machine that computes written out.

        Args:
            begun: The study of the run that it goes on with, which has decided that already.
        """
        return self

    def check(self, where: str) -> None:
        """Raises UsageError for what is wrong in a file only, not in a study that is made around a live network."""

    @classmethod
    def instead(cls, path: tuple[Any, ...]) -> str | None:
        """What a study has instead of a key that it does not have, where another family's would be looked for."""
        return None

    def lasting(self) -> dict[str, Any]:
        """Returns the settings that a run keeps for good, whatever else it grows by; dotted path -> value."""
        return {
            path: value
            for path, value in leaf_values(self.model_dump(mode="json"))
            if not any(path == free or path.startswith(f"{free}.") for free in self.may_change)
        }

    def to_yaml(self) -> str:
        """The resolved study as YAML: every value that was left to a default is written out."""
        return yaml12.dump(self.model_dump(mode="json"), allow_unicode=True, width=100)


def leaf_values(content: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all that plain values hold, each with its dotted path."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from leaf_values(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def check_texts(content: Any) -> None:
    """Raises UsageError where plain values hold a string that is no text."""
    for path, text in _texts(content):
        check_text(path, text, lines=path == "note")


def _texts(content: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields every text in plain values, keys too, with where it stands."""
    if isinstance(content, str):
        yield path, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield f"a key of {path}", str(key)
            yield from _texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _texts(value, path)


def set_field(content: dict[str, Any], path: str, value: Any) -> None:
    """Puts a value at a dotted path; raises UsageError where something on the way has no fields."""
    keys = path.split(".")
    inner = content
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UsageError("cannot set a field", received=path, legal=f"{key} has no fields of its own")
    inner[keys[-1]] = copy.deepcopy(value)  # another path may go on into it, which is not the caller's affair
