//! The operations of a CUDA command stream and the layout of what they carry.
//!
//! *Why.* One stream is one CUDA context of one process: guest and host keep device memory at the same addresses, so a device
//! pointer is a pointer, and most of the CUDA driver API is bookkeeping that the guest does alone. What is left for the host
//! is here: to map memory, to load modules, and to run work on streams.
//!
//! *Order.* Entries are taken in the order of the ring. Those with a `stream` are queued there and run in the order of that
//! stream, each after all before it on the same stream; when one is complete, the progress cell of its stream becomes its
//! `sequence`. Sequences of a stream grow by one from 1. All others act at once.
//!
//! *Memory.* The guest reserves a range of its address space, [`Open`] makes the host reserve the same. [`Map`] puts memory of a
//! window there on the host's side; the guest does the same with the same memory. It unmaps only what no queued work uses.
//!
//! *Failure.* What a kernel does wrong is the sticky error of the context: a `CUresult` in the [`status`] block, written
//! before the progress cell moves on. Work that is queued behind it completes without running. Bytes that no honest guest
//! sends end the session.
//!
//! *Units.* Sizes are bytes, addresses are those of the reserved range, "IO address" is one of the session's IO space.

use crate::codec::DecodeError;
use crate::codec::Decoder;
use crate::codec::Encoder;

/// Operations of a CUDA stream.
pub mod op {
    /// With reply, first of its stream: [`Open`](super::Open). Reply: [`Description`](super::Description).
    pub const OPEN: u16 = 0x8000;
    /// [`Map`](super::Map).
    pub const MAP: u16 = 0x8001;
    /// [`Unmap`](super::Unmap).
    pub const UNMAP: u16 = 0x8002;
    /// With reply, where memory is [`REMOTE`](super::memory_kind::REMOTE): [`Allocate`](super::Allocate). Reply:
    /// [`Allocated`](super::Allocated).
    pub const ALLOCATE: u16 = 0x8003;
    /// Where memory is [`REMOTE`](super::memory_kind::REMOTE): [`Free`](super::Free).
    pub const FREE: u16 = 0x8004;
    /// With reply: [`LoadModule`](super::LoadModule). Reply: [`ModuleLoaded`](super::ModuleLoaded).
    pub const LOAD_MODULE: u16 = 0x8010;
    /// With reply: [`ReadModule`](super::ReadModule). Reply: the bytes, as many as there are from the offset on, up to the length.
    pub const READ_MODULE: u16 = 0x8011;
    /// [`PlaceModule`](super::PlaceModule). Before the first launch of the module.
    pub const PLACE_MODULE: u16 = 0x8012;
    /// With reply, where memory is [`REMOTE`](super::memory_kind::REMOTE): [`FindSymbol`](super::FindSymbol). Reply:
    /// [`SymbolFound`](super::SymbolFound).
    pub const FIND_SYMBOL: u16 = 0x8014;
    /// [`ModuleRef`](super::ModuleRef). Queued launches keep what they need.
    pub const UNLOAD_MODULE: u16 = 0x8013;
    /// [`CreateStream`](super::CreateStream).
    pub const CREATE_STREAM: u16 = 0x8020;
    /// [`StreamRef`](super::StreamRef). What is queued still runs.
    pub const DESTROY_STREAM: u16 = 0x8021;
    /// [`SetFifo`](super::SetFifo).
    pub const SET_FIFO: u16 = 0x8022;
    /// [`SetHeap`](super::SetHeap).
    pub const SET_HEAP: u16 = 0x8023;
    /// [`SetLimit`](super::SetLimit).
    pub const SET_LIMIT: u16 = 0x8024;
    /// On a stream: [`Launch`](super::Launch).
    pub const LAUNCH: u16 = 0x8030;
    /// On a stream: [`Copy`](super::Copy).
    pub const COPY: u16 = 0x8031;
    /// On a stream: [`Copy3d`](super::Copy3d).
    pub const COPY_3D: u16 = 0x8032;
    /// On a stream: [`Fill`](super::Fill).
    pub const FILL: u16 = 0x8033;
    /// On a stream: [`WaitStream`](super::WaitStream).
    pub const WAIT_STREAM: u16 = 0x8034;
    /// On a stream: [`WaitCell`](super::WaitCell).
    pub const WAIT_CELL: u16 = 0x8035;
    /// On a stream: [`SignalCell`](super::SignalCell).
    pub const SIGNAL_CELL: u16 = 0x8036;
    /// On a stream: [`Timestamp`](super::Timestamp).
    pub const TIMESTAMP: u16 = 0x8037;
    /// On a stream: [`WriteValue`](super::WriteValue).
    pub const WRITE_VALUE: u16 = 0x8038;
    /// On a stream: [`WaitValue`](super::WaitValue).
    pub const WAIT_VALUE: u16 = 0x8039;
}

