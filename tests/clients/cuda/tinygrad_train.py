"""tinygrad on its CUDA back end: a small network learns to tell two spirals apart, in a JIT of CUDA graphs."""

import os

import numpy
from tinygrad import Context, Device, Tensor, TinyJit, nn

STEPS = int(os.environ.get("STEPS", "120"))


def spirals(count):
    """Points on two spirals, and which."""
    rng = numpy.random.default_rng(7)
    kind = numpy.arange(count) % 2
    turn = numpy.sqrt(rng.random(count)) * 2.5 * numpy.pi
    angle = turn + numpy.pi * kind
    points = numpy.stack([numpy.cos(angle) * turn, numpy.sin(angle) * turn], axis=1) / 8.0
    points += rng.normal(scale=0.01, size=points.shape)
    return points.astype(numpy.float32), kind.astype(numpy.int32)


class Net:
    def __init__(self):
        self.layers = [nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 2)]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = layer(x).tanh()
        return self.layers[-1](x)


def main():
    print("device:", Device.DEFAULT)
    Tensor.manual_seed(1)
    points, kind = spirals(512)
    x, y = Tensor(points), Tensor(kind)
    net = Net()
    optimizer = nn.optim.Adam(nn.state.get_parameters(net), lr=0.01)

    @TinyJit
    def step():
        with Context(TRAINING=1):
            optimizer.zero_grad()
            loss = net(x).sparse_categorical_crossentropy(y)
            loss.backward()
            optimizer.step()
            return loss.realize()

    losses = []
    for number in range(STEPS):
        losses.append(step().item())
        if number % 20 == 0 or number == STEPS - 1:
            print(f"step {number:4} loss {losses[-1]:.4f}", flush=True)
    right = (net(x).argmax(axis=1).numpy() == kind).mean()
    print(f"told apart: {right:.3f}")
    assert all(numpy.isfinite(losses)), "a loss is not finite"
    assert losses[-1] < losses[0] * 0.5, "the loss did not fall"
    print("learned")


main()
