//! Runs the built-in engine's commands (`dxg_wire::transfer`) over a process's address space.
//!
//! *Invariants.* A command buffer is copied out once and judged in private memory. Every address goes through the address
//! space, piece by piece; the space is not locked while bytes move.

use dxg_wire::shm::SharedSlice;
use dxg_wire::transfer::CommandHeader;
use dxg_wire::transfer::Copy;
use dxg_wire::transfer::FenceWrite;
use dxg_wire::transfer::Fill;
use dxg_wire::transfer::Opcode;
use zerocopy::FromBytes;

use super::space::Found;
use super::space::SharedSpace;
use super::space::Space;
use super::space::TargetId;
use crate::objects::address_space::Mapped;
use crate::objects::address_space::PAGE_BYTES;
use crate::objects::address_space::Placement;
use crate::objects::timeline::Point;

/// Most bytes of a command buffer.
const MAX_COMMANDS_BYTES: usize = 16 << 20;
/// Bytes that are moved at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A command that cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCommand {
    /// An address that leads nowhere, or not to memory.
    #[error("GPU virtual address {0:#x}")]
    Address(u64),
    /// A command that is not one.
    #[error("command at byte {0}")]
    Command(usize),
    /// A command buffer that is too large.
    #[error("command buffer of {0} bytes")]
    TooLarge(u32),
    /// A range that cannot be mapped.
    #[error("address update at {0:#x}")]
    Update(u64),
}

/// A change of an address space, its handles looked up.
#[derive(Clone, Copy, Debug)]
pub(super) enum VaOperation {
    /// Maps a range.
    Map {
        /// Where.
        address: u64,
        /// How much.
        size_bytes: u64,
        /// What.
        mapped: Mapped<TargetId>,
    },
    /// Unmaps a range.
    Unmap {
        /// Where.
        address: u64,
        /// How much.
        size_bytes: u64,
    },
    /// Maps a range to what another is mapped to.
    Copy {
        /// The other.
        source: u64,
        /// Where.
        destination: u64,
        /// How much.
        size_bytes: u64,
    },
}

/// Runs a command buffer; fences that it writes are signalled through `signal`.
pub(super) fn commands(
    space: &SharedSpace,
    address: u64,
    size_bytes: u32,
    signal: &mut dyn FnMut(Point),
) -> Result<(), BadCommand> {
    let size = usize::try_from(size_bytes).map_err(|_| BadCommand::TooLarge(size_bytes))?;
    if size > MAX_COMMANDS_BYTES {
        return Err(BadCommand::TooLarge(size_bytes));
    }
    let mut buffer = vec![0; size];
    read(space, address, &mut buffer)?;
    let mut at = 0;
    while let Some(rest) = buffer.get(at..).filter(|rest| !rest.is_empty()) {
        let bad = BadCommand::Command(at);
        let (header, _) = CommandHeader::read_from_prefix(rest).map_err(|_| bad)?;
        let size = usize::try_from(header.size_bytes).map_err(|_| bad)?;
        if size < size_of::<CommandHeader>() || !size.is_multiple_of(8) {
            return Err(bad);
        }
        command(space, header.opcode, rest.get(..size).ok_or(bad)?, bad, signal)?;
        at = at.checked_add(size).ok_or(bad)?;
    }
    Ok(())
}

fn command(
    space: &SharedSpace,
    opcode: Opcode,
    bytes: &[u8],
    bad: BadCommand,
    signal: &mut dyn FnMut(Point),
) -> Result<(), BadCommand> {
    match opcode {
        Opcode::NOP => Ok(()),
        Opcode::FILL => fill(space, &Fill::read_from_bytes(bytes).map_err(|_| bad)?, bad),
        Opcode::COPY => copy(space, &Copy::read_from_bytes(bytes).map_err(|_| bad)?),
        Opcode::FENCE_WRITE => {
            let write = FenceWrite::read_from_bytes(bytes).map_err(|_| bad)?;
            fence_write(space, &write, signal)
        }
        _ => Err(bad),
    }
}

fn fill(space: &SharedSpace, fill: &Fill, bad: BadCommand) -> Result<(), BadCommand> {
    if !fill.destination.is_multiple_of(4) || !fill.size_bytes.is_multiple_of(4) || fill.reserved != 0 {
        return Err(bad);
    }
    let chunk: Vec<u8> = fill.pattern.to_le_bytes().repeat(CHUNK_BYTES / 4);
    each_piece(space, fill.destination, fill.size_bytes, |memory| {
        let mut at = 0;
        while let Some(left) = memory.len().checked_sub(at).filter(|left| *left != 0) {
            let part = chunk.get(..left.min(CHUNK_BYTES)).unwrap_or_default();
            memory.copy_in(at, part).map_err(|_| BadCommand::Address(fill.destination))?;
            at += part.len();
        }
        Ok(())
    })
}

