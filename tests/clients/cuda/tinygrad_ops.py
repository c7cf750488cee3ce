"""tinygrad on its CUDA back end: operations of all kinds against numpy."""

import numpy
from tinygrad import Device, Tensor, dtypes

RNG = numpy.random.default_rng(3)
CHECKED = 0


def check(name, got, want, rtol=1e-5, atol=1e-6):
    global CHECKED
    numpy.testing.assert_allclose(got.numpy(), want, rtol=rtol, atol=atol, err_msg=name)
    CHECKED += 1


def floats(*shape, low=-2.0, high=2.0):
    return RNG.uniform(low, high, shape).astype(numpy.float32)


def ints(*shape, low=-1000, high=1000, dtype=numpy.int32):
    return RNG.integers(low, high, shape).astype(dtype)


def unary():
    a, positive = floats(33, 65), floats(33, 65, low=0.01, high=9.0)
    x, p = Tensor(a), Tensor(positive)
    check("exp", x.exp(), numpy.exp(a))
    check("exp2", x.exp2(), numpy.exp2(a))
    check("log", p.log(), numpy.log(positive), atol=1e-5)
    check("log2", p.log2(), numpy.log2(positive), atol=1e-5)
    check("sin", (x * 20).sin(), numpy.sin(a * numpy.float32(20)), atol=2e-5)
    check("cos", x.cos(), numpy.cos(a), atol=1e-5)
    check("sqrt", p.sqrt(), numpy.sqrt(positive))
    check("rsqrt", p.rsqrt(), 1 / numpy.sqrt(positive))
    check("tanh", x.tanh(), numpy.tanh(a), atol=1e-5)
    check("sigmoid", x.sigmoid(), 1 / (1 + numpy.exp(-a)))
    check("relu", x.relu(), numpy.maximum(a, 0))
    check("abs", x.abs(), numpy.abs(a))
    check("floor", x.floor(), numpy.floor(a))
    check("ceil", x.ceil(), numpy.ceil(a))
    check("trunc", x.trunc(), numpy.trunc(a))
    check("round", x.round(), numpy.round(a))
    check("sign", x.sign(), numpy.sign(a))
    check("reciprocal", p.reciprocal(), 1 / positive)


