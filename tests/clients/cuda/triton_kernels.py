"""Triton: vector addition, softmax, matrix products and a histogram, without PyTorch."""

import ctypes

import numpy
import triton
import triton.language as tl

CUDA = ctypes.CDLL("libcuda.so.1")


def call(name, *arguments):
    result = getattr(CUDA, name)(*arguments)
    assert result == 0, f"{name}: {result}"


class Array:
    """Device memory that Triton takes for a tensor."""

    TYPES = {numpy.float32: tl.float32, numpy.float16: tl.float16, numpy.int32: tl.int32}

    def __init__(self, array):
        self.array = numpy.ascontiguousarray(array)
        self.dtype = self.TYPES[self.array.dtype.type]
        self.address = ctypes.c_uint64()
        call("cuMemAlloc_v2", ctypes.byref(self.address), ctypes.c_size_t(self.array.nbytes))
        call("cuMemcpyHtoD_v2", self.address, ctypes.c_void_p(self.array.ctypes.data), ctypes.c_size_t(self.array.nbytes))

    def data_ptr(self):
        return self.address.value

    def numpy(self):
        call("cuMemcpyDtoH_v2", ctypes.c_void_p(self.array.ctypes.data), self.address, ctypes.c_size_t(self.array.nbytes))
        return self.array


@triton.jit
def add(x, y, out, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    tl.store(out + at, tl.load(x + at, mask=inside) + tl.load(y + at, mask=inside), mask=inside)


@triton.jit
def softmax(rows, out, columns, BLOCK: tl.constexpr):
    at = tl.program_id(0) * columns + tl.arange(0, BLOCK)
    inside = tl.arange(0, BLOCK) < columns
    row = tl.load(rows + at, mask=inside, other=-float("inf"))
    weights = tl.exp(row - tl.max(row, axis=0))
    tl.store(out + at, weights / tl.sum(weights, axis=0), mask=inside)


@triton.jit
def matmul(a, b, c, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    rows = tl.program_id(0) * M + tl.arange(0, M)
    columns = tl.program_id(1) * N + tl.arange(0, N)
    sums = tl.zeros((M, N), dtype=tl.float32)
    for start in range(0, k, K):
        along = start + tl.arange(0, K)
        left = tl.load(a + rows[:, None] * k + along[None, :], mask=(rows[:, None] < m) & (along[None, :] < k), other=0.0)
        right = tl.load(b + along[:, None] * n + columns[None, :], mask=(along[:, None] < k) & (columns[None, :] < n), other=0.0)
        sums = tl.dot(left, right, sums, input_precision="ieee")
    tl.store(c + rows[:, None] * n + columns[None, :], sums, mask=(rows[:, None] < m) & (columns[None, :] < n))


@triton.jit
def histogram(values, bins, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    tl.atomic_add(bins + tl.load(values + at, mask=inside, other=0), 1, mask=inside)


def main():
    rng = numpy.random.default_rng(5)
    device = triton.runtime.driver.active.get_current_device()
    print("target:", triton.runtime.driver.active.get_current_target(), "device:", device)
    x, y = rng.normal(size=98432).astype(numpy.float32), rng.normal(size=98432).astype(numpy.float32)
    out = Array(numpy.zeros_like(x))
    add[(triton.cdiv(x.size, 1024),)](Array(x), Array(y), out, x.size, BLOCK=1024)
    numpy.testing.assert_array_equal(out.numpy(), x + y)
    print("vector addition is right")
    rows = rng.normal(size=(123, 781)).astype(numpy.float32)
    out = Array(numpy.zeros_like(rows))
    softmax[(rows.shape[0],)](Array(rows), out, rows.shape[1], BLOCK=1024)
    weights = numpy.exp(rows - rows.max(axis=1, keepdims=True))
    numpy.testing.assert_allclose(out.numpy(), weights / weights.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-7)
    print("softmax is right")
    for kind, tolerance in ((numpy.float32, 1e-4), (numpy.float16, 1e-2)):
        a, b = rng.normal(size=(150, 96)).astype(kind), rng.normal(size=(96, 200)).astype(kind)
        c = Array(numpy.zeros((150, 200), numpy.float32))
        matmul[(triton.cdiv(150, 64), triton.cdiv(200, 64))](Array(a), Array(b), c, 150, 200, 96, M=64, N=64, K=32)
        want = a.astype(numpy.float64) @ b.astype(numpy.float64)
        numpy.testing.assert_allclose(c.numpy(), want, rtol=tolerance, atol=tolerance)
        print(f"matrix product of {kind.__name__} is right")
    values = rng.integers(0, 64, 50000).astype(numpy.int32)
    bins = Array(numpy.zeros(64, numpy.int32))
    histogram[(triton.cdiv(values.size, 512),)](Array(values), bins, values.size, BLOCK=512)
    numpy.testing.assert_array_equal(bins.numpy(), numpy.bincount(values, minlength=64))
    print("histogram is right")


main()
