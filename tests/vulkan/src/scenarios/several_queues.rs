//! Several queues: apart from each other, one after another, and lost together.
//!
//! Devices with one queue have nothing to show here. What is held back waits for a timeline semaphore that the scenario
//! signals. The last scenarios are for the driver of the tests, which fails where they ask it to.

use anyhow::Result;
use anyhow::ensure;
use ash::prelude::VkResult;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;
use crate::gpu::HANG;
use crate::gpu::Physical;
use crate::gpu::Wanted;

scenarios![
    queues_work_in_threads_of_their_own,
    queues_released_in_another_order,
    queues_idle_apart,
    queues_hand_over_by_a_timeline,
    queues_hand_over_by_binary_semaphores,
    fences_of_queues_any_and_all,
    fences_any_ends_with_one_submitted_meanwhile,
    timelines_of_queues_any_and_all,
    driver_of_the_tests_loses_its_device,
    driver_of_the_tests_fails_to_create,
    driver_of_the_tests_fails_calls_alone,
    driver_of_the_tests_takes_so_many_allocations,
];

const TIMEOUT: VkResult<()> = Err(vk::Result::TIMEOUT);
const LOST: VkResult<()> = Err(vk::Result::ERROR_DEVICE_LOST);
/// Long enough to see that something does not happen; nothing depends on it.
const SHORT_NS: u64 = 2_000_000;
/// `BUFFER_THAT_FAILS_BYTES` and `BUFFER_THAT_LOSES_BYTES` of the driver of the tests.
const FAILS_BYTES: u64 = 0x00FA_1100;
/// `MEMORY_THAT_FAILS_BYTES`, `QUERIES_THAT_FAIL`, `SETS_THAT_FAIL` and `MEMORY_ALLOCATIONS` of it.
const MEMORY_FAILS_BYTES: u64 = 0x0510_0000;
const QUERIES_FAIL: u32 = 0xFA11;
const SETS_FAIL: u32 = 0x00FA_1100;
const ALLOCATIONS: usize = 64;
const LOSES_BYTES: u64 = 0x0010_5700;

fn hang_ns() -> u64 {
    u64::try_from(HANG.as_nanos()).unwrap_or(u64::MAX)
}

/// A device with every queue there is, where there are several.
fn all_queues(case: &Case) -> Result<Gpu> {
    let physical = case.physical()?;
    let count: u32 = physical.queue_families().iter().map(|family| family.queue_count).sum();
    case.need(count > 1, "second queue")?;
    Gpu::open(physical, Wanted::AllFamilies)
}

/// A physical device of the driver of the tests.
fn of_the_tests(case: &Case) -> Result<Physical> {
    let physical = case.physical()?;
    case.need(physical.properties().device_name_as_c_str() == Ok(c"fake"), "failures on demand")?;
    Ok(physical)
}

type Points<'a> = &'a [(vk::Semaphore, u64)];

fn infos(points: Points<'_>) -> Vec<vk::SemaphoreSubmitInfo<'static>> {
    let info = |(semaphore, value): &(vk::Semaphore, u64)| {
        vk::SemaphoreSubmitInfo::default()
            .semaphore(*semaphore)
            .value(*value)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
    };
    points.iter().map(info).collect()
}

/// Submits a batch that waits and signals.
fn submit(
    gpu: &Gpu,
    queue: vk::Queue,
    waits: Points<'_>,
    signals: Points<'_>,
    fence: vk::Fence,
) -> VkResult<()> {
    let (waits, signals) = (infos(waits), infos(signals));
    let batch = vk::SubmitInfo2::default().wait_semaphore_infos(&waits).signal_semaphore_infos(&signals);
    gpu.queue_submit2(queue, &[batch], fence)
}

fn signal(gpu: &Gpu, semaphore: vk::Semaphore, value: u64) -> VkResult<()> {
    gpu.signal_semaphore(&vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(value))
}

/// Waits for one or all of some points.
fn wait(gpu: &Gpu, points: Points<'_>, flags: vk::SemaphoreWaitFlags, timeout_ns: u64) -> VkResult<()> {
    let (semaphores, values): (Vec<_>, Vec<_>) = points.iter().copied().unzip();
    let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values).flags(flags);
    gpu.wait_semaphores(&info, timeout_ns)
}

