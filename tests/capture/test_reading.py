"""How layers are read: toy networks of every layout, and what must not be taken for a map."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.capture import list_layers
from infoplane.errors import UsageError

Shape = tuple[int, ...]


def images(rows: int = 32, columns: int = 32, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, rows, columns, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield


def read(model: nn.Module, x: Tensor, **options) -> dict[str, str]:
    """Layer -> its reading as a pattern, with a question mark where it is a guess."""
    found = list_layers(model, x, **options)
    return {info.name: info.reading.pattern + "?" * info.reading.guess for info in found if info.reading is not None}


class Layouts(nn.Module):
    """One convolution's output in four layouts, made by modules that say nothing."""

    def __init__(self, fixed: Shape | None = None) -> None:
        super().__init__()
        self.fixed = fixed
        self.conv = nn.Conv2d(3, 12, 3, padding=1, stride=2)
        self.first, self.last, self.tokens, self.prefixed, self.flat = (nn.Identity() for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        assert self.fixed is None or x.shape[2:] == self.fixed
        h = self.first(self.conv(x))
        self.last(h.permute(0, 2, 3, 1).contiguous())
        tokens = self.tokens(h.flatten(2).transpose(1, 2))
        self.prefixed(torch.cat([tokens[:, :2] * 0, tokens], 1))
        return self.flat(h.flatten(1))[:, :3]


@pytest.mark.parametrize("size", [(32, 32), (16, 48), (64, 64), (128, 64)])
@pytest.mark.parametrize("fixed", [False, True])
def test_four_layouts_of_one_map(size, fixed):
    """With a run at another size, and without one, by the grid of the convolution."""
    expected = {"conv": "chw", "first": "chw", "last": "hwc", "tokens": "nc", "prefixed": "nc+2"}
    expected |= {"flat": "vector", "output": "vector"}
    assert read(Layouts(size if fixed else None), images(*size)) == expected
    found = {info.name: info.reading for info in list_layers(Layouts(), images(*size))}
    assert {found[name].grid for name in ("first", "last", "tokens", "prefixed")} == {(size[0] // 2, size[1] // 2)}


@pytest.mark.parametrize("size", [(8, 8), (8, 12)])
def test_a_map_without_a_channel_axis_is_a_map_where_it_grows_so(size):
    """Rows alone, which grow with the height only, are no proof of a map."""

    class Bare(nn.Module):
        def __init__(self, rows_only: bool = False) -> None:
            super().__init__()
            self.rows_only = rows_only
            self.conv, self.bare = nn.Conv2d(1, 1, 3, padding=1), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            assert not self.rows_only or x.shape[3] == size[1]
            return self.bare(self.conv(x)[:, 0]).mean((1, 2))[:, None]

    x = images(*size, channels=1)
    found = {info.name: info.reading for info in list_layers(Bare(), x) if info.reading is not None}
    assert (found["bare"].pattern, found["bare"].guess, found["bare"].grid) == ("hw", False, size)
    h = torch.rand(5, 1, *size)
    assert torch.equal(found["bare"](h[:, 0]), found["conv"](h))
    assert read(Bare(rows_only=True), x)["bare"].endswith("?")


def test_colours_last_at_the_input():
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.Identity()
            self.conv = nn.Conv2d(3, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.norm(x).permute(0, 3, 1, 2)).mean((2, 3))

    assert read(Last(), torch.rand(2, 16, 24, 3)) == {"norm": "hwc", "conv": "chw", "output": "vector"}


class Patches(nn.Module):
    """Tokens without any convolution, at one size only; `order` puts patches elsewhere, `kept` drops some."""

    def __init__(self, patch: int = 8, leading: int = 1, kept: int | None = None, order: str = "rows") -> None:
        super().__init__()
        self.patch, self.leading, self.kept, self.order = patch, leading, kept, order
        self.embed = nn.Linear(3 * patch * patch, 20)
        self.start = nn.Parameter(torch.randn(1, leading, 20))
        self.mix = nn.TransformerEncoderLayer(20, 2, 40, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2:] == (32, 64), "one size only"
        p = self.patch
        patches = x.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        if self.order == "shuffled":
            patches = patches[:, torch.randperm(patches.shape[1], generator=torch.Generator().manual_seed(1))]
        if self.order == "random":
            order = torch.rand(patches.shape[:2]).argsort(1)[:, : self.kept]
            patches = patches.gather(1, order[..., None].expand(-1, -1, patches.shape[2]))
        h = torch.cat([self.start.expand(len(x), -1, -1), self.embed(patches)], 1)
        return self.mix(h).mean(1)


@pytest.mark.parametrize("leading", [0, 1, 2, 5])
def test_tokens_that_prove_their_grid(leading):
    found = {info.name: info.reading for info in list_layers(Patches(leading=leading), images(32, 64))}
    for name, count in (("embed", 0), ("mix", leading), ("mix.linear1", leading)):
        assert (found[name].leading, found[name].grid, found[name].guess) == (count, (4, 8), False), name


def test_tokens_in_no_order_are_no_map():
    """The mutation that proves the check: the same number of tokens, of the same shape, elsewhere."""
    assert read(Patches(order="shuffled", leading=0), images(32, 64))["mix"] == "vector?"
    # Eight of 32 patches at random, as a masked autoencoder keeps them: 2 × 4 would have the image's proportions.
    found = read(Patches(order="random", kept=8), images(32, 64))
    assert found["embed"] == "vector?"
    assert found["mix"] == "vector?"


def test_random_patches_beside_a_convolution_are_no_map():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 64, 4, stride=4)
            self.embed, self.after = nn.Linear(64, 64), nn.Dropout()

        def forward(self, x: Tensor) -> Tensor:
            h = self.patch(x).flatten(2).transpose(1, 2)
            order = torch.rand(h.shape[:2]).argsort(1)[:, : h.shape[1] // 4]
            h = h.gather(1, order[..., None].expand(-1, -1, 64))
            return self.after(self.embed(torch.cat([h[:, :1], h], 1))).mean(1)

    # 17 tokens of 64 features, and 64 are an 8 × 8 grid: neither the tokens nor the features are one here.
    assert read(Masked(), images()) == {"patch": "chw", "embed": "vector?", "after": "vector?", "output": "vector"}


def test_declared_leading_tokens_come_first():
    class Several(nn.Module):
        """13 tokens are 9 and a grid of 2 × 2 that is there too, or 4 and one of 3 × 3."""

        def __init__(self, **declared: int) -> None:
            super().__init__()
            self.patch, self.tokens = nn.Conv2d(3, 6, 8, stride=8), nn.Identity()
            self.small = nn.AvgPool2d(2)
            vars(self).update(declared)

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2:] == (24, 24)
            h = self.patch(x)
            self.small(F.pad(h, (0, 1, 0, 1)))
            return self.tokens(torch.cat([torch.ones(len(x), 4, 6), h.flatten(2).transpose(1, 2)], 1)).mean(1)

    assert read(Several(), images(24, 24))["tokens"] == "nc+4"
    assert read(Several(num_prefix_tokens=4), images(24, 24))["tokens"] == "nc+4"


def test_heads_and_attention():
    """Tokens of each head, and attention from each token to every other: positions are the tokens that ask."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.query = nn.Conv2d(3, 12, 8, stride=8), nn.LayerNorm(4)
            self.weights = nn.Softmax(-1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.patch(x).flatten(2).transpose(1, 2)
            h = torch.cat([h[:, :1], h], 1)
            q = self.query(h.unflatten(2, (3, 4)).transpose(1, 2))
            return (self.weights(q @ q.transpose(2, 3)) @ q).mean((1, 2))

    assert read(Attention(), images()) == {"patch": "chw", "query": "cnc+1", "weights": "cnc+1", "output": "vector"}


@pytest.mark.parametrize("classes", [0, 1])
@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
def test_heads_that_talk_are_no_map(classes, stem, fixed):
    """Attention weights (n, n, heads), mixed over the heads by a linear layer as in CaiT, have a map's shape."""

    class Talking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 3, 3, stride=2, padding=1) if stem else nn.Identity()
            self.patch = nn.Conv2d(3, 12, 4 if stem else 8, stride=4 if stem else 8)
            self.norm, self.before, self.after = nn.LayerNorm(12), nn.Linear(3, 3), nn.Linear(3, 3)
            self.weights, self.mixed = nn.Softmax(-1), nn.Dropout(0.1)

        def forward(self, x: Tensor) -> Tensor:
            assert not fixed or x.shape[2:] == (32, 32)
            h = self.patch(self.stem(x)).flatten(2).transpose(1, 2)
            h = self.norm(torch.cat([h[:, :classes], h], 1))
            q = h.unflatten(2, (3, 4)).transpose(1, 2)
            talked = self.before((q @ q.transpose(2, 3)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            talked = self.mixed(self.after(self.weights(talked).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
            return (talked @ q).mean((1, 2))

    found = read(Talking(), images())
    tokens = "+1" if classes else ""
    assert found["norm"] == f"nc{tokens}"
    for name in ("before", "after"):
        assert found[name] in (f"ncc{tokens}", f"cnc{tokens}"), name
    for name in ("weights", "mixed"):
        assert found[name] in (f"cnc{tokens}", f"ccn{tokens}"), name
    # A map of the very shape of the weights stays one beside them.
    assert not stem or found["stem"] == "chw"


def test_tokens_turned_over_for_mixing():
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.norm = nn.Conv2d(3, 10, 8, stride=8), nn.LayerNorm(10)
            self.up, self.down = nn.Linear(16, 40), nn.Linear(40, 16)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(self.patch(x).flatten(2).transpose(1, 2))
            return self.down(self.up(h.transpose(1, 2))).mean(2)

    found = read(Mixer(), images())
    assert (found["norm"], found["down"], found["up"]) == ("nc", "cn", "vector?")


def test_modules_tell_where_nothing_else_does():
    """No run at another size, and shapes that fit either way."""

    class Cube(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear, self.unknown = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 8), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2:] == (32, 32)
            h = self.linear(self.conv(x).permute(0, 2, 3, 1))
            return self.unknown(h + 1).mean((1, 2))

    # (8, 8, 8) is made both ways in this network, so the third is a guess.
    assert read(Cube(), images()) == {"conv": "chw", "linear": "hwc", "unknown": "chw?", "output": "vector"}


def test_norm_says_by_its_weights():
    class Norms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 4, stride=4)
            self.first, self.last = ChannelNorm(6), nn.LayerNorm(6)

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2:] == (32, 32)
            return self.last(self.first(self.conv(x)).permute(0, 2, 3, 1)).mean((1, 2))

    class ChannelNorm(nn.LayerNorm):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    assert read(Norms(), images()) == {"conv": "chw", "first": "chw", "last": "hwc", "output": "vector"}


def test_layers_before_a_failure_are_still_seen_at_another_size():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Moved(), nn.Flatten(), nn.Linear(4 * 8 * 8, 3))
    assert read(model, images(8, 8))["1"] == "hwc"


class Moved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, 3)


