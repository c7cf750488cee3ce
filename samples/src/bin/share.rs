//! Two processes share memory and a fence on one virtual GPU.
//!
//! The first fills an allocation and signals the fence; the second waits, checks what it sees, answers in the same memory
//! and signals back. What passes between them is two descriptors, and a descriptor may be passed by any means that Linux
//! has. Here they become the second process's standard input and output.

#![forbid(unsafe_code)]

use std::env;
use std::io;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use dxg_core::AllocationOptions;
use dxg_core::Device;
use dxg_core::Fence;
use dxg_core::FenceValue;
use dxg_core::ResourceOptions;
use dxg_core::ResourceSharing;
use dxg_core::WaitOutcome;

/// What the memory holds: numbers, each a function of its place and of who wrote it.
const WORDS: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// Fence values: the first process has written, the second has answered.
const WRITTEN: FenceValue = FenceValue(1);
const ANSWERED: FenceValue = FenceValue(2);

fn question(place: usize) -> u32 {
    (place as u32).wrapping_mul(2_654_435_761)
}

fn answer(question: u32) -> u32 {
    !question
}

fn main() -> anyhow::Result<()> {
    let device = first_device()?;
    if env::args().any(|argument| argument == "--second") { second(&device) } else { first(&device) }
}

/// A device on the first virtual GPU that we may use.
fn first_device() -> anyhow::Result<Device> {
    let candidates = dxg_core::enumerate();
    let candidate = candidates.first().context("no virtual GPU: is dxgd running, or /dev/dxg there?")?;
    Ok(candidate.open()?.first_adapter()?.create_device()?)
}

/// Makes the objects, writes, and reads the answer.
fn first(device: &Device) -> anyhow::Result<()> {
    let resource = device.create_resource(ResourceOptions {
        allocations: vec![AllocationOptions::cross_adapter(WORDS as u64 * 4)],
        sharing: ResourceSharing::Shareable,
        ..Default::default()
    })?;
    let fence = device.create_shared_fence(FenceValue(0))?;
    let memory = resource.allocations().first().context("a resource without an allocation")?.map()?;
    let bytes: Vec<u8> = (0..WORDS).flat_map(|place| question(place).to_le_bytes()).collect();
    memory.write(0, &bytes)?;

    let mut second = Command::new(env::current_exe()?)
        .arg("--second")
        .stdin(Stdio::from(resource.share()?))
        .stdout(Stdio::from(fence.share()?))
        .spawn()
        .context("cannot start the second process")?;
    println!("first  ({}): wrote {WORDS} words, signals {}", std::process::id(), WRITTEN.0);
    fence.signal(WRITTEN)?;
    wait(&fence, ANSWERED).context("the second process gave no answer")?;

    let mut bytes = vec![0; WORDS * 4];
    memory.read(0, &mut bytes)?;
    let wrong = words(&bytes).enumerate().filter(|(place, word)| *word != answer(question(*place))).count();
    ensure!(wrong == 0, "{wrong} of {WORDS} words are not what the second process should have written");
    let status = second.wait()?;
    ensure!(status.success(), "the second process failed: {status}");
    println!("first  ({}): saw {WORDS} answers at fence value {}", std::process::id(), fence.value().0);
    Ok(())
}

/// Opens the objects of the first process, checks and answers.
fn second(device: &Device) -> anyhow::Result<()> {
    let resource =
        device.open_shared_resource(io::stdin().as_fd()).context("no resource on standard input")?;
    let fence = device.open_shared_fence(io::stdout().as_fd()).context("no fence on standard output")?;
    let memory = resource.allocations().first().context("a resource without an allocation")?.map()?;
    wait(&fence, WRITTEN)?;
    let mut bytes = vec![0; WORDS * 4];
    memory.read(0, &mut bytes)?;
    if let Some((place, word)) = words(&bytes).enumerate().find(|(place, word)| *word != question(*place)) {
        bail!("word {place} is {word:#x}, expected {:#x}", question(place));
    }
    let answers: Vec<u8> = words(&bytes).flat_map(|word| answer(word).to_le_bytes()).collect();
    memory.write(0, &answers)?;
    eprintln!("second ({}): checked {WORDS} words, answers, signals {}", std::process::id(), ANSWERED.0);
    fence.signal(ANSWERED)?;
    Ok(())
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

fn wait(fence: &Fence, value: FenceValue) -> anyhow::Result<()> {
    match fence.wait(value, Some(PATIENCE))? {
        WaitOutcome::Reached => Ok(()),
        _ => bail!("fence value {} was not reached in {PATIENCE:?}, it is {}", value.0, fence.value().0),
    }
}
