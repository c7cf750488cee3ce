//! Events, set by the host and by the device.

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;

scenarios![
    event_of_the_host,
    event_set_by_the_device,
    event_reset_by_the_device,
    event_between_commands,
    event_between_submissions,
    event2_between_commands,
    events_several_waited_at_once,
    event_set_by_the_host_before_the_wait,
];

const ALL: vk::PipelineStageFlags = vk::PipelineStageFlags::ALL_COMMANDS;

fn event(gpu: &Gpu) -> Result<vk::Event> {
    Ok(gpu.keep(gpu.create_event(&vk::EventCreateInfo::default())?))
}

fn barrier() -> [vk::MemoryBarrier<'static>; 1] {
    [vk::MemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
        .dst_access_mask(vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE)]
}

fn event_of_the_host(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    for _ in 0..100 {
        ensure!(!gpu.get_event_status(event)?, "a new or reset event is set");
        gpu.set_event(event)?;
        ensure!(gpu.get_event_status(event)?, "a set event is not set");
        gpu.set_event(event)?;
        gpu.reset_event(event)?;
    }
    Ok(())
}

fn event_set_by_the_device(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    gpu.run(|c| c.set_event(event, ALL))?;
    ensure!(gpu.get_event_status(event)?, "not set");
    Ok(())
}

fn event_reset_by_the_device(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    gpu.set_event(event)?;
    gpu.run(|c| c.reset_event(event, ALL))?;
    ensure!(!gpu.get_event_status(event)?, "set by the host, reset by the device, still set");
    gpu.set_event(event)?;
    gpu.run(|c| c.reset_event2(event, vk::PipelineStageFlags2::ALL_COMMANDS))?;
    ensure!(!gpu.get_event_status(event)?, "set by the host, reset by the device's new way, still set");
    Ok(())
}

fn event_between_commands(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    let (a, b) = (gpu.buffer(64)?, gpu.buffer(64)?);
    gpu.run(|c| {
        c.fill_buffer(a.handle, 0, 64, 4);
        c.set_event(event, ALL);
        c.wait_events(&[event], ALL, ALL, &barrier(), &[], &[]);
        c.copy_buffer(a.handle, b.handle, &[vk::BufferCopy { size: 64, ..Default::default() }]);
    })?;
    same!(b.words(), [4; 16], "words");
    Ok(())
}

fn event_between_submissions(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    let (a, b) = (gpu.buffer(64)?, gpu.buffer(64)?);
    let set = gpu.recorded(|c| {
        c.fill_buffer(a.handle, 0, 64, 5);
        c.set_event(event, ALL);
    })?;
    let waiting = gpu.recorded(|c| {
        c.wait_events(&[event], ALL, ALL, &barrier(), &[], &[]);
        c.copy_buffer(a.handle, b.handle, &[vk::BufferCopy { size: 64, ..Default::default() }]);
        c.to_host();
    })?;
    gpu.submit(&[set], vk::Fence::null())?;
    gpu.submit_and_wait(&[waiting])?;
    same!(b.words(), [5; 16], "words");
    Ok(())
}

fn event2_between_commands(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let create = vk::EventCreateInfo::default().flags(vk::EventCreateFlags::DEVICE_ONLY);
    let event = gpu.keep(gpu.create_event(&create)?);
    let (a, b) = (gpu.buffer(64)?, gpu.buffer(64)?);
    let memory = [vk::MemoryBarrier2::default()
        .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
        .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
        .dst_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
        .dst_access_mask(vk::AccessFlags2::TRANSFER_READ)];
    let info = vk::DependencyInfo::default().memory_barriers(&memory);
    gpu.run(|c| {
        c.fill_buffer(a.handle, 0, 64, 6);
        c.set_event2(event, &info);
        c.wait_events2(&[event], &[info]);
        c.copy_buffer(a.handle, b.handle, &[vk::BufferCopy { size: 64, ..Default::default() }]);
    })?;
    same!(b.words(), [6; 16], "words");
    Ok(())
}

fn events_several_waited_at_once(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let events = (0..8).map(|_| event(&gpu)).collect::<Result<Vec<_>>>()?;
    let (a, b) = (gpu.buffer(128)?, gpu.buffer(128)?);
    gpu.run(|c| {
        for (event, i) in events.iter().zip(0..) {
            c.fill_buffer(a.handle, i * 16, 16, u32::try_from(i).unwrap_or(0) + 1);
            c.set_event(*event, ALL);
        }
        c.wait_events(&events, ALL, ALL, &barrier(), &[], &[]);
        c.copy_buffer(a.handle, b.handle, &[vk::BufferCopy { size: 128, ..Default::default() }]);
    })?;
    same!(b.words(), (0..32).map(|i| i / 4 + 1).collect::<Vec<u32>>(), "words");
    Ok(())
}

fn event_set_by_the_host_before_the_wait(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    let buffer = gpu.buffer(64)?;
    let commands = gpu.recorded(|c| {
        c.wait_events(&[event], vk::PipelineStageFlags::HOST, ALL, &barrier(), &[], &[]);
        c.fill_buffer(buffer.handle, 0, 64, 7);
        c.to_host();
    })?;
    gpu.set_event(event)?;
    gpu.submit_and_wait(&[commands])?;
    same!(buffer.words(), [7; 16], "words");
    Ok(())
}
