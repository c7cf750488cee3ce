//! What a program lives through: hosts that die under it, drivers that are unloaded, forks.
//!
//! The program `vk-life` runs one of these over the driver and prints what it has come to, one word a line; the test that
//! started it answers with a line when it has done its part.

use std::fs;
use std::io::BufRead as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use crate::gpu::Gpu;
use crate::gpu::HANG;
use crate::gpu::Physical;
use crate::gpu::Wanted;
use crate::scenarios::same;

/// The program and its threads wait for what only the loss of the device ends.
pub const WAITING: &str = "waiting";
/// The loss has been seen everywhere, and everything was destroyed.
pub const LOST: &str = "lost";
/// All is well.
pub const DONE: &str = "done";

const DEVICE_LOST: Option<vk::Result> = Some(vk::Result::ERROR_DEVICE_LOST);
/// The first rounds fill what is kept for good: the allocator's arenas, the C library's stacks, tables of the loader.
const WARM_UP: usize = 2;

/// What this process holds of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    /// Mappings of shared memory: of hosts, of blocks, of rings.
    shared_mappings: usize,
}

impl Held {
    fn now() -> Result<Self> {
        let entries = |dir: &str| Ok::<_, anyhow::Error>(fs::read_dir(dir).context("/proc")?.count());
        let maps = fs::read_to_string("/proc/self/maps").context("/proc/self/maps")?;
        Ok(Self {
            descriptors: entries("/proc/self/fd")?,
            threads: entries("/proc/self/task")?,
            shared_mappings: maps.lines().filter(|line| line.contains("/memfd:")).count(),
        })
    }

    fn is_within(self, other: Self) -> bool {
        self.descriptors <= other.descriptors
            && self.threads <= other.threads
            && self.shared_mappings <= other.shared_mappings
    }
}

/// Waits until no more than this is held: what is over is put away by threads that nobody waits for.
fn settle(settled: Held) -> Result<()> {
    let began = Instant::now();
    loop {
        let held = Held::now()?;
        if held.is_within(settled) {
            return Ok(());
        }
        ensure!(began.elapsed() < HANG, "the program holds {held:?}, before it held {settled:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs rounds; what is held after each must be what was held after those that warm up.
fn rounds(count: usize, mut round: impl FnMut() -> Result<()>) -> Result<()> {
    let mut settled = None;
    for number in 0..count {
        round().with_context(|| format!("round {number}"))?;
        if number + 1 == WARM_UP {
            settled = Some(Held::now()?);
        } else if let Some(settled) = settled {
            settle(settled).with_context(|| format!("after round {number}"))?;
        }
    }
    Ok(())
}

fn say(word: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}")?;
    Ok(out.flush()?)
}

/// Waits for the test to have done its part.
fn hear() -> Result<()> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line)?;
    ensure!(read > 0, "the test has gone");
    Ok(())
}

fn open() -> Result<Gpu> {
    Gpu::open(Physical::open(0)?, Wanted::OneQueue)
}

/// That a device computes what it is asked to.
fn works(gpu: &Gpu) -> Result<()> {
    let buffer = gpu.buffer(64)?;
    gpu.run(|c| c.fill_buffer(buffer.handle, 0, vk::WHOLE_SIZE, 42))?;
    same!(buffer.words(), [42; 16], "words");
    Ok(())
}

/// Loses its device while three threads wait, destroys everything and goes on with a new one, `count` times.
///
/// # Errors
///
/// What did not go as the specification says.
pub fn loss(count: usize) -> Result<()> {
    rounds(count, || {
        let gpu = open()?;
        works(&gpu)?;
        lose(&gpu)?;
        drop(gpu);
        say(LOST)
    })?;
    say(DONE)
}