fn timelines(gpu: &Gpu) -> Result<Vec<vk::Semaphore>> {
    gpu.queues.iter().map(|_| gpu.timeline(0)).collect()
}

fn fences(gpu: &Gpu) -> Result<Vec<vk::Fence>> {
    gpu.queues.iter().map(|_| gpu.fence()).collect()
}

/// A thread for each queue.
fn for_each_queue(gpu: &Gpu, work: impl Fn(vk::Queue, usize) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = gpu
            .queues
            .iter()
            .enumerate()
            .map(|(index, queue)| scope.spawn(move || work(*queue, index)))
            .collect();
        let results: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        results.into_iter().try_for_each(|result| result.map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })
}

fn queues_work_in_threads_of_their_own(case: &mut Case) -> Result<()> {
    let gpu = all_queues(case)?;
    for_each_queue(&gpu, |queue, _| {
        let fence = gpu.fence()?;
        let counter = gpu.timeline(0)?;
        for round in 1..=300 {
            submit(&gpu, queue, &[], &[(counter, round)], fence)?;
            gpu.wait(fence)?;
            same!(gpu.get_semaphore_counter_value(counter)?, round, "counter behind its fence");
            gpu.reset_fences(&[fence])?;
        }
        Ok(gpu.queue_wait_idle(queue)?)
    })?;
    Ok(gpu.device_wait_idle()?)
}

fn queues_released_in_another_order(case: &mut Case) -> Result<()> {
    let gpu = all_queues(case)?;
    let (go, done, fences) = (timelines(&gpu)?, timelines(&gpu)?, fences(&gpu)?);
    for (index, queue) in gpu.queues.iter().enumerate() {
        submit(&gpu, *queue, &[(go[index], 1)], &[(done[index], 7)], fences[index])?;
    }
    same!(gpu.wait_for_fences(&fences, false, SHORT_NS), TIMEOUT, "all are held");
    for index in (0..gpu.queues.len()).rev() {
        signal(&gpu, go[index], 1)?;
        gpu.wait(fences[index])?;
        same!(gpu.get_semaphore_counter_value(done[index])?, 7, "queue {index}");
        for (other, fence) in fences.iter().enumerate() {
            same!(gpu.get_fence_status(*fence)?, other >= index, "queue {other} when {index} was released");
        }
    }
    Ok(gpu.device_wait_idle()?)
}

fn queues_idle_apart(case: &mut Case) -> Result<()> {
    let gpu = all_queues(case)?;
    let go = gpu.timeline(0)?;
    let held = gpu.fence()?;
    submit(&gpu, gpu.queues[0], &[(go, 1)], &[], held)?;
    for queue in &gpu.queues[1..] {
        for _ in 0..20 {
            submit(&gpu, *queue, &[], &[], vk::Fence::null())?;
        }
        gpu.queue_wait_idle(*queue)?;
    }
    ensure!(!gpu.get_fence_status(held)?, "what is held is done");
    std::thread::scope(|scope| {
        let idle = scope.spawn(|| gpu.device_wait_idle());
        signal(&gpu, go, 1)?;
        match idle.join() {
            Ok(result) => Ok(result?),
            Err(_) => anyhow::bail!("the waiting thread panicked"),
        }
    })?;
    ensure!(gpu.get_fence_status(held)?, "the device was idle before its work was done");
    Ok(())
}

