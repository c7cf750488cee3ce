//! Lists the adapters that this process can use, over a kernel node and over virtual GPUs of a host alike.

#![forbid(unsafe_code)]

use dxg_core::abi::MemorySegmentGroup;

const MIB: u64 = 1 << 20;

fn main() -> anyhow::Result<()> {
    let candidates = dxg_core::enumerate();
    if candidates.is_empty() {
        println!("no virtual GPU: /dev/dxg is not there, and no dxgd serves a socket that you may open");
    }
    for candidate in candidates {
        println!("{}: {:?} node {}", candidate.index(), candidate.transport(), candidate.path().display());
        let node = match candidate.open() {
            Ok(node) => node,
            Err(error) => {
                println!("   cannot be opened: {error}");
                continue;
            }
        };
        for adapter in node.adapters()? {
            println!("   adapter    {} (LUID {:?})", adapter.name()?, adapter.luid());
            for (title, group) in
                [("local", MemorySegmentGroup::LOCAL), ("shared", MemorySegmentGroup::NON_LOCAL)]
            {
                let memory = adapter.video_memory(group)?;
                println!(
                    "   {title:<10} budget {} MiB, in use {} MiB, reservable {} MiB",
                    memory.budget_bytes / MIB,
                    memory.current_usage_bytes / MIB,
                    memory.available_for_reservation_bytes / MIB
                );
            }
            let device = adapter.create_device()?;
            println!("   device     created, execution state {:?}", device.execution_state()?);
        }
    }
    Ok(())
}
