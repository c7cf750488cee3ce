"""Taichi on its Vulkan back end: a picture and numbers."""

import numpy
import taichi as ti

import picture

ti.init(arch=ti.vulkan, random_seed=1, offline_cache=False)
assert ti.cfg.arch == ti.vulkan, ti.cfg.arch
print("back end:", ti.cfg.arch)

WIDTH, HEIGHT = 320, 240
image = ti.Vector.field(3, ti.f32, (WIDTH, HEIGHT))
COUNT = 1 << 14
values = ti.field(ti.i32, COUNT)
total = ti.field(ti.i32, ())


@ti.kernel
def julia(c: ti.math.vec2):
    for x, y in image:
        z = ti.Vector([x / HEIGHT - 0.67, y / HEIGHT - 0.5]) * 2.4
        steps = 0
        while z.norm_sqr() < 20.0 and steps < 60:
            z = ti.Vector([z[0] * z[0] - z[1] * z[1] + c[0], 2.0 * z[0] * z[1] + c[1]])
            steps += 1
        shade = steps / 60.0
        image[x, y] = ti.Vector([shade, shade * shade, 1.0 - shade])


@ti.kernel
def mix(seed: ti.i32):
    for i in values:
        value = i * 7919 + seed
        for _ in range(40):
            value = (value * 1103515245 + 12345) & 0x7FFFFFFF
        values[i] = value
        total[None] += value & 0xFF


@ti.kernel
def spread(array: ti.types.ndarray(dtype=ti.f32, ndim=2)):
    for i, j in array:
        array[i, j] = ti.sin(i * 0.1) * ti.cos(j * 0.2) + ti.sqrt(float(i * j))


julia([-0.8, 0.156])
shades = (image.to_numpy().transpose(1, 0, 2)[::-1] * 255.0 + 0.5).astype(numpy.uint8)
picture.write_rgb("julia", WIDTH, HEIGHT, numpy.ascontiguousarray(shades).tobytes())
print("julia drawn")
for seed in range(8):
    mix(seed)
picture.write_numbers("mix", [total[None], *values.to_numpy()])
array = ti.ndarray(ti.f32, (64, 64))
spread(array)
picture.write_numbers("spread", array.to_numpy().reshape(-1))
print("numbers computed")
