//! Semaphores and fences by descriptor.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ash::vk;
use dxg_core::FenceValue;
use dxg_core::WaitOutcome;

use super::dxg_device;
use super::gpu;
use crate::gpu::Gpu;
use crate::gpu::HANG;

super::table! {
    timeline_crosses_two_devices,
    timeline_waits_of_many_values_before_any_signal,
    timeline_is_imported_by_its_own_device,
    timeline_of_vulkan_is_a_fence_of_dxg,
    fence_of_dxg_is_a_timeline_of_vulkan,
    binary_crosses_two_devices_in_turns,
    binary_imported_for_one_wait_is_restored_after_it,
    fence_crosses_two_devices_and_is_reset_by_either,
    fence_imported_until_its_reset_is_restored_by_it,
    fence_of_dxg_is_a_fence_of_vulkan,
    sync_is_refused_for_what_it_is_not,
    sync_queries_say_what_there_is,
    sync_never_signalled_does_not_hold_the_device,
}

/// Where everything waits in the tests.
const STAGES: vk::PipelineStageFlags = vk::PipelineStageFlags::ALL_COMMANDS;

/// A semaphore of a device with what a descriptor names.
pub(super) fn imported(gpu: &Gpu, initial: Option<u64>, descriptor: OwnedFd) -> Result<vk::Semaphore> {
    let semaphore = match initial {
        Some(value) => gpu.timeline(value)?,
        None => gpu.semaphore()?,
    };
    let permanent = vk::SemaphoreImportFlags::empty();
    gpu.import_semaphore(semaphore, descriptor, permanent).map_err(|(error, _)| error)?;
    Ok(semaphore)
}

/// Submits nothing but a wait and a signal of timeline semaphores.
pub(super) fn submit_values(
    gpu: &Gpu,
    wait: Option<(vk::Semaphore, u64)>,
    signal: Option<(vk::Semaphore, u64)>,
    fence: vk::Fence,
) -> Result<()> {
    let (waits, wait_values): (Vec<_>, Vec<_>) = wait.into_iter().unzip();
    let (signals, signal_values): (Vec<_>, Vec<_>) = signal.into_iter().unzip();
    let stages = vec![STAGES; waits.len()];
    let mut values = vk::TimelineSemaphoreSubmitInfo::default()
        .wait_semaphore_values(&wait_values)
        .signal_semaphore_values(&signal_values);
    let batch = vk::SubmitInfo::default()
        .wait_semaphores(&waits)
        .wait_dst_stage_mask(&stages)
        .signal_semaphores(&signals)
        .push_next(&mut values);
    Ok(gpu.queue_submit(gpu.queue, &[batch], fence)?)
}

fn signal(gpu: &Gpu, semaphore: vk::Semaphore, value: u64) -> Result<()> {
    Ok(gpu.signal_semaphore(&vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(value))?)
}

/// Whether a fence is unsignalled for a moment in which nothing should signal it.
fn ensure_pending(gpu: &Gpu, fence: vk::Fence, what: &str) -> Result<()> {
    let answer = gpu.wait_for_fences(&[fence], true, 20_000_000);
    ensure!(answer == Err(vk::Result::TIMEOUT), "{what}: {answer:?}");
    Ok(())
}

/// Values go from queue to queue, from the host to a queue and from a queue to the host.
fn timeline_crosses_two_devices() -> Result<()> {
    let (one, other) = (gpu()?, gpu()?);
    let made = one.shareable_semaphore(Some(5))?;
    let used = imported(&other, Some(0), one.semaphore_fd(made)?)?;
    ensure!(other.get_semaphore_counter_value(used)? == 5, "the first value");
    // The other device waits before anybody signals.
    let fence = other.fence()?;
    submit_values(&other, Some((used, 6)), Some((used, 7)), fence)?;
    ensure_pending(&other, fence, "nobody signalled")?;
    submit_values(&one, None, Some((made, 6)), vk::Fence::null())?;
    one.wait_value(made, 7)?;
    other.wait(fence)?;
    // By the host, for a queue of the other device.
    let fence = one.fence()?;
    submit_values(&one, Some((made, 8)), Some((made, 9)), fence)?;
    signal(&other, used, 8)?;
    other.wait_value(used, 9)?;
    one.wait(fence)?;
    for (gpu, semaphore) in [(&one, made), (&other, used)] {
        ensure!(gpu.get_semaphore_counter_value(semaphore)? == 9, "the last value");
    }
    Ok(())
}

