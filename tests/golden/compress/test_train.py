import math

import pytest
import torch

from golden.compress.model import Free, Model
from golden.compress.train import Pictures, Trainer, generator
from golden.nets.chain import chain


def sample_pictures(*, count=10, shift=0):
    source = torch.Generator().manual_seed(1)
    x = torch.rand(count, 12, generator=source) + 0.01
    y = torch.randint(3, (count,), generator=source)
    return x, y, Pictures.of(x, y, height=3, width=4, shift=shift)


def trainer(*, epochs=3, weight_decay=0.1, learning_rate=0.01, shift=1):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Model(chain((12, 8, 3)), (12,))
    _, _, pictures = sample_pictures(shift=shift)
    return Trainer(
        Free(model),
        pictures,
        batch=4,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        epochs=epochs,
    )


def weights(trainer):
    return [tensor.detach().clone() for tensor in trainer.parameters]


def test_generator_depends_on_every_part():
    def draw(*parts):
        return int(torch.randint(2**62, (1,), generator=generator(*parts)))

    draws = [draw(1, "train", 0), draw(2, "train", 0), draw(1, "prune", 0), draw(1, "train", 1)]
    assert len(set(draws)) == 4
    assert draw(1, "train", 0) == draws[0]


def test_unshifted_pictures():
    x, y, pictures = sample_pictures()
    which = torch.tensor([3, 0, 7])
    got_x, got_y = pictures.batch(which, generator(1))
    assert torch.equal(got_x, x[which])
    assert torch.equal(got_y, y[which])


def test_shifted_pictures():
    """Every picture is one of all shifts of the right one, and every shift occurs."""
    x, y, pictures = sample_pictures(count=3, shift=1)
    which = torch.arange(3).repeat(200)
    got_x, got_y = pictures.batch(which, generator(1))
    assert torch.equal(got_y, y[which])
    seen = set()
    for index, picture in zip(which.tolist(), got_x, strict=True):
        original = x[index].view(3, 4)
        for down in -1, 0, 1:
            for right in -1, 0, 1:
                moved = torch.zeros(5, 6)
                moved[1 + down : 4 + down, 1 + right : 5 + right] = original
                if torch.equal(moved[1:4, 1:5], picture.view(3, 4)):
                    seen.add((index, down, right))
                    break
            else:
                continue
            break
        else:
            pytest.fail(f"no shift of picture {index}: {picture}")
    assert len(seen) == 27


def test_matches_plain_adam():
    """One epoch against PyTorch's unfused optimiser, the learning rate set by hand."""
    tested = trainer(epochs=2, shift=0)
    x, y, _ = sample_pictures()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = chain((12, 8, 3))
    optimiser = torch.optim.AdamW(
        [
            {"params": [network[0].weight, network[2].weight], "weight_decay": 0.1},
            {"params": [network[0].bias, network[2].bias], "weight_decay": 0.0},
        ],
        lr=0.01,
        fused=False,
    )
    losses = []
    order = torch.randperm(10, generator=generator("order"))
    # Ten pictures in batches of four are three steps; two epochs are six.
    for step, which in enumerate(order.split(4)):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * 0.5 * (1 + math.cos(math.pi * step / 6))
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x[which]), y[which])
        loss.backward()
        optimiser.step()
        losses += [loss.item()] * len(which)

    assert tested.epoch(0, generator("order")) == pytest.approx(sum(losses) / 10, rel=1e-5)
    for mine, other in zip(
        tested.parameters,
        [network[0].weight, network[2].weight, network[0].bias, network[2].bias],
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_restored_state_continues_alike():
    whole = trainer()
    for epoch in range(3):
        whole.epoch(epoch, generator(epoch))

    first = trainer()
    first.epoch(0, generator(0))
    state = {name: tensor.clone() for name, tensor in first.tensors().items()}
    second = trainer()
    with torch.no_grad():
        for parameter, value in zip(second.parameters, weights(first), strict=True):
            parameter.copy_(value)
    second.restore(state)
    for epoch in 1, 2:
        second.epoch(epoch, generator(epoch))
    for mine, other in zip(weights(second), weights(whole), strict=True):
        assert torch.equal(mine, other)


def test_only_weights_decay():
    """Without gradients, as the loss is constant in a network of one class, only decay is left."""
    x = torch.rand(4, 12)
    pictures = Pictures.of(x, torch.zeros(4, dtype=torch.int64), height=3, width=4, shift=0)
    model = Model(chain((12, 1)), (12,))
    before = [parameter.detach().clone() for parameter in (*model.weights, *model.others)]
    tested = Trainer(
        Free(model), pictures, batch=4, learning_rate=0.1, weight_decay=0.5, epochs=100
    )
    tested.epoch(0, generator(1))
    torch.testing.assert_close(model.weights[0].detach(), before[0] * 0.95)
    assert torch.equal(model.others[0].detach(), before[1])


def test_finish():
    tested = trainer()
    tested.epoch(0, generator(1))
    tested.finish()
    assert not any(tensor.requires_grad for tensor in tested.parameters)
