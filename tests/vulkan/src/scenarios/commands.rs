//! Command buffers and their pools.

use anyhow::Result;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Buffer;
use crate::gpu::Commands;
use crate::gpu::Gpu;
use crate::shader::wgsl;

scenarios![
    secondary_command_buffers,
    secondary_command_buffers_many,
    command_buffer_submitted_again,
    command_buffer_one_time,
    command_buffer_simultaneous_use,
    command_buffer_reset,
    command_buffer_begun_again,
    command_pool_reset,
    command_pool_reset_releasing,
    command_pool_trim,
    command_buffers_freed_and_made_again,
    empty_command_buffer,
    long_command_buffer,
    two_pools_one_queue,
];

const PRIMARY: vk::CommandBufferLevel = vk::CommandBufferLevel::PRIMARY;
const SECONDARY: vk::CommandBufferLevel = vk::CommandBufferLevel::SECONDARY;
const NONE: vk::CommandBufferUsageFlags = vk::CommandBufferUsageFlags::empty();

/// Commands that multiply 16 words by 3 and add 1.
fn step(gpu: &Gpu, buffer: Buffer) -> Result<impl Fn(&Commands<'_>)> {
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = out[i] * 3u + 1u;
         }",
    )?;
    let kernel = gpu.kernel(&code, 1)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    Ok(move |c: &Commands<'_>| {
        c.bind(&kernel, set);
        c.dispatch(1, 1, 1);
        c.barrier();
        c.to_host();
    })
}

/// What `n` steps make of zero.
fn after(n: u32) -> Vec<u32> {
    vec![(0..n).fold(0_u32, |x, _| x.wrapping_mul(3).wrapping_add(1)); 16]
}

/// Records a secondary command buffer.
fn record_secondary(gpu: &Gpu, raw: vk::CommandBuffer, commands: impl Fn(&Commands<'_>)) -> Result<()> {
    let inheritance = vk::CommandBufferInheritanceInfo::default();
    let begin = vk::CommandBufferBeginInfo::default()
        .flags(vk::CommandBufferUsageFlags::SIMULTANEOUS_USE)
        .inheritance_info(&inheritance);
    gpu.begin_command_buffer(raw, &begin)?;
    commands(&Commands { gpu, raw });
    Ok(gpu.end_command_buffer(raw)?)
}

fn secondary_command_buffers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(64)?;
    let step = step(&gpu, buffer)?;
    let secondary = gpu.command_buffers(gpu.command_pool()?, SECONDARY, 1)?[0];
    record_secondary(&gpu, secondary, &step)?;
    gpu.run(|c| {
        c.execute(&[secondary]);
        step(c);
        c.execute(&[secondary]);
    })?;
    same!(buffer.words(), after(3), "words");
    case.digest(&buffer.words());
    Ok(())
}

fn secondary_command_buffers_many(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(256 * 4)?;
    let pool = gpu.command_pool()?;
    let secondaries = gpu.command_buffers(pool, SECONDARY, 64)?;
    for (secondary, i) in secondaries.iter().zip(0..) {
        record_secondary(&gpu, *secondary, |c| {
            c.fill_buffer(buffer.handle, u64::from(i) * 16, 16, i + 1);
        })?;
    }
    gpu.run(|c| c.execute(&secondaries))?;
    let want: Vec<u32> = (0..256).map(|i| i / 4 + 1).collect();
    same!(buffer.words(), want, "words");
    case.digest(&want);
    Ok(())
}

fn command_buffer_submitted_again(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(64)?;
    let step = step(&gpu, buffer)?;
    let commands = gpu.recorded(&step)?;
    for n in 1..=10 {
        gpu.submit_and_wait(&[commands])?;
        same!(buffer.words(), after(n), "submission {n}");
    }
    Ok(())
}

fn command_buffer_one_time(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(64)?;
    let step = step(&gpu, buffer)?;
    let commands = gpu.command_buffers(gpu.command_pool()?, PRIMARY, 1)?[0];
    for n in 1..=5 {
        gpu.record(commands, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, &step)?;
        gpu.submit_and_wait(&[commands])?;
        same!(buffer.words(), after(n), "submission {n}");
    }
    Ok(())
}

fn command_buffer_simultaneous_use(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(64)?;
    let step = step(&gpu, buffer)?;
    let commands = gpu.command_buffers(gpu.command_pool()?, PRIMARY, 1)?[0];
    gpu.record(commands, vk::CommandBufferUsageFlags::SIMULTANEOUS_USE, |c| {
        c.barrier();
        step(c);
    })?;
    for _ in 0..20 {
        gpu.submit(&[commands], vk::Fence::null())?;
    }
    gpu.queue_wait_idle(gpu.queue)?;
    same!(buffer.words(), after(20), "words");
    case.digest(&buffer.words());
    Ok(())
}