/// Waits of one queue for values of the other, all submitted before the first signal, end in order.
fn timeline_waits_of_many_values_before_any_signal() -> Result<()> {
    const TURNS: u64 = 50;
    let (one, other) = (gpu()?, gpu()?);
    let made = one.shareable_semaphore(Some(0))?;
    let used = imported(&other, Some(0), one.semaphore_fd(made)?)?;
    // Odd values are signalled by the other device, even ones by the first.
    for turn in 0..TURNS {
        submit_values(&other, Some((used, 2 * turn)), Some((used, 2 * turn + 1)), vk::Fence::null())?;
    }
    for turn in 0..TURNS {
        submit_values(&one, Some((made, 2 * turn + 1)), Some((made, 2 * turn + 2)), vk::Fence::null())?;
    }
    one.wait_value(made, 2 * TURNS)?;
    other.wait_value(used, 2 * TURNS)?;
    other.device_wait_idle()?;
    Ok(one.device_wait_idle()?)
}

/// Two semaphores of one device with one payload, and a third that got it from the second.
fn timeline_is_imported_by_its_own_device() -> Result<()> {
    let gpu = gpu()?;
    let made = gpu.shareable_semaphore(Some(1))?;
    let second = imported(&gpu, Some(0), gpu.semaphore_fd(made)?)?;
    let third = imported(&gpu, Some(0), gpu.semaphore_fd(second)?)?;
    let fence = gpu.fence()?;
    submit_values(&gpu, Some((second, 2)), Some((second, 3)), fence)?;
    signal(&gpu, third, 2)?;
    gpu.wait(fence)?;
    gpu.wait_value(made, 3)
}

/// dxg opens a timeline semaphore, sees what a queue signals and signals what a queue waits for.
fn timeline_of_vulkan_is_a_fence_of_dxg() -> Result<()> {
    let (gpu, device) = (gpu()?, dxg_device()?);
    let made = gpu.shareable_semaphore(Some(3))?;
    let descriptor = gpu.semaphore_fd(made)?;
    let fence = device.open_shared_fence(descriptor.as_fd())?;
    ensure!(fence.value() == FenceValue(3), "the first value is {:?}", fence.value());
    submit_values(&gpu, None, Some((made, 10)), vk::Fence::null())?;
    ensure!(fence.wait(FenceValue(10), Some(HANG))? == WaitOutcome::Reached, "dxg waits for Vulkan");
    submit_values(&gpu, Some((made, 11)), Some((made, 12)), vk::Fence::null())?;
    fence.signal(FenceValue(11))?;
    gpu.wait_value(made, 12)
}

/// Vulkan imports a monitored fence that dxg made.
fn fence_of_dxg_is_a_timeline_of_vulkan() -> Result<()> {
    let (gpu, device) = (gpu()?, dxg_device()?);
    let fence = device.create_shared_fence(FenceValue(100))?;
    let used = imported(&gpu, Some(0), fence.share()?)?;
    ensure!(gpu.get_semaphore_counter_value(used)? == 100, "the first value");
    submit_values(&gpu, Some((used, 101)), Some((used, 200)), vk::Fence::null())?;
    ensure!(
        fence.wait(FenceValue(200), Some(Duration::from_millis(20)))? == WaitOutcome::TimedOut,
        "the queue did not wait"
    );
    fence.signal(FenceValue(101))?;
    ensure!(fence.wait(FenceValue(200), Some(HANG))? == WaitOutcome::Reached, "dxg waits for Vulkan");
    Ok(())
}

/// Each signal of one device is for the next wait of the other, also from the side that imported.
fn binary_crosses_two_devices_in_turns() -> Result<()> {
    let (one, other) = (gpu()?, gpu()?);
    let ping = one.shareable_semaphore(None)?;
    let ping_there = imported(&other, None, one.semaphore_fd(ping)?)?;
    let pong = other.shareable_semaphore(None)?;
    let pong_here = imported(&one, None, other.semaphore_fd(pong)?)?;
    let data = one.shareable_buffer(4096)?;
    let data_there = other.imported_buffer(one.memory_fd(data.memory)?, 4096)?;
    let out = other.buffer(4096)?;
    for turn in 1..=10_u32 {
        let fill = one.recorded(|c| c.fill_buffer(data.handle, 0, 4096, turn))?;
        let copy = other.recorded(|c| {
            c.copy_buffer(data_there.handle, out.handle, &[vk::BufferCopy::default().size(4096)]);
            c.to_host();
        })?;
        let (fills, copies, stages) = ([fill], [copy], [STAGES]);
        let (pings, pings_there, pongs, pongs_here) = ([ping], [ping_there], [pong], [pong_here]);
        let mut first = vk::SubmitInfo::default().command_buffers(&fills).signal_semaphores(&pings);
        if turn > 1 {
            first = first.wait_semaphores(&pongs_here).wait_dst_stage_mask(&stages);
        }
        one.queue_submit(one.queue, &[first], vk::Fence::null())?;
        let fence = other.fence()?;
        let second = vk::SubmitInfo::default()
            .wait_semaphores(&pings_there)
            .wait_dst_stage_mask(&stages)
            .command_buffers(&copies)
            .signal_semaphores(&pongs);
        other.queue_submit(other.queue, &[second], fence)?;
        other.wait(fence)?;
        ensure!(out.words().iter().all(|word| *word == turn), "turn {turn} copied other words");
    }
    Ok(())
}

