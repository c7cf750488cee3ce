//! Submitting: many, in order, several at a time, both forms.

use anyhow::Result;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;

scenarios![
    submits_in_flight,
    submits_keep_their_order,
    submit_of_many_batches,
    submit_of_nothing,
    submit2_with_command_buffers,
    submit_with_last_fence_only,
    wait_idle_of_queue_and_device,
    submit_after_wait_many_times,
];

/// Command buffers that append 1, 2, ... as digits of base 3 to a word by copying it around.
fn digits(gpu: &Gpu, count: u32) -> Result<(crate::gpu::Buffer, Vec<vk::CommandBuffer>)> {
    let buffer = gpu.buffer(u64::from(count) * 4 + 4)?;
    let commands = (0..count)
        .map(|i| {
            gpu.recorded(|c| {
                // Each takes what the one before left, so a wrong order shows in all that follow.
                let copy = vk::BufferCopy {
                    src_offset: u64::from(i) * 4,
                    dst_offset: u64::from(i) * 4 + 4,
                    size: 4,
                };
                c.barrier();
                if i % 3 == 0 {
                    c.fill_buffer(buffer.handle, copy.dst_offset, 4, i);
                } else {
                    c.copy_buffer(buffer.handle, buffer.handle, &[copy]);
                }
                c.to_host();
            })
        })
        .collect::<Result<_>>()?;
    Ok((buffer, commands))
}

fn check(buffer: &crate::gpu::Buffer, count: u32) -> Result<()> {
    let want: Vec<u32> = std::iter::once(0).chain((0..count).map(|i| i - i % 3)).collect();
    same!(buffer.words(), want, "words");
    Ok(())
}

fn submits_in_flight(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (buffer, commands) = digits(&gpu, 300)?;
    let fences = commands.iter().map(|_| gpu.fence()).collect::<Result<Vec<_>>>()?;
    for (commands, fence) in commands.iter().zip(&fences) {
        gpu.submit(&[*commands], *fence)?;
    }
    for fence in &fences {
        gpu.wait(*fence)?;
    }
    check(&buffer, 300)?;
    case.digest(&buffer.words());
    Ok(())
}

fn submits_keep_their_order(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (buffer, commands) = digits(&gpu, 100)?;
    for commands in &commands {
        gpu.submit(&[*commands], vk::Fence::null())?;
    }
    let fence = gpu.fence()?;
    gpu.queue_submit(gpu.queue, &[], fence)?;
    gpu.wait(fence)?;
    check(&buffer, 100)
}

fn submit_of_many_batches(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (buffer, commands) = digits(&gpu, 120)?;
    let batches: Vec<_> =
        commands.chunks(7).map(|chunk| vk::SubmitInfo::default().command_buffers(chunk)).collect();
    let fence = gpu.fence()?;
    gpu.queue_submit(gpu.queue, &batches, fence)?;
    gpu.wait(fence)?;
    check(&buffer, 120)
}

fn submit_of_nothing(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    gpu.queue_submit(gpu.queue, &[], vk::Fence::null())?;
    gpu.queue_submit2(gpu.queue, &[], vk::Fence::null())?;
    let fences = [gpu.fence()?, gpu.fence()?, gpu.fence()?];
    gpu.queue_submit(gpu.queue, &[], fences[0])?;
    gpu.queue_submit2(gpu.queue, &[], fences[1])?;
    gpu.queue_submit(gpu.queue, &[vk::SubmitInfo::default()], fences[2])?;
    for fence in fences {
        gpu.wait(fence)?;
    }
    Ok(())
}

fn submit2_with_command_buffers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (buffer, commands) = digits(&gpu, 64)?;
    let infos: Vec<_> = commands
        .iter()
        .map(|commands| vk::CommandBufferSubmitInfo::default().command_buffer(*commands))
        .collect();
    let batches: Vec<_> =
        infos.chunks(5).map(|chunk| vk::SubmitInfo2::default().command_buffer_infos(chunk)).collect();
    let fence = gpu.fence()?;
    gpu.queue_submit2(gpu.queue, &batches, fence)?;
    gpu.wait(fence)?;
    check(&buffer, 64)
}

fn submit_with_last_fence_only(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (buffer, commands) = digits(&gpu, 50)?;
    let fence = gpu.fence()?;
    for (commands, i) in commands.iter().zip(1..) {
        gpu.submit(&[*commands], if i == 50 { fence } else { vk::Fence::null() })?;
    }
    gpu.wait(fence)?;
    check(&buffer, 50)
}

fn wait_idle_of_queue_and_device(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    gpu.device_wait_idle()?;
    gpu.queue_wait_idle(gpu.queue)?;
    let (buffer, commands) = digits(&gpu, 40)?;
    for (commands, i) in commands.iter().zip(0..) {
        gpu.submit(&[*commands], vk::Fence::null())?;
        match i {
            9 => gpu.queue_wait_idle(gpu.queue)?,
            19 => gpu.device_wait_idle()?,
            _ => {}
        }
    }
    gpu.device_wait_idle()?;
    check(&buffer, 40)
}

fn submit_after_wait_many_times(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(4)?;
    let commands = gpu.recorded(|c| {
        c.fill_buffer(buffer.handle, 0, 4, 1);
        c.to_host();
    })?;
    let fence = gpu.fence()?;
    for round in 0..2000 {
        buffer.write(0, &[round + 2_u32]);
        gpu.submit(&[commands], fence)?;
        gpu.wait(fence)?;
        gpu.reset_fences(&[fence])?;
        same!(buffer.words(), [1], "round {round}");
    }
    Ok(())
}
