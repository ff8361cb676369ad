"""From `package.module:name` to the thing itself."""

import importlib
import os
import sys
from typing import Any

from torch import nn

from infoplane.errors import UsageError, unknown

LEGAL = "package.module:name, importable from here"


def resolve(reference: str, what: str) -> Any:
    """Returns what `package.module:name` names; the current folder is importable.

    Raises:
        UsageError: The reference has another form, or its module or name cannot be had.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise UsageError(f"cannot read the {what}", received=repr(reference), legal=LEGAL)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        # Importing runs the user's code: whatever it raises is theirs to mend, and one line says what.
        message = f"{type(error).__name__}: {error}"
        raise UsageError(f"the {what} does not import", received=reference, legal=LEGAL, mend=message) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise unknown(f"name in {module_name}", part, [n for n in dir(found) if not n.startswith("_")])
        found = getattr(found, part)
    return found


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