def test_a_vector_network_that_sees_no_image_reads_tokens_by_the_images_size():
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.embed(x.unflatten(1, (16, 4))).mean(1)

    x = torch.rand(2, 64)
    assert read(Rows(), x) == {"embed": "vector?", "output": "vector"}
    # What cannot be checked is a guess.
    assert read(Rows(), x, image=(8, 8)) == {"embed": "nc?", "output": "vector"}


# ---- what the user says ----


def test_the_user_says():
    x = images()
    model = Layouts()
    told = {"first": "hwc", "last": "cwh", "tokens": "cn", "prefixed": "nc+2", "conv": "vector"}
    with pytest.raises(UsageError, match=r"the tokens of layer 'tokens' fill no grid .*; received 12 tokens, any"):
        list_layers(model, x, read_as=told)
    told["tokens"] = "vector"
    found = {info.name: info.reading for info in list_layers(model, x, read_as=told)}
    assert {name: found[name].at for name in ("first", "last", "conv")} == {"first": (0, 1), "last": (2, 1), "conv": ()}
    assert (found["prefixed"].leading, found["prefixed"].grid) == (2, (16, 16))
    assert all(found[name].told and not found[name].guess for name in told)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"firts": "hwc"}, r"unknown layer in read_as; received 'firts'.*did you mean 'first'\?"),
        ({"first": "hwd"}, r"cannot read layer 'first' so; received 'hwd'; legal: vector, or a letter for each axis"),
        ({"first": "hhwc"}, r"cannot read layer 'first' so; received 'hhwc'"),
        ({"first": "hwc+1"}, r"cannot read layer 'first' so; received 'hwc\+1'"),
        ({"first": "nc"}, r"cannot read layer 'first' so; received 'nc', of 2 axes, where the layer is 12×16×16"),
        ({"prefixed": "nc+3"}, r"the tokens of layer 'prefixed' fill no grid .*received 258 tokens, 3 leading"),
        ({"prefixed": "nc+900"}, r"received 258 tokens, 900 leading"),
    ],
)
def test_what_the_user_cannot_say(told, message):
    with pytest.raises(UsageError, match=message):
        list_layers(Layouts(), images(), read_as=told)


