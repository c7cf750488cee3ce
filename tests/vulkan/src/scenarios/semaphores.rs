//! Binary and timeline semaphores.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Buffer;
use crate::gpu::Gpu;
use crate::gpu::HANG;

scenarios![
    binary_semaphore_chain,
    binary_semaphores_in_one_call,
    binary_semaphore_submit2,
    timeline_signalled_by_the_host,
    timeline_signalled_by_the_device,
    timeline_waited_by_the_device,
    timeline_wait_before_signal,
    timeline_wait_times_out,
    timeline_wait_for_any,
    timeline_wait_for_all,
    timeline_large_values,
    timeline_and_binary_in_one_submit,
    timeline_ping_pong,
    timeline_signalled_by_another_thread,
    semaphore_churn,
    timeline_destroyed_with_its_last_waiter,
];

const ALL: [vk::PipelineStageFlags; 1] = [vk::PipelineStageFlags::ALL_COMMANDS];

fn fill(gpu: &Gpu, buffer: Buffer, value: u32) -> Result<vk::CommandBuffer> {
    gpu.recorded(|c| {
        c.barrier();
        c.fill_buffer(buffer.handle, 0, vk::WHOLE_SIZE, value);
        c.barrier();
        c.to_host();
    })
}

fn copy(gpu: &Gpu, from: Buffer, to: Buffer) -> Result<vk::CommandBuffer> {
    gpu.recorded(|c| {
        c.barrier();
        c.copy_buffer(from.handle, to.handle, &[vk::BufferCopy { size: 64, ..Default::default() }]);
        c.barrier();
        c.to_host();
    })
}

fn signal(gpu: &Gpu, semaphore: vk::Semaphore, value: u64) -> Result<()> {
    Ok(gpu.signal_semaphore(&vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(value))?)
}

fn wait(
    gpu: &Gpu,
    pairs: &[(vk::Semaphore, u64)],
    flags: vk::SemaphoreWaitFlags,
    timeout: Duration,
) -> vk::Result {
    let (semaphores, values): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values).flags(flags);
    let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    gpu.wait_semaphores(&info, timeout_ns).err().unwrap_or(vk::Result::SUCCESS)
}

fn at(semaphore: vk::Semaphore, value: u64) -> [vk::SemaphoreSubmitInfo<'static>; 1] {
    [vk::SemaphoreSubmitInfo::default()
        .semaphore(semaphore)
        .value(value)
        .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)]
}

