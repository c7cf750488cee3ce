//! Objects that cross processes: the program starts itself once more, as the other side, with descriptors left open for it.

use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::vk;
use rustix::io::FdFlags;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;

use super::gpu;
use super::sync::imported;
use super::sync::submit_values;
use crate::gpu::Gpu;
use crate::gpu::inherited;

super::table! {
    processes_hand_memory_over_by_a_timeline,
    processes_hand_memory_over_by_binary_semaphores,
    process_that_is_killed_leaves_its_objects_as_they_are,
}

const SIZE_BYTES: u64 = 1 << 20;
const WHOLE: vk::BufferCopy = vk::BufferCopy { src_offset: 0, dst_offset: 0, size: SIZE_BYTES };
const TURNS: u32 = 8;

/// Says to the other side of which case a process is.
pub(super) fn peer(name: &str, descriptors: &[i32]) -> Result<()> {
    let descriptors = descriptors.iter().map(|number| inherited(*number)).collect();
    match name {
        "processes_hand_memory_over_by_a_timeline" => consume_by_a_timeline(descriptors),
        "processes_hand_memory_over_by_binary_semaphores" => consume_by_binary_semaphores(descriptors),
        "process_that_is_killed_leaves_its_objects_as_they_are" => make_and_wait_to_be_killed(descriptors),
        _ => anyhow::bail!("case {name} has no other side"),
    }
}

/// Starts the other side of a case.
fn start(name: &str, descriptors: &[impl AsFd]) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name);
    for descriptor in descriptors {
        // Nothing else is started meanwhile that could inherit it.
        rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        command.args(["--peer", &descriptor.as_fd().as_raw_fd().to_string()]);
    }
    Ok(command.spawn()?)
}

fn taken<const N: usize>(descriptors: Vec<OwnedFd>) -> Result<[OwnedFd; N]> {
    let count = descriptors.len();
    descriptors.try_into().map_err(|_| anyhow::anyhow!("{count} descriptors, not {N}"))
}

/// Copies what is in shared memory by the device and checks every word.
fn record_copy(gpu: &Gpu, from: vk::Buffer, to: vk::Buffer) -> Result<vk::CommandBuffer> {
    gpu.recorded(|c| {
        c.copy_buffer(from, to, &[WHOLE]);
        c.to_host();
    })
}

/// This process fills by its device, the other copies by its device and checks; values of one timeline order it.
fn processes_hand_memory_over_by_a_timeline() -> Result<()> {
    let gpu = gpu()?;
    let memory = gpu.shareable_buffer(SIZE_BYTES)?;
    let timeline = gpu.shareable_semaphore(Some(0))?;
    let mut child = start(
        "processes_hand_memory_over_by_a_timeline",
        &[gpu.memory_fd(memory.memory)?, gpu.semaphore_fd(timeline)?],
    )?;
    for turn in 0..TURNS {
        let value = u64::from(turn) * 2;
        let fill = [gpu.recorded(|c| c.fill_buffer(memory.handle, 0, SIZE_BYTES, turn))?];
        let (timelines, waits, signals) = ([timeline], [value], [value + 1]);
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&waits)
            .signal_semaphore_values(&signals);
        let batch = vk::SubmitInfo::default()
            .wait_semaphores(&timelines)
            .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
            .command_buffers(&fill)
            .signal_semaphores(&timelines)
            .push_next(&mut values);
        gpu.queue_submit(gpu.queue, &[batch], vk::Fence::null())?;
    }
    gpu.wait_value(timeline, u64::from(TURNS) * 2)?;
    ensure!(child.wait()?.success(), "the other side failed");
    Ok(())
}

fn consume_by_a_timeline(descriptors: Vec<OwnedFd>) -> Result<()> {
    let [memory, timeline] = taken(descriptors)?;
    let gpu = gpu()?;
    let memory = gpu.imported_buffer(memory, SIZE_BYTES)?;
    let timeline = imported(&gpu, Some(0), timeline)?;
    let out = gpu.buffer(SIZE_BYTES)?;
    let copy = [record_copy(&gpu, memory.handle, out.handle)?];
    for turn in 0..TURNS {
        let value = u64::from(turn) * 2 + 1;
        let (timelines, waits) = ([timeline], [value]);
        let mut values = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&waits);
        let batch = vk::SubmitInfo::default()
            .wait_semaphores(&timelines)
            .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
            .command_buffers(&copy)
            .push_next(&mut values);
        let fence = gpu.fence()?;
        gpu.queue_submit(gpu.queue, &[batch], fence)?;
        gpu.wait(fence)?;
        ensure!(out.words().iter().all(|word| *word == turn), "turn {turn} copied other words");
        submit_values(&gpu, None, Some((timeline, value + 1)), vk::Fence::null())?;
    }
    Ok(gpu.device_wait_idle()?)
}

