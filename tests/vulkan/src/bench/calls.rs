//! Single calls and short sequences of them.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use anyhow::Result;
use ash::vk;

use super::Length;
use super::Workload;
use super::gpu;
use super::median_ns;
use super::median_of_ns;
use super::rate;
use super::time;
use crate::gpu::ImageInfo;
use crate::shader::wgsl;

pub(super) const ALL: &[Workload] = &[
    time("submit", "empty vkQueueSubmit + vkWaitForFences", "us", submit),
    time("submit_small", "vkQueueSubmit of a small fill + vkWaitForFences", "us", submit_small),
    time("submit_busy", "the same, one busy thread on each core", "us", submit_busy),
    rate("submit_busy_rate", "small submits, one busy thread on each core", "1/s", submit_busy_rate),
    time("timeline", "timeline submit + vkWaitSemaphores", "us", timeline),
    time("fence_status", "vkGetFenceStatus, unsignalled", "ns", fence_status),
    time("timeline_counter", "vkGetSemaphoreCounterValue", "ns", timeline_counter),
    time("event_status", "vkGetEventStatus", "ns", event_status),
    time("query_status", "vkGetQueryPoolResults, not available", "ns", query_status),
    time("fence_churn", "fence create + destroy", "ns", fence_churn),
    time("buffer_churn", "buffer create + requirements + destroy", "ns", buffer_churn),
    time("image_churn", "image create + requirements + destroy", "ns", image_churn),
    time("memory_churn", "allocate + map + free 64 KiB", "us", memory_churn),
    time("record_1k", "record a dispatch, 1,000 per buffer", "ns", record_1k),
    time("record_10k", "record a dispatch, 10,000 per buffer", "ns", record_10k),
    rate(
        "record_threads",
        "pipelines bound by one recording thread on each core, to the end",
        "1/s",
        record_threads,
    ),
    time("descriptors", "descriptor set allocate + update", "ns", descriptors),
    time("pipeline", "compute pipeline create + destroy", "us", pipeline),
];

const TIMEOUT_NS: u64 = 60_000_000_000;

fn submit(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let fence = gpu.fence()?;
    // One by one: on a busy machine a hundred together always contain a turn of somebody else's.
    let ns = median_ns(length, 1, || {
        gpu.queue_submit(gpu.queue, &[], fence)?;
        gpu.wait_for_fences(&[fence], true, TIMEOUT_NS)?;
        Ok(gpu.reset_fences(&[fence])?)
    })?;
    Ok(ns / 1e3)
}

fn submit_small(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let buffer = gpu.buffer(4096)?;
    let commands = gpu.recorded(|c| {
        c.fill_buffer(buffer.handle, 0, vk::WHOLE_SIZE, 3);
        c.to_host();
    })?;
    let fence = gpu.fence()?;
    let ns = median_ns(length, 1, || {
        gpu.submit(&[commands], fence)?;
        gpu.wait(fence)?;
        Ok(gpu.reset_fences(&[fence])?)
    })?;
    Ok(ns / 1e3)
}

fn submit_busy(length: Length) -> Result<f64> {
    crowded(|| submit_small(length))
}

fn submit_busy_rate(length: Length) -> Result<f64> {
    crowded(|| super::processes::small_submits(length))
}

/// Runs with one busy thread on each core.
fn crowded(run: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let stop = AtomicBool::new(false);
    let cores = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = run();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn timeline(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let semaphore = gpu.timeline(0)?;
    let mut value = 0;
    let ns = median_ns(length, 1, || {
        value += 1;
        let signal = [vk::SemaphoreSubmitInfo::default()
            .semaphore(semaphore)
            .value(value)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
        let batch = [vk::SubmitInfo2::default().signal_semaphore_infos(&signal)];
        gpu.queue_submit2(gpu.queue, &batch, vk::Fence::null())?;
        gpu.wait_value(semaphore, value)?;
        Ok(())
    })?;
    Ok(ns / 1e3)
}

fn fence_status(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let fence = gpu.fence()?;
    median_ns(length, 10_000, || {
        for _ in 0..10_000 {
            black_box(gpu.get_fence_status(fence)?);
        }
        Ok(())
    })
}

fn timeline_counter(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let semaphore = gpu.timeline(3)?;
    median_ns(length, 10_000, || {
        for _ in 0..10_000 {
            black_box(gpu.get_semaphore_counter_value(semaphore)?);
        }
        Ok(())
    })
}

fn event_status(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let event = gpu.keep(gpu.create_event(&vk::EventCreateInfo::default())?);
    median_ns(length, 1000, || {
        for _ in 0..1000 {
            black_box(gpu.get_event_status(event)?);
        }
        Ok(())
    })
}

fn query_status(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let create = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::OCCLUSION).query_count(1);
    let pool = gpu.keep(gpu.create_query_pool(&create)?);
    gpu.reset_query_pool(pool, 0, 1);
    let mut out = [[0_u64; 2]];
    median_ns(length, 1000, || {
        for _ in 0..1000 {
            let flags = vk::QueryResultFlags::WITH_AVAILABILITY;
            // Not ready is the answer, not a failure.
            let _ = black_box(gpu.query_results(pool, 0, &mut out, flags));
        }
        Ok(())
    })
}

fn fence_churn(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    median_ns(length, 1000, || {
        for _ in 0..1000 {
            gpu.destroy(gpu.create_fence(&vk::FenceCreateInfo::default())?);
        }
        Ok(())
    })
}

fn buffer_churn(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let create = vk::BufferCreateInfo::default().size(65_536).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
    median_ns(length, 1000, || {
        for _ in 0..1000 {
            let buffer = gpu.create_buffer(&create)?;
            let _ = black_box(gpu.get_buffer_memory_requirements(buffer));
            gpu.destroy(buffer);
        }
        Ok(())
    })
}

fn image_churn(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let create = ImageInfo::flat(vk::Format::R8G8B8A8_UNORM, 64, 64)
        .used(vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::COLOR_ATTACHMENT)
        .create_info();
    median_ns(length, 1000, || {
        for _ in 0..1000 {
            let image = gpu.create_image(&create)?;
            let _ = black_box(gpu.get_image_memory_requirements(image));
            gpu.destroy(image);
        }
        Ok(())
    })
}

fn memory_churn(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let memory_type = gpu.host_memory_type(u32::MAX)?;
    let info = vk::MemoryAllocateInfo::default().allocation_size(65_536).memory_type_index(memory_type);
    let ns = median_ns(length, 100, || {
        for _ in 0..100 {
            let memory = gpu.allocate_memory(&info)?;
            black_box(gpu.map(memory, 0, vk::WHOLE_SIZE)?);
            gpu.unmap(memory);
            gpu.destroy(memory);
        }
        Ok(())
    })?;
    Ok(ns / 1e3)
}

const SMALL: &str = "
    @group(0) @binding(0) var<storage, read_write> out: array<u32>;
    @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) { out[i] = i; }";

