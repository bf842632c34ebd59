import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from golden.compress.convert import convert
from golden.compress.model import Free, Model, Shared, accuracy, image_accuracy
from golden.compress.prune import keep
from golden.nets.chain import chain

# A vector, and a picture for each kind of layer.
VECTOR = (6, 5, 4)
PICTURE = ("5x4", "conv 2x3 3", "max 2x1", 4)
either = pytest.mark.parametrize("entries", [VECTOR, PICTURE], ids=["vector", "picture"])


def network(entries=VECTOR, seed=1):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return chain(entries)


def dense(entries=VECTOR):
    return Model(network(entries), (6,) if entries == VECTOR else (1, 5, 4))


def batch(model, count=20, classes=4):
    source = torch.Generator().manual_seed(2)
    return (
        torch.randn(count, int(np.prod(model.input_shape)), generator=source),
        torch.randint(classes, (count,), generator=source),
    )


def pruned(entries=VECTOR, density=0.5):
    model = dense(entries)
    model.masks = [keep(weights, density) for weights in model.weights]
    return model


def shared(entries=VECTOR, bits=3):
    model = pruned(entries)
    model.share([bits] * len(model.weights))
    return model


def test_layers():
    model = dense(PICTURE)
    assert list(model.layers) == ["conv1", "fc1"]
    assert [tuple(x.shape) for x in model.weights] == [(3, 1, 2, 3), (4, 12)]
    assert [tuple(x.shape) for x in model.others] == [(3,), (4,)]
    assert [tuple(x.shape) for x in model.masks] == [(3, 1, 2, 3), (4, 12)]
    assert model.density == 1


@either
def test_outputs_are_the_network_s(entries, monkeypatch):
    model = dense(entries)
    x, _ = batch(model)
    want = network(entries)(x.view(-1, *model.input_shape))
    torch.testing.assert_close(model.outputs(x), want.detach())
    monkeypatch.setattr("golden.compress.model._BATCH", 7)
    torch.testing.assert_close(model.outputs(x), want.detach())


@either
@pytest.mark.parametrize("make", [dense, pruned, shared])
def test_tensors_round_trip(make, entries):
    model = make(entries)
    tensors = model.tensors()
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    again = Model(network(entries, seed=2), model.input_shape)
    again.restore({name: tensor.clone() for name, tensor in tensors.items()})
    assert again.tensors().keys() == tensors.keys()
    for name, tensor in again.tensors().items():
        assert torch.equal(tensor, tensors[name])
    assert len(again.codes) == len(model.codes)
    assert all(map(torch.equal, again.weights, model.weights))


def test_density_weighs_layers_by_their_size():
    model = Model(network((10, 10, 2)), (10,))
    model.masks = [keep(model.weights[0], 0.1), keep(model.weights[1], 0.5)]
    assert model.density == (10 + 10) / 120


def test_accuracy():
    model = dense()
    x, y = batch(model)
    want = sum(int(network()(row).argmax()) == label for row, label in zip(x, y, strict=True)) / 20
    assert accuracy(model, x, y) == want


def test_image_accuracy_counts_the_first_of_equals():
    """All weights 0: every answer is the bias, and of equal ones the first counts."""
    model = shared()
    model.codebooks = [torch.zeros_like(codebook) for codebook in model.codebooks]
    with torch.no_grad():
        for bias, values in zip(model.others, ([0.0] * 5, [0.0, 1.0, 1.0, 0.5]), strict=True):
            bias.copy_(torch.tensor(values))
    Shared(model).settle()
    x = torch.rand(9, 6)
    image = convert(model.module, x, name="x", bits=3, activation_width=8)
    assert image_accuracy(image, x, torch.tensor([1] * 6 + [2] * 3)) == 6 / 9


@either
def test_pruned_weights_stay_zero(entries):
    model = pruned(entries)
    task = Free(model)
    task.settle()
    for parameter in [*task.decaying, *task.steady]:
        parameter.requires_grad_()
    optimiser = torch.optim.AdamW([*task.decaying, *task.steady], lr=0.1)
    for _ in range(5):
        task.backward(*batch(model))
        optimiser.step()
        # Momentum moves them, even where the gradient is masked.
        assert any(
            (weight[~mask] != 0).any()
            for weight, mask in zip(model.weights, model.masks, strict=True)
        )
        task.settle()
        for weight, mask in zip(model.weights, model.masks, strict=True):
            assert torch.equal(weight != 0, mask)


@either
def test_shared_gradients_match_autograd(entries):
    """Against a network that looks its weights up in the codebooks."""
    model = shared(entries)
    task = Shared(model)
    for parameter in task.steady:
        parameter.requires_grad_()
    x, y = batch(model)
    # A second time, nothing is left of the first.
    task.backward(x.flip(0), y)
    for parameter in task.steady:
        parameter.grad = None
    loss = task.backward(x, y)

    codebooks = [codebook.detach().clone().requires_grad_() for codebook in model.codebooks]
    other = network(entries)
    looked_up = {
        f"{name}.weight": torch.where(mask, codebook[codes], 0)
        for name, mask, codebook, codes in zip(
            model.layers, model.masks, codebooks, model.codes, strict=True
        )
    }
    outputs = torch.func.functional_call(other, looked_up, (x.view(-1, *model.input_shape),))
    want = functional.cross_entropy(outputs, y)
    want.backward()
    torch.testing.assert_close(loss, want.detach())
    biases = [layer.bias for layer in other if isinstance(layer, nn.Linear | nn.Conv2d)]
    for mine, theirs in zip(task.steady, [*codebooks, *biases], strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    assert model.codebooks[0].grad.abs().max() > 0


@either
def test_shared_weights_stay_shared(entries):
    model = shared(entries)
    task = Shared(model)
    for parameter in task.steady:
        parameter.requires_grad_()
    optimiser = torch.optim.AdamW(task.steady, lr=0.01)
    before = [weight.detach().clone() for weight in model.weights]
    task.backward(*batch(model))
    optimiser.step()
    task.settle()
    for weight, old, mask, codebook in zip(
        model.weights, before, model.masks, model.codebooks, strict=True
    ):
        weight = weight.detach()
        assert not torch.equal(weight, old)
        assert (weight[~mask] == 0).all()
        assert set(weight[mask].tolist()) <= set(codebook.tolist())
        assert len(np.unique(weight[mask])) == len(np.unique(old[mask]))
