//! What generated code and its helpers share: one `Context` per call, at fixed offsets.

use std::mem::offset_of;

use crate::native::callbacks::Helpers;

/// A thread's place between calls.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lane {
    /// The point where it goes on, [`WAITING`] added while it may not, or [`EXITED`].
    pub(crate) state: u32,
    /// Its activation frame, in its stack.
    pub(crate) frame: u32,
}

/// The thread has ended.
pub(crate) const EXITED: u32 = u32::MAX;
/// The thread waits for others at the point.
pub(crate) const WAITING: u32 = 1 << 31;

/// What generated code reads and writes besides memory of its program.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Context {
    /// Functions of ours that generated code calls.
    pub(crate) helpers: *const Helpers,
    /// The addresses of the module's variables.
    pub(crate) globals: *const u64,
    /// The parameter block.
    pub(crate) params: *const u8,
    pub(crate) memory_base: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) shared: *mut u8,
    pub(crate) shared_bytes: u64,
    /// The stack of lane 0, and how far the next lane's is.
    pub(crate) frames: *mut u8,
    pub(crate) frame_stride: u64,
    pub(crate) lanes: *mut Lane,
    pub(crate) block_extent: [u32; 3],
    pub(crate) grid_extent: [u32; 3],
    pub(crate) block_index: [u32; 3],
    /// `%tid` of the first lane of the call.
    pub(crate) first_thread: [u32; 3],
    pub(crate) grid_id: u64,
    pub(crate) workspace: u64,
    pub(crate) static_shared_bytes: u32,
    pub(crate) dynamic_shared_bytes: u32,
    /// The flag that ends the grid when it is set.
    pub(crate) stop: *const std::sync::atomic::AtomicBool,
    /// How a check failed: see `fault`.
    pub(crate) fault_kind: u32,
    pub(crate) fault_inst: u32,
    pub(crate) fault_lane: u32,
    /// The compiled function that runs.
    pub(crate) unit: u32,
    pub(crate) fault_address: u64,
    /// Operands and results of helpers.
    pub(crate) scratch: [u64; 8],
    /// What helpers need; a `Run`.
    pub(crate) run: *const std::ffi::c_void,
    /// Where the caller's registers are saved while generated code runs.
    pub(crate) saved_stack: u64,
    /// The generated code that may fault.
    pub(crate) code_start: u64,
    pub(crate) code_end: u64,
    /// Where and how the processor faulted.
    pub(crate) signal: u32,
    pub(crate) padding: u32,
    pub(crate) signal_pc: u64,
    pub(crate) signal_address: u64,
}

macro_rules! offsets {
    ($($name:ident = $field:ident),* $(,)?) => {
        $(pub(crate) const $name: i32 = offset_of!(Context, $field) as i32;)*
        /// All of them.
        pub(crate) const ALL: &[i32] = &[$($name),*];
    };
}

/// Where the fields are.
pub(crate) mod at {
    use super::Context;
    use super::offset_of;

    offsets! {
        HELPERS = helpers,
        GLOBALS = globals,
        PARAMS = params,
        MEMORY_BASE = memory_base,
        MEMORY_BYTES = memory_bytes,
        SHARED = shared,
        SHARED_BYTES = shared_bytes,
        FRAMES = frames,
        FRAME_STRIDE = frame_stride,
        LANES = lanes,
        BLOCK_EXTENT = block_extent,
        GRID_EXTENT = grid_extent,
        BLOCK_INDEX = block_index,
        FIRST_THREAD = first_thread,
        GRID_ID = grid_id,
        WORKSPACE = workspace,
        STATIC_SHARED = static_shared_bytes,
        DYNAMIC_SHARED = dynamic_shared_bytes,
        STOP = stop,
        FAULT_KIND = fault_kind,
        FAULT_INST = fault_inst,
        FAULT_LANE = fault_lane,
        FAULT_ADDRESS = fault_address,
        SCRATCH = scratch,
    }
}

/// Values of `fault_kind`. An access is its alignment.
pub(crate) mod fault {
    /// The helper has put the fault in the run.
    pub(crate) const TOLD: u32 = 0x100;
    pub(crate) const TRAP: u32 = 0x101;
    pub(crate) const STOPPED: u32 = 0x102;
    pub(crate) const INVALID_TARGET: u32 = 0x103;
    pub(crate) const STACK_OVERFLOW: u32 = 0x104;
}

/// What generated code returns.
pub(crate) mod status {
    /// All lanes stopped at a point or ended.
    pub(crate) const DONE: u32 = 0;
    /// The fault is in the context.
    pub(crate) const FAULT: u32 = 1;
    /// The processor faulted; written by the trampoline.
    pub(crate) const SIGNAL: u32 = 2;
}