/// Each queue waits for the one before it; who waits is submitted before what it waits for.
fn queues_hand_over_by_a_timeline(case: &mut Case) -> Result<()> {
    const ROUNDS: u64 = 300;
    let gpu = all_queues(case)?;
    let count = gpu.queues.len() as u64;
    let baton = gpu.timeline(0)?;
    for_each_queue(&gpu, |queue, index| {
        let fence = gpu.fence()?;
        for round in 0..ROUNDS {
            let mine = round * count + index as u64 + 1;
            submit(&gpu, queue, &[(baton, mine)], &[(baton, mine + 1)], fence)?;
            if mine == 1 {
                signal(&gpu, baton, 1)?;
            }
            gpu.wait(fence)?;
            let value = gpu.get_semaphore_counter_value(baton)?;
            ensure!(value > mine, "the fence of {mine} is signalled, and the counter is {value}");
            gpu.reset_fences(&[fence])?;
        }
        Ok(())
    })?;
    same!(gpu.get_semaphore_counter_value(baton)?, ROUNDS * count + 1, "the last value");
    Ok(())
}

fn queues_hand_over_by_binary_semaphores(case: &mut Case) -> Result<()> {
    let gpu = all_queues(case)?;
    let chain = gpu.queues[1..].iter().map(|_| gpu.semaphore()).collect::<Result<Vec<_>>>()?;
    let fence = gpu.fence()?;
    for _ in 0..100 {
        for (index, queue) in gpu.queues.iter().enumerate() {
            let waits = index.checked_sub(1).map(|before| (chain[before], 0));
            let signals = chain.get(index).map(|semaphore| (*semaphore, 0));
            let last = if index + 1 == gpu.queues.len() { fence } else { vk::Fence::null() };
            submit(&gpu, *queue, waits.as_slice(), signals.as_slice(), last)?;
        }
        gpu.wait(fence)?;
        gpu.reset_fences(&[fence])?;
    }
    Ok(gpu.device_wait_idle()?)
}

fn fences_of_queues_any_and_all(case: &mut Case) -> Result<()> {
    let gpu = all_queues(case)?;
    let (go, fences) = (timelines(&gpu)?, fences(&gpu)?);
    for released in 0..fences.len() {
        for (index, queue) in gpu.queues.iter().enumerate() {
            let value = released as u64 + 1;
            submit(&gpu, *queue, &[(go[index], value)], &[], fences[index])?;
        }
        std::thread::scope(|scope| {
            let any = scope.spawn(|| gpu.wait_for_fences(&fences, false, hang_ns()));
            let all = scope.spawn(|| gpu.wait_for_fences(&fences, true, hang_ns()));
            signal(&gpu, go[released], released as u64 + 1)?;
            let any = any.join();
            same!(gpu.wait_for_fences(&fences, true, SHORT_NS), TIMEOUT, "one of several");
            for (index, semaphore) in go.iter().enumerate().filter(|(index, _)| *index != released) {
                signal(&gpu, *semaphore, released as u64 + 1)
                    .map_err(|error| anyhow::anyhow!("{index}: {error}"))?;
            }
            for waited in [any, all.join()] {
                match waited {
                    Ok(result) => result?,
                    Err(_) => anyhow::bail!("a waiting thread panicked"),
                }
            }
            Ok(())
        })?;
        gpu.reset_fences(&fences)?;
    }
    Ok(())
}

fn fences_any_ends_with_one_submitted_meanwhile(case: &mut Case) -> Result<()> {
    let gpu = all_queues(case)?;
    let go = gpu.timeline(0)?;
    let (held, late) = (gpu.fence()?, gpu.fence()?);
    submit(&gpu, gpu.queues[0], &[(go, 1)], &[], held)?;
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| gpu.wait_for_fences(&[held, late], false, hang_ns()));
        // The waiter is in its wait by then most times; the result is the same if it is not.
        let _ = wait(&gpu, &[(go, 1)], vk::SemaphoreWaitFlags::empty(), 10 * SHORT_NS);
        submit(&gpu, gpu.queues[1], &[], &[], late)?;
        match waiter.join() {
            Ok(result) => Ok(result?),
            Err(_) => anyhow::bail!("the waiting thread panicked"),
        }
    })?;
    ensure!(!gpu.get_fence_status(held)?, "what is held is done");
    signal(&gpu, go, 1)?;
    gpu.wait(held)
}