fn command_buffer_reset(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(64)?;
    let commands = gpu.command_buffers(gpu.command_pool()?, PRIMARY, 1)?[0];
    let flags = [vk::CommandBufferResetFlags::empty(), vk::CommandBufferResetFlags::RELEASE_RESOURCES];
    for value in 1..10 {
        gpu.record(commands, NONE, |c| {
            c.fill_buffer(buffer.handle, 0, 64, value);
            c.to_host();
        })?;
        gpu.submit_and_wait(&[commands])?;
        same!(buffer.words(), vec![value; 16], "round {value}");
        gpu.reset_command_buffer(commands, flags[value as usize % 2])?;
    }
    Ok(())
}

fn command_buffer_begun_again(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(64)?;
    let commands = gpu.command_buffers(gpu.command_pool()?, PRIMARY, 1)?[0];
    // Recorded and never submitted: what counts is the last recording.
    gpu.record(commands, NONE, |c| c.fill_buffer(buffer.handle, 0, 64, 1))?;
    gpu.record(commands, NONE, |c| {
        c.fill_buffer(buffer.handle, 0, 32, 2);
        c.to_host();
    })?;
    gpu.submit_and_wait(&[commands])?;
    same!(buffer.words(), [[2; 8], [0; 8]].concat(), "words");
    Ok(())
}

/// Records, submits and resets all buffers of a pool over and over.
fn pool_rounds(gpu: &Gpu, flags: vk::CommandPoolResetFlags) -> Result<()> {
    let create = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    let pool = gpu.keep(gpu.create_command_pool(&create)?);
    let buffers = gpu.command_buffers(pool, PRIMARY, 4)?;
    let target = gpu.buffer(64)?;
    for round in 0..10 {
        for (commands, i) in buffers.iter().zip(0..) {
            gpu.record(*commands, NONE, |c| {
                c.fill_buffer(target.handle, u64::from(i) * 16, 16, round * 10 + i);
                c.to_host();
            })?;
        }
        gpu.submit_and_wait(&buffers)?;
        let want: Vec<u32> = (0..16).map(|i| round * 10 + i / 4).collect();
        same!(target.words(), want, "round {round}");
        gpu.reset_command_pool(pool, flags)?;
    }
    Ok(())
}

fn command_pool_reset(case: &mut Case) -> Result<()> {
    pool_rounds(&case.gpu()?, vk::CommandPoolResetFlags::empty())
}

fn command_pool_reset_releasing(case: &mut Case) -> Result<()> {
    pool_rounds(&case.gpu()?, vk::CommandPoolResetFlags::RELEASE_RESOURCES)
}

fn command_pool_trim(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = gpu.command_pool()?;
    let buffer = gpu.buffer(64)?;
    let commands = gpu.command_buffers(pool, PRIMARY, 1)?[0];
    gpu.record(commands, NONE, |c| {
        c.fill_buffer(buffer.handle, 0, 64, 4);
        c.to_host();
    })?;
    // Trimming keeps what is recorded.
    gpu.trim_command_pool(pool, vk::CommandPoolTrimFlags::empty());
    gpu.submit_and_wait(&[commands])?;
    gpu.trim_command_pool(pool, vk::CommandPoolTrimFlags::empty());
    same!(buffer.words(), [4; 16], "words");
    Ok(())
}

fn command_buffers_freed_and_made_again(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = gpu.command_pool()?;
    let target = gpu.buffer(64)?;
    for round in 1..50 {
        let buffers = gpu.command_buffers(pool, PRIMARY, 3)?;
        gpu.record(buffers[1], NONE, |c| {
            c.fill_buffer(target.handle, 0, 64, round);
            c.to_host();
        })?;
        gpu.submit_and_wait(&buffers[1..2])?;
        same!(target.words(), vec![round; 16], "round {round}");
        gpu.free_command_buffers(pool, &[buffers[2], vk::CommandBuffer::null(), buffers[0], buffers[1]]);
    }
    Ok(())
}

fn empty_command_buffer(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let commands = gpu.recorded(|_| {})?;
    gpu.submit_and_wait(&[commands])?;
    gpu.submit_and_wait(&[commands])
}

fn long_command_buffer(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(1 << 20)?;
    // About 50,000 commands with 8 MiB of data in them.
    let piece: Vec<u32> = (0..64).collect();
    gpu.run(|c| {
        for round in 0..8 {
            for at in (0..1 << 20).step_by(256) {
                c.update_buffer(buffer.handle, at, bytemuck::cast_slice(&piece));
            }
            c.barrier();
            c.fill_buffer(buffer.handle, 0, 256, round);
            c.barrier();
        }
        for at in (256..1 << 20).step_by(64) {
            c.fill_buffer(buffer.handle, at, 4, 0xabc);
        }
    })?;
    let got = buffer.words();
    for (i, word) in got.iter().enumerate() {
        let want = match i {
            0..64 => 7,
            _ if i % 16 == 0 => 0xabc,
            _ => u32::try_from(i % 64)?,
        };
        same!(*word, want, "word {i}");
    }
    case.digest(&got);
    Ok(())
}

fn two_pools_one_queue(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(64)?;
    let step = step(&gpu, buffer)?;
    let commands = [gpu.recorded(&step)?, gpu.recorded(&step)?, gpu.recorded(&step)?];
    gpu.submit_and_wait(&commands)?;
    same!(buffer.words(), after(3), "words");
    Ok(())
}
