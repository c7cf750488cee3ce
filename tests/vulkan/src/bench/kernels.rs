//! Compute kernels whose rates are compared with the same kernels through CUDA.

use std::time::Duration;
use std::time::Instant;

use anyhow::Result;

use super::Length;
use super::gpu;
use super::median;
use crate::shader::wgsl;

/// A kernel that exists for Vulkan and for CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Two square matrices multiplied by tiles of 16 x 16 in workgroup memory.
    TiledMatmul,
    /// `y = a * x + y`.
    Saxpy,
    /// Steps of an iteration over a square of the plane.
    Mandelbrot,
    /// Forces between all pairs of bodies.
    NBody,
}

/// Rows and columns of the matrices.
pub const MATRIX_SIDE: u32 = 512;
/// Elements of `saxpy`.
pub const SAXPY_COUNT: u32 = 8 << 20;
/// Pixels of a side of the Mandelbrot set.
pub const MANDELBROT_SIDE: u32 = 1024;
/// Most steps of a pixel.
pub const MANDELBROT_STEPS: u32 = 256;
/// Bodies.
pub const BODIES: u32 = 8192;

impl Kernel {
    fn source(self) -> String {
        match self {
            Self::TiledMatmul => format!(
                "@group(0) @binding(0) var<storage, read_write> a: array<f32>;
                 @group(0) @binding(1) var<storage, read_write> b: array<f32>;
                 @group(0) @binding(2) var<storage, read_write> c: array<f32>;
                 var<workgroup> left: array<f32, 256>;
                 var<workgroup> right: array<f32, 256>;
                 @compute @workgroup_size(16, 16) fn main(
                     @builtin(global_invocation_id) at: vec3<u32>,
                     @builtin(local_invocation_id) in: vec3<u32>,
                 ) {{
                     var sum = 0.0;
                     for (var tile = 0u; tile < {MATRIX_SIDE}u; tile += 16u) {{
                         left[in.y * 16u + in.x] = a[at.y * {MATRIX_SIDE}u + tile + in.x];
                         right[in.y * 16u + in.x] = b[(tile + in.y) * {MATRIX_SIDE}u + at.x];
                         workgroupBarrier();
                         for (var k = 0u; k < 16u; k++) {{
                             sum += left[in.y * 16u + k] * right[k * 16u + in.x];
                         }}
                         workgroupBarrier();
                     }}
                     c[at.y * {MATRIX_SIDE}u + at.x] = sum;
                 }}"
            ),
            Self::Saxpy => "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
                 @group(0) @binding(1) var<storage, read_write> y: array<f32>;
                 @group(0) @binding(2) var<storage, read_write> unused: array<f32>;
                 @compute @workgroup_size(256) fn main(@builtin(global_invocation_id) at: vec3<u32>) {
                     y[at.x] = 1.5 * x[at.x] + y[at.x];
                 }"
            .to_owned(),
            Self::Mandelbrot => format!(
                "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
                 @group(0) @binding(1) var<storage, read_write> unused: array<f32>;
                 @group(0) @binding(2) var<storage, read_write> unused_too: array<f32>;
                 @compute @workgroup_size(16, 16) fn main(@builtin(global_invocation_id) at: vec3<u32>) {{
                     let cx = f32(at.x) * (3.0 / {MANDELBROT_SIDE}.0) - 2.0;
                     let cy = f32(at.y) * (3.0 / {MANDELBROT_SIDE}.0) - 1.5;
                     var x = 0.0;
                     var y = 0.0;
                     var steps = 0u;
                     while (steps < {MANDELBROT_STEPS}u && x * x + y * y < 4.0) {{
                         let next = x * x - y * y + cx;
                         y = 2.0 * x * y + cy;
                         x = next;
                         steps++;
                     }}
                     out[at.y * {MANDELBROT_SIDE}u + at.x] = steps;
                 }}"
            ),
            Self::NBody => format!(
                "@group(0) @binding(0) var<storage, read_write> bodies: array<vec4<f32>>;
                 @group(0) @binding(1) var<storage, read_write> forces: array<vec4<f32>>;
                 @group(0) @binding(2) var<storage, read_write> unused: array<f32>;
                 var<workgroup> tile: array<vec4<f32>, 256>;
                 @compute @workgroup_size(256) fn main(
                     @builtin(global_invocation_id) at: vec3<u32>,
                     @builtin(local_invocation_id) in: vec3<u32>,
                 ) {{
                     let own = bodies[at.x];
                     var force = vec3<f32>(0.0);
                     for (var start = 0u; start < {BODIES}u; start += 256u) {{
                         tile[in.x] = bodies[start + in.x];
                         workgroupBarrier();
                         for (var k = 0u; k < 256u; k++) {{
                             let other = tile[k];
                             let way = other.xyz - own.xyz;
                             let inverse = inverseSqrt(dot(way, way) + 0.01);
                             force += way * (other.w * inverse * inverse * inverse);
                         }}
                         workgroupBarrier();
                     }}
                     forces[at.x] = vec4<f32>(force, 0.0);
                 }}"
            ),
        }
    }

    /// Workgroups in x and y, and bytes of the three buffers.
    fn shape(self) -> ([u32; 2], [u64; 3]) {
        let square = |side: u32| u64::from(side) * u64::from(side) * 4;
        match self {
            Self::TiledMatmul => ([MATRIX_SIDE / 16; 2], [square(MATRIX_SIDE); 3]),
            Self::Saxpy => {
                let bytes = u64::from(SAXPY_COUNT) * 4;
                ([SAXPY_COUNT / 256, 1], [bytes, bytes, 64])
            }
            Self::Mandelbrot => ([MANDELBROT_SIDE / 16; 2], [square(MANDELBROT_SIDE), 64, 64]),
            Self::NBody => {
                let bytes = u64::from(BODIES) * 16;
                ([BODIES / 256, 1], [bytes, bytes, 64])
            }
        }
    }
}

/// The median time of one run of the kernel on the Vulkan device of this process, in seconds.
///
/// # Errors
///
/// Vulkan failed.
pub fn seconds(kernel: Kernel, length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let ([x, y], sizes) = kernel.shape();
    let buffers = [gpu.buffer(sizes[0])?, gpu.buffer(sizes[1])?, gpu.buffer(sizes[2])?];
    let kernel = gpu.kernel(&wgsl(&kernel.source())?, 3)?;
    let set = gpu.storage_set(&kernel, &buffers)?;
    let commands = gpu.recorded(|c| {
        c.bind(&kernel, set);
        c.dispatch(x, y, 1);
        c.barrier();
    })?;
    let limit = match length {
        Length::Quick => Duration::ZERO,
        Length::Full => Duration::from_secs(2),
    };
    gpu.submit_and_wait(&[commands])?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.is_empty() || start.elapsed() < limit {
        let begin = Instant::now();
        gpu.submit_and_wait(&[commands])?;
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok(median(&mut times))
}
