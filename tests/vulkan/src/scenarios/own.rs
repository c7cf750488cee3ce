//! What only this driver does: who its devices are, what a quota does, and what becomes of memory that it imported.
//!
//! *Why apart.* A native driver has nothing to compare it with.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::prelude::VkResult;
use ash::vk;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::getppid;
use rustix::process::kill_process;

use super::Case;
use super::same;
use super::scenarios;
use super::several_queues::works;
use crate::gpu::Gpu;
use crate::gpu::HostRange;
use crate::gpu::Wanted;

scenarios![
    device_is_the_virtual_gpu,
    budget_follows_allocations,
    memory_beyond_the_quota_is_refused,
    memory_of_another_client_is_not_in_the_budget,
    shared_memory_is_not_imported,
    host_pointers_that_overlap_or_are_not_aligned_are_refused,
    killed_worker_leaves_imported_memory,
    device_destroyed_while_it_waits_hurts_no_other,
];

fn device_is_the_virtual_gpu(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    let mut ids = vk::PhysicalDeviceIDProperties::default();
    let mut core = vk::PhysicalDeviceVulkan11Properties::default();
    physical.properties2(&mut vk::PhysicalDeviceProperties2::default().push_next(&mut ids));
    physical.properties2(&mut vk::PhysicalDeviceProperties2::default().push_next(&mut core));
    let hex: String = ids.device_uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let directory = std::env::var_os("DXG_RUNTIME_DIR").context("no DXG_RUNTIME_DIR")?;
    let sockets: Vec<String> = fs::read_dir(PathBuf::from(directory).join("vgpu"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().replace('-', "")))
        .collect::<Result<_>>()?;
    ensure!(sockets.contains(&format!("{hex}.sock")), "{hex} is not among {sockets:?}");
    same!((ids.device_luid_valid, ids.device_node_mask), (vk::TRUE, 1), "LUID and nodes");
    ensure!(ids.device_luid != [0; vk::LUID_SIZE], "the LUID is zero");
    same!(&ids.driver_uuid[..6], b"dxg-vk", "driver");
    same!((core.device_uuid, core.driver_uuid), (ids.device_uuid, ids.driver_uuid), "UUIDs both ways");
    same!((core.device_luid, core.device_luid_valid), (ids.device_luid, vk::TRUE), "LUID both ways");
    same!(core.device_node_mask, ids.device_node_mask, "nodes both ways");
    Ok(())
}

/// Budget and usage of the heap of mapped memory.
fn budget(gpu: &Gpu) -> Result<(u64, u64)> {
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    gpu.physical.memory2_chain(&mut vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget));
    let kind = gpu.memory.memory_types[gpu.host_memory_type(u32::MAX)? as usize];
    let heap = kind.heap_index as usize;
    let (most, used) = (budget.heap_budget[heap], budget.heap_usage[heap]);
    ensure!(most > 0 && most <= gpu.memory.memory_heaps[heap].size, "a budget of {most}");
    Ok((most, used))
}

fn allocate(gpu: &Gpu, size: u64) -> Result<VkResult<vk::DeviceMemory>> {
    let kind = gpu.host_memory_type(u32::MAX)?;
    let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(kind);
    Ok(gpu.allocate_memory(&info))
}

fn budget_follows_allocations(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let before = budget(&gpu)?;
    let memory = allocate(&gpu, 1 << 20)??;
    same!(budget(&gpu)?, (before.0, before.1 + (1 << 20)), "with 1 MiB");
    let other = allocate(&gpu, 3 << 20)??;
    gpu.destroy(memory);
    same!(budget(&gpu)?.1, before.1 + (3 << 20), "with 3 MiB");
    gpu.destroy(other);
    same!(budget(&gpu)?, before, "with nothing");
    Ok(())
}

fn memory_beyond_the_quota_is_refused(case: &mut Case) -> Result<()> {
    const PIECE_BYTES: u64 = 64 << 20;
    let gpu = case.gpu()?;
    let (most, _) = budget(&gpu)?;
    for round in 0..2 {
        let mut held = Vec::new();
        let refused = loop {
            ensure!(held.len() as u64 * PIECE_BYTES <= most, "more than the budget was granted");
            match allocate(&gpu, PIECE_BYTES)? {
                Ok(memory) => held.push(memory),
                Err(error) => break error,
            }
        };
        same!(refused, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, "round {round}");
        ensure!((held.len() as u64 + 2) * PIECE_BYTES > most, "only {} pieces in round {round}", held.len());
        works(&gpu)?;
        held.into_iter().for_each(|memory| gpu.destroy(memory));
    }
    gpu.run(|_| ())
}