/// A temporary payload is there for one wait; then the semaphore has its own again, with the state that it had.
fn binary_imported_for_one_wait_is_restored_after_it() -> Result<()> {
    let (one, other) = (gpu()?, gpu()?);
    let made = one.shareable_semaphore(None)?;
    let semaphore = other.semaphore()?;
    let (semaphores, stages, mades) = ([semaphore], [STAGES], [made]);
    // Its own payload is signalled first.
    let own = vk::SubmitInfo::default().signal_semaphores(&semaphores);
    other.queue_submit(other.queue, &[own], vk::Fence::null())?;
    other.device_wait_idle()?;
    let temporary = vk::SemaphoreImportFlags::TEMPORARY;
    other.import_semaphore(semaphore, one.semaphore_fd(made)?, temporary).map_err(|(error, _)| error)?;
    let wait = vk::SubmitInfo::default().wait_semaphores(&semaphores).wait_dst_stage_mask(&stages);
    let (first, second) = (other.fence()?, other.fence()?);
    other.queue_submit(other.queue, &[wait], first)?;
    ensure_pending(&other, first, "the temporary payload is not signalled")?;
    let signals = vk::SubmitInfo::default().signal_semaphores(&mades);
    one.queue_submit(one.queue, &[signals], vk::Fence::null())?;
    other.wait(first)?;
    // The next wait is for its own payload, which is signalled still.
    other.queue_submit(other.queue, &[wait], second)?;
    other.wait(second)
}

/// Both sides see one fence: signalled by a submission of one, waited for and reset by the other.
fn fence_crosses_two_devices_and_is_reset_by_either() -> Result<()> {
    let (one, other) = (gpu()?, gpu()?);
    let made = one.shareable_fence(vk::FenceCreateFlags::empty())?;
    let used = other.fence()?;
    let permanent = vk::FenceImportFlags::empty();
    other.import_fence(used, one.fence_fd(made)?, permanent).map_err(|(error, _)| error)?;
    for _ in 0..3 {
        ensure!(!other.get_fence_status(used)?, "signalled too early");
        one.submit(&[], made)?;
        other.wait(used)?;
        ensure!(one.get_fence_status(made)?, "not signalled where it was submitted");
        other.reset_fences(&[used])?;
        ensure!(!one.get_fence_status(made)?, "not reset");
        // The other way round, beside a fence of its own.
        let beside = one.fence()?;
        one.submit(&[], beside)?;
        other.queue_submit(other.queue, &[], used)?;
        one.wait_for_fences(&[made, beside], true, u64::try_from(HANG.as_nanos())?)?;
        one.reset_fences(&[made])?;
    }
    let signalled = one.shareable_fence(vk::FenceCreateFlags::SIGNALED)?;
    other.import_fence(used, one.fence_fd(signalled)?, permanent).map_err(|(error, _)| error)?;
    ensure!(other.get_fence_status(used)?, "made signalled");
    Ok(())
}

/// Resetting ends a temporary import, and resets what was there before.
fn fence_imported_until_its_reset_is_restored_by_it() -> Result<()> {
    let (one, other) = (gpu()?, gpu()?);
    let made = one.shareable_fence(vk::FenceCreateFlags::empty())?;
    let fence = other
        .keep(other.create_fence(&vk::FenceCreateInfo::default().flags(vk::FenceCreateFlags::SIGNALED))?);
    let temporary = vk::FenceImportFlags::TEMPORARY;
    other.import_fence(fence, one.fence_fd(made)?, temporary).map_err(|(error, _)| error)?;
    ensure!(!other.get_fence_status(fence)?, "its own payload is seen");
    one.submit(&[], made)?;
    other.wait(fence)?;
    other.reset_fences(&[fence])?;
    ensure!(!other.get_fence_status(fence)?, "its own payload was not reset");
    ensure!(one.get_fence_status(made)?, "the payload of the other was reset");
    other.submit(&[], fence)?;
    other.wait(fence)
}

