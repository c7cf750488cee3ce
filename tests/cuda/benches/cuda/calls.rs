//! What calls cost: launches, copies, memory.

use std::hint::black_box;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use dxg_tests_vulkan::bench::Length;
use dxg_tests_vulkan::bench::kernels::MANDELBROT_SIDE;
use dxg_tests_vulkan::bench::median;

use crate::driver::Cuda;
use crate::driver::Function;
use crate::driver::Shape;
use crate::kernels::function;

const ONE_BLOCK: Shape = Shape { grid: [1, 1, 1], block: [32, 1, 1], shared_bytes: 0 };
/// Bytes of a copy.
const COPY_BYTES: usize = 64 << 20;
/// How long both sides are left alone until they sleep, and the cores with them.
const REST: Duration = Duration::from_millis(5);

fn rounds(length: Length, full: usize) -> usize {
    match length {
        Length::Quick => 3,
        Length::Full => full,
    }
}

/// The median of what `measured` takes, in microseconds.
fn median_us(rounds: usize, mut measured: impl FnMut() -> Result<Duration>) -> Result<f64> {
    measured()?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        times.push(measured()?.as_secs_f64() * 1e6);
    }
    Ok(median(&mut times))
}

/// An empty kernel, from its launch to the end of the wait for it.
pub(crate) fn launch_and_wait(length: Length) -> Result<f64> {
    launch(rounds(length, 20_000), || {})
}

/// The same when nothing was done for a while.
pub(crate) fn launch_after_rest(length: Length) -> Result<f64> {
    launch(rounds(length, 200), || thread::sleep(REST))
}

fn launch(rounds: usize, before: impl Fn()) -> Result<f64> {
    let cuda = Cuda::open()?;
    let empty = function(&cuda, "empty")?;
    median_us(rounds, || {
        before();
        let begin = Instant::now();
        cuda.launch(empty, &ONE_BLOCK, &[])?;
        cuda.synchronize()?;
        Ok(begin.elapsed())
    })
}

/// Empty kernels one after the other and one wait, in thousands a second.
pub(crate) fn launches(length: Length) -> Result<f64> {
    const COUNT: u32 = 10_000;
    let cuda = Cuda::open()?;
    let empty = function(&cuda, "empty")?;
    let microseconds = median_us(rounds(length, 20), || {
        let begin = Instant::now();
        for _ in 0..COUNT {
            cuda.launch(empty, &ONE_BLOCK, &[])?;
        }
        cuda.synchronize()?;
        Ok(begin.elapsed())
    })?;
    Ok(f64::from(COUNT) / microseconds * 1e3)
}

/// Kernels of a graph.
const NODES: usize = 100;

/// How kernels are put on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One by one.
    Single,
    /// As a graph of branches, each a chain.
    Graph(usize),
}

/// Empty kernels and one wait, in thousands a second.
pub(crate) fn empty_kernels(form: Form, length: Length) -> Result<f64> {
    let cuda = Cuda::open()?;
    let empty = function(&cuda, "empty")?;
    kernels(&cuda, empty, (&ONE_BLOCK, &[]), form, rounds(length, 3000))
}

/// Kernels of one block that take some time, and one wait, in thousands a second.
pub(crate) fn small_kernels(form: Form, length: Length) -> Result<f64> {
    let cuda = Cuda::open()?;
    let small = function(&cuda, "mandelbrot")?;
    let to = cuda.allocate((MANDELBROT_SIDE * MANDELBROT_SIDE * 4) as usize)?;
    let shape = Shape { grid: [1, 1, 1], block: [16, 16, 1], shared_bytes: 0 };
    kernels(&cuda, small, (&shape, &[to.to_le_bytes().to_vec()]), form, rounds(length, 300))
}

fn kernels(
    cuda: &Cuda,
    function: Function,
    (shape, parameters): (&Shape, &[Vec<u8>]),
    form: Form,
    rounds: usize,
) -> Result<f64> {
    let graph = match form {
        Form::Single => None,
        Form::Graph(branches) => {
            Some(cuda.graph(function, shape, parameters, [branches, NODES / branches])?)
        }
    };
    let microseconds = median_us(rounds, || {
        let begin = Instant::now();
        match graph {
            Some(graph) => cuda.launch_graph(graph)?,
            None => (0..NODES).try_for_each(|_| cuda.launch(function, shape, parameters))?,
        }
        cuda.synchronize()?;
        Ok(begin.elapsed())
    })?;
    Ok(NODES as f64 / microseconds * 1e3)
}

/// Which way a copy goes.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    ToDevice,
    FromDevice,
}

/// What memory of the host a copy uses.
#[derive(Clone, Copy)]
pub(crate) enum HostMemory {
    Pageable,
    Pinned,
}

fn gb_per_s(microseconds: f64) -> f64 {
    COPY_BYTES as f64 / microseconds / 1e3
}

/// Copies of 64 MiB between host and device, in GB/s.
pub(crate) fn copy(way: Way, memory: HostMemory, length: Length) -> Result<f64> {
    let cuda = Cuda::open()?;
    let device = cuda.allocate(COPY_BYTES)?;
    let mut pageable = Vec::new();
    let host = match memory {
        HostMemory::Pageable => {
            pageable.resize(COPY_BYTES, 1);
            &mut pageable[..]
        }
        HostMemory::Pinned => cuda.pinned(COPY_BYTES)?,
    };
    cuda.write(device, host)?;
    let microseconds = median_us(rounds(length, 30), || {
        let begin = Instant::now();
        match way {
            Way::ToDevice => cuda.write(device, host)?,
            Way::FromDevice => cuda.read(device, host)?,
        }
        Ok(begin.elapsed())
    })?;
    Ok(gb_per_s(microseconds))
}

/// The same by `memcpy`.
pub(crate) fn plain_copy(length: Length) -> Result<f64> {
    let from = vec![1_u8; COPY_BYTES];
    let mut to = vec![2_u8; COPY_BYTES];
    let microseconds = median_us(rounds(length, 30), || {
        let begin = Instant::now();
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        Ok(begin.elapsed())
    })?;
    Ok(gb_per_s(microseconds))
}

/// Allocating and freeing, in microseconds.
pub(crate) fn allocate(size_bytes: usize, length: Length) -> Result<f64> {
    let cuda = Cuda::open()?;
    median_us(rounds(length, 500), || {
        let begin = Instant::now();
        let address = cuda.allocate(size_bytes)?;
        cuda.free(address)?;
        Ok(begin.elapsed())
    })
}