fn timelines_of_queues_any_and_all(case: &mut Case) -> Result<()> {
    let gpu = all_queues(case)?;
    let (go, done) = (timelines(&gpu)?, timelines(&gpu)?);
    let points: Vec<_> = done.iter().map(|semaphore| (*semaphore, 5)).collect();
    let none = vk::SemaphoreWaitFlags::empty();
    for (index, queue) in gpu.queues.iter().enumerate() {
        submit(&gpu, *queue, &[(go[index], 1)], &[points[index]], vk::Fence::null())?;
    }
    same!(wait(&gpu, &points, vk::SemaphoreWaitFlags::ANY, SHORT_NS), TIMEOUT, "any, all are held");
    for (index, semaphore) in go.iter().enumerate() {
        same!(wait(&gpu, &points, none, SHORT_NS), TIMEOUT, "all, {index} are released");
        signal(&gpu, *semaphore, 1)?;
        wait(&gpu, &points[index..], vk::SemaphoreWaitFlags::ANY, hang_ns())?;
        wait(&gpu, &points[index..=index], none, hang_ns())?;
    }
    Ok(wait(&gpu, &points, none, hang_ns())?)
}

fn buffer(gpu: &Gpu, size: u64) -> VkResult<vk::Buffer> {
    let usage = vk::BufferUsageFlags::TRANSFER_DST;
    gpu.create_buffer(&vk::BufferCreateInfo::default().size(size).usage(usage))
}

/// That every way to notice says the device is lost, and soon.
fn is_lost_everywhere(gpu: &Gpu, never: vk::Fence, counter: vk::Semaphore) -> Result<()> {
    same!(gpu.wait_for_fences(&[never], true, hang_ns()), LOST, "vkWaitForFences");
    same!(gpu.get_fence_status(never).map(|_| ()), LOST, "vkGetFenceStatus");
    same!(wait(gpu, &[(counter, 9)], vk::SemaphoreWaitFlags::empty(), hang_ns()), LOST, "vkWaitSemaphores");
    same!(gpu.get_semaphore_counter_value(counter).map(|_| ()), LOST, "vkGetSemaphoreCounterValue");
    same!(gpu.device_wait_idle(), LOST, "vkDeviceWaitIdle");
    for queue in &gpu.queues {
        same!(submit(gpu, *queue, &[], &[], vk::Fence::null()), LOST, "vkQueueSubmit2");
        same!(gpu.queue_wait_idle(*queue), LOST, "vkQueueWaitIdle");
    }
    same!(buffer(gpu, 64).map(|_| ()), LOST, "vkCreateBuffer");
    same!(signal(gpu, counter, 9), LOST, "vkSignalSemaphore");
    Ok(())
}

pub(super) fn works(gpu: &Gpu) -> Result<()> {
    let fences = fences(gpu)?;
    for (queue, fence) in gpu.queues.iter().zip(&fences) {
        submit(gpu, *queue, &[], &[(gpu.timeline(0)?, 1)], *fence)?;
    }
    Ok(gpu.wait_for_fences(&fences, true, hang_ns())?)
}

fn driver_of_the_tests_loses_its_device(case: &mut Case) -> Result<()> {
    let physical = of_the_tests(case)?;
    let gpu = Gpu::open(physical, Wanted::AllFamilies)?;
    let (go, later, held) = (gpu.timeline(0)?, gpu.timeline(0)?, gpu.fence()?);
    submit(&gpu, gpu.queues[0], &[(go, 1)], &[], held)?;
    std::thread::scope(|scope| {
        let waiters = [
            scope.spawn(|| gpu.wait_for_fences(&[held], true, u64::MAX)),
            scope.spawn(|| gpu.queue_wait_idle(gpu.queues[0])),
            scope.spawn(|| wait(&gpu, &[(go, 1)], vk::SemaphoreWaitFlags::empty(), u64::MAX)),
        ];
        // Made without an answer, so it succeeds; the loss is seen with what follows.
        let _ = buffer(&gpu, LOSES_BYTES);
        let _ = submit(&gpu, gpu.queues[1], &[], &[(later, 1)], vk::Fence::null());
        for waiter in waiters {
            same!(waiter.join().ok(), Some(LOST), "a wait that was under way");
        }
        Ok(())
    })?;
    is_lost_everywhere(&gpu, held, go)?;
    drop(gpu);
    works(&Gpu::open(case.physical()?, Wanted::AllFamilies)?)
}

