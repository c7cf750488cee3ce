//! Several threads on one device, and on devices of their own.

use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Result;
use anyhow::anyhow;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;
use crate::shader::wgsl;

scenarios![
    threads_submit_with_a_lock,
    threads_record_at_once,
    threads_make_pipelines,
    threads_make_and_destroy_objects,
    threads_allocate_and_map,
    threads_update_their_sets,
    threads_with_devices_of_their_own,
];

/// Runs 8 threads and gives what failed first.
fn eight(work: impl Fn(u32) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || work(i))).collect();
        let results: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        results.into_iter().try_for_each(|result| result.map_err(|_| anyhow!("a thread panicked"))?)
    })
}

/// Submits under the lock that the queue needs, waits outside it.
fn submit(gpu: &Gpu, lock: &Mutex<()>, commands: vk::CommandBuffer, fence: vk::Fence) -> Result<()> {
    {
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        gpu.submit(&[commands], fence)?;
    }
    gpu.wait(fence)?;
    Ok(gpu.reset_fences(&[fence])?)
}

fn threads_submit_with_a_lock(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let lock = Mutex::new(());
    eight(|thread| {
        let buffer = gpu.buffer(64)?;
        let fence = gpu.fence()?;
        let pool = gpu.command_pool()?;
        let commands = gpu.command_buffers(pool, vk::CommandBufferLevel::PRIMARY, 1)?[0];
        for round in 0..100 {
            let value = thread * 1000 + round;
            gpu.record(commands, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, |c| {
                c.fill_buffer(buffer.handle, 0, 64, value);
                c.to_host();
            })?;
            submit(&gpu, &lock, commands, fence)?;
            same!(buffer.words(), vec![value; 16], "thread {thread} round {round}");
        }
        Ok(())
    })
}

fn threads_record_at_once(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let target = gpu.buffer(8 * 4096)?;
    let recorded = Mutex::new(Vec::new());
    eight(|thread| {
        let commands = gpu.recorded(|c| {
            for i in 0..1024 {
                c.fill_buffer(target.handle, u64::from(thread * 4096 + i * 4), 4, thread << 16 | i);
            }
            c.to_host();
        })?;
        recorded.lock().unwrap_or_else(PoisonError::into_inner).push(commands);
        Ok(())
    })?;
    gpu.submit_and_wait(&recorded.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    let want: Vec<u32> = (0..8).flat_map(|thread| (0..1024).map(move |i| thread << 16 | i)).collect();
    same!(target.words(), want, "words");
    case.digest(&want);
    Ok(())
}

fn threads_make_pipelines(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let lock = Mutex::new(());
    eight(|thread| {
        for round in 1..5 {
            let factor = thread * 10 + round;
            let code = wgsl(&format!(
                "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
                 @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) {{
                     out[i] = i * {factor}u;
                 }}"
            ))?;
            let kernel = gpu.kernel(&code, 1)?;
            let buffer = gpu.buffer(64)?;
            let set = gpu.storage_set(&kernel, &[buffer])?;
            let commands = gpu.recorded(|c| {
                c.bind(&kernel, set);
                c.dispatch(1, 1, 1);
                c.to_host();
            })?;
            submit(&gpu, &lock, commands, gpu.fence()?)?;
            same!(buffer.words(), (0..16).map(|i| i * factor).collect::<Vec<_>>(), "thread {thread}");
        }
        Ok(())
    })
}

fn threads_make_and_destroy_objects(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    eight(|thread| {
        for round in 0..500 {
            let size = u64::from(thread + 1) * 64 + round;
            let create =
                vk::BufferCreateInfo::default().size(size).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
            let buffer = gpu.create_buffer(&create)?;
            let fence = gpu.create_fence(&vk::FenceCreateInfo::default())?;
            let event = gpu.create_event(&vk::EventCreateInfo::default())?;
            gpu.set_event(event)?;
            same!(gpu.get_fence_status(fence)?, false, "a new fence");
            same!(gpu.get_event_status(event)?, true, "a set event");
            gpu.destroy(event);
            gpu.destroy(fence);
            gpu.destroy(buffer);
        }
        Ok(())
    })
}

fn threads_allocate_and_map(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let memory_type = gpu.host_memory_type(u32::MAX)?;
    eight(|thread| {
        for round in 0..200_u32 {
            let size = 64 << (round % 12);
            let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(memory_type);
            let memory = gpu.allocate_memory(&info)?;
            let value = (thread << 16 | round).to_le_bytes();
            gpu.write_mapped(memory, size - 4, &value)?;
            same!(gpu.read_mapped(memory, size - 4, 4)?, value, "thread {thread}");
            gpu.destroy(memory);
        }
        Ok(())
    })
}

fn threads_update_their_sets(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> input: array<u32>;
         @group(0) @binding(1) var<storage, read_write> to: array<u32>;
         @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) {
             to[i] = input[i] + 1u;
         }",
    )?;
    let kernel = gpu.kernel(&code, 2)?;
    let lock = Mutex::new(());
    eight(|thread| {
        for round in 0..20 {
            let (from, to) = (gpu.buffer_of(&[thread * 100 + round; 16])?, gpu.buffer(64)?);
            let set = gpu.storage_set(&kernel, &[from, to])?;
            let commands = gpu.recorded(|c| {
                c.bind(&kernel, set);
                c.dispatch(1, 1, 1);
                c.to_host();
            })?;
            submit(&gpu, &lock, commands, gpu.fence()?)?;
            same!(to.words(), vec![thread * 100 + round + 1; 16], "thread {thread}");
        }
        Ok(())
    })
}

fn threads_with_devices_of_their_own(case: &mut Case) -> Result<()> {
    let case = &*case;
    eight(|thread| {
        let gpu = case.gpu()?;
        let buffer = gpu.buffer(4096)?;
        for round in 0..20 {
            gpu.run(|c| c.fill_buffer(buffer.handle, 0, vk::WHOLE_SIZE, thread * 50 + round))?;
            same!(buffer.words(), vec![thread * 50 + round; 1024], "thread {thread}");
        }
        Ok(())
    })
}
