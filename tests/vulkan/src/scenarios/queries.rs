//! Queries: timestamps and statistics, read by the host and copied by the device.

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;
use crate::shader::wgsl;

scenarios![
    timestamps_grow,
    timestamps2_grow,
    timestamps_between_submissions,
    query_results_32_bits,
    query_results_not_there_yet,
    query_results_partial,
    query_results_of_work_that_waits,
    query_results_between_other_words,
    query_results_copied,
    query_reset_by_the_host,
    query_reset_by_commands,
    query_pool_many,
    pipeline_statistics,
];

const WAIT: vk::QueryResultFlags = vk::QueryResultFlags::WAIT;
const AVAILABILITY: vk::QueryResultFlags = vk::QueryResultFlags::WITH_AVAILABILITY;
const TOP: vk::PipelineStageFlags = vk::PipelineStageFlags::TOP_OF_PIPE;
const BOTTOM: vk::PipelineStageFlags = vk::PipelineStageFlags::BOTTOM_OF_PIPE;

fn timestamps(case: &Case, gpu: &Gpu, count: u32) -> Result<vk::QueryPool> {
    case.need(gpu.timestamp_bits, "timestamps on this queue")?;
    let create = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(count);
    Ok(gpu.keep(gpu.create_query_pool(&create)?))
}

/// Numbers of all queries that are there, waited for.
fn numbers(gpu: &Gpu, pool: vk::QueryPool, count: usize) -> Result<Vec<u64>> {
    let mut out = vec![[0_u64; 2]; count];
    gpu.query_results(pool, 0, &mut out, WAIT | AVAILABILITY)?;
    ensure!(out.iter().all(|one| one[1] != 0), "waited for and not available");
    Ok(out.iter().map(|one| one[0]).collect())
}

fn grows(numbers: &[u64]) -> Result<()> {
    ensure!(numbers.windows(2).all(|pair| pair[0] <= pair[1]), "not in order: {numbers:?}");
    ensure!(numbers.iter().all(|number| *number != 0), "a timestamp is 0: {numbers:?}");
    Ok(())
}

fn timestamps_grow(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = timestamps(case, &gpu, 8)?;
    let buffer = gpu.buffer(1 << 20)?;
    gpu.run(|c| {
        c.reset_queries(pool, 0, 8);
        for query in 0..8 {
            c.write_timestamp(if query == 0 { TOP } else { BOTTOM }, pool, query);
            c.fill_buffer(buffer.handle, 0, vk::WHOLE_SIZE, query);
            c.barrier();
        }
    })?;
    grows(&numbers(&gpu, pool, 8)?)
}

fn timestamps2_grow(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = timestamps(case, &gpu, 4)?;
    gpu.run(|c| {
        c.reset_queries(pool, 0, 4);
        for query in 0..4 {
            c.write_timestamp2(vk::PipelineStageFlags2::ALL_COMMANDS, pool, query);
            c.barrier();
        }
    })?;
    grows(&numbers(&gpu, pool, 4)?)
}

fn timestamps_between_submissions(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = timestamps(case, &gpu, 10)?;
    gpu.run(|c| c.reset_queries(pool, 0, 10))?;
    for query in 0..10 {
        gpu.run(|c| c.write_timestamp(BOTTOM, pool, query))?;
    }
    grows(&numbers(&gpu, pool, 10)?)
}

fn query_results_32_bits(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = timestamps(case, &gpu, 2)?;
    gpu.run(|c| {
        c.reset_queries(pool, 0, 2);
        c.write_timestamp(TOP, pool, 0);
        c.write_timestamp(BOTTOM, pool, 1);
    })?;
    let wide = numbers(&gpu, pool, 2)?;
    let mut narrow = [[0_u32; 2]; 2];
    gpu.query_numbers(pool, 0, &mut narrow, WAIT | AVAILABILITY)?;
    for (narrow, wide) in narrow.iter().zip(wide) {
        // Which of the low bits a narrow result keeps after an overflow is the device's choice.
        ensure!(narrow[1] != 0, "waited for and not available");
        ensure!(u64::from(narrow[0]) == wide & 0xffff_ffff || narrow[0] == u32::MAX, "{narrow:?} {wide}");
    }
    Ok(())
}

