"""How every layer of real architectures is read, against what their shapes mean, which is written down here by hand."""

from collections import Counter

import pytest
import torch
from torch import nn

from infoplane.capture import LayerInfo, list_layers
from infoplane.capture.layout import MAX_CONTEXT, MAX_MAP

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}


def of(config: str, model: str, **options) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return getattr(transformers, model)(getattr(transformers, config)(**options))


def listed(model: nn.Module, rows: int, columns: int | None = None) -> list[LayerInfo]:
    generator = torch.Generator().manual_seed(1)
    found = list_layers(model, torch.rand(2, 3, rows, columns or rows, generator=generator))
    return [info for info in found if info.problem is None]


def patterns(layers: list[LayerInfo]) -> Counter[tuple[str, tuple[int, int]]]:
    assert not any(info.reading.guess for info in layers)
    return Counter((info.reading.pattern, info.reading.grid) for info in layers)


def check_tokens(layers: list[LayerInfo], leading: int, grid: tuple[int, int]) -> None:
    """Tokens of a transformer whose patches are `grid`: by their number alone."""
    patches = grid[0] * grid[1]
    for info in layers:
        expected = {1: "vector", 3: "chw"}.get(len(info.shape))
        if len(info.shape) == 2:
            expected = "nc" if info.shape[0] == patches else f"nc+{info.shape[0] - patches}"
            assert info.shape[0] in (patches, patches + leading), info.name
        assert (info.reading.pattern, info.reading.guess) == (expected, False), info.name
        assert expected == "vector" or info.reading.grid == grid, info.name


def test_distilled_deit():
    model = of("DeiTConfig", "DeiTForImageClassification", image_size=32, patch_size=4, **SIZES)
    layers = listed(model, 32)
    check_tokens(layers, 2, (8, 8))
    assert Counter(info.reading.pattern for info in layers)["nc+2"] == 2 * 14 + 4


def test_dino_with_registers():
    sizes = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
    model = of("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", image_size=32, patch_size=4, **sizes)
    check_tokens(listed(model, 32), 5, (8, 8))
    # These interpolate their positions: other sizes, and rectangles, too.
    check_tokens(listed(model, 24, 48), 5, (6, 12))
    model = of("DINOv3ViTConfig", "DINOv3ViTModel", image_size=32, patch_size=4, num_register_tokens=4, **SIZES)
    check_tokens(listed(model, 32), 5, (8, 8))


def test_vit_of_a_rectangle():
    model = of("ViTConfig", "ViTModel", image_size=(24, 32), patch_size=4, **SIZES)
    check_tokens(listed(model, 24, 32), 1, (6, 8))


def test_convnext():
    layers = listed(of("ConvNextConfig", "ConvNextModel", hidden_sizes=[16, 24], depths=[1, 2], num_stages=2), 64)
    for info in layers:
        if len(info.shape) == 3:
            side = 16 if 16 == info.shape[0] == info.shape[1] or info.shape.count(16) > 1 else 8
            assert info.reading.grid == (side, side), info.name
    # Of each of three blocks a norm, two linear layers and what is between them have their channels last.
    assert sum(info.reading.pattern == "hwc" for info in layers) == 4 * 3
    assert all(
        "pwconv" in i.name or "layernorm" in i.name or "act" in i.name for i in layers if i.reading.pattern == "hwc"
    )


def test_swin():
    sizes = {"embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4}
    layers = listed(of("SwinConfig", "SwinModel", image_size=32, patch_size=4, **sizes), 32)
    for info in layers:
        if len(info.shape) == 2 and info.shape[1] > 1:
            side = {64: 8, 16: 4}[info.shape[0]]
            assert (info.reading.pattern, info.reading.grid) == ("nc", (side, side)), info.name
    assert {pattern for pattern, _ in patterns(layers)} == {"nc", "chw", "vector"}


def test_random_patches_are_no_map():
    """16 of 64 patches are kept: 4 × 4 would be a grid of the image's proportions."""
    model = of("ViTMAEConfig", "ViTMAEModel", image_size=32, patch_size=4, mask_ratio=0.75, **SIZES)
    for info in listed(model, 32):
        if info.shape in ((17, 48), (17, 96)):
            assert (info.reading.pattern, info.reading.guess) == ("vector", True), info.name
        elif len(info.shape) == 2:
            assert info.shape[0] == 64, info.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "model", "options", "count", "read"),
    [
        ("DeiTConfig", "DeiTForImageClassification", {"num_hidden_layers": 3}, 50, {"nc+2": 46, "nc": 1, "chw": 1}),
        (
            "Dinov2WithRegistersConfig",
            "Dinov2WithRegistersForImageClassification",
            {"num_hidden_layers": 3},
            58,
            {"nc+5": 53, "nc": 1, "chw": 1},
        ),
        (
            "DINOv3ViTConfig",
            "DINOv3ViTModel",
            {"num_hidden_layers": 2, "num_register_tokens": 4},
            38,
            {"nc+5": 36, "chw": 1},
        ),
        ("DeiTConfig", "DeiTForImageClassificationWithTeacher", {}, 179, {"nc+2": 172, "nc": 1, "chw": 1}),
        ("ConvNextConfig", "ConvNextModel", {}, 143, {"hwc": 72, "chw": 69}),
        ("SwinConfig", "SwinModel", {}, 147, {"nc": 140, "chw": 5}),
    ],
)
def test_every_layer_at_its_real_size_can_be_measured(config, model, options, count, read):
    """Widths and image sizes as published, at 224 × 224; how many layers there are was counted by hand once."""
    layers = listed(of(config, model, **options), 224)
    found = Counter(info.reading.pattern for info in layers)
    found.pop("vector")
    assert len(layers) == count
    assert found == read
    assert not any(info.reading.guess for info in layers)
    for info in layers:
        size = torch.Size(info.reading.context).numel()
        assert size <= (MAX_MAP if info.reading.at else MAX_CONTEXT), info.name
