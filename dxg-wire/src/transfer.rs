//! What the built-in engine of a virtual GPU understands: the private data of its allocations and its command buffers.
//!
//! *Why.* On the kernel interface, private data and command buffers are between a user-mode driver and its device. This is
//! that contract for the device that every virtual GPU has, whatever API its adapter serves beside it: it moves
//! bytes between allocations and writes fences, by GPU virtual address.
//!
//! *Layout.* A command buffer is a sequence of commands, each a multiple of 8 bytes that begins with [`CommandHeader`].
//! Everything is little-endian.

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// First word of [`AllocationData`]: `DXGA` in memory order.
pub const ALLOCATION_MAGIC: u32 = u32::from_le_bytes(*b"DXGA");
/// Granularity of allocations, in bytes.
pub const ALLOCATION_UNIT_BYTES: u64 = 4096;

/// Private data of an allocation that is not a standard one: what CREATEALLOCATION sends for each.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AllocationData {
    /// [`ALLOCATION_MAGIC`].
    pub magic: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes wanted; the host rounds up to [`ALLOCATION_UNIT_BYTES`].
    pub size_bytes: u64,
}

impl AllocationData {
    /// The data for an allocation of `size_bytes`.
    #[must_use]
    pub const fn new(size_bytes: u64) -> Self {
        Self { magic: ALLOCATION_MAGIC, reserved: 0, size_bytes }
    }
}

/// What a command does.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Opcode(pub u32);

impl Opcode {
    /// Nothing; of any size.
    pub const NOP: Self = Self(0);
    /// [`Fill`].
    pub const FILL: Self = Self(1);
    /// [`struct@Copy`].
    pub const COPY: Self = Self(2);
    /// [`FenceWrite`].
    pub const FENCE_WRITE: Self = Self(3);
}

/// Begins each command.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CommandHeader {
    /// What it does.
    pub opcode: Opcode,
    /// Bytes of the command, this header included: a multiple of 8.
    pub size_bytes: u32,
}

/// Writes a pattern over a range.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Fill {
    /// [`Opcode::FILL`], 32 bytes.
    pub header: CommandHeader,
    /// GPU virtual address of the range.
    pub destination: u64,
    /// Bytes of the range: a multiple of 4.
    pub size_bytes: u64,
    /// What is written, in each 4 bytes.
    pub pattern: u32,
    /// Zero.
    pub reserved: u32,
}

impl Fill {
    /// The command.
    #[must_use]
    pub const fn new(destination: u64, size_bytes: u64, pattern: u32) -> Self {
        let header = CommandHeader { opcode: Opcode::FILL, size_bytes: size_of::<Self>() as u32 };
        Self { header, destination, size_bytes, pattern, reserved: 0 }
    }
}

/// Copies a range. The ranges must not overlap.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Copy {
    /// [`Opcode::COPY`], 32 bytes.
    pub header: CommandHeader,
    /// GPU virtual address to write to.
    pub destination: u64,
    /// GPU virtual address to read from.
    pub source: u64,
    /// Bytes.
    pub size_bytes: u64,
}

impl Copy {
    /// The command.
    #[must_use]
    pub const fn new(destination: u64, source: u64, size_bytes: u64) -> Self {
        let header = CommandHeader { opcode: Opcode::COPY, size_bytes: size_of::<Self>() as u32 };
        Self { header, destination, source, size_bytes }
    }
}

/// Writes 8 bytes: signals the monitored fence whose GPU address this is, or stores into an allocation.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FenceWrite {
    /// [`Opcode::FENCE_WRITE`], 24 bytes.
    pub header: CommandHeader,
    /// GPU virtual address, a multiple of 8.
    pub address: u64,
    /// The value.
    pub value: u64,
}

impl FenceWrite {
    /// The command.
    #[must_use]
    pub const fn new(address: u64, value: u64) -> Self {
        let header = CommandHeader { opcode: Opcode::FENCE_WRITE, size_bytes: size_of::<Self>() as u32 };
        Self { header, address, value }
    }
}

const _: () = assert!(size_of::<AllocationData>() == 16);
const _: () = assert!(size_of::<Fill>() == 32 && size_of::<Copy>() == 32 && size_of::<FenceWrite>() == 24);

/// First word of [`AdapterData`]: `DXGV` in memory order.
pub const ADAPTER_MAGIC: u32 = u32::from_le_bytes(*b"DXGV");

/// What the query for the user-mode driver's private data answers: how a driver knows this device.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AdapterData {
    /// [`ADAPTER_MAGIC`].
    pub magic: u32,
    /// Version of this contract: 1.
    pub version: u32,
    /// UUID of the host's device, bytes in text order.
    pub device_uuid: [u8; 16],
    /// Bytes of memory that this client may hold.
    pub quota_bytes: u64,
}

const _: () = assert!(size_of::<AdapterData>() == 32);
