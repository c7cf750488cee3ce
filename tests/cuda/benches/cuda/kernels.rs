//! Kernels whose rates are compared: with the same through Vulkan, and with plain Rust.

use std::ffi::CStr;
use std::iter;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;
use dxg_tests_vulkan::bench::Length;
use dxg_tests_vulkan::bench::kernels;
use dxg_tests_vulkan::bench::kernels::BODIES;
use dxg_tests_vulkan::bench::kernels::Kernel;
use dxg_tests_vulkan::bench::kernels::MANDELBROT_SIDE;
use dxg_tests_vulkan::bench::kernels::MANDELBROT_STEPS;
use dxg_tests_vulkan::bench::kernels::MATRIX_SIDE;
use dxg_tests_vulkan::bench::kernels::SAXPY_COUNT;
use dxg_tests_vulkan::bench::median;

use crate::driver::Cuda;
use crate::driver::Function;
use crate::driver::Shape;

/// What clang made of kernels.cu.
const PTX: &str = concat!(include_str!("kernels.ptx"), "\0");

const MATRIX: usize = (MATRIX_SIDE * MATRIX_SIDE) as usize;

/// The kernel of this name, loaded.
pub(crate) fn function(cuda: &Cuda, name: &str) -> Result<Function> {
    let module = cuda.load(CStr::from_bytes_with_nul(PTX.as_bytes())?)?;
    cuda.function(module, name)
}

fn entry(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::TiledMatmul => "matmul",
        Kernel::Saxpy => "saxpy",
        Kernel::Mandelbrot => "mandelbrot",
        Kernel::NBody => "nbody",
    }
}

fn shape(kernel: Kernel) -> Shape {
    let (grid, block) = match kernel {
        Kernel::TiledMatmul => ([MATRIX_SIDE / 16, MATRIX_SIDE / 16, 1], [16, 16, 1]),
        Kernel::Saxpy => ([SAXPY_COUNT / 256, 1, 1], [256, 1, 1]),
        Kernel::Mandelbrot => ([MANDELBROT_SIDE / 16, MANDELBROT_SIDE / 16, 1], [16, 16, 1]),
        Kernel::NBody => ([BODIES / 256, 1, 1], [256, 1, 1]),
    };
    Shape { grid, block, shared_bytes: 0 }
}

/// What a run does, in billions: operations, bytes, pixels, interactions.
fn work(kernel: Kernel) -> f64 {
    let amount = match kernel {
        Kernel::TiledMatmul => 2.0 * f64::from(MATRIX_SIDE).powi(3),
        Kernel::Saxpy => f64::from(SAXPY_COUNT) * 12.0,
        // In millions: its rate is given so.
        Kernel::Mandelbrot => f64::from(MANDELBROT_SIDE).powi(2) * 1e3,
        Kernel::NBody => f64::from(BODIES).powi(2),
    };
    amount / 1e9
}

/// The rate through Vulkan, on the device that the process finds.
pub(crate) fn vulkan(kernel: Kernel, length: Length) -> Result<f64> {
    Ok(work(kernel) / kernels::seconds(kernel, length)?)
}

