"""Every tap of real architectures (tiny, random weights) against records made without hooks."""

import copy
import functools
import re
from collections import defaultdict
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from infoplane.capture import Tap, list_layers, readings_of
from infoplane.errors import UsageError

transformers = pytest.importorskip("transformers")


def images() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def tokens() -> dict[str, Tensor]:
    ids = torch.randint(0, 50, (4, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def resnet() -> tuple[nn.Module, Tensor]:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[2, 1], layer_type="basic")
    model = transformers.ResNetForImageClassification(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # away from the identity
            nn.init.normal_(module.running_mean)
        if isinstance(module, nn.ReLU):
            module.inplace = True  # the trap that copies are for
    return model, images()


def vit() -> tuple[nn.Module, Tensor]:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8)
    return transformers.ViTForImageClassification(config), images()


def convnext() -> tuple[nn.Module, Tensor]:
    config = transformers.ConvNextConfig(num_stages=2, hidden_sizes=[8, 12], depths=[1, 1], patch_size=2)
    return transformers.ConvNextModel(config), images()


def swin() -> tuple[nn.Module, Tensor]:
    sizes = {"embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4}
    return transformers.SwinModel(transformers.SwinConfig(image_size=32, patch_size=4, **sizes)), images()


def bert() -> tuple[nn.Module, dict[str, Tensor]]:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(**sizes, vocab_size=50, max_position_embeddings=32)
    return transformers.BertModel(config), tokens()


NETWORKS = [resnet, vit, convnext, swin, bert]


@functools.cache
def built(make) -> tuple[nn.Module, object]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def call(model: nn.Module, inputs, **options):
    with torch.no_grad():
        return model(**inputs, **options) if isinstance(inputs, Mapping) else model(inputs, **options)


def copied(output):
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, Mapping):
        return {key: copied(value) for key, value in output.items()}
    if isinstance(output, tuple | list):
        return [copied(value) for value in output]
    return output


def record(model: nn.Module, inputs) -> dict[str, list]:
    """Outputs of all calls of all modules, by replacing each module's `forward`: no hooks, none of our names."""
    model = copy.deepcopy(model).eval()
    outputs = defaultdict(list)

    def recording(path: str, forward):
        @functools.wraps(forward)
        def wrapped(*args, **kwargs):
            output = forward(*args, **kwargs)
            outputs[path].append(copied(output))
            return output

        return wrapped

    for path, module in model.named_modules():
        module.forward = recording(path, module.forward)
    call(model, inputs)
    return outputs


@pytest.mark.parametrize("make", NETWORKS)
def test_every_tap_is_what_the_module_returned(make):
    model, inputs = built(make)
    layers = list_layers(model, inputs)
    recorded = record(model, inputs)
    usable = [layer for layer in layers if layer.problem is None]
    captured = Tap(model, [layer.name for layer in usable])(inputs)
    for layer in usable:
        path, number, selectors = re.fullmatch(r"([^#\[]+)(?:#(\d+))?((?:\[\w+\])*)", layer.name).groups()
        calls = recorded["" if path == "output" else path]
        assert (number is not None) == (len(calls) > 1)
        expected = calls[int(number or 0)]
        for selector in re.findall(r"\[(\w+)\]", selectors):
            expected = expected[int(selector) if selector.isdigit() else selector]
        assert torch.equal(captured[layer.name], expected), layer.name
        assert captured[layer.name].shape == (4, *layer.shape)
    fired = {re.split(r"[#\[]", layer.name)[0] for layer in layers}
    assert fired == {path or "output" for path in recorded}


@pytest.mark.parametrize("make", NETWORKS)
def test_contexts_keep_every_number(make):
    model, inputs = built(make)
    readings = {layer.name: layer.reading for layer in list_layers(model, inputs) if layer.problem is None}
    for name, h in Tap(model, list(readings))(inputs).items():
        view = readings[name](h)
        assert view.ndim in (2, 4), name
        for row, seen in zip(h, view):
            assert torch.equal(row.unique(), seen.unique()), name


@pytest.mark.parametrize("make", NETWORKS)
def test_training_mode_and_hooks_are_as_before(make):
    model, inputs = built(make)
    model.train()
    before = [(module.training, len(module._forward_hooks)) for module in model.modules()]
    list_layers(model, inputs)
    assert [(module.training, len(module._forward_hooks)) for module in model.modules()] == before


def test_resnet_against_hidden_states():
    model, x = built(resnet)
    names = ["resnet.embedder", "resnet.encoder.stages.0", "resnet.encoder.stages.1", "output[logits]"]
    captured = Tap(model, names)(x)
    model.eval()
    reference = call(model, x, output_hidden_states=True)
    for name, expected in zip(names, [*reference.hidden_states, reference.logits]):
        assert torch.equal(captured[name], expected), name


def test_vit_against_hidden_states_and_embeddings():
    model, x = built(vit)
    captured = Tap(model, ["vit.embeddings", "vit.layers.0", "vit.layers.0.dropout#1", "vit.layernorm"])(x)
    model.eval()
    with torch.no_grad():
        embedded = model.vit.embeddings(x)
    hidden = call(model, x, output_hidden_states=True).hidden_states
    assert torch.equal(captured["vit.embeddings"], embedded)
    assert torch.equal(captured["vit.layers.0"], hidden[1])
    view = readings_of(model, ["vit.embeddings"], x)["vit.embeddings"](captured["vit.embeddings"])
    assert view.shape == (4, 32, 4, 4)
    assert torch.equal(view[:, :16].flatten(2).transpose(1, 2), embedded[:, 1:])
    assert torch.equal(view[:, 16:, 3, 0], embedded[:, 0])


def test_swin_windows_are_told():
    model, x = built(swin)
    found = {layer.name: layer.problem for layer in list_layers(model, x)}
    block = "encoder.layers.0.blocks.0"
    assert found[block + "[0]"] is None
    assert found[block + ".attention.q_proj"] == "its rows are parts of examples, such as windows: 4 per example"
    assert found[block + ".attention.relative_position_bias"] == "it has no batch dimension"
    with pytest.raises(UsageError, match=r"q_proj' has no activation per example; received its rows are parts of"):
        Tap(model, [block + ".attention.q_proj"])(x)
    model.eval()
    with torch.no_grad():
        embedded = model.embeddings(x)[0]
    assert torch.equal(Tap(model, ["embeddings[0]"])(x)["embeddings[0]"], embedded)


def test_bert_against_hidden_states():
    model, inputs = built(bert)
    captured = Tap(model, ["embeddings", "encoder.layer.0", "output[last_hidden_state]", "pooler"])(inputs)
    model.eval()
    reference = call(model, inputs, output_hidden_states=True)
    expected = [*reference.hidden_states, reference.pooler_output]
    for (name, h), right in zip(captured.items(), expected):
        assert torch.equal(h, right), name
    problems = {layer.name: layer.problem for layer in list_layers(model, inputs)}
    assert problems["embeddings.position_embeddings"] == "it has no batch dimension"
    with pytest.raises(UsageError, match=r"ambiguous.*legal: output\[last_hidden_state\], output\[pooler_output\]$"):
        Tap(model, ["output"])(inputs)