fn query_results_not_there_yet(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = timestamps(case, &gpu, 3)?;
    gpu.run(|c| {
        c.reset_queries(pool, 0, 3);
        c.write_timestamp(BOTTOM, pool, 1);
    })?;
    let none = vk::QueryResultFlags::empty();
    let mut one = [[7_u64; 2]];
    let result = gpu.query_results(pool, 0, &mut one, none);
    same!(result, Err(vk::Result::NOT_READY), "a query that was not written");
    let mut all = [[7_u64; 2]; 3];
    let result = gpu.query_results(pool, 0, &mut all, AVAILABILITY);
    same!(result, Err(vk::Result::NOT_READY), "one of three");
    same!(all.map(|one| one[1] != 0), [false, true, false], "availability");
    gpu.query_results(pool, 1, &mut one, AVAILABILITY)?;
    ensure!(one[0][1] != 0, "the one that was written");
    Ok(())
}

fn query_results_partial(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.pipeline_statistics_query, "pipelineStatisticsQuery")?;
    let create = vk::QueryPoolCreateInfo::default()
        .query_type(vk::QueryType::PIPELINE_STATISTICS)
        .query_count(2)
        .pipeline_statistics(vk::QueryPipelineStatisticFlags::COMPUTE_SHADER_INVOCATIONS);
    let pool = gpu.keep(gpu.create_query_pool(&create)?);
    gpu.run(|c| {
        c.reset_queries(pool, 0, 2);
        c.begin_query(pool, 1, vk::QueryControlFlags::empty());
        c.end_query(pool, 1);
    })?;
    let mut out = [[9_u64; 2]; 2];
    // Partial results never make the call fail for want of results.
    let result = gpu.query_results(pool, 0, &mut out, vk::QueryResultFlags::PARTIAL | AVAILABILITY);
    ensure!(matches!(result, Ok(()) | Err(vk::Result::NOT_READY)), "{result:?}");
    same!(out.map(|one| one[1] != 0), [false, true], "availability");
    same!(out[1][0], 0, "invocations of nothing");
    Ok(())
}

fn query_results_of_work_that_waits(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.pipeline_statistics_query, "pipelineStatisticsQuery")?;
    let create = vk::QueryPoolCreateInfo::default()
        .query_type(vk::QueryType::PIPELINE_STATISTICS)
        .query_count(1)
        .pipeline_statistics(vk::QueryPipelineStatisticFlags::COMPUTE_SHADER_INVOCATIONS);
    let pool = gpu.keep(gpu.create_query_pool(&create)?);
    gpu.run(|c| c.reset_queries(pool, 0, 1))?;
    let commands = gpu.recorded(|c| {
        c.begin_query(pool, 0, vk::QueryControlFlags::empty());
        c.end_query(pool, 0);
    })?;
    let (go, done) = (gpu.timeline(0)?, gpu.timeline(0)?);
    let waits = [vk::SemaphoreSubmitInfo::default()
        .semaphore(go)
        .value(1)
        .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    let signals = [vk::SemaphoreSubmitInfo::default()
        .semaphore(done)
        .value(1)
        .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
    let batch = vk::SubmitInfo2::default()
        .wait_semaphore_infos(&waits)
        .command_buffer_infos(&buffers)
        .signal_semaphore_infos(&signals);
    gpu.queue_submit2(gpu.queue, &[batch], vk::Fence::null())?;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut out = [[9_u64; 2]; 1];
            let flags = WAIT | AVAILABILITY | vk::QueryResultFlags::PARTIAL;
            gpu.query_results(pool, 0, &mut out, flags).map(|()| out)
        });
        // Long enough for the reader to be in its call most times; the result is the same if it is not.
        let _ = gpu
            .wait_semaphores(&vk::SemaphoreWaitInfo::default().semaphores(&[done]).values(&[1]), 50_000_000);
        gpu.signal_semaphore(&vk::SemaphoreSignalInfo::default().semaphore(go).value(1))?;
        match reader.join() {
            Ok(result) => same!(result?, [[0, 1]], "invocations of nothing, available"),
            Err(_) => anyhow::bail!("the reader panicked"),
        }
        Ok(())
    })?;
    gpu.wait_value(done, 1)
}

fn query_results_between_other_words(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = timestamps(case, &gpu, 3)?;
    gpu.run(|c| {
        c.reset_queries(pool, 0, 3);
        c.write_timestamp(BOTTOM, pool, 0);
        c.write_timestamp(BOTTOM, pool, 2);
    })?;
    let mut out = [[9_u64; 2]; 3];
    let result = gpu.query_results(pool, 0, &mut out, vk::QueryResultFlags::empty());
    ensure!(result == Err(vk::Result::NOT_READY), "one is missing: {result:?}");
    same!(out.map(|one| one[1]), [9; 3], "the words between");
    same!(out[1][0], 9, "the result that is missing");
    Ok(())
}