/// Submits commands that wait for a value and signal one.
fn submit2(
    gpu: &Gpu,
    commands: Option<vk::CommandBuffer>,
    waits: &[vk::SemaphoreSubmitInfo<'_>],
    signals: &[vk::SemaphoreSubmitInfo<'_>],
) -> Result<()> {
    let buffers: Vec<_> = commands
        .into_iter()
        .map(|commands| vk::CommandBufferSubmitInfo::default().command_buffer(commands))
        .collect();
    let batch = [vk::SubmitInfo2::default()
        .command_buffer_infos(&buffers)
        .wait_semaphore_infos(waits)
        .signal_semaphore_infos(signals)];
    Ok(gpu.queue_submit2(gpu.queue, &batch, vk::Fence::null())?)
}

fn binary_semaphore_chain(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffers = (0..10).map(|_| gpu.buffer(64)).collect::<Result<Vec<_>>>()?;
    let semaphores = (0..9).map(|_| gpu.semaphore()).collect::<Result<Vec<_>>>()?;
    let first = [fill(&gpu, buffers[0], 42)?];
    let batch = [vk::SubmitInfo::default().command_buffers(&first).signal_semaphores(&semaphores[..1])];
    gpu.queue_submit(gpu.queue, &batch, vk::Fence::null())?;
    for i in 1..10 {
        let commands = [copy(&gpu, buffers[i - 1], buffers[i])?];
        let mut batch = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .wait_semaphores(&semaphores[i - 1..i])
            .wait_dst_stage_mask(&ALL);
        if let Some(signal) = semaphores.get(i..=i) {
            batch = batch.signal_semaphores(signal);
        }
        gpu.queue_submit(gpu.queue, &[batch], vk::Fence::null())?;
    }
    gpu.queue_wait_idle(gpu.queue)?;
    same!(buffers[9].words(), [42; 16], "words");
    case.digest(&buffers[9].words());
    Ok(())
}

fn binary_semaphores_in_one_call(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (a, b) = (gpu.buffer(64)?, gpu.buffer(64)?);
    let semaphores = [gpu.semaphore()?, gpu.semaphore()?];
    let (first, second) = ([fill(&gpu, a, 7)?], [copy(&gpu, a, b)?]);
    let stages = [ALL[0], vk::PipelineStageFlags::TRANSFER];
    let fence = gpu.fence()?;
    for _ in 0..3 {
        let batches = [
            vk::SubmitInfo::default().command_buffers(&first).signal_semaphores(&semaphores),
            vk::SubmitInfo::default()
                .command_buffers(&second)
                .wait_semaphores(&semaphores)
                .wait_dst_stage_mask(&stages),
        ];
        gpu.queue_submit(gpu.queue, &batches, fence)?;
        gpu.wait(fence)?;
        gpu.reset_fences(&[fence])?;
        same!(b.words(), [7; 16], "words");
        b.write(0, &[0_u32; 16]);
    }
    Ok(())
}

fn binary_semaphore_submit2(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (a, b) = (gpu.buffer(64)?, gpu.buffer(64)?);
    let semaphore = gpu.semaphore()?;
    submit2(&gpu, Some(fill(&gpu, a, 8)?), &[], &at(semaphore, 0))?;
    submit2(&gpu, Some(copy(&gpu, a, b)?), &at(semaphore, 0), &[])?;
    gpu.queue_wait_idle(gpu.queue)?;
    same!(b.words(), [8; 16], "words");
    Ok(())
}

fn timeline_signalled_by_the_host(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let semaphore = gpu.timeline(5)?;
    same!(gpu.get_semaphore_counter_value(semaphore)?, 5, "first value");
    let none = vk::SemaphoreWaitFlags::empty();
    same!(wait(&gpu, &[(semaphore, 5)], none, Duration::ZERO), vk::Result::SUCCESS, "the value it has");
    same!(wait(&gpu, &[(semaphore, 6)], none, Duration::ZERO), vk::Result::TIMEOUT, "a later value");
    for value in [6, 7, 100] {
        signal(&gpu, semaphore, value)?;
        same!(gpu.get_semaphore_counter_value(semaphore)?, value, "value");
        gpu.wait_value(semaphore, value)?;
    }
    Ok(())
}

fn timeline_signalled_by_the_device(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let semaphore = gpu.timeline(0)?;
    let buffer = gpu.buffer(64)?;
    for value in 1..200 {
        let commands = fill(&gpu, buffer, u32::try_from(value)?)?;
        submit2(&gpu, Some(commands), &[], &at(semaphore, value * 2))?;
        gpu.wait_value(semaphore, value * 2 - 1)?;
        same!(gpu.get_semaphore_counter_value(semaphore)?, value * 2, "value");
        same!(u64::from(buffer.words()[0]), value, "word");
    }
    Ok(())
}

fn timeline_waited_by_the_device(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (a, b) = (gpu.buffer(64)?, gpu.buffer(64)?);
    let semaphore = gpu.timeline(0)?;
    submit2(&gpu, Some(fill(&gpu, a, 5)?), &[], &at(semaphore, 1))?;
    submit2(&gpu, Some(copy(&gpu, a, b)?), &at(semaphore, 1), &at(semaphore, 2))?;
    // A value that has passed already.
    submit2(&gpu, None, &at(semaphore, 1), &at(semaphore, 3))?;
    gpu.wait_value(semaphore, 3)?;
    same!(b.words(), [5; 16], "words");
    Ok(())
}

fn timeline_wait_before_signal(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(64)?;
    let (go, done) = (gpu.timeline(0)?, gpu.timeline(0)?);
    submit2(&gpu, Some(fill(&gpu, buffer, 9)?), &at(go, 10), &at(done, 1))?;
    let none = vk::SemaphoreWaitFlags::empty();
    same!(
        wait(&gpu, &[(done, 1)], none, Duration::from_millis(20)),
        vk::Result::TIMEOUT,
        "before the signal"
    );
    same!(buffer.words(), [0; 16], "words before the signal");
    signal(&gpu, go, 10)?;
    gpu.wait_value(done, 1)?;
    same!(buffer.words(), [9; 16], "words");
    Ok(())
}

fn timeline_wait_times_out(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let semaphore = gpu.timeline(0)?;
    let timeout = Duration::from_millis(30);
    let start = Instant::now();
    let none = vk::SemaphoreWaitFlags::empty();
    same!(wait(&gpu, &[(semaphore, 1)], none, timeout), vk::Result::TIMEOUT, "wait");
    ensure!(start.elapsed() >= timeout, "the wait ended after {:?}", start.elapsed());
    Ok(())
}

fn timeline_wait_for_any(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let semaphores = (0..8).map(|_| gpu.timeline(0)).collect::<Result<Vec<_>>>()?;
    let pairs: Vec<_> = semaphores.iter().map(|semaphore| (*semaphore, 3)).collect();
    same!(wait(&gpu, &pairs, vk::SemaphoreWaitFlags::ANY, Duration::ZERO), vk::Result::TIMEOUT, "none");
    submit2(&gpu, None, &[], &at(semaphores[6], 3))?;
    same!(wait(&gpu, &pairs, vk::SemaphoreWaitFlags::ANY, HANG), vk::Result::SUCCESS, "one");
    same!(wait(&gpu, &pairs, vk::SemaphoreWaitFlags::empty(), Duration::ZERO), vk::Result::TIMEOUT, "all");
    Ok(())
}

fn timeline_wait_for_all(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let semaphores = (0..8).map(|_| gpu.timeline(0)).collect::<Result<Vec<_>>>()?;
    let pairs: Vec<_> = semaphores.iter().zip(1..).map(|(semaphore, i)| (*semaphore, i)).collect();
    for (semaphore, value) in pairs.iter().rev() {
        submit2(&gpu, None, &[], &at(*semaphore, *value))?;
    }
    same!(wait(&gpu, &pairs, vk::SemaphoreWaitFlags::empty(), HANG), vk::Result::SUCCESS, "all");
    for (semaphore, value) in pairs {
        same!(gpu.get_semaphore_counter_value(semaphore)?, value, "value");
    }
    Ok(())
}

fn timeline_large_values(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let mut properties = vk::PhysicalDeviceTimelineSemaphoreProperties::default();
    gpu.physical.properties2(&mut vk::PhysicalDeviceProperties2::default().push_next(&mut properties));
    let step = properties.max_timeline_semaphore_value_difference.min(1 << 40);
    let semaphore = gpu.timeline(1 << 41)?;
    signal(&gpu, semaphore, (1 << 41) + step)?;
    submit2(&gpu, None, &at(semaphore, 1 << 41), &at(semaphore, (1 << 41) + step + 1))?;
    gpu.wait_value(semaphore, (1 << 41) + step + 1)?;
    same!(gpu.get_semaphore_counter_value(semaphore)?, (1 << 41) + step + 1, "value");
    case.digest(&[step]);
    Ok(())
}

fn timeline_and_binary_in_one_submit(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (a, b) = (gpu.buffer(64)?, gpu.buffer(64)?);
    let semaphores = [gpu.semaphore()?, gpu.timeline(0)?];
    let values = [0, 4];
    let commands = [fill(&gpu, a, 6)?];
    let mut timeline = vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
    let batch = vk::SubmitInfo::default().command_buffers(&commands).signal_semaphores(&semaphores);
    gpu.queue_submit(gpu.queue, &[batch.push_next(&mut timeline)], vk::Fence::null())?;
    let commands = [copy(&gpu, a, b)?];
    let mut timeline = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&values);
    let stages = [ALL[0]; 2];
    let batch = vk::SubmitInfo::default()
        .command_buffers(&commands)
        .wait_semaphores(&semaphores)
        .wait_dst_stage_mask(&stages);
    gpu.queue_submit(gpu.queue, &[batch.push_next(&mut timeline)], vk::Fence::null())?;
    gpu.wait_value(semaphores[1], 4)?;
    gpu.queue_wait_idle(gpu.queue)?;
    same!(b.words(), [6; 16], "words");
    Ok(())
}

fn timeline_ping_pong(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let semaphore = gpu.timeline(0)?;
    // The device waits for each odd value, which the host gives, and gives the even one.
    for value in (1..400).step_by(2) {
        submit2(&gpu, None, &at(semaphore, value), &at(semaphore, value + 1))?;
        signal(&gpu, semaphore, value)?;
        gpu.wait_value(semaphore, value + 1)?;
    }
    same!(gpu.get_semaphore_counter_value(semaphore)?, 400, "value");
    Ok(())
}

fn timeline_signalled_by_another_thread(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (there, back) = (gpu.timeline(0)?, gpu.timeline(0)?);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| -> Result<()> {
            for value in 1..=500 {
                gpu.wait_value(there, value)?;
                signal(&gpu, back, value)?;
            }
            Ok(())
        });
        for value in 1..=500 {
            signal(&gpu, there, value)?;
            gpu.wait_value(back, value)?;
        }
        other.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))?
    })
}

