//! Work for the host: what a stream runs, and how it is written.

#![forbid(unsafe_code)]

use std::sync::Arc;

use dxg_wire::cuda;
use dxg_wire::cuda::op;

use crate::condition::Branches;
use crate::condition::Turn;
use crate::ffi::callbacks::HostFunction;
use crate::ffi::callbacks::StreamCallback;
use crate::ffi::pointers::Address;
use crate::generated::handles::CUstream;
use crate::lane::Lane;
use crate::module::Function;
use crate::ring::Batch;

/// A grid.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The entry.
    pub function: Arc<Function>,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// Of `launch_flags`.
    pub flags: u32,
    /// The parameter block.
    pub params: Vec<u8>,
}

/// A box of bytes to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Box3d {
    /// To: address, bytes from row to row, bytes from slice to slice.
    pub to: [u64; 3],
    /// From: the same.
    pub from: [u64; 3],
    /// Bytes of a row, rows, slices.
    pub extent: [u64; 3],
}

/// Rows to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// To.
    pub to: u64,
    /// Bytes from row to row.
    pub pitch: u64,
    /// Bytes of the value: 1, 2 or 4.
    pub value_bytes: u32,
    /// The value.
    pub value: u32,
    /// Values in a row.
    pub width: u64,
    /// Rows.
    pub height: u64,
}

/// Something that the host does on a stream.
#[derive(Clone, Debug)]
pub enum Work {
    /// Runs a grid.
    Launch(Launch),
    /// Copies bytes: to, from, how many.
    Copy(u64, u64, u64),
    /// Copies a box.
    Copy3d(Box3d),
    /// Fills rows.
    Fill(Fill),
    /// Waits for another stream.
    Wait(Arc<Lane>, u64),
    /// Waits for a cell: IO address, value.
    WaitCell(u64, u64),
    /// Raises a cell: IO address, value.
    SignalCell(u64, u64),
    /// Writes the time to an IO address.
    Timestamp(u64),
    /// Writes a number: to, bytes, value.
    WriteValue(u64, u32, u64),
    /// Waits for a number: at, bytes, value, how it compares.
    WaitValue(u64, u32, u64, u32),
}

/// A function of the program that runs between two pieces of work.
#[derive(Clone, Debug)]
pub enum HostCall {
    /// `cuLaunchHostFunc`.
    Function(HostFunction, Address),
    /// `cuStreamAddCallback`: with the stream's name.
    Callback(StreamCallback, Address, CUstream),
    /// A copy that only this process can make.
    Copy(Box3d),
    /// A conditional node of a graph, before or after it has run something.
    Branch(Arc<Branches>, Turn),
}

impl Work {
    /// Appends it as number `sequence` of stream `stream`.
    pub fn put(&self, batch: &mut Batch<'_>, stream: u32, sequence: u64) {
        match self {
            Self::Launch(launch) => put_launch(launch, batch, stream, sequence),
            Self::Copy(to, from, bytes) => {
                let message = cuda::Copy { stream, sequence, to: *to, from: *from, bytes: *bytes };
                batch.put(op::COPY, |to| message.encode(to));
            }
            Self::Copy3d(copy) => {
                let message = cuda::Copy3d {
                    stream,
                    sequence,
                    to: copy.to[0],
                    to_pitch: copy.to[1],
                    to_slice: copy.to[2],
                    from: copy.from[0],
                    from_pitch: copy.from[1],
                    from_slice: copy.from[2],
                    width_bytes: copy.extent[0],
                    height: copy.extent[1],
                    depth: copy.extent[2],
                };
                batch.put(op::COPY_3D, |to| message.encode(to));
            }
            Self::Fill(fill) => {
                let Fill { to, pitch, value_bytes, value, width, height } = *fill;
                let message = cuda::Fill { stream, value_bytes, sequence, to, pitch, width, height, value };
                batch.put(op::FILL, |to| message.encode(to));
            }
            Self::Wait(other, other_sequence) => {
                let (other, other_sequence) = (other.number, *other_sequence);
                let message = cuda::WaitStream { stream, other, sequence, other_sequence };
                batch.put(op::WAIT_STREAM, |to| message.encode(to));
            }
            Self::WaitCell(cell_io, value) => {
                let message = cuda::WaitCell { stream, sequence, cell_io: *cell_io, value: *value };
                batch.put(op::WAIT_CELL, |to| message.encode(to));
            }
            Self::SignalCell(cell_io, value) => {
                let message = cuda::SignalCell { stream, sequence, cell_io: *cell_io, value: *value };
                batch.put(op::SIGNAL_CELL, |to| message.encode(to));
            }
            Self::Timestamp(io) => {
                let message = cuda::Timestamp { stream, sequence, io: *io };
                batch.put(op::TIMESTAMP, |to| message.encode(to));
            }
            Self::WriteValue(to, bytes, value) => {
                let message = cuda::WriteValue { stream, bytes: *bytes, sequence, to: *to, value: *value };
                batch.put(op::WRITE_VALUE, |to| message.encode(to));
            }
            Self::WaitValue(at, bytes, value, compare) => {
                let (at, bytes, value, compare) = (*at, *bytes, *value, *compare);
                let message = cuda::WaitValue { stream, bytes, sequence, at, value, compare };
                batch.put(op::WAIT_VALUE, |to| message.encode(to));
            }
        }
    }
}

/// As `cuda::Launch` encodes, without a copy of the parameters first.
pub(crate) fn put_launch(launch: &Launch, batch: &mut Batch<'_>, stream: u32, sequence: u64) {
    let message = cuda::Launch {
        stream,
        flags: launch.flags,
        sequence,
        module: launch.function.module.id,
        function: launch.function.index,
        grid: launch.grid,
        block: launch.block,
        shared_bytes: launch.shared_bytes,
        params: Vec::new(),
    };
    batch.put(op::LAUNCH, |to| {
        let cuda::Launch { stream, flags, sequence, module, function, grid, block, shared_bytes, .. } =
            message;
        to.u32(stream);
        to.u32(flags);
        to.u64(sequence);
        to.u64(module);
        to.u32(function);
        to.put_u32s(grid);
        to.put_u32s(block);
        to.u32(shared_bytes);
        to.count(launch.params.len());
        to.bytes(&launch.params);
    });
}
