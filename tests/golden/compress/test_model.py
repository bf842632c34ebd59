import numpy as np
import pytest
import torch
from torch.nn import functional

from golden.compress.fixed_point import to_image
from golden.compress.model import Free, Model, Shared, accuracy, forward, image_accuracy
from golden.compress.prune import keep
from golden.compress.share import share
from golden.nets.lenet import perceptron


def network(widths=(6, 5, 4), seed=1):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return perceptron(widths)


def batch(count=20, inputs=6, classes=4):
    source = torch.Generator().manual_seed(2)
    return (
        torch.randn(count, inputs, generator=source),
        torch.randint(classes, (count,), generator=source),
    )


def pruned(density=0.5):
    model = Model.of(network())
    model.masks = [keep(weight, density) for weight in model.weights]
    return model


def shared(bits=3):
    model = pruned()
    for weights, mask in zip(model.weights, model.masks, strict=True):
        codes, codebook = share(weights, mask, bits)
        model.codes.append(codes)
        model.codebooks.append(codebook)
    Shared(model).settle()
    return model


def test_forward_is_the_network():
    x, _ = batch()
    model = Model.of(network())
    outputs = forward(model.weights, model.biases, x)
    assert torch.equal(outputs[0], network()[:2](x))
    assert torch.equal(outputs[1], network()(x))


def test_of_copies():
    original = network()
    model = Model.of(original)
    model.weights[0].zero_()
    assert original[0].weight.abs().max() > 0
    assert model.density == 1


@pytest.mark.parametrize("model", [pruned(), shared()])
def test_tensors_round_trip(model):
    tensors = model.tensors()
    again = Model.from_tensors(tensors)
    assert again.tensors().keys() == tensors.keys()
    for name, tensor in again.tensors().items():
        assert torch.equal(tensor, tensors[name])
    assert len(again.codes) == len(model.codes)


def test_density_weighs_layers_by_their_size():
    model = Model.of(network((10, 10, 2)))
    model.masks = [keep(model.weights[0], 0.1), keep(model.weights[1], 0.5)]
    assert model.density == (10 + 10) / 120


def test_accuracy():
    model = Model.of(network())
    x, y = batch()
    want = sum(int(network()(row).argmax()) == label for row, label in zip(x, y, strict=True)) / 20
    assert accuracy(model, x, y) == want


def test_image_accuracy_counts_the_first_of_equals():
    """All weights 0: every answer is the bias, and of equal ones the first counts."""
    model = shared()
    model.codebooks = [torch.zeros_like(codebook) for codebook in model.codebooks]
    model.biases = [torch.zeros(5), torch.tensor([0.0, 1.0, 1.0, 0.5])]
    Shared(model).settle()
    x = torch.rand(9, 6)
    image = to_image(model, x, name="x", activation_width=8, accumulator_width=36)
    assert image_accuracy(image, x, torch.tensor([1] * 6 + [2] * 3)) == 6 / 9


def test_pruned_weights_stay_zero():
    model = pruned()
    task = Free(model)
    task.settle()
    for parameter in [*task.decaying, *task.steady]:
        parameter.requires_grad_()
    optimiser = torch.optim.AdamW([*task.decaying, *task.steady], lr=0.1)
    for _ in range(5):
        task.backward(*batch())
        optimiser.step()
        # Momentum moves them, even where the gradient is masked.
        assert any(
            (weight[~mask] != 0).any()
            for weight, mask in zip(model.weights, model.masks, strict=True)
        )
        task.settle()
        for weight, mask in zip(model.weights, model.masks, strict=True):
            assert torch.equal(weight != 0, mask)


def test_shared_gradients_match_autograd():
    """Against a network that looks its weights up in the codebooks."""
    model = shared()
    task = Shared(model)
    for parameter in task.steady:
        parameter.requires_grad_()
    x, y = batch()
    loss = task.backward(x, y)

    codebooks = [codebook.detach().clone().requires_grad_() for codebook in model.codebooks]
    biases = [bias.detach().clone().requires_grad_() for bias in model.biases]
    weights = [
        torch.where(mask, codebook[codes], 0)
        for mask, codebook, codes in zip(model.masks, codebooks, model.codes, strict=True)
    ]
    want = functional.cross_entropy(forward(weights, biases, x)[-1], y)
    want.backward()
    assert torch.equal(loss, want.detach())
    for mine, other in zip([*model.codebooks, *model.biases], [*codebooks, *biases], strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_shared_weights_stay_shared():
    model = shared()
    task = Shared(model)
    for parameter in task.steady:
        parameter.requires_grad_()
    optimiser = torch.optim.AdamW(task.steady, lr=0.01)
    before = [weight.clone() for weight in model.weights]
    task.backward(*batch())
    optimiser.step()
    task.settle()
    for weight, old, mask, codebook in zip(
        model.weights, before, model.masks, model.codebooks, strict=True
    ):
        assert not torch.equal(weight, old)
        assert (weight[~mask] == 0).all()
        assert set(weight[mask].tolist()) <= set(codebook.tolist())
        assert len(np.unique(weight[mask])) == len(np.unique(old[mask]))
