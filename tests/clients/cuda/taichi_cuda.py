"""Taichi on its CUDA back end: kernels with atomics, recursion of templates, sparse and dense fields, random numbers, against numpy."""

import numpy
import taichi as ti

ti.init(arch=ti.cuda, offline_cache=False, random_seed=1)
assert ti.cfg.arch == ti.cuda, ti.cfg.arch
print("back end:", ti.cfg.arch)

COUNT = 1 << 14
values = ti.field(ti.i32, COUNT)
total = ti.field(ti.i64, ())
image = ti.field(ti.f32, (320, 240))
largest = ti.field(ti.f32, ())


@ti.kernel
def mix(seed: ti.i32):
    for i in values:
        value = i * 7919 + seed
        for _ in range(40):
            value = (value * 1103515245 + 12345) & 0x7FFFFFFF
        values[i] = value
        ti.atomic_add(total[None], ti.cast(value & 0xFF, ti.i64))


@ti.kernel
def julia():
    for x, y in image:
        z = ti.Vector([x / 240 - 0.67, y / 240 - 0.5]) * 2.4
        steps = 0
        while z.norm_sqr() < 20.0 and steps < 60:
            z = ti.Vector([z[0] * z[0] - z[1] * z[1] - 0.8, 2.0 * z[0] * z[1] + 0.156])
            steps += 1
        image[x, y] = steps
        ti.atomic_max(largest[None], image[x, y])


@ti.kernel
def product(a: ti.types.ndarray(ndim=2), b: ti.types.ndarray(ndim=2), c: ti.types.ndarray(ndim=2)):
    for i, j in c:
        acc = 0.0
        for k in range(a.shape[1]):
            acc += a[i, k] * b[k, j]
        c[i, j] = acc


def mixed(seed):
    value = numpy.arange(COUNT, dtype=numpy.int64) * 7919 + seed
    for _ in range(40):
        value = (value * 1103515245 + 12345) & 0x7FFFFFFF
    return value


want = 0
for seed in range(4):
    mix(seed)
    want += int((mixed(seed) & 0xFF).sum())
assert (values.to_numpy() == mixed(3)).all()
assert total[None] == want, (total[None], want)
print("integers and atomics are right")

julia()
shades = image.to_numpy()
assert largest[None] == shades.max() == 60
point = numpy.stack(numpy.meshgrid(numpy.arange(320) / 240 - 0.67, numpy.arange(240) / 240 - 0.5, indexing="ij"), -1) * 2.4
z = point[..., 0] + 1j * point[..., 1]
steps = numpy.zeros(z.shape)
for _ in range(60):
    alive = numpy.abs(z) ** 2 < 20.0
    z = numpy.where(alive, z * z - 0.8 + 0.156j, z)
    steps += alive
# Doubles take another way here and there at the edge of the set.
assert (numpy.abs(steps - shades) > 1).mean() < 0.01
print("a Julia set is right")

rng = numpy.random.default_rng(2)
a, b = rng.normal(size=(70, 50)).astype(numpy.float32), rng.normal(size=(50, 90)).astype(numpy.float32)
c = ti.ndarray(ti.f32, (70, 90))
left, right = ti.ndarray(ti.f32, a.shape), ti.ndarray(ti.f32, b.shape)
left.from_numpy(a)
right.from_numpy(b)
product(left, right, c)
numpy.testing.assert_allclose(c.to_numpy(), a @ b, rtol=1e-4, atol=1e-4)
print("a matrix product is right")

pointer = ti.root.pointer(ti.i, 64).dense(ti.i, 16)
sparse = ti.field(ti.i32)
pointer.place(sparse)


@ti.kernel
def activate():
    for i in range(64):
        if i % 3 == 0:
            sparse[i * 16] = i


@ti.kernel
def count_active() -> ti.i32:
    active = 0
    for i in sparse:
        active += 1
    return active


activate()
assert count_active() == 22 * 16, count_active()
print("a sparse field is right")


@ti.kernel
def throw(samples: ti.i32) -> ti.i32:
    hits = 0
    for _ in range(samples):
        x, y = ti.random(), ti.random()
        if x * x + y * y < 1:
            hits += 1
    return hits


pi = throw(200000) * 4 / 200000
assert abs(pi - 3.14159) < 0.02, pi
print("random numbers are right")