/// The block that [`Open::status_io`] names, 64 bytes, written by the host.
pub mod status {
    /// Bytes.
    pub const BYTES: u64 = 64;
    /// u32: the sticky `CUresult`, 0 for none.
    pub const ERROR: u64 = 0;
    /// u32: 1 once the FIFO has text that was not there before; the guest clears it before it reads.
    pub const PRINTED: u64 = 4;
}

/// The FIFO of what kernels print, in memory of [`SetFifo`]: two counters of bytes that never wrap, then data.
///
/// A record is a u32 length and so many bytes of formatted text, padded to 4, and may wrap. A record that does not fit is dropped.
pub mod fifo {
    /// u64, written by the host.
    pub const WRITTEN: u64 = 0;
    /// u64, written by the guest.
    pub const READ: u64 = 64;
    /// Where the data starts; it is a power of two long.
    pub const DATA: u64 = 128;
}

macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:tt),+ $(,)? })+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $name { $($(#[$field_meta])* pub $field: $ty,)+ }

            impl $name {
                /// Appends it.
                pub fn encode(&self, to: &mut Encoder) {
                    $(<$ty as Field>::put(&self.$field, to);)+
                }

                /// Takes it.
                ///
                /// # Errors
                /// What is wrong with the bytes.
                pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                    Ok(Self { $($field: <$ty as Field>::take(from)?,)+ })
                }
            }

            impl Field for $name {
                const MIN_BYTES: usize = 0 $(+ <$ty as Field>::MIN_BYTES)+;
                fn put(&self, to: &mut Encoder) { self.encode(to); }
                fn take(from: &mut Decoder<'_>) -> Result<Self, DecodeError> { Self::decode(from) }
            }
        )+
    };
}