fn record(length: Length, count: u32) -> Result<f64> {
    let gpu = gpu()?;
    let kernel = gpu.kernel(&wgsl(SMALL)?, 1)?;
    let set = gpu.storage_set(&kernel, &[gpu.buffer(64)?])?;
    let commands = gpu.command_buffers(gpu.command_pool()?, vk::CommandBufferLevel::PRIMARY, 1)?[0];
    let fence = gpu.fence()?;
    // What is recorded is submitted and waited for, outside of the time.
    median_of_ns(length, count, || {
        let begin = Instant::now();
        gpu.record(commands, vk::CommandBufferUsageFlags::empty(), |c| {
            c.bind(&kernel, set);
            for _ in 0..count {
                c.dispatch(1, 1, 1);
            }
        })?;
        let took = begin.elapsed();
        gpu.submit(&[commands], fence)?;
        gpu.wait(fence)?;
        gpu.reset_fences(&[fence])?;
        Ok(took)
    })
}

fn record_1k(length: Length) -> Result<f64> {
    record(length, 1000)
}

fn record_10k(length: Length) -> Result<f64> {
    record(length, 10_000)
}

/// Threads record into command buffers of pools of their own; the time ends when the device has executed them all.
fn record_threads(length: Length) -> Result<f64> {
    const EACH: u32 = 10_000;
    let gpu = gpu()?;
    let kernel = gpu.kernel(&wgsl(SMALL)?, 1)?;
    let set = gpu.storage_set(&kernel, &[gpu.buffer(64)?])?;
    let threads = thread::available_parallelism()?.get();
    let commands = (0..threads)
        .map(|_| Ok(gpu.command_buffers(gpu.command_pool()?, vk::CommandBufferLevel::PRIMARY, 1)?[0]))
        .collect::<Result<Vec<_>>>()?;
    let record = |commands: vk::CommandBuffer| {
        gpu.record(commands, vk::CommandBufferUsageFlags::empty(), |c| {
            c.bind(&kernel, set);
            for _ in 0..EACH {
                c.bind_pipeline(kernel.pipeline);
            }
        })
    };
    let fence = gpu.fence()?;
    let ns = median_ns(length, EACH * u32::try_from(threads)?, || {
        thread::scope(|scope| {
            let threads: Vec<_> = commands.iter().map(|one| scope.spawn(|| record(*one))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
        })?;
        gpu.submit(&commands, fence)?;
        gpu.wait(fence)?;
        Ok(gpu.reset_fences(&[fence])?)
    })?;
    Ok(1e9 / ns)
}

fn descriptors(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let kernel = gpu.kernel(&wgsl(SMALL)?, 1)?;
    let buffer = gpu.buffer(64)?;
    let pool = gpu.descriptor_pool(1000, 1)?;
    let layouts = [kernel.set_layout];
    let allocate = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    median_ns(length, 1000, || {
        for _ in 0..1000 {
            let set = gpu.allocate_descriptor_sets(&allocate)?[0];
            gpu.write_descriptor(set, 0, crate::gpu::Resource::Storage(buffer));
        }
        Ok(gpu.reset_descriptor_pool(pool, vk::DescriptorPoolResetFlags::empty())?)
    })
}

fn pipeline(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let kernel = gpu.kernel(&wgsl(SMALL)?, 1)?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(gpu.module(&wgsl(SMALL)?)?)
        .name(c"main");
    let create = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(kernel.layout)];
    let ns = median_ns(length, 1, || {
        gpu.destroy(gpu.create_compute_pipelines(vk::PipelineCache::null(), &create)?[0]);
        Ok(())
    })?;
    Ok(ns / 1e3)
}