def binary():
    a, b = floats(17, 31), floats(17, 31, low=0.5, high=3.0)
    x, y = Tensor(a), Tensor(b)
    check("add", x + y, a + b)
    check("sub", x - y, a - b)
    check("mul", x * y, a * b)
    check("div", x / y, a / b)
    check("pow", y**2.5, b**2.5)
    check("maximum", x.maximum(y), numpy.maximum(a, b))
    check("where", (x > 0).where(x, y), numpy.where(a > 0, a, b))
    check("compare", (x < y).cast(dtypes.int), (a < b).astype(numpy.int32))
    for dtype in (numpy.int32, numpy.int64, numpy.int16, numpy.uint8, numpy.uint32):
        low = 0 if numpy.issubdtype(dtype, numpy.unsignedinteger) else -100
        i, j = ints(400, low=low, high=100, dtype=dtype), ints(400, low=1, high=50, dtype=dtype)
        s, t = Tensor(i), Tensor(j)
        check(f"{dtype.__name__} add", s + t, i + j)
        check(f"{dtype.__name__} mul", s * t, i * j)
        check(f"{dtype.__name__} floordiv", s // t, i // j)
        check(f"{dtype.__name__} mod", s % t, i % j)
        check(f"{dtype.__name__} and", s & t, i & j)
        check(f"{dtype.__name__} or", s | t, i | j)
        check(f"{dtype.__name__} xor", s ^ t, i ^ j)
        check(f"{dtype.__name__} shift", s.cast(dtypes.uint32) << 3, (i.astype(numpy.uint32) << 3))


def kinds():
    a = floats(257, low=-100, high=100)
    for kind, other in (
        (dtypes.int8, numpy.int8),
        (dtypes.int16, numpy.int16),
        (dtypes.int32, numpy.int32),
        (dtypes.int64, numpy.int64),
        (dtypes.float16, numpy.float16),
        (dtypes.float64, numpy.float64),
        (dtypes.bool, numpy.bool_),
    ):
        check(f"cast {kind}", Tensor(a).cast(kind), a.astype(other))
    half = floats(64, 64).astype(numpy.float16)
    check("half mul", Tensor(half) * Tensor(half), half * half, rtol=1e-3)
    double = RNG.normal(size=(40, 40))
    check("double", Tensor(double).abs().sqrt() * 3.0 - 1.0, numpy.sqrt(numpy.abs(double)) * 3.0 - 1.0, rtol=1e-12, atol=1e-12)
    bfloat = Tensor(a).cast(dtypes.bfloat16).cast(dtypes.float32)
    check("bfloat16", bfloat, a, rtol=2**-8)


def reductions():
    a = floats(50, 300)
    x = Tensor(a)
    check("sum", x.sum(), a.sum(), rtol=1e-4, atol=1e-3)
    check("sum rows", x.sum(axis=1), a.sum(axis=1), rtol=1e-4, atol=1e-4)
    check("sum columns", x.sum(axis=0), a.sum(axis=0), rtol=1e-4, atol=1e-4)
    check("max", x.max(axis=1), a.max(axis=1))
    check("min", x.min(axis=0), a.min(axis=0))
    check("mean", x.mean(), a.mean(), rtol=1e-4, atol=1e-5)
    check("var", x.var(axis=1), a.var(axis=1, ddof=1), rtol=1e-4)
    check("argmax", x.argmax(axis=1), a.argmax(axis=1))
    check("argmin", x.argmin(axis=0), a.argmin(axis=0))
    check("cumsum", x.cumsum(axis=1), a.cumsum(axis=1), rtol=1e-3, atol=1e-3)
    exp = numpy.exp(a - a.max(axis=1, keepdims=True))
    check("softmax", x.softmax(axis=1), exp / exp.sum(axis=1, keepdims=True))
    big = floats(1 << 20)
    check("long sum", Tensor(big).sum(), big.astype(numpy.float64).sum(), rtol=1e-3, atol=0.5)


def products():
    a, b = floats(65, 129), floats(129, 33)
    check("matmul", Tensor(a) @ Tensor(b), a @ b, rtol=1e-4, atol=1e-4)
    a, b = floats(256, 256), floats(256, 256)
    check("matmul 256", Tensor(a) @ Tensor(b), a @ b, rtol=1e-3, atol=1e-3)
    a, b = floats(4, 20, 30), floats(4, 30, 10)
    check("batched", Tensor(a) @ Tensor(b), a @ b, rtol=1e-4, atol=1e-4)
    half = floats(64, 64).astype(numpy.float16)
    check("half matmul", Tensor(half) @ Tensor(half), half.astype(numpy.float32) @ half.astype(numpy.float32), rtol=2e-2, atol=5e-2)
    image, kernel = floats(2, 3, 16, 16), floats(5, 3, 3, 3)
    want = numpy.zeros((2, 5, 14, 14), numpy.float32)
    for y in range(3):
        for x in range(3):
            want += numpy.einsum("nchw,oc->nohw", image[:, :, y : y + 14, x : x + 14], kernel[:, :, y, x])
    check("conv2d", Tensor(image).conv2d(Tensor(kernel)), want, rtol=1e-4, atol=1e-4)
    pooled = image.reshape(2, 3, 8, 2, 8, 2).max(axis=(3, 5))
    check("max_pool2d", Tensor(image).max_pool2d((2, 2)), pooled)


def movement():
    a = floats(6, 8, 10)
    x = Tensor(a)
    check("permute", x.permute(2, 0, 1).contiguous(), a.transpose(2, 0, 1))
    check("reshape", x.reshape(48, 10).contiguous(), a.reshape(48, 10))
    check("slice", x[1:4, ::2, 3:9].contiguous(), a[1:4, ::2, 3:9])
    check("flip", x.flip(1).contiguous(), a[:, ::-1])
    check("pad", x.pad(((1, 2), (0, 0), (3, 1))).contiguous(), numpy.pad(a, ((1, 2), (0, 0), (3, 1))))
    check("expand", x[:, :1].expand(6, 5, 10).contiguous(), numpy.broadcast_to(a[:, :1], (6, 5, 10)))
    check("cat", Tensor.cat(x, x, dim=2), numpy.concatenate([a, a], axis=2))
    index = ints(20, low=0, high=6)
    check("gather rows", x[Tensor(index)], a[index])
    check("triu", Tensor(a[0]).triu(), numpy.triu(a[0]))
    order = floats(64)
    check("sort", Tensor(order).sort()[0], numpy.sort(order))


def gradients():
    a, w = floats(16, 8), floats(8, 4)
    x, y = Tensor(a), Tensor(w)
    x.requires_grad, y.requires_grad = True, True
    (x @ y).relu().sum().backward()
    mask = ((a @ w) > 0).astype(numpy.float32)
    check("gradient of x", x.grad, mask @ w.T, rtol=1e-4, atol=1e-5)
    check("gradient of w", y.grad, a.T @ mask, rtol=1e-4, atol=1e-5)


def main():
    print("device:", Device.DEFAULT)
    for group in (unary, binary, kinds, reductions, products, movement, gradients):
        group()
        print(group.__name__, "as numpy says", flush=True)
    print("operations:", CHECKED)


main()