fn semaphore_churn(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for _ in 0..2000 {
        gpu.destroy(gpu.create_semaphore(&vk::SemaphoreCreateInfo::default())?);
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(3);
        let timeline = gpu.create_semaphore(&vk::SemaphoreCreateInfo::default().push_next(&mut kind))?;
        same!(gpu.get_semaphore_counter_value(timeline)?, 3, "first value");
        gpu.destroy(timeline);
    }
    gpu.destroy(vk::Semaphore::null());
    Ok(())
}

/// Drivers with a submission thread let go of a semaphore only after the batch that waited for it is complete.
fn timeline_destroyed_with_its_last_waiter(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // On crowded cores such a thread is often stopped in between.
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let rounds = destroy_with_last_waiter(&gpu);
        done.store(true, Ordering::Relaxed);
        rounds
    })
}

fn destroy_with_last_waiter(gpu: &Gpu) -> Result<()> {
    let buffer = gpu.buffer(64)?;
    let commands = fill(gpu, buffer, 5)?;
    // A wait before its signal starts such a thread.
    let go = gpu.timeline(0)?;
    submit2(gpu, None, &at(go, 1), &[])?;
    signal(gpu, go, 1)?;
    gpu.queue_wait_idle(gpu.queue)?;
    let event = gpu.keep(gpu.create_event(&vk::EventCreateInfo::default())?);
    // Some that stay, so that letting go of the last one takes a while.
    let staying = (0..4).map(|_| gpu.timeline(0)).collect::<Result<Vec<_>>>()?;
    for round in 1..=5000 {
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let last = gpu.create_semaphore(&vk::SemaphoreCreateInfo::default().push_next(&mut kind))?;
        let all: Vec<_> = staying.iter().chain([&last]).flat_map(|semaphore| at(*semaphore, round)).collect();
        submit2(gpu, Some(commands), &[], &all)?;
        submit2(gpu, None, &all, &[])?;
        gpu.queue_wait_idle(gpu.queue)?;
        gpu.destroy(last);
        // Makes the driver hear of it at once.
        same!(gpu.get_event_status(event)?, false, "event");
    }
    same!(buffer.words(), [5; 16], "words");
    Ok(())
}