/// Two devices of this program, and another client of the same virtual GPU.
fn memory_of_another_client_is_not_in_the_budget(case: &mut Case) -> Result<()> {
    const PIECE_BYTES: u64 = 64 << 20;
    const OTHER_BYTES: u64 = 512 << 20;
    let gpus = [case.gpu()?, Gpu::open(case.physical()?, Wanted::OneQueue)?];
    let alone = budget(&gpus[0])?.0;
    let candidates = dxg_core::enumerate();
    let candidate = candidates.iter().find(|candidate| candidate.transport() == dxg_core::Transport::Host);
    let node = candidate.context("no virtual GPU")?.open()?;
    let streams = node.streams().context("a node without streams")?;
    let other = streams.lease(OTHER_BYTES)?;
    let most = budget(&gpus[0])?.0;
    same!(most, alone - OTHER_BYTES, "what the other client leaves");
    let mut held = [Vec::new(), Vec::new()];
    let refused = 'refused: loop {
        for (gpu, held) in gpus.iter().zip(&mut held) {
            match allocate(gpu, PIECE_BYTES)? {
                Ok(memory) => held.push(memory),
                Err(error) => break 'refused error,
            }
        }
    };
    same!(refused, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, "beyond the budget");
    let pieces = (held[0].len() + held[1].len()) as u64;
    ensure!(pieces * PIECE_BYTES <= most, "{pieces} pieces are more than the budget of {most}");
    ensure!((pieces + 2) * PIECE_BYTES > most, "only {pieces} pieces of a budget of {most}");
    for gpu in &gpus {
        same!(allocate(gpu, PIECE_BYTES)?, Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY), "either device");
        works(gpu)?;
    }
    drop(other);
    // The answer comes after the release on the same connection.
    ensure!(streams.budget_bytes() >= OTHER_BYTES, "what was given back is not in the other client's budget");
    let memory = allocate(&gpus[0], PIECE_BYTES)??;
    gpus[0].destroy(memory);
    for (gpu, held) in gpus.iter().zip(held) {
        held.into_iter().for_each(|memory| gpu.destroy(memory));
    }
    same!(budget(&gpus[0])?.0, alone, "alone again");
    gpus[1].run(|_| ())
}

fn shared_memory_is_not_imported(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let range = HostRange::shared(64 << 10)?;
    range.write(0, &[5; 64]);
    let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
    same!(gpu.host_pointer_types(&range), Err(invalid), "vkGetMemoryHostPointerPropertiesEXT");
    let allocated = gpu.import_as(&range, gpu.host_memory_type(u32::MAX)?);
    same!(allocated, Err(invalid), "vkAllocateMemory");
    same!(range.read(0, 64), [5; 64], "bytes");
    gpu.run(|_| ())
}