fn copy(space: &SharedSpace, copy: &Copy) -> Result<(), BadCommand> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0;
    while let Some(left) = copy.size_bytes.checked_sub(done).filter(|left| *left != 0) {
        let source = copy.source.checked_add(done).ok_or(BadCommand::Address(copy.source))?;
        let destination = copy.destination.checked_add(done).ok_or(BadCommand::Address(copy.destination))?;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let part = chunk.get_mut(..len).unwrap_or_default();
        read(space, source, part)?;
        write(space, destination, part)?;
        done += len as u64;
    }
    Ok(())
}

fn fence_write(
    space: &SharedSpace,
    write: &FenceWrite,
    signal: &mut dyn FnMut(Point),
) -> Result<(), BadCommand> {
    let bad = BadCommand::Address(write.address);
    if !write.address.is_multiple_of(8) {
        return Err(bad);
    }
    let found = space.lock().find(write.address, 8).ok_or(bad)?;
    match found {
        Found::Fence(sync, 0) => {
            signal(Point { sync, value: write.value });
            Ok(())
        }
        Found::Fence(..) => Err(bad),
        Found::Memory(memory) => {
            let word = memory.atomic_u64(0).map_err(|_| bad)?;
            word.store(write.value, std::sync::atomic::Ordering::Release);
            Ok(())
        }
    }
}

/// Calls `each` with the pieces of memory of a range, in order.
fn each_piece(
    space: &SharedSpace,
    address: u64,
    size_bytes: u64,
    mut each: impl FnMut(SharedSlice) -> Result<(), BadCommand>,
) -> Result<(), BadCommand> {
    let mut done = 0;
    while let Some(left) = size_bytes.checked_sub(done).filter(|left| *left != 0) {
        let at = address.checked_add(done).ok_or(BadCommand::Address(address))?;
        let found = space.lock().find(at, left);
        let Some(Found::Memory(memory)) = found else { return Err(BadCommand::Address(at)) };
        done += memory.len() as u64;
        each(memory)?;
    }
    Ok(())
}

fn read(space: &SharedSpace, address: u64, into: &mut [u8]) -> Result<(), BadCommand> {
    let bad = BadCommand::Address(address);
    let mut at = 0;
    each_piece(space, address, into.len() as u64, |memory| {
        let part = into.get_mut(at..at + memory.len()).ok_or(bad)?;
        at += part.len();
        memory.copy_out(0, part).map_err(|_| bad)
    })
}

fn write(space: &SharedSpace, address: u64, from: &[u8]) -> Result<(), BadCommand> {
    let bad = BadCommand::Address(address);
    let mut at = 0;
    each_piece(space, address, from.len() as u64, |memory| {
        let part = from.get(at..at + memory.len()).ok_or(bad)?;
        at += part.len();
        memory.copy_in(0, part).map_err(|_| bad)
    })
}

/// Changes an address space.
pub(super) fn update(space: &mut Space, operation: &VaOperation) -> Result<(), BadCommand> {
    match *operation {
        VaOperation::Map { address, size_bytes, mapped } => space
            .ranges
            .map(Placement::At(address), size_bytes, mapped)
            .map(drop)
            .map_err(|_| BadCommand::Update(address)),
        VaOperation::Unmap { address, size_bytes } => {
            space.ranges.unmap(address, size_bytes).map_err(|_| BadCommand::Update(address))
        }
        VaOperation::Copy { source, destination, size_bytes } => {
            copy_mappings(space, source, destination, size_bytes)
        }
    }
}

fn copy_mappings(
    space: &mut Space,
    source: u64,
    destination: u64,
    size_bytes: u64,
) -> Result<(), BadCommand> {
    let bad = BadCommand::Update(destination);
    let mut done = 0;
    while let Some(left) = size_bytes.checked_sub(done).filter(|left| *left != 0) {
        let from = source.checked_add(done).ok_or(bad)?;
        let to = destination.checked_add(done).ok_or(bad)?;
        match space.ranges.resolve(from) {
            Some((mapped, there)) => {
                let size = there.min(left);
                space.ranges.map(Placement::At(to), size, mapped).map_err(|_| bad)?;
                done += size;
            }
            None => {
                space.ranges.unmap(to, PAGE_BYTES).map_err(|_| bad)?;
                done += PAGE_BYTES;
            }
        }
    }
    Ok(())
}