/// The rate through CUDA.
pub(crate) fn cuda(kernel: Kernel, length: Length) -> Result<f64> {
    let cuda = Cuda::open()?;
    let function = function(&cuda, entry(kernel))?;
    let inputs = inputs(kernel);
    let mut parameters = Vec::new();
    let mut addresses = Vec::new();
    for bytes in &inputs {
        let address = cuda.allocate(bytes.len())?;
        cuda.write(address, bytes)?;
        addresses.push(address);
        parameters.push(address.to_le_bytes().to_vec());
    }
    let shape = shape(kernel);
    let run = || -> Result<()> {
        cuda.launch(function, &shape, &parameters)?;
        cuda.synchronize()
    };
    // The first run compiles; a kernel that computes something else is not worth measuring.
    run()?;
    let last = addresses.len() - 1;
    let mut output = vec![0; inputs[last].len()];
    cuda.read(addresses[last], &mut output)?;
    check(kernel, &output)?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.is_empty() || start.elapsed() < limit(length) {
        let begin = Instant::now();
        run()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok(work(kernel) / median(&mut times))
}

fn limit(length: Length) -> Duration {
    match length {
        Length::Quick => Duration::ZERO,
        Length::Full => Duration::from_secs(2),
    }
}

fn floats(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

/// Element of a matrix: small whole numbers, so that sums are exact.
fn matrix(place: usize, modulus: usize) -> f32 {
    (place % modulus) as f32 - 3.0
}

fn bodies() -> Vec<f32> {
    (0..BODIES * 4).map(|place| (place.wrapping_mul(2_654_435_761) >> 16) as f32 / 65536.0).collect()
}

/// The buffers; the last one is written.
fn inputs(kernel: Kernel) -> Vec<Vec<u8>> {
    match kernel {
        Kernel::TiledMatmul => vec![
            floats((0..MATRIX).map(|place| matrix(place, 7))),
            floats((0..MATRIX).map(|place| matrix(place, 11))),
            vec![0; MATRIX * 4],
        ],
        Kernel::Saxpy => vec![
            floats((0..SAXPY_COUNT).map(|place| (place % 1024) as f32)),
            floats((0..SAXPY_COUNT).map(|_| 1.0)),
        ],
        Kernel::Mandelbrot => vec![vec![0; (MANDELBROT_SIDE * MANDELBROT_SIDE * 4) as usize]],
        Kernel::NBody => vec![floats(bodies().into_iter()), vec![0; BODIES as usize * 16]],
    }
}

/// Compares some of the output with what Rust computes.
fn check(kernel: Kernel, output: &[u8]) -> Result<()> {
    let float = |place: usize| f32::from_le_bytes(std::array::from_fn(|byte| output[place * 4 + byte]));
    let side = MATRIX_SIDE as usize;
    match kernel {
        Kernel::TiledMatmul => {
            for (row, column) in [(0, 0), (17, 300), (511, 511)] {
                let product = |k| matrix(row * side + k, 7) * matrix(k * side + column, 11);
                let want: f32 = (0..side).map(product).sum();
                let got = float(row * side + column);
                ensure!(got == want, "element {row}, {column} is {got}, not {want}");
            }
        }
        Kernel::Saxpy => {
            for place in 0..SAXPY_COUNT as usize {
                let want = 1.5 * (place % 1024) as f32 + 1.0;
                ensure!(float(place) == want, "element {place} is {}, not {want}", float(place));
            }
        }
        Kernel::Mandelbrot => {
            let at = |x: u32, y: u32| float((y * MANDELBROT_SIDE + x) as usize).to_bits();
            ensure!(at(0, 0) == 1, "a corner takes {} steps", at(0, 0));
            ensure!(at(683, 512) == MANDELBROT_STEPS, "the middle takes {} steps", at(683, 512));
        }
        Kernel::NBody => {
            let bodies = bodies();
            for body in [0, 5000] {
                let want = force(&bodies, body);
                for (axis, want) in want.into_iter().enumerate() {
                    let got = f64::from(float(body * 4 + axis));
                    ensure!((got - want).abs() <= 1e-2 + 1e-3 * want.abs(), "force {got}, not {want}");
                }
            }
        }
    }
    Ok(())
}

/// The force on a body, more exactly than the kernel has it.
fn force(bodies: &[f32], body: usize) -> [f64; 3] {
    let mut force = [0.0; 3];
    for other in bodies.chunks_exact(4) {
        let way: [f64; 3] = std::array::from_fn(|axis| f64::from(other[axis] - bodies[body * 4 + axis]));
        let square: f64 = way.iter().map(|part| part * part).sum::<f64>() + 0.01;
        let pull = f64::from(other[3]) / (square * square.sqrt());
        for (sum, part) in force.iter_mut().zip(way) {
            *sum += part * pull;
        }
    }
    force
}

/// The rate of saxpy in plain Rust, on all cores.
pub(crate) fn plain_saxpy(length: Length) -> Result<f64> {
    let cores = thread::available_parallelism()?.get();
    let count = SAXPY_COUNT as usize;
    let x: Vec<f32> = (0..count).map(|place| (place % 1024) as f32).collect();
    let mut y = vec![1.0_f32; count];
    let part = count.div_ceil(cores);
    let rounds = match length {
        Length::Quick => 2,
        Length::Full => 200,
    };
    let barrier = Barrier::new(count.div_ceil(part));
    let mut spans = Vec::new();
    thread::scope(|scope| {
        let parts = x.chunks(part).zip(y.chunks_mut(part));
        let threads: Vec<_> = parts
            .map(|(x, y)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let round = || {
                        barrier.wait();
                        let begin = Instant::now();
                        for (x, y) in x.iter().zip(y.iter_mut()) {
                            *y += 1.5 * x;
                        }
                        (begin, Instant::now())
                    };
                    iter::repeat_with(round).take(rounds).collect::<Vec<_>>()
                })
            })
            .collect();
        spans.extend(threads.into_iter().filter_map(|thread| thread.join().ok()));
    });
    ensure!(spans.len() == count.div_ceil(part), "a thread panicked");
    // From the first that begins to the last that ends.
    let time = |round: usize| {
        let begin = spans.iter().map(|span| span[round].0).min()?;
        let end = spans.iter().map(|span| span[round].1).max()?;
        Some(end.duration_since(begin).as_secs_f64())
    };
    let mut times: Vec<f64> = (0..rounds).filter_map(time).collect();
    Ok(work(Kernel::Saxpy) / median(&mut times))
}