/// What cannot be imported harms neither what is imported nor the device.
fn host_pointers_that_overlap_or_are_not_aligned_are_refused(case: &mut Case) -> Result<()> {
    const PAGE: usize = 4096;
    const LEN: usize = 16 * PAGE;
    let gpu = case.gpu()?;
    let kind = gpu.host_memory_type(u32::MAX)?;
    let range = HostRange::new(LEN, gpu.physical.host_pointer_alignment())?;
    range.write(0, &[7; LEN]);
    let refused = |offset, len, what: &str| {
        let imported = gpu.import_part(&range, offset, len, kind).map(|_| ());
        same!(imported, Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE), "{what}");
        Ok(())
    };
    refused(100, PAGE, "not aligned")?;
    refused(0, PAGE + 100, "part of a page")?;
    refused(0, 0, "nothing")?;
    let middle = gpu.import(&range, 4 * PAGE, 8 * PAGE)?;
    refused(2 * PAGE, 4 * PAGE, "over its begin")?;
    refused(10 * PAGE, 4 * PAGE, "over its end")?;
    refused(0, LEN, "all around it")?;
    refused(5 * PAGE + 100, PAGE, "in it, not aligned")?;
    refused(5 * PAGE, 100, "in it, part of a page")?;
    refused(11 * PAGE, PAGE + 100, "over its end by part of a page")?;
    same!(range.read(0, LEN), [7; LEN], "bytes after refusals");
    gpu.run(|c| c.fill_buffer(middle.0, 0, vk::WHOLE_SIZE, 0x0101_0101))?;
    same!(range.read(4 * PAGE, 8 * PAGE), [1; 8 * PAGE], "what is imported is the device's");
    for first in [0, 1] {
        let mut again =
            vec![gpu.import(&range, 4 * PAGE, 8 * PAGE)?, gpu.import(&range, 4 * PAGE, 8 * PAGE)?];
        gpu.forget(again.remove(first));
        let value = 0x0202_0202 << first;
        gpu.run(|c| c.fill_buffer(again[0].0, 0, vk::WHOLE_SIZE, value))?;
        same!(range.read(4 * PAGE, 4), value.to_le_bytes(), "the other one, {first} was freed");
        gpu.forget(again.remove(0));
    }
    gpu.forget(middle);
    // Nothing is imported any more, so any part of it can be.
    let whole = gpu.import(&range, 0, LEN)?;
    gpu.run(|c| c.fill_buffer(whole.0, 0, PAGE as u64, 0))?;
    same!(range.read(PAGE - 4, 8), [0, 0, 0, 0, 7, 7, 7, 7], "all of it");
    gpu.forget(whole);
    same!(range.read(12 * PAGE, 4 * PAGE), [7; 4 * PAGE], "bytes at the end");
    Ok(())
}

/// The parent of a process, and its command line.
fn process(pid: i32) -> Option<(i32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything but ends with the last parenthesis.
    let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((parent, fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ")))
}

/// Kills the workers of the daemon that was started beside this program.
fn kill_workers() -> Result<()> {
    let starter = getppid().context("no parent")?.as_raw_nonzero().get();
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let workers: Vec<i32> = pids
        .filter(|pid| {
            process(*pid).is_some_and(|(parent, command)| {
                command.contains("worker") && process(parent).is_some_and(|(above, _)| above == starter)
            })
        })
        .collect();
    ensure!(!workers.is_empty(), "the daemon has no workers");
    for pid in workers {
        kill_process(Pid::from_raw(pid).context("no process")?, Signal::KILL)?;
    }
    Ok(())
}

fn killed_worker_leaves_imported_memory(case: &mut Case) -> Result<()> {
    let range = HostRange::new(64 << 10, 64 << 10)?;
    range.write(0, &[9; 4096]);
    let gpu = case.gpu()?;
    let imported = gpu.import(&range, 0, 64 << 10)?;
    kill_workers()?;
    // The loss is seen in the end.
    while gpu.run(|_| ()).is_ok() {}
    same!(range.read(0, 4096), [9; 4096], "bytes of a lost device");
    gpu.forget(imported);
    range.write(100, &[3]);
    same!(range.read(99, 3), [9, 3, 9], "the program's own again");
    drop(gpu);
    let gpu = case.gpu()?;
    let imported = gpu.import(&range, 0, 64 << 10)?;
    gpu.run(|c| c.fill_buffer(imported.0, 0, 8, 1))?;
    same!(range.read(0, 12), [1, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9], "on a new device");
    gpu.forget(imported);
    Ok(())
}

/// A device that goes with work that would never end takes neither its client's time nor the other devices along.
fn device_destroyed_while_it_waits_hurts_no_other(case: &mut Case) -> Result<()> {
    let other = case.gpu()?;
    let before = budget(&other)?;
    for _ in 0..3 {
        let gpu = Gpu::open(case.physical()?, Wanted::OneQueue)?;
        gpu.keep(allocate(&gpu, 1 << 20)??);
        let (never, next) = (gpu.timeline(0)?, gpu.timeline(0)?);
        let (waits, values, stages) = ([never], [9], [vk::PipelineStageFlags::ALL_COMMANDS]);
        let mut points = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&values)
            .signal_semaphore_values(&[1]);
        let signals = [next];
        let batch = vk::SubmitInfo::default()
            .wait_semaphores(&waits)
            .wait_dst_stage_mask(&stages)
            .signal_semaphores(&signals)
            .push_next(&mut points);
        gpu.queue_submit(gpu.queue, &[batch], vk::Fence::null())?;
        gpu.abandon();
        same!(budget(&other)?.1, before.1, "memory that the device had");
        other.run(|_| ())?;
        works(&other)?;
    }
    Ok(())
}
