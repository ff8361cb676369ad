"""Runs of a model with forward hooks, which show every tensor that its modules return and leave it as it was found."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.capture.generators import generators_reseeded
from infoplane.capture.patience import ask
from infoplane.capture.pytrees import Inputs, leaves, map_tensors
from infoplane.errors import UsageError
from infoplane.torch_state import callers_state, evaluating, own_state

#: what p(x) is called among layers; a module of that name is `<input>`
INPUT = "input"

Key = tuple[str, int, str]  # module path, number of the call, selector


def unwrap(model: nn.Module) -> nn.Module:
    """Returns the Python module behind `torch.compile` wrappers."""
    while (inner := getattr(model, "_orig_mod", None)) is not None:
        model = inner
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        mend = "pass a model that is not scripted"
        raise UsageError("hooks need a Python nn.Module", received=f"a {type(model).__name__}", mend=mend)
    if isinstance(model, torch.fx.GraphModule) and "eval" in vars(model):  # which `torch.export` puts there
        mend = "pass the module that was exported"
        raise UsageError("hooks need modules that are called", received="an exported program", mend=mend)
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        mend = "model.to_empty(device='cpu'), then load its weights"
        raise UsageError("the model has no weights", received="parameters on the meta device", mend=mend)
    if any(nn.parameter.is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise UsageError("the model has lazy parameters without a shape yet", mend="run it once on a batch first")
    return model


def hookable(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the modules that can be hooked, by path; a module that has several paths has the first one only."""
    root = "<output>" if "output" in model._modules else "output"
    names = {"": root, INPUT: f"<{INPUT}>"}
    return {
        names.get(own := ".".join(part for part in path.split(".") if part != "_orig_mod"), own): module
        for path, module in model.named_modules()
        if "_orig_mod" not in module._modules and not isinstance(module, torch.jit.ScriptModule)
    }


def run_with_hooks(
    model: nn.Module,
    inputs: Inputs,
    paths: Iterable[str],
    visit: Callable[[Key, Tensor], None],
    replace: Callable[[str, int, Any], Any] | None = None,
) -> None:
    """Runs the model once, shows `visit` every tensor that the modules at `paths` return, and cleans up.

    What `replace` returns of (path, call, output), unless that is None, takes the output's place.
    """
    ask()
    calls: Counter[str] = Counter()

    def hook_at(path: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            call = calls[path]
            calls[path] += 1
            with own_state():  # what is copied in the caller's inference mode could never be trained on
                if replace is not None and (other := replace(path, call, output)) is not None:
                    output = other
                for selector, tensor in leaves(output):
                    visit((path, call, selector), tensor)
            return output if replace is not None else None

        return hook

    modules = hookable(model)
    with ExitStack() as stack:  # undoes all that follows, in reverse order, also when the model raises
        if any("_orig_mod" in module._modules or module._compiled_call_impl for module in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))  # hooks do not fire in compiled code
        stack.enter_context(_as_found(model))
        stack.enter_context(generators_reseeded(model))
        for path in paths:
            stack.callback(modules[path].register_forward_hook(hook_at(path)).remove)
        home = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), None)
        # Copied: a first layer that works in place would write into the caller's batch.
        inputs = map_tensors(lambda x: x.to(device=home, copy=True), inputs)
        stack.enter_context(callers_state())
        stack.enter_context(torch.no_grad())
        if isinstance(inputs, Mapping):
            model(**inputs)
        elif isinstance(inputs, Tensor):
            model(inputs)
        else:
            model(*inputs)


@contextmanager
def _as_found(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module's flag and buffers are what they were."""
    buffers = [
        (module, name, buffer, buffer._version, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_inference()  # those cannot be written to, and have no version
    ]
    # Tensors that a model keeps for itself: a last activation, a weight made of its parts.
    kept = [(vars(m), name, x) for m in model.modules() for name, x in vars(m).items() if isinstance(x, Tensor)]
    with evaluating(model):
        try:
            yield
        finally:
            for attributes, name, tensor in kept:
                attributes[name] = tensor
            for module, name, buffer, version, saved in buffers:
                comparable = buffer.layout == torch.strided and not buffer.is_meta
                # Inference mode counts no versions.
                if buffer._version != version or (comparable and not torch.equal(buffer, saved)):
                    buffer.copy_(saved)
                module._buffers[name] = buffer
