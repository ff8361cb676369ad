"""Pairs of images and activations, and the standardisation of the latter."""

import numpy as np
import pytest
import torch

from infoplane.inversion import Pairs, Standardiser


def test_statistics_are_exact():
    generator = np.random.default_rng(0)
    values = (generator.normal(size=(301, 3, 4)) * [1, 10, 100, 1e-3] + [0, 5, -1000, 2]).astype(np.float32)
    chunks = [torch.from_numpy(part) for part in np.split(values, [7, 100, 255])]
    standardise = Standardiser.of(chunks)
    double = values.astype(np.float64)
    np.testing.assert_allclose(standardise.mean.numpy(), double.mean(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(standardise.std.numpy(), double.std(0), rtol=1e-6)
    got = standardise(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(got, (double - double.mean(0)) / double.std(0), atol=2e-3)
    np.testing.assert_allclose(got.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(got.std(0), 1, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e6, 1e-20])
def test_a_unit_that_never_varies_becomes_zero(value):
    chunks = [torch.full((n, 2), value) for n in (3, 50, 11)]
    for chunk in chunks:
        chunk[:, 1] = torch.arange(len(chunk))
    standardise = Standardiser.of(chunks)
    result = standardise(torch.cat(chunks))
    assert (result[:, 0] == 0).all()
    assert standardise.std[0] == 1
    assert result[:, 1].std() > 0.5
    # Where it varies after all, later, that is not magnified.
    other = standardise(torch.tensor([[value + 1, 0.0]]))
    assert other[0, 0] == pytest.approx(1, abs=0.1)


def test_standardising_is_invertible():
    values = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 20, 0.01, 0]) + 3
    standardise = Standardiser.of([values])
    torch.testing.assert_close(standardise.inverse(standardise(values)), values, rtol=1e-6, atol=1e-6)
    assert (standardise.std > 0).all()
    for unit in range(3):  # distinct activations stay distinct
        assert len(standardise(values)[:, unit].unique()) == len(values[:, unit].unique())


def test_far_out_values_grow_logarithmically_and_can_be_recovered():
    mean, std = torch.tensor([3.0, -1.0]), torch.tensor([0.5, 2.0])
    standardise = Standardiser(mean, std)
    z = np.array([-1e4, -60, -6, -5, -4.9, -1, 0, 0.3, 4.999, 5, 5.001, 9, 1e3, 1e4])
    expected = np.where(np.abs(z) <= 5, z, np.sign(z) * (5 + np.log(np.maximum(np.abs(z), 5) - 4)))
    values = torch.from_numpy(z)[:, None] * std.double() + mean.double()
    got = standardise(values)
    np.testing.assert_allclose(got.numpy(), np.stack([expected, expected], axis=1), rtol=1e-9, atol=1e-9)
    assert (got.diff(dim=0) > 0).all()
    torch.testing.assert_close(standardise.inverse(got), values, rtol=1e-9, atol=1e-9)
    single = standardise.inverse(standardise(values.float()))
    torch.testing.assert_close(single, values.float(), rtol=1e-4, atol=1e-5)


def test_batches_pair_each_image_with_its_own_context():
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1)
    own = torch.arange(12.0)[:, None] * torch.tensor([1.0, -1.0])
    shift = Standardiser(torch.tensor([1.0, 0.0]), torch.tensor([4.0, 4.0]))
    index = torch.tensor([5, 0, 11, 5])

    def given(batch):
        return batch.flatten().float()[:, None] * torch.tensor([1.0, -1.0])

    for context in (own, own.numpy(), given):
        pairs = Pairs(images.numpy(), context, standardise=shift)
        assert len(pairs) == 12
        assert pairs.context_shape == (2,)
        for which, rows in ((index, [5, 0, 11, 5]), (slice(3, 6), [3, 4, 5]), (slice(10, 99), [10, 11])):
            batch, contexts = pairs.batch(which)
            assert batch.dtype == torch.uint8
            assert batch.flatten().tolist() == rows
            assert contexts.tolist() == [[(r - 1) / 4, -r / 4] for r in rows]
            assert torch.equal(pairs.context_of(which), contexts)
        part = pairs.subset(np.array([2, 7]))
        assert part.batch(slice(None))[0].flatten().tolist() == [2, 7]
        assert part.batch(torch.tensor([1]))[1].tolist() == [[1.5, -1.75]]


def test_without_a_context():
    pairs = Pairs(np.zeros((3, 1, 2, 2), dtype=np.uint8))
    assert pairs.context_shape is None
    assert pairs.batch(slice(0, 2))[1] is None
    assert pairs.subset(torch.tensor([0])).context_of(slice(None)) is None