fn lose(gpu: &Gpu) -> Result<()> {
    let hang_ns = u64::try_from(HANG.as_nanos())?;
    let (go, never) = (gpu.timeline(0)?, gpu.timeline(0)?);
    let fence = gpu.fence()?;
    // Work that never begins, so that nothing but the loss ends the waits.
    let (waits, values, stages) = ([go], [1], [vk::PipelineStageFlags::ALL_COMMANDS]);
    let mut timeline = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&values);
    let batch = vk::SubmitInfo::default()
        .wait_semaphores(&waits)
        .wait_dst_stage_mask(&stages)
        .push_next(&mut timeline);
    gpu.queue_submit(gpu.queue, &[batch], fence)?;
    let wait_semaphore = || {
        let (semaphores, values) = ([never], [9]);
        let wait = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        gpu.wait_semaphores(&wait, hang_ns).err()
    };
    thread::scope(|scope| {
        let fence = scope.spawn(|| gpu.wait_for_fences(&[fence], true, hang_ns).err());
        let semaphore = scope.spawn(wait_semaphore);
        let idle = scope.spawn(|| gpu.device_wait_idle().err());
        say(WAITING)?;
        hear()?;
        for (what, waiter) in [("fence", fence), ("semaphore", semaphore), ("idle", idle)] {
            let ended = waiter.join().map_err(|_| anyhow::anyhow!("a waiter panicked"))?;
            same!(ended, DEVICE_LOST, "the wait for {what}");
        }
        anyhow::Ok(())
    })?;
    same!(gpu.get_fence_status(fence).err(), DEVICE_LOST, "vkGetFenceStatus");
    same!(gpu.get_semaphore_counter_value(never).err(), DEVICE_LOST, "vkGetSemaphoreCounterValue");
    same!(gpu.queue_submit(gpu.queue, &[], vk::Fence::null()).err(), DEVICE_LOST, "vkQueueSubmit");
    same!(gpu.queue_wait_idle(gpu.queue).err(), DEVICE_LOST, "vkQueueWaitIdle");
    Ok(())
}

/// Loads the loader and with it the driver, uses a device and unloads them again, `count` times.
///
/// # Errors
///
/// Something did not work, or was left behind.
pub fn unload(count: usize) -> Result<()> {
    rounds(count, || works(&open()?))?;
    say(DONE)
}

/// Devices side by side in several threads, each with an instance of its own, `count` times.
///
/// They come and go one by one: the loader (1.3.239) looks devices up in lists
/// that another thread may be changing.
///
/// # Errors
///
/// Something did not work, or was left behind.
pub fn side_by_side(count: usize) -> Result<()> {
    rounds(count, || {
        let turn = Mutex::new(());
        let live = || {
            let opened = turn.lock().map_err(|_| anyhow::anyhow!("another thread panicked"))?;
            let gpu = open()?;
            drop(opened);
            let worked = works(&gpu);
            let _closing = turn.lock();
            drop(gpu);
            worked
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(live)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
        })
    })?;
    say(DONE)
}

/// Forks while it has a device: the child is refused its parent's, has one of its own, and the parent goes on.
///
/// # Errors
///
/// Something did not go as it should.
pub fn fork() -> Result<()> {
    let gpu = open()?;
    let fence = gpu.fence()?;
    works(&gpu)?;
    let in_child = || {
        same!(gpu.queue_submit(gpu.queue, &[], fence).err(), DEVICE_LOST, "vkQueueSubmit in the child");
        same!(gpu.queue_wait_idle(gpu.queue).err(), DEVICE_LOST, "vkQueueWaitIdle in the child");
        same!(
            gpu.wait_for_fences(&[fence], true, u64::MAX).err(),
            DEVICE_LOST,
            "vkWaitForFences in the child"
        );
        works(&open()?)
    };
    let held = dxg_tests::fork::in_child(|| match in_child() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("child: {error:#}");
            false
        }
    });
    ensure!(held, "the child failed");
    works(&gpu)?;
    gpu.queue_submit(gpu.queue, &[], fence)?;
    gpu.wait(fence)?;
    say(DONE)
}