fn driver_of_the_tests_fails_to_create(case: &mut Case) -> Result<()> {
    let physical = of_the_tests(case)?;
    let gpu = Gpu::open(physical.clone(), Wanted::AllFamilies)?;
    let (counter, never) = (gpu.timeline(0)?, gpu.fence()?);
    works(&gpu)?;
    // Made without an answer: the failure is that of the device, and what names the buffer does no harm.
    if let Ok(failed) = buffer(&gpu, FAILS_BYTES) {
        let _ = gpu.get_buffer_memory_requirements(failed);
        gpu.destroy(failed);
    }
    is_lost_everywhere(&gpu, never, counter)?;
    drop(gpu);
    // The instance goes on.
    works(&Gpu::open(physical, Wanted::AllFamilies)?)
}

fn allocate(gpu: &Gpu, kind: u32, size: u64) -> VkResult<vk::DeviceMemory> {
    gpu.allocate_memory(&vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(kind))
}

/// What is waited for fails by itself, with the driver's own result, and the device goes on.
fn driver_of_the_tests_fails_calls_alone(case: &mut Case) -> Result<()> {
    const OF_THE_DRIVER: u32 = 0;
    const MAPPED: u32 = 1;
    let gpu = Gpu::open(of_the_tests(case)?, Wanted::AllFamilies)?;
    let (device_memory, host_memory) =
        (vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, vk::Result::ERROR_OUT_OF_HOST_MEMORY);
    for kind in [OF_THE_DRIVER, MAPPED] {
        let failed = allocate(&gpu, kind, MEMORY_FAILS_BYTES).map(|_| ());
        same!(failed, Err(device_memory), "vkAllocateMemory of type {kind}");
        gpu.destroy(allocate(&gpu, kind, MEMORY_FAILS_BYTES - 4096)?);
    }
    let queries = |count| {
        let kind = vk::QueryType::OCCLUSION;
        gpu.create_query_pool(&vk::QueryPoolCreateInfo::default().query_type(kind).query_count(count))
    };
    same!(queries(QUERIES_FAIL).map(|_| ()), Err(device_memory), "vkCreateQueryPool");
    gpu.destroy(queries(QUERIES_FAIL - 1)?);
    let sets = |count| {
        let sizes = [vk::DescriptorPoolSize { ty: vk::DescriptorType::SAMPLER, descriptor_count: 1 }];
        gpu.create_descriptor_pool(
            &vk::DescriptorPoolCreateInfo::default().max_sets(count).pool_sizes(&sizes),
        )
    };
    same!(sets(SETS_FAIL).map(|_| ()), Err(host_memory), "vkCreateDescriptorPool");
    gpu.destroy(sets(SETS_FAIL - 1)?);
    works(&gpu)
}

fn driver_of_the_tests_takes_so_many_allocations(case: &mut Case) -> Result<()> {
    let gpu = Gpu::open(of_the_tests(case)?, Wanted::AllFamilies)?;
    let another = Gpu::open(gpu.physical.clone(), Wanted::AllFamilies)?;
    let mut held = (0..ALLOCATIONS).map(|_| allocate(&gpu, 1, 4096)).collect::<VkResult<Vec<_>>>()?;
    let many = Err(vk::Result::ERROR_TOO_MANY_OBJECTS);
    same!(allocate(&gpu, 1, 4096).map(|_| ()), many, "one more");
    another.destroy(allocate(&another, 1, 4096)?);
    held.pop().into_iter().for_each(|memory| gpu.destroy(memory));
    held.push(allocate(&gpu, 1, 4096)?);
    held.into_iter().for_each(|memory| gpu.destroy(memory));
    works(&gpu)
}
