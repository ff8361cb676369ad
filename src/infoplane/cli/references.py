"""From `package.module:name` or `file.py:name` to the thing itself."""

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from infoplane.cli.tables import key_values
from infoplane.errors import UsageError, unknown

LEGAL = "package.module:name, importable from here, or path/to/file.py:name"


def resolve(reference: str, what: str) -> Any:
    """Returns what `package.module:name` or `file.py:name` names.

    Modules of the current folder can be imported, but never in the place of an installed one of the same name: a
    `types.py` or `data.py` beside one's notebook must not change what others import.

    Raises:
        UsageError: The reference has another form, or its module or name cannot be had.
    """
    where, colon, name = reference.rpartition(":")
    if not colon or not where or not name:
        raise UsageError(f"cannot read the {what}", received=repr(reference), legal=LEGAL)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: Any = _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except (Exception, SystemExit) as error:
        # Importing runs the user's code: whatever it raises is theirs to mend, and one line says what.
        message = f"{type(error).__name__}: {error}"
        raise UsageError(f"the {what} does not import", received=reference, legal=LEGAL, mend=message) from error
    module = found
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n in dir(found) if not n.startswith("_")]
            raise unknown(f"name in {where}", part, names, mend=_hidden(where, module, name))
        found = getattr(found, part)
    return found


def _from_file(file: Path) -> ModuleType:
    """The module in a file, made once; what lies beside the file can be imported from it."""
    path = file.resolve()
    # Under a name of its own, which no installed module has.
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no file {file}")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: data classes look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _hidden(where: str, module: ModuleType, name: str) -> str | None:
    """How to name what lies in the current folder under the name of an installed module."""
    here = Path(*where.split(".")).with_suffix(".py")
    origin = getattr(module, "__file__", None)
    if not here.is_file() or (origin is not None and Path(origin).resolve() == here.resolve()):
        return None
    return f"{where} is an installed module; for the file in this folder write {here}:{name}"


def resolve_model(reference: str) -> nn.Module:
    """Returns the model that a reference names or builds.

    Raises:
        UsageError: It is neither a module nor a function without arguments that returns one.
    """
    found = resolve(reference, "model")
    if not isinstance(found, nn.Module) and callable(found):
        try:
            found = found()
        except (Exception, SystemExit) as error:
            message = f"{type(error).__name__}: {error}"
            raise UsageError("the model cannot be built", received=f"{reference}()", mend=message) from error
    if not isinstance(found, nn.Module):
        received = f"{reference} gives {type(found).__name__}"
        raise UsageError("not a model", received=received, legal="a torch.nn.Module or a function that returns one")
    return found


def patterns(pairs: list[str]) -> dict[str, str]:
    """Returns layer -> how its axes are read, from layer=axes."""
    legal = "layer=axes, e.g. layers.0=hwc; axes are a letter each (c, h, w, n), or vector"
    return key_values(pairs, "--read-as", legal, last=True)
