//! Events, set by the host and by the device.

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Commands;
use crate::gpu::Gpu;
use crate::gpu::Wanted;

scenarios![
    event_of_the_host,
    event_set_by_the_device,
    event_reset_by_the_device,
    event_between_commands,
    event_between_submissions,
    event2_between_commands,
    events_several_waited_at_once,
    event_set_by_the_host_before_the_wait,
    event_polled_until_the_device_sets_it,
    event_changed_by_both_in_turns,
    event2_set_by_the_device,
    event_set_by_a_secondary_command_buffer,
    event_recorded_and_never_submitted,
    event_in_the_place_of_another,
    events_of_two_devices,
    events_by_the_hundred,
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

fn event_polled_until_the_device_sets_it(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    let commands = gpu.recorded(|c| c.set_event(event, ALL))?;
    ensure!(!gpu.get_event_status(event)?, "set before the submission");
    let fence = gpu.fence()?;
    gpu.submit(&[commands], fence)?;
    while !gpu.get_event_status(event)? {
        std::thread::yield_now();
    }
    gpu.wait(fence)?;
    ensure!(gpu.get_event_status(event)?, "not set any more");
    Ok(())
}

fn event_changed_by_both_in_turns(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    for round in 0..5 {
        gpu.run(|c| c.set_event(event, ALL))?;
        ensure!(gpu.get_event_status(event)?, "set by the device, not set in round {round}");
        gpu.reset_event(event)?;
        ensure!(!gpu.get_event_status(event)?, "reset by the host, still set in round {round}");
        gpu.set_event(event)?;
        ensure!(gpu.get_event_status(event)?, "set by the host, not set in round {round}");
        gpu.run(|c| c.reset_event(event, ALL))?;
        ensure!(!gpu.get_event_status(event)?, "reset by the device, still set in round {round}");
    }
    Ok(())
}

fn event2_set_by_the_device(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    let memory = [vk::MemoryBarrier2::default()
        .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
        .dst_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)];
    gpu.run(|c| c.set_event2(event, &vk::DependencyInfo::default().memory_barriers(&memory)))?;
    ensure!(gpu.get_event_status(event)?, "not set");
    Ok(())
}

fn event_set_by_a_secondary_command_buffer(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    let secondary = gpu.command_buffers(gpu.command_pool()?, vk::CommandBufferLevel::SECONDARY, 1)?[0];
    let inheritance = vk::CommandBufferInheritanceInfo::default();
    gpu.begin_command_buffer(
        secondary,
        &vk::CommandBufferBeginInfo::default().inheritance_info(&inheritance),
    )?;
    Commands { gpu: &gpu, raw: secondary }.set_event(event, ALL);
    gpu.end_command_buffer(secondary)?;
    gpu.run(|c| c.execute(&[secondary]))?;
    ensure!(gpu.get_event_status(event)?, "not set");
    Ok(())
}

fn event_recorded_and_never_submitted(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let event = event(&gpu)?;
    gpu.set_event(event)?;
    gpu.recorded(|c| c.reset_event(event, ALL))?;
    ensure!(gpu.get_event_status(event)?, "reset by what was never submitted");
    gpu.reset_event(event)?;
    ensure!(!gpu.get_event_status(event)?, "reset by the host, still set");
    Ok(())
}

/// Drivers give the memory of what was destroyed to what is made next.
fn event_in_the_place_of_another(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let create = vk::EventCreateInfo::default();
    for round in 0..100 {
        let event = gpu.create_event(&create)?;
        ensure!(!gpu.get_event_status(event)?, "a new event is set in round {round}");
        gpu.set_event(event)?;
        ensure!(gpu.get_event_status(event)?, "a set event is not set in round {round}");
        if round % 10 == 0 {
            gpu.run(|c| c.set_event(event, ALL))?;
        }
        gpu.destroy(event);
    }
    Ok(())
}

/// The first objects of two devices may well have the same handle.
fn events_of_two_devices(case: &mut Case) -> Result<()> {
    let open = || Gpu::open(case.physical()?, Wanted::OneQueue);
    let (one, two) = (open()?, open()?);
    let (of_one, of_two) = (event(&one)?, event(&two)?);
    one.set_event(of_one)?;
    ensure!(!two.get_event_status(of_two)?, "the other device's event is set by the host");
    two.run(|c| c.set_event(of_two, ALL))?;
    one.reset_event(of_one)?;
    ensure!(two.get_event_status(of_two)?, "the other device's event is reset by the host");
    ensure!(!one.get_event_status(of_one)?, "the event is not reset");
    Ok(())
}

fn events_by_the_hundred(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let events = (0..300).map(|_| event(&gpu)).collect::<Result<Vec<_>>>()?;
    for event in events.iter().step_by(3) {
        gpu.set_event(*event)?;
    }
    gpu.run(|c| events.iter().step_by(7).for_each(|event| c.set_event(*event, ALL)))?;
    for (at, event) in events.iter().enumerate() {
        same!(gpu.get_event_status(*event)?, at % 3 == 0 || at % 7 == 0, "event {at}");
    }
    Ok(())
}