/// What a message is made of.
trait Field: Sized {
    /// The least bytes that one takes.
    const MIN_BYTES: usize;
    fn put(&self, to: &mut Encoder);
    fn take(from: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

impl Field for u32 {
    const MIN_BYTES: usize = 4;
    fn put(&self, to: &mut Encoder) {
        to.u32(*self);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        from.u32()
    }
}

impl Field for i32 {
    const MIN_BYTES: usize = 4;
    fn put(&self, to: &mut Encoder) {
        to.i32(*self);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        from.i32()
    }
}

impl Field for u64 {
    const MIN_BYTES: usize = 8;
    fn put(&self, to: &mut Encoder) {
        to.u64(*self);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        from.u64()
    }
}

/// Three extents: x, y, z.
pub type Extent = [u32; 3];

impl Field for Extent {
    const MIN_BYTES: usize = 12;
    fn put(&self, to: &mut Encoder) {
        to.put_u32s(*self);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        from.take_u32s()
    }
}

/// Bytes, as many as said.
pub type Bytes = Vec<u8>;

impl Field for Bytes {
    const MIN_BYTES: usize = 4;
    fn put(&self, to: &mut Encoder) {
        to.count(self.len());
        to.bytes(self);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let len = from.count(1)?;
        Ok(from.bytes(len)?.to_vec())
    }
}

/// A list of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: Field> Field for List<T> {
    const MIN_BYTES: usize = 4;
    fn put(&self, to: &mut Encoder) {
        to.count(self.0.len());
        for item in &self.0 {
            item.put(to);
        }
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = from.count(T::MIN_BYTES)?;
        (0..count).map(|_| T::take(from)).collect::<Result<_, _>>().map(Self)
    }
}

type Images = List<Image>;
type Attributes = List<Attribute>;
type Functions = List<FunctionInfo>;
type Params = List<ParamInfo>;
type Symbols = List<SymbolInfo>;

/// Version of this module's messages, in [`Open`] and [`Description`].
pub const VERSION: u32 = 1;

/// Where device memory is, in [`Description::memory_kind`].
pub mod memory_kind {
    /// In windows that guest and host map at the same address: the guest reads and writes it directly.
    pub const SHARED: u32 = 0;
    /// Behind a driver of the host: only work on streams reaches it. Addresses are those of [`Allocated`](super::Allocated), and lie
    /// outside of the range; what is mapped in the range is host memory, which work reaches too.
    ///
    /// Modules place their variables themselves: [`ModuleLoaded::variable_bytes`](super::ModuleLoaded::variable_bytes) is 0 and
    /// [`SymbolInfo::offset`](super::SymbolInfo::offset) is an address. FIFO and heap are the driver's own.
    pub const REMOTE: u32 = 1;
}

/// What kind of image [`Image`] is.
pub mod image_kind {
    /// PTX text, with or without a final zero.
    pub const PTX: u32 = 0;
    /// A cubin or fat binary for the host's driver; a host without one answers `CUDA_ERROR_NO_BINARY_FOR_GPU`.
    pub const BINARY: u32 = 1;
}

/// Flags of a launch.
pub mod launch_flags {
    /// All blocks run at once and may wait for each other.
    pub const COOPERATIVE: u32 = 1;
}

/// How [`WaitValue`] compares; bits above are ignored.
pub mod wait_value {
    /// (memory - value) as a signed number is not negative.
    pub const GEQ: u32 = 0;
    /// Equal.
    pub const EQ: u32 = 1;
    /// Some common bit is set.
    pub const AND: u32 = 2;
    /// Not all bits of either are set (`NOR`).
    pub const NOR: u32 = 3;
}

/// Kinds of symbols.
pub mod symbol_kind {
    /// A `.global` variable.
    pub const GLOBAL: u32 = 0;
    /// A `.const` variable.
    pub const CONSTANT: u32 = 1;
    /// A `.global` variable in managed memory.
    pub const MANAGED: u32 = 2;
}

messages! {
    /// Makes the context.
    Open {
        /// [`VERSION`].
        version: u32,
        /// Compute capability to report, as 10 * major + minor; 0: the virtual GPU's.
        compute_capability: u32,
        /// Start of the range that the guest has reserved.
        range_start: u64,
        /// Bytes of the range.
        range_bytes: u64,
        /// IO address of the [`status`] block.
        status_io: u64,
    }

    /// What the device is.
    Description {
        /// A `CUresult`: 0, or why there is no context. Then nothing below means anything. After `CUDA_ERROR_OUT_OF_MEMORY`, which says
        /// that the range is not free on the host, the guest opens with another.
        result: i32,
        /// [`VERSION`].
        version: u32,
        /// Of [`memory_kind`].
        memory_kind: u32,
        /// Compute capability, 10 * major + minor.
        compute_capability: u32,
        /// Bytes of device memory of the host's device; the guest reports the virtual GPU's quota if that is less.
        memory_bytes: u64,
        /// Name for people.
        name: Bytes,
        /// `CUdevice_attribute` values; one that is not listed is 0.
        attributes: Attributes,
    }

    /// A `CUdevice_attribute`.
    Attribute {
        /// Which.
        attribute: u32,
        /// Its value.
        value: i32,
    }

    /// Puts memory of a window into the range. Bounds are multiples of 4096.
    Map {
        /// Where.
        address: u64,
        /// Which memory.
        io: u64,
        /// How much.
        bytes: u64,
    }

    /// Takes memory out of the range again. Work that uses it afterwards fails with an illegal address.
    Unmap {
        /// From here.
        address: u64,
        /// So much.
        bytes: u64,
    }

    /// Allocates device memory.
    Allocate {
        /// How much; not 0.
        bytes: u64,
    }

    /// What came of it.
    Allocated {
        /// A `CUresult`.
        result: i32,
        /// Where it lies; a multiple of 256.
        address: u64,
    }

    /// Frees device memory. Work that uses it afterwards fails with an illegal address.
    Free {
        /// As allocated.
        address: u64,
    }

    /// Compiles and links images into a module.
    LoadModule {
        /// Chosen by the guest; slot in the low half, generation in the high half.
        module: u64,
        /// The images, in leased memory.
        images: Images,
        /// Optimisation level 0 to 4.
        optimization: u32,
        /// Bytes of the information log and of the error log that the program wants.
        log_bytes: u32,
    }

    /// One image of a module.
    Image {
        /// Of [`image_kind`].
        kind: u32,
        /// IO address.
        io: u64,
        /// Bytes.
        bytes: u64,
        /// Its name in messages; may be empty.
        name: Bytes,
    }

    /// What came of it.
    ModuleLoaded {
        /// A `CUresult`.
        result: i32,
        /// Bytes of memory for the module's variables, which the guest is to allocate and name in `PLACE_MODULE`.
        variable_bytes: u64,
        /// The alignment that they need.
        variable_align: u64,
        /// Bytes of the encoded [`ModuleInfo`], for `READ_MODULE`. 0 if the result is an error.
        info_bytes: u64,
        /// Nanoseconds that it took.
        nanoseconds: u64,
        /// For the information log.
        info_log: Bytes,
        /// For the error log: line, column and reason.
        error_log: Bytes,
    }

    /// Asks for a piece of the encoded [`ModuleInfo`].
    ReadModule {
        /// Which module.
        module: u64,
        /// From this byte on.
        offset: u64,
        /// At most so many.
        bytes: u64,
    }

    /// What a module holds.
    ModuleInfo {
        /// Its entries; an entry's index is its number in `LAUNCH`.
        functions: Functions,
        /// Its variables.
        symbols: Symbols,
    }

    /// An entry of a module.
    FunctionInfo {
        /// Its name.
        name: Bytes,
        /// Its parameters.
        params: Params,
        /// Bytes of the whole parameter block.
        param_bytes: u32,
        /// Bytes of static shared memory per block.
        shared_bytes: u32,
        /// Bytes of local memory per thread.
        local_bytes: u32,
        /// Bytes of constant variables that it can reach.
        const_bytes: u32,
        /// Registers per thread, as a device would need them.
        registers: u32,
        /// Most threads per block.
        max_threads: u32,
        /// PTX version, 10 * major + minor.
        ptx_version: u32,
        /// Version of the code, 10 * major + minor.
        binary_version: u32,
    }

    /// Where a parameter lies in the parameter block.
    ParamInfo {
        /// From the start.
        offset: u32,
        /// Bytes.
        size: u32,
    }

    /// A variable of a module.
    SymbolInfo {
        /// Its name.
        name: Bytes,
        /// Of [`symbol_kind`].
        kind: u32,
        /// From the start of the module's variables; the address itself where memory is [`memory_kind::REMOTE`].
        offset: u64,
        /// Bytes.
        bytes: u64,
    }

    /// Asks for a variable that [`ModuleInfo`] does not list: the driver does not say what is in binaries.
    FindSymbol {
        /// Which module.
        module: u64,
        /// Its name.
        name: Bytes,
    }

    /// A variable of a module.
    SymbolFound {
        /// A `CUresult`.
        result: i32,
        /// Where it lies.
        address: u64,
        /// Its bytes.
        bytes: u64,
    }

    /// Gives a module the memory of its variables; they get their initial values at once.
    PlaceModule {
        /// Which module.
        module: u64,
        /// Where its variables lie; 0 if it has none.
        address: u64,
    }

    /// Names a module.
    ModuleRef {
        /// Which.
        module: u64,
    }

    /// Makes a stream.
    CreateStream {
        /// Number, chosen by the guest, below 65536 and not in use.
        stream: u32,
        /// CUDA's priority: lower is more urgent.
        priority: i32,
        /// IO address of its progress cell.
        progress_io: u64,
    }

    /// Names a stream.
    StreamRef {
        /// Which.
        stream: u32,
    }

    /// Says where kernels print to; until then, and with 0, what they print is lost.
    SetFifo {
        /// IO address.
        io: u64,
        /// Bytes, with the counters.
        bytes: u64,
    }

    /// Says where `malloc` of kernels takes from.
    SetHeap {
        /// Start, in the range.
        address: u64,
        /// Bytes.
        bytes: u64,
    }

    /// Sets a limit of the context.
    SetLimit {
        /// A `CUlimit`.
        limit: u32,
        /// Its value.
        value: u64,
    }

    /// Runs a grid.
    Launch {
        /// The stream.
        stream: u32,
        /// Of [`launch_flags`].
        flags: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// The module.
        module: u64,
        /// The number of the entry in it.
        function: u32,
        /// Blocks.
        grid: Extent,
        /// Threads of a block.
        block: Extent,
        /// Bytes of dynamic shared memory.
        shared_bytes: u32,
        /// The parameter block.
        params: Bytes,
    }

    /// Copies bytes within the range; source and destination may overlap.
    Copy {
        /// The stream.
        stream: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// To.
        to: u64,
        /// From.
        from: u64,
        /// How many.
        bytes: u64,
    }

    /// Copies a box within the range.
    Copy3d {
        /// The stream.
        stream: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// To.
        to: u64,
        /// Bytes from row to row.
        to_pitch: u64,
        /// Bytes from slice to slice.
        to_slice: u64,
        /// From.
        from: u64,
        /// Bytes from row to row.
        from_pitch: u64,
        /// Bytes from slice to slice.
        from_slice: u64,
        /// Bytes of a row.
        width_bytes: u64,
        /// Rows of a slice.
        height: u64,
        /// Slices.
        depth: u64,
    }

    /// Fills rows with a value.
    Fill {
        /// The stream.
        stream: u32,
        /// Bytes of the value: 1, 2 or 4.
        value_bytes: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// To.
        to: u64,
        /// Bytes from row to row.
        pitch: u64,
        /// Values in a row.
        width: u64,
        /// Rows.
        height: u64,
        /// The value.
        value: u32,
    }

    /// Waits until another stream has come so far.
    WaitStream {
        /// The stream.
        stream: u32,
        /// The stream that is waited for; one that is destroyed counts as done.
        other: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// Until this is complete there.
        other_sequence: u64,
    }

    /// Waits until a cell is at least at a value.
    WaitCell {
        /// The stream.
        stream: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// IO address of the cell.
        cell_io: u64,
        /// The value.
        value: u64,
    }

    /// Raises a cell to a value.
    SignalCell {
        /// The stream.
        stream: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// IO address of the cell.
        cell_io: u64,
        /// The value.
        value: u64,
    }

    /// Writes the time, u64 nanoseconds of the monotonic clock.
    Timestamp {
        /// The stream.
        stream: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// IO address of the u64.
        io: u64,
    }

    /// Writes a number of 4 or 8 bytes.
    WriteValue {
        /// The stream.
        stream: u32,
        /// 4 or 8.
        bytes: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// To.
        to: u64,
        /// The number.
        value: u64,
    }

    /// Waits until a number of 4 or 8 bytes compares.
    WaitValue {
        /// The stream.
        stream: u32,
        /// 4 or 8.
        bytes: u32,
        /// The work's number on its stream.
        sequence: u64,
        /// Where it lies.
        at: u64,
        /// What it is compared with.
        value: u64,
        /// Of [`wait_value`].
        compare: u32,
    }
}
