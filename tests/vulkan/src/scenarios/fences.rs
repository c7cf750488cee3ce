//! Fences: states, waits, timeouts.

use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::HANG;

scenarios![
    fence_states,
    fence_created_signalled,
    fence_wait_times_out,
    fences_wait_for_all,
    fences_wait_for_any,
    fence_reset_and_used_again,
    fences_many,
    fence_churn,
    fence_waited_by_another_thread,
    fence_of_an_empty_submission_follows_what_was_submitted,
];

const TIMEOUT: ash::prelude::VkResult<()> = Err(vk::Result::TIMEOUT);

fn hang_ns() -> u64 {
    u64::try_from(HANG.as_nanos()).unwrap_or(u64::MAX)
}

fn fence_states(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let fence = gpu.fence()?;
    ensure!(!gpu.get_fence_status(fence)?, "a new fence is signalled");
    gpu.queue_submit(gpu.queue, &[], fence)?;
    gpu.wait(fence)?;
    ensure!(gpu.get_fence_status(fence)?, "a waited-for fence is not signalled");
    gpu.reset_fences(&[fence])?;
    ensure!(!gpu.get_fence_status(fence)?, "a reset fence is signalled");
    Ok(())
}

fn fence_created_signalled(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let create = vk::FenceCreateInfo::default().flags(vk::FenceCreateFlags::SIGNALED);
    let fence = gpu.keep(gpu.create_fence(&create)?);
    ensure!(gpu.get_fence_status(fence)?, "not signalled");
    gpu.wait_for_fences(&[fence], true, 0)?;
    gpu.reset_fences(&[fence])?;
    same!(gpu.wait_for_fences(&[fence], true, 0), TIMEOUT, "after the reset");
    gpu.queue_submit(gpu.queue, &[], fence)?;
    gpu.wait(fence)
}

fn fence_wait_times_out(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let fence = gpu.fence()?;
    same!(gpu.wait_for_fences(&[fence], true, 0), TIMEOUT, "timeout of 0");
    same!(gpu.wait_for_fences(&[fence], true, 1), TIMEOUT, "timeout of 1 ns");
    let timeout = Duration::from_millis(30);
    let start = Instant::now();
    same!(gpu.wait_for_fences(&[fence], true, u64::try_from(timeout.as_nanos())?), TIMEOUT, "timeout");
    ensure!(start.elapsed() >= timeout, "the wait ended after {:?}", start.elapsed());
    Ok(())
}

fn fences_wait_for_all(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let fences = (0..16).map(|_| gpu.fence()).collect::<Result<Vec<_>>>()?;
    for fence in &fences[..15] {
        gpu.queue_submit(gpu.queue, &[], *fence)?;
    }
    gpu.wait_for_fences(&fences[..15], true, hang_ns())?;
    same!(gpu.wait_for_fences(&fences, true, 1_000_000), TIMEOUT, "one is not signalled");
    gpu.queue_submit(gpu.queue, &[], fences[15])?;
    gpu.wait_for_fences(&fences, true, u64::MAX)?;
    Ok(())
}

fn fences_wait_for_any(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let fences = (0..16).map(|_| gpu.fence()).collect::<Result<Vec<_>>>()?;
    same!(gpu.wait_for_fences(&fences, false, 1_000_000), TIMEOUT, "none is signalled");
    gpu.queue_submit(gpu.queue, &[], fences[11])?;
    gpu.wait_for_fences(&fences, false, hang_ns())?;
    for (fence, i) in fences.iter().zip(0..) {
        same!(gpu.get_fence_status(*fence)?, i == 11, "fence {i}");
    }
    Ok(())
}

fn fence_reset_and_used_again(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let nothing = gpu.recorded(|_| {})?;
    let fences = [gpu.fence()?, gpu.fence()?];
    for _ in 0..500 {
        for fence in fences {
            gpu.submit(&[nothing], fence)?;
        }
        gpu.wait_for_fences(&fences, true, hang_ns())?;
        gpu.reset_fences(&fences)?;
    }
    Ok(())
}

fn fences_many(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let nothing = gpu.recorded(|_| {})?;
    let fences = (0..1000).map(|_| gpu.fence()).collect::<Result<Vec<_>>>()?;
    for fence in fences.iter().rev() {
        gpu.submit(&[nothing], *fence)?;
    }
    gpu.wait_for_fences(&fences, true, hang_ns())?;
    for fence in &fences {
        ensure!(gpu.get_fence_status(*fence)?, "a fence is not signalled");
    }
    gpu.reset_fences(&fences)?;
    for fence in &fences {
        ensure!(!gpu.get_fence_status(*fence)?, "a fence is still signalled");
    }
    Ok(())
}

fn fence_churn(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for _ in 0..5000 {
        gpu.destroy(gpu.create_fence(&vk::FenceCreateInfo::default())?);
    }
    for _ in 0..200 {
        let fence = gpu.create_fence(&vk::FenceCreateInfo::default())?;
        gpu.queue_submit(gpu.queue, &[], fence)?;
        gpu.wait(fence)?;
        gpu.destroy(fence);
    }
    gpu.destroy(vk::Fence::null());
    Ok(())
}

fn fence_waited_by_another_thread(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let nothing = gpu.recorded(|_| {})?;
    let fence = gpu.fence()?;
    std::thread::scope(|scope| {
        let waiters: Vec<_> =
            (0..4).map(|_| scope.spawn(|| gpu.wait_for_fences(&[fence], true, hang_ns()))).collect();
        gpu.submit(&[nothing], fence)?;
        for waiter in waiters {
            match waiter.join() {
                Ok(result) => result?,
                Err(_) => anyhow::bail!("a waiting thread panicked"),
            }
        }
        Ok(())
    })
}

fn fence_of_an_empty_submission_follows_what_was_submitted(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let go = gpu.timeline(0)?;
    let (waits, values, stages) = ([go], [1], [vk::PipelineStageFlags::ALL_COMMANDS]);
    let mut timeline = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&values);
    let held = vk::SubmitInfo::default()
        .wait_semaphores(&waits)
        .wait_dst_stage_mask(&stages)
        .push_next(&mut timeline);
    let (before, after, later) = (gpu.fence()?, gpu.fence()?, gpu.fence()?);
    // Nothing was submitted yet, so nothing is waited for.
    gpu.queue_submit(gpu.queue, &[], before)?;
    gpu.wait(before)?;
    gpu.queue_submit(gpu.queue, &[held], vk::Fence::null())?;
    gpu.queue_submit(gpu.queue, &[], after)?;
    gpu.queue_submit(gpu.queue, &[vk::SubmitInfo::default()], later)?;
    same!(gpu.wait_for_fences(&[after, later], false, 1_000_000), TIMEOUT, "what came before is held");
    gpu.signal_semaphore(&vk::SemaphoreSignalInfo::default().semaphore(go).value(1))?;
    gpu.wait(after)?;
    gpu.wait(later)
}