def test_the_model_is_left_as_it_was():
    model = Patches(order="random", kept=8).train()
    before = torch.get_rng_state()
    list_layers(model, images(32, 64))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training and not module._forward_hooks for module in model.modules())


class Placed(nn.Module):
    """Patches of a convolution and other tokens: where `join` puts them."""

    def __init__(self, join, others: int = 1) -> None:
        super().__init__()
        self.join, self.patch, self.others = join, nn.Conv2d(3, 20, 4, stride=4), nn.Parameter(torch.randn(others, 20))
        self.body = nn.Sequential(nn.LayerNorm(20), nn.Linear(20, 30), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        h = self.patch(x).flatten(2).transpose(1, 2)
        return self.body(self.join(h, self.others.expand(len(x), -1, -1))).mean(1)


def behind(h: Tensor, others: Tensor) -> Tensor:
    return torch.cat([h, others], 1)


def within(h: Tensor, others: Tensor) -> Tensor:
    return torch.cat([h[:, : h.shape[1] // 2], others, h[:, h.shape[1] // 2 :]], 1)


def around(h: Tensor, others: Tensor) -> Tensor:
    return torch.cat([others[:, :1], h, others[:, 1:]], 1)


def shuffled(h: Tensor, _: Tensor) -> Tensor:
    order = torch.rand(h.shape[:2]).argsort(1)
    return h.gather(1, order[..., None].expand_as(h))


@pytest.mark.parametrize("size", [32, 56])
@pytest.mark.parametrize(
    ("join", "others"), [(behind, 1), (behind, 4), (within, 1), (around, 2), (around, 5), (shuffled, 1)]
)
def test_a_grid_of_the_right_size_is_no_proof(join, others, size):
    """Detection tokens behind the patches, a class token among them, patches in an order of their own."""
    found = read(Placed(join, others), images(size, size))
    assert {found[f"body.{place}"] for place in range(3)} == {"vector?"}
    assert found["patch"] == "chw"


@pytest.mark.parametrize("size", [32, 56])
@pytest.mark.parametrize("others", [1, 2, 5])
def test_tokens_in_front_are_leading(others, size):
    found = read(Placed(lambda h, others: torch.cat([others, h], 1), others), images(size, size))
    assert {found[f"body.{place}"] for place in range(3)} == {f"nc+{others}"}


def test_random_patches_as_many_as_another_map_has():
    def kept(h: Tensor, _: Tensor) -> Tensor:
        return shuffled(h, h)[:, :16]

    model = Placed(kept)
    model.register_module("pool", nn.AvgPool2d(8))
    plain = model.forward
    model.forward = lambda x: plain(x) + model.pool(x).mean()
    assert read(model, images())["body.0"] == "vector?"


@pytest.mark.parametrize(("channels", "patch"), [(24, 8), (64, 4), (72, 4), (16, 8)])
def test_mixed_tokens_are_no_features_and_features_no_tokens(channels, patch):
    """MLP-Mixer, whose modules see tokens turned over: 24 channels are not 8 leading tokens and 16."""

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            tokens = (32 // patch) ** 2
            self.patch, self.norm = nn.Conv2d(3, channels, patch, stride=patch), nn.LayerNorm(channels)
            self.mix = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
            self.after = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

        def forward(self, x: Tensor) -> Tensor:
            h = self.patch(x).flatten(2).transpose(1, 2)
            h = h + self.mix(self.norm(h).transpose(1, 2)).transpose(1, 2)
            return (h + self.after(self.norm(h))).mean(1)

    found = read(Mixer(), images())
    assert {found[name] for name in ("norm#0", "after.0", "after.1", "after.2", "after")} == {"nc"}
    assert {found[name] for name in ("mix.0", "mix.1")} == {"vector?"}
    # As many channels as tokens: which axis is which cannot be known.
    turned = "vector?" if channels == (32 // patch) ** 2 else "cn"
    assert {found["mix.2"], found["mix"]} == {turned}


@pytest.mark.parametrize(("channels", "mixed", "turned"), [(16, "nc?", "cn"), (12, "cn", "cn")])
def test_as_many_tokens_as_channels_side_by_side_are_a_guess_where_nothing_decides(channels, mixed, turned):
    """What mixes tokens lies in the same module as what shows where they lie."""

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.tokens, self.turned = nn.Conv2d(3, channels, 8, 8), nn.Identity(), nn.Identity()
            self.mix, self.norm, self.after = nn.Linear(16, 16), nn.LayerNorm(channels), nn.Linear(channels, channels)

        def forward(self, x: Tensor) -> Tensor:
            h = self.tokens(self.patch(x).flatten(2).transpose(1, 2))
            h = self.mix(self.turned(h.transpose(1, 2))).transpose(1, 2)
            return self.after(self.norm(h)).mean(1)

    found = read(Flat(), images())
    assert (found["patch"], found["tokens"], found["norm"]) == ("chw", "nc", "nc")
    assert (found["mix"], found["turned"]) == (mixed, turned)
    assert found["after"] == ("nc?" if channels == 16 else "nc")


def test_a_cube_that_is_as_another_one_is_a_guess():
    class Cube(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2:] == (8, 8), "one size only"
            return self.last(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2))

    assert read(Cube(), images(8, 8)) == {"conv": "chw", "last": "chw?", "output": "vector"}