/// The same by two binary semaphores, one for each direction.
fn processes_hand_memory_over_by_binary_semaphores() -> Result<()> {
    let gpu = gpu()?;
    let memory = gpu.shareable_buffer(SIZE_BYTES)?;
    let (filled, copied) = (gpu.shareable_semaphore(None)?, gpu.shareable_semaphore(None)?);
    let descriptors = [gpu.memory_fd(memory.memory)?, gpu.semaphore_fd(filled)?, gpu.semaphore_fd(copied)?];
    let mut child = start("processes_hand_memory_over_by_binary_semaphores", &descriptors)?;
    let (filleds, copieds) = ([filled], [copied]);
    for turn in 0..TURNS {
        let fill = [gpu.recorded(|c| c.fill_buffer(memory.handle, 0, SIZE_BYTES, turn))?];
        let mut batch = vk::SubmitInfo::default().command_buffers(&fill).signal_semaphores(&filleds);
        if turn > 0 {
            batch =
                batch.wait_semaphores(&copieds).wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS]);
        }
        gpu.queue_submit(gpu.queue, &[batch], vk::Fence::null())?;
    }
    let last = gpu.fence()?;
    let batch = vk::SubmitInfo::default()
        .wait_semaphores(&copieds)
        .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS]);
    gpu.queue_submit(gpu.queue, &[batch], last)?;
    gpu.wait(last)?;
    ensure!(child.wait()?.success(), "the other side failed");
    Ok(())
}

fn consume_by_binary_semaphores(descriptors: Vec<OwnedFd>) -> Result<()> {
    let [memory, filled, copied] = taken(descriptors)?;
    let gpu = gpu()?;
    let memory = gpu.imported_buffer(memory, SIZE_BYTES)?;
    let (filled, copied) = (imported(&gpu, None, filled)?, imported(&gpu, None, copied)?);
    let out = gpu.buffer(SIZE_BYTES)?;
    let copy = [record_copy(&gpu, memory.handle, out.handle)?];
    let (filleds, copieds) = ([filled], [copied]);
    for turn in 0..TURNS {
        let fence = gpu.fence()?;
        let batch = vk::SubmitInfo::default()
            .wait_semaphores(&filleds)
            .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
            .command_buffers(&copy);
        gpu.queue_submit(gpu.queue, &[batch], fence)?;
        gpu.wait(fence)?;
        ensure!(out.words().iter().all(|word| *word == turn), "turn {turn} copied other words");
        let signal = vk::SubmitInfo::default().signal_semaphores(&copieds);
        gpu.queue_submit(gpu.queue, &[signal], vk::Fence::null())?;
    }
    Ok(gpu.device_wait_idle()?)
}

/// What a process made is as it was when it was killed: its memory, the values it signalled, and none that it did not.
fn process_that_is_killed_leaves_its_objects_as_they_are() -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = start("process_that_is_killed_leaves_its_objects_as_they_are", &[theirs.as_fd()])?;
    drop(theirs);
    let received = receive(&ours)?;
    child.kill()?;
    child.wait()?;
    let [memory, timeline] = taken(received)?;
    let gpu = gpu()?;
    let memory = gpu.imported_buffer(memory, SIZE_BYTES)?;
    let timeline = imported(&gpu, Some(0), timeline)?;
    ensure!(gpu.get_semaphore_counter_value(timeline)? == 3, "the last value");
    let out = gpu.buffer(SIZE_BYTES)?;
    gpu.run(|c| c.copy_buffer(memory.handle, out.handle, &[WHOLE]))?;
    ensure!(out.words().iter().all(|word| *word == 0xfeed), "other words");
    let (timelines, values) = ([timeline], [4]);
    let wait = vk::SemaphoreWaitInfo::default().semaphores(&timelines).values(&values);
    let answer = gpu.wait_semaphores(&wait, 20_000_000);
    ensure!(answer == Err(vk::Result::TIMEOUT), "a value that nobody signalled: {answer:?}");
    // And it goes on from there.
    submit_values(&gpu, None, Some((timeline, 4)), vk::Fence::null())?;
    gpu.wait_value(timeline, 4)
}

fn make_and_wait_to_be_killed(descriptors: Vec<OwnedFd>) -> Result<()> {
    let [socket] = taken(descriptors)?;
    let gpu = gpu()?;
    let memory = gpu.shareable_buffer(SIZE_BYTES)?;
    let timeline = gpu.shareable_semaphore(Some(0))?;
    gpu.run(|c| c.fill_buffer(memory.handle, 0, SIZE_BYTES, 0xfeed))?;
    submit_values(&gpu, None, Some((timeline, 3)), vk::Fence::null())?;
    gpu.wait_value(timeline, 3)?;
    send(&socket, &[gpu.memory_fd(memory.memory)?, gpu.semaphore_fd(timeline)?])?;
    // The other side kills this process, or ends and closes the socket.
    let mut nothing = [0];
    rustix::io::read(&socket, &mut nothing)?;
    Ok(())
}

fn send(socket: &impl AsFd, descriptors: &[OwnedFd]) -> Result<()> {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    ensure!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "too many descriptors");
    rustix::net::sendmsg(socket, &[std::io::IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive(socket: &impl AsFd) -> Result<Vec<OwnedFd>> {
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let got = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    ensure!(got.bytes == 1, "the other side ended");
    let messages = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors: Vec<OwnedFd> = messages.flatten().collect();
    Some(descriptors).filter(|found| !found.is_empty()).context("no descriptors came")
}
