//! Work of the device: a kernel that computes, and bytes that move.

use std::time::Instant;

use anyhow::Result;
use ash::vk;

use super::Length;
use super::Workload;
use super::gpu;
use super::median_ns;
use super::processes::together;
use super::rate;
use super::time;
use crate::gpu::Buffer;
use crate::gpu::Gpu;
use crate::shader::wgsl;

pub(super) const ALL: &[Workload] = &[
    rate("mapped_write", "write mapped memory, 64 MiB at a time", "GB/s", mapped_write),
    rate("mapped_read", "read mapped memory, 64 MiB at a time", "GB/s", mapped_read),
    rate("plain_write", "write plain memory, 64 MiB at a time", "GB/s", plain_write),
    time("upload", "write and copy 256 MiB (16 in a quick run)", "ms", upload),
    rate("update_buffer", "vkCmdUpdateBuffer: record, submit, wait", "GB/s", update_buffer),
    time("matmul_1", "compute-bound matmul, 1 process", "s", |length| matmuls(length, 1)),
    time("matmul_2", "compute-bound matmul, 2 processes", "s", |length| matmuls(length, 2)),
    time("matmul_4", "compute-bound matmul, 4 processes", "s", |length| matmuls(length, 4)),
];

const BLOCK: usize = 64 << 20;

/// Gigabytes per second of something that moves a block in so many nanoseconds.
fn rate_of_block(ns: f64) -> f64 {
    BLOCK as f64 / ns
}

fn mapped_write(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let buffer = gpu.buffer(BLOCK as u64)?;
    let data = vec![7_u8; BLOCK];
    let ns = median_ns(length, 1, || {
        buffer.write(0, &data);
        Ok(())
    })?;
    Ok(rate_of_block(ns))
}

fn mapped_read(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let buffer = gpu.buffer(BLOCK as u64)?;
    let mut data = vec![7_u8; BLOCK];
    let ns = median_ns(length, 1, || {
        buffer.read_into(0, std::hint::black_box(&mut data));
        Ok(())
    })?;
    Ok(rate_of_block(ns))
}

fn plain_write(length: Length) -> Result<f64> {
    let data = vec![7_u8; BLOCK];
    let mut target = vec![1_u8; BLOCK];
    let ns = median_ns(length, 1, || {
        target.copy_from_slice(std::hint::black_box(&data));
        std::hint::black_box(&target);
        Ok(())
    })?;
    Ok(rate_of_block(ns))
}

fn upload_once(gpu: &Gpu, from: &Buffer, to: vk::Buffer, data: &[u8]) -> Result<()> {
    from.write(0, data);
    gpu.run(|c| {
        c.copy_buffer(from.handle, to, &[vk::BufferCopy { size: data.len() as u64, ..Default::default() }]);
    })
}

fn upload(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let size = match length {
        Length::Quick => 16 << 20,
        Length::Full => 256 << 20,
    };
    let (from, to) = (gpu.buffer(size)?, gpu.buffer(size)?);
    let data = vec![5_u8; usize::try_from(size)?];
    let ns = median_ns(length, 1, || upload_once(&gpu, &from, to.handle, &data))?;
    Ok(ns / 1e6)
}

/// The most bytes that one update takes.
const UPDATE_BYTES: usize = 65_536;
const UPDATES: usize = 256;

fn update_buffer(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let buffer = gpu.buffer((UPDATE_BYTES * UPDATES) as u64)?;
    let data = vec![9_u8; UPDATE_BYTES];
    let commands = gpu.command_buffers(gpu.command_pool()?, vk::CommandBufferLevel::PRIMARY, 1)?[0];
    let fence = gpu.fence()?;
    let ns = median_ns(length, 1, || {
        gpu.record(commands, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, |c| {
            for index in 0..UPDATES {
                c.update_buffer(buffer.handle, (index * UPDATE_BYTES) as u64, &data);
            }
        })?;
        gpu.submit(&[commands], fence)?;
        gpu.wait(fence)?;
        Ok(gpu.reset_fences(&[fence])?)
    })?;
    Ok((UPDATE_BYTES * UPDATES) as f64 / ns)
}

/// Rows and columns of the matrices.
const SIDE: u32 = 512;

fn matmul(length: Length) -> Result<f64> {
    let repeats = match length {
        Length::Quick => 1,
        Length::Full => 12,
    };
    let gpu = gpu()?;
    let kernel = gpu.kernel(
        &wgsl(&format!(
            "@group(0) @binding(0) var<storage, read> a: array<f32>;
             @group(0) @binding(1) var<storage, read> b: array<f32>;
             @group(0) @binding(2) var<storage, read_write> c: array<f32>;
             @compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) at: vec3<u32>) {{
                 var sum = 0.0;
                 for (var k = 0u; k < {SIDE}u; k++) {{ sum += a[at.y * {SIDE}u + k] * b[k * {SIDE}u + at.x]; }}
                 c[at.y * {SIDE}u + at.x] = sum;
             }}"
        ))?,
        3,
    )?;
    let size = u64::from(SIDE * SIDE) * 4;
    let set = gpu.storage_set(&kernel, &[gpu.buffer(size)?, gpu.buffer(size)?, gpu.buffer(size)?])?;
    let commands = gpu.recorded(|c| {
        c.bind(&kernel, set);
        c.dispatch(SIDE / 8, SIDE / 8, 1);
        c.barrier();
    })?;
    let start = Instant::now();
    for _ in 0..repeats {
        gpu.submit_and_wait(&[commands])?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// The wall time of the slowest of several processes that start together.
fn matmuls(length: Length, processes: usize) -> Result<f64> {
    if processes == 1 {
        return matmul(length);
    }
    Ok(together("matmul_1", length, processes)?.into_iter().fold(0.0, f64::max))
}