fn query_results_copied(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = timestamps(case, &gpu, 4)?;
    let buffer = gpu.buffer(256)?;
    gpu.run(|c| {
        c.reset_queries(pool, 0, 4);
        for query in 0..4 {
            c.write_timestamp(BOTTOM, pool, query);
        }
        let flags = vk::QueryResultFlags::TYPE_64 | WAIT | AVAILABILITY;
        c.copy_query_results(pool, 0, 4, buffer.handle, 32, 32, flags);
        c.barrier();
    })?;
    let words: Vec<[u64; 2]> = (0..4).map(|i| buffer.read::<[u64; 2]>(32 + i * 32, 1)[0]).collect();
    ensure!(words.iter().all(|one| one[1] != 0), "copied and not available: {words:?}");
    let copied: Vec<u64> = words.iter().map(|one| one[0]).collect();
    same!(copied, numbers(&gpu, pool, 4)?, "copied and read");
    same!(buffer.read::<u64>(0, 4), [0; 4], "before the results");
    Ok(())
}

fn query_reset_by_the_host(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features12.host_query_reset, "hostQueryReset")?;
    let pool = timestamps(case, &gpu, 4)?;
    for _ in 0..10 {
        gpu.reset_query_pool(pool, 0, 4);
        let mut out = [[7_u64; 2]; 4];
        let result = gpu.query_results(pool, 0, &mut out, AVAILABILITY);
        same!(result, Err(vk::Result::NOT_READY), "after the reset");
        same!(out.map(|one| one[1]), [0; 4], "availability after the reset");
        gpu.run(|c| {
            for query in 0..4 {
                c.write_timestamp(BOTTOM, pool, query);
            }
        })?;
        grows(&numbers(&gpu, pool, 4)?)?;
    }
    Ok(())
}

fn query_reset_by_commands(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = timestamps(case, &gpu, 2)?;
    let write = gpu.recorded(|c| {
        c.reset_queries(pool, 0, 2);
        c.write_timestamp(BOTTOM, pool, 0);
        c.write_timestamp(BOTTOM, pool, 1);
    })?;
    let reset = gpu.recorded(|c| c.reset_queries(pool, 1, 1))?;
    for _ in 0..10 {
        gpu.submit_and_wait(&[write])?;
        numbers(&gpu, pool, 2)?;
        gpu.submit_and_wait(&[reset])?;
        let mut out = [[7_u64; 2]; 2];
        let result = gpu.query_results(pool, 0, &mut out, AVAILABILITY);
        same!(result, Err(vk::Result::NOT_READY), "after the reset of one");
        same!(out.map(|one| one[1] != 0), [true, false], "availability");
    }
    Ok(())
}

fn query_pool_many(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let pool = timestamps(case, &gpu, 4096)?;
    gpu.run(|c| {
        c.reset_queries(pool, 0, 4096);
        for query in 0..4096 {
            c.write_timestamp(BOTTOM, pool, query);
        }
    })?;
    grows(&numbers(&gpu, pool, 4096)?)
}

fn pipeline_statistics(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.pipeline_statistics_query, "pipelineStatisticsQuery")?;
    let create = vk::QueryPoolCreateInfo::default()
        .query_type(vk::QueryType::PIPELINE_STATISTICS)
        .query_count(2)
        .pipeline_statistics(vk::QueryPipelineStatisticFlags::COMPUTE_SHADER_INVOCATIONS);
    let pool = gpu.keep(gpu.create_query_pool(&create)?);
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
             out[id.x] = id.x;
         }",
    )?;
    let kernel = gpu.kernel(&code, 1)?;
    let buffer = gpu.buffer(32 * 4 * 6)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    gpu.run(|c| {
        c.reset_queries(pool, 0, 2);
        c.bind(&kernel, set);
        for (query, groups) in [(0, 6), (1, 2)] {
            c.begin_query(pool, query, vk::QueryControlFlags::empty());
            c.dispatch(groups, 1, 1);
            c.end_query(pool, query);
        }
    })?;
    let numbers = numbers(&gpu, pool, 2)?;
    same!(numbers, [192, 64], "invocations");
    case.digest(&numbers);
    Ok(())
}