/// A monitored fence that dxg raises is a Vulkan fence.
fn fence_of_dxg_is_a_fence_of_vulkan() -> Result<()> {
    let (gpu, device) = (gpu()?, dxg_device()?);
    let shared = device.create_shared_fence(FenceValue(0))?;
    let used = gpu.fence()?;
    gpu.import_fence(used, shared.share()?, vk::FenceImportFlags::empty()).map_err(|(error, _)| error)?;
    ensure!(!gpu.get_fence_status(used)?, "signalled too early");
    shared.signal(FenceValue(1))?;
    gpu.wait(used)?;
    gpu.reset_fences(&[used])?;
    ensure!(!gpu.get_fence_status(used)?, "not reset");
    gpu.submit(&[], used)?;
    ensure!(shared.wait(FenceValue(2), Some(HANG))? == WaitOutcome::Reached, "dxg waits for Vulkan");
    gpu.wait(used)
}

/// What is refused stays the program's, and the object stays what it was.
fn sync_is_refused_for_what_it_is_not() -> Result<()> {
    let (one, other) = (gpu()?, gpu()?);
    let permanent = vk::SemaphoreImportFlags::empty();
    let refused = |semaphore: vk::Semaphore, descriptor: OwnedFd, what: &str| -> Result<OwnedFd> {
        match other.import_semaphore(semaphore, descriptor, permanent) {
            Ok(()) => bail!("{what} is imported"),
            Err((error, descriptor)) => {
                ensure!(error == vk::Result::ERROR_INVALID_EXTERNAL_HANDLE, "{what}: {error}");
                Ok(descriptor)
            }
        }
    };
    let (binary, timeline) = (other.semaphore()?, other.timeline(4)?);
    refused(binary, std::fs::File::open("/dev/null")?.into(), "a file")?;
    refused(binary, one.memory_fd(one.shareable_buffer(4096)?.memory)?, "memory")?;
    let fence = one.shareable_fence(vk::FenceCreateFlags::empty())?;
    refused(binary, one.fence_fd(fence)?, "a fence")?;
    let (made_binary, made_timeline) = (one.shareable_semaphore(None)?, one.shareable_semaphore(Some(9))?);
    refused(timeline, one.semaphore_fd(made_binary)?, "a binary semaphore")?;
    let descriptor = refused(binary, one.semaphore_fd(made_timeline)?, "a timeline semaphore")?;
    ensure!(other.get_semaphore_counter_value(timeline)? == 4, "the refused import changed it");
    other.import_semaphore(timeline, descriptor, permanent).map_err(|(error, _)| error)?;
    ensure!(other.get_semaphore_counter_value(timeline)? == 9, "the import changed nothing");
    let refused_fence =
        other.import_fence(other.fence()?, one.semaphore_fd(made_binary)?, Default::default());
    ensure!(
        refused_fence.is_err_and(|(error, _)| error == vk::Result::ERROR_INVALID_EXTERNAL_HANDLE),
        "a fence takes a semaphore"
    );
    Ok(())
}

/// The capabilities say what works here, and nothing of other handles.
fn sync_queries_say_what_there_is() -> Result<()> {
    let gpu = gpu()?;
    let opaque = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
    let semaphores = gpu.semaphore_properties(opaque);
    ensure!(semaphores.compatible_handle_types == opaque, "{semaphores:?}");
    ensure!(semaphores.export_from_imported_handle_types == opaque, "{semaphores:?}");
    ensure!(semaphores.external_semaphore_features.as_raw() == 3, "{semaphores:?}");
    let files = gpu.semaphore_properties(vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD);
    ensure!(files.external_semaphore_features.is_empty(), "{files:?}");
    let opaque = vk::ExternalFenceHandleTypeFlags::OPAQUE_FD;
    let fences = gpu.fence_properties(opaque);
    ensure!(fences.compatible_handle_types == opaque, "{fences:?}");
    ensure!(fences.external_fence_features.as_raw() == 3, "{fences:?}");
    let files = gpu.fence_properties(vk::ExternalFenceHandleTypeFlags::SYNC_FD);
    ensure!(files.external_fence_features.is_empty(), "{files:?}");
    Ok(())
}

/// A submission that waits for what nobody will signal ends with its device, and a new device works.
fn sync_never_signalled_does_not_hold_the_device() -> Result<()> {
    let (one, other) = (gpu()?, gpu()?);
    let made = one.shareable_semaphore(Some(0))?;
    let used = imported(&other, Some(0), one.semaphore_fd(made)?)?;
    drop(one);
    let fence = other.fence()?;
    submit_values(&other, Some((used, 1)), None, fence)?;
    ensure_pending(&other, fence, "nobody signalled")?;
    other.abandon();
    let again = gpu()?;
    again.run(|_| {})
}
