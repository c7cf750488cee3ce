//! The typed IR: what a PTX module means, without its spelling.
//!
//! *Registers* are virtual, belong to one function and hold the bits of one lane; what the bits mean is said by the
//! instruction that uses them. *Blocks* end in exactly one [`Terminator`]. Every path is explicit: no fall-through.
//!
//! *Addresses.* A generic, global or constant address is an address of the executing process. An address in shared space is an
//! offset from the block's shared memory, one in local space an offset from the frame of the running function activation, one in
//! parameter space of an entry an offset in its parameters. [`Op::Cvta`] goes from these to generic addresses and back by
//! adding and subtracting the base.
//!
//! *Calls.* Parameter variables of a call site and of a `.func` are local variables of the caller's and of the callee's
//! frame; a call copies the argument variables into the callee's frame, a return copies back.

mod alu;
mod module;
mod warp;

use std::fmt;

pub use crate::ir::alu::Accuracy;
pub use crate::ir::alu::Alu;
pub use crate::ir::alu::AluOp;
pub use crate::ir::alu::BoolOp;
pub use crate::ir::alu::Carry;
pub use crate::ir::alu::Compare;
pub use crate::ir::alu::Extra;
pub use crate::ir::alu::Integral;
pub use crate::ir::alu::Mods;
pub use crate::ir::alu::Part;
pub use crate::ir::alu::Permute;
pub use crate::ir::alu::PlusOne;
pub use crate::ir::alu::Round;
pub use crate::ir::alu::Selector;
pub use crate::ir::alu::TestClass;
pub use crate::ir::alu::VideoNegate;
pub use crate::ir::alu::VideoOp;
pub use crate::ir::alu::VideoSecond;
pub use crate::ir::alu::Wrap;
pub use crate::ir::module::Function;
pub use crate::ir::module::Global;
pub use crate::ir::module::LaunchLimits;
pub use crate::ir::module::Linkage;
pub use crate::ir::module::Module;
pub use crate::ir::module::Relocation;
pub use crate::ir::module::Slot;
pub use crate::ir::warp::Fragment;
pub use crate::ir::warp::Layout;
pub use crate::ir::warp::MatrixType;
pub use crate::ir::warp::ReduceOp;
pub use crate::ir::warp::ShuffleMode;
pub use crate::ir::warp::VoteMode;
pub use crate::ir::warp::WarpOp;

/// A virtual register of a function: an index in [`Function::regs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(pub u32);

/// A block of a function: an index in [`Function::blocks`]. The function starts with block 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// A function of a module: an index in [`Module::functions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FuncId(pub u32);

/// A variable of a module: an index in [`Module::globals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GlobalId(pub u32);

/// A local variable of a function: an index in [`Function::locals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub u32);

/// A place in the source text, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Line, 0 for none.
    pub line: u32,
    /// Column in bytes, 0 for none.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What a register holds: its width, and for floats how it was declared (a hint: any instruction of the same width may use it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegClass {
    /// One bit.
    Pred,
    /// 8 bits.
    B8,
    /// 16 bits, `f16` and `bf16` too.
    B16,
    /// 32 bits.
    B32,
    /// 64 bits.
    B64,
    /// 128 bits.
    B128,
    /// 32 bits, declared `.f32`.
    F32,
    /// 64 bits, declared `.f64`.
    F64,
}

impl RegClass {
    /// Bits of a register; 1 for a predicate.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Pred => 1,
            Self::B8 => 8,
            Self::B16 => 16,
            Self::B32 | Self::F32 => 32,
            Self::B64 | Self::F64 => 64,
            Self::B128 => 128,
        }
    }
}

/// The type that an instruction gives its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Scalar {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    BF16,
    BF16x2,
    TF32,
    F32,
    F32x2,
    F64,
    U16x2,
    S16x2,
    U8x4,
    S8x4,
    E4M3x2,
    E5M2x2,
    /// Two values of four bits, the second in the upper ones.
    E2M1x2,
    /// Two values of six bits, each at the low end of a byte.
    E2M3x2,
    E3M2x2,
    /// Two powers of two, by their exponents.
    UE8M0x2,
    /// Two bytes of fixed point: two's complement in units of 1/64.
    S2F6x2,
}

impl Scalar {
    /// Bytes that a value takes in memory; 1 for a predicate.
    #[must_use]
    pub const fn size_bytes(self) -> u32 {
        match self {
            Self::Pred | Self::B8 | Self::U8 | Self::S8 | Self::E2M1x2 => 1,
            Self::B16
            | Self::U16
            | Self::S16
            | Self::F16
            | Self::BF16
            | Self::E4M3x2
            | Self::E5M2x2
            | Self::E2M3x2
            | Self::E3M2x2
            | Self::UE8M0x2
            | Self::S2F6x2 => 2,
            Self::B32
            | Self::U32
            | Self::S32
            | Self::F16x2
            | Self::BF16x2
            | Self::TF32
            | Self::F32
            | Self::U16x2
            | Self::S16x2
            | Self::U8x4
            | Self::S8x4 => 4,
            Self::B64 | Self::U64 | Self::S64 | Self::F32x2 | Self::F64 => 8,
            Self::B128 => 16,
        }
    }

    /// Whether integer instructions treat it as signed.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64 | Self::S16x2 | Self::S8x4)
    }

    /// Whether it is a floating-point type, packed ones included.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(
            self,
            Self::F16
                | Self::F16x2
                | Self::BF16
                | Self::BF16x2
                | Self::TF32
                | Self::F32
                | Self::F32x2
                | Self::F64
                | Self::E4M3x2
                | Self::E5M2x2
                | Self::E2M1x2
                | Self::E2M3x2
                | Self::E3M2x2
                | Self::UE8M0x2
                | Self::S2F6x2
        )
    }

    /// Whether it is a pair of values that only conversions know: of less than 16 bits each.
    #[must_use]
    pub const fn is_narrow_pair(self) -> bool {
        matches!(
            self,
            Self::E4M3x2
                | Self::E5M2x2
                | Self::E2M1x2
                | Self::E2M3x2
                | Self::E3M2x2
                | Self::UE8M0x2
                | Self::S2F6x2
        )
    }
}

/// A state space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Any of the others, by address.
    Generic,
    /// Memory of the device.
    Global,
    /// The same, read-only for kernels.
    Const,
    /// Memory of a block of threads.
    Shared,
    /// Memory of a thread: the frame of a function activation.
    Local,
    /// Parameters of an entry.
    Param,
}

/// Something with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// A variable of the module, in global, constant or shared space.
    Global(GlobalId),
    /// A variable of the frame.
    Local(LocalId),
    /// A parameter of the entry: an index in [`Function::params`].
    Param(u32),
    /// A function. Its address is a number that only indirect calls understand: see [`Module::function_address`].
    Function(FuncId),
}

/// A special register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Special {
    TidX,
    TidY,
    TidZ,
    NtidX,
    NtidY,
    NtidZ,
    CtaidX,
    CtaidY,
    CtaidZ,
    NctaidX,
    NctaidY,
    NctaidZ,
    LaneId,
    WarpId,
    NwarpId,
    SmId,
    NsmId,
    GridId,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    Clock,
    ClockHi,
    Clock64,
    GlobalTimer,
    GlobalTimerLo,
    GlobalTimerHi,
    TotalSmemSize,
    DynamicSmemSize,
    /// `%aggr_smem_size`.
    AggrSmemSize,
    /// `%current_graph_exec`, always 0.
    CurrentGraphExec,
    /// `%envreg<n>`: 1 and 2 are the workspace of a cooperative launch, others 0.
    Envreg(u8),
    /// `%pm<n>`, always 0.
    Pm(u8),
    /// Registers of clusters, as in a grid without clusters: each block is its own cluster.
    ClusterIdX,
    ClusterIdY,
    ClusterIdZ,
    NclusterIdX,
    NclusterIdY,
    NclusterIdZ,
    ClusterCtaId,
    ClusterNctaId,
    ClusterCtaRank,
    ClusterNctaRank,
    IsExplicitCluster,
    /// Address of the module's reserved shared memory, 0 here.
    ReservedSmem,
}

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// Bits, in the width of the operand; floats by their bit pattern.
    Imm(u64),
    /// A special register. Its width is its own: 32 bits, or 64 for `Clock64`, `GlobalTimer` and `GridId`.
    Special(Special),
}

/// A memory address: base plus offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The base.
    pub base: Base,
    /// Bytes added to it.
    pub offset: i64,
}

/// The base of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// A register of 32 or 64 bits, zero-extended.
    Reg(Reg),
    /// The address of a symbol in its space.
    Symbol(Symbol),
    /// 0: the offset is the address.
    Zero,
}

/// Memory order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Order {
    #[default]
    Weak,
    Volatile,
    Relaxed,
    Acquire,
    Release,
    AcqRel,
    SeqCst,
}

/// An atomic operation; its operands are `b` and, for `Cas`, `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomicOp {
    /// Exchange.
    Exch,
    /// Store `c` if equal to `b`.
    Cas,
    /// Sum; float sums are rounded to nearest.
    Add,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// `old >= b ? 0 : old + 1`.
    Inc,
    /// `old == 0 || old > b ? b : old - 1`.
    Dec,
    /// The lesser.
    Min,
    /// The greater.
    Max,
}

/// Which barrier of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BarrierKind {
    /// Arrive and wait.
    Sync,
    /// Arrive only.
    Arrive,
    /// Arrive, wait, and reduce a predicate over the threads.
    Reduce(ReduceOp),
}

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callee {
    /// A function of the module.
    Function(FuncId),
    /// The function whose address is in the register: only those of `Call::candidates` are possible.
    Indirect(Reg),
    /// `vprintf(format, arguments) -> i32`.
    Vprintf,
    /// `__assertfail(message, file, line, function, char size)`.
    AssertFail,
    /// `malloc(size) -> pointer`.
    Malloc,
    /// `free(pointer)`.
    Free,
}

/// A call. Arguments and results are local variables of the caller, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who.
    pub callee: Callee,
    /// For an indirect call: functions of the module that fit the prototype, and that are in the list if there is one.
    pub candidates: Vec<FuncId>,
    /// The list of `.calltargets`; empty if there is none.
    pub listed: Vec<FuncId>,
    /// Copied into the parameters of the callee.
    pub args: Vec<LocalId>,
    /// Copied from the results of the callee.
    pub rets: Vec<LocalId>,
}

/// What an instruction does.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are PTX's operands")]
pub enum Op {
    /// A pure instruction.
    Alu(Alu),
    /// `mov` of a vector into a scalar: parts from the low end, each of the type.
    Pack { ty: Scalar, dst: Reg, parts: Vec<Operand> },
    /// `mov` of a scalar into a vector; `None` for `_`.
    Unpack { ty: Scalar, parts: Vec<Option<Reg>>, src: Operand },
    /// The address of a symbol in its own space (a function: its number).
    AddressOf { dst: Reg, symbol: Symbol, offset: i64 },
    /// To a generic address from one in `space` (`ToGeneric`), or back.
    Cvta { dst: Reg, src: Operand, space: Space, direction: CvtaDirection },
    /// Whether a generic address lies in the space.
    IsSpacep { dst: Reg, src: Operand, space: Space },
    /// A load; one destination per element. Narrow values are extended to the register as the type says.
    Load { space: Space, ty: Scalar, order: Order, dsts: Vec<Option<Reg>>, address: Address },
    /// A store; one source per element.
    Store { space: Space, ty: Scalar, order: Order, srcs: Vec<Operand>, address: Address },
    /// `atom` and `red`. Vector forms have several operands: each element is atomic by itself.
    Atomic {
        space: Space,
        op: AtomicOp,
        ty: Scalar,
        order: Order,
        dsts: Vec<Option<Reg>>,
        address: Address,
        b: Vec<Operand>,
        c: Option<Operand>,
    },
    /// `fence`, `membar`.
    Fence,
    /// `cp.async`: copies at once; bytes from `read_bytes` (if given) up to `bytes` are zero.
    CopyAsync {
        to: Address,
        to_space: Space,
        from: Address,
        from_space: Space,
        bytes: u32,
        read_bytes: Option<Operand>,
    },
    /// `mbarrier` objects, in shared memory. State words are ours: see the interpreter.
    Mbarrier { op: MbarrierOp, space: Space, address: Address, dst: Option<Reg>, srcs: Vec<Operand> },
    /// `bar` and `barrier`: `id`, number of threads (all if none), predicate of a reduction.
    Barrier {
        kind: BarrierKind,
        id: Operand,
        threads: Option<Operand>,
        dst: Option<Reg>,
        src: Option<Operand>,
    },
    /// Lanes of a warp together. `mask` says which (`None`: those that execute it, of the old forms without `.sync`).
    Warp { op: WarpOp, mask: Option<Operand>, dsts: Vec<Option<Reg>>, srcs: Vec<Operand> },
    /// A call.
    Call(Call),
    /// `alloca`: memory of the frame, `align` a power of two; the result is an address in local space.
    Alloca { dst: Reg, size: Operand, align: u32 },
    /// `stacksave`.
    StackSave { dst: Reg },
    /// `stackrestore`.
    StackRestore { src: Operand },
    /// `nanosleep` and other hints to let others run.
    Yield,
    /// `trap`: the grid ends with an error.
    Trap,
    /// `brkpt`: as a trap.
    Breakpoint,
}

/// Direction of `cvta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CvtaDirection {
    ToGeneric,
    FromGeneric,
}

/// An operation on an `mbarrier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum MbarrierOp {
    Init,
    Inval,
    Arrive,
    ArriveNoComplete,
    ArriveDrop,
    ArriveDropNoComplete,
    /// Whether the phase of the state (a 64-bit source) is complete.
    TestWait,
    /// Whether the phase with this parity is complete.
    TestWaitParity,
    /// As the two above, allowed to wait for a while.
    TryWait,
    TryWaitParity,
    PendingCount,
    /// `cp.async.mbarrier.arrive`.
    CopyArrive,
    CopyArriveNoInc,
}

/// The condition of an instruction: it does nothing in lanes where it does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// The predicate.
    pub reg: Reg,
    /// It holds when the predicate has this value.
    pub when: bool,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// When it runs.
    pub guard: Option<Guard>,
    /// What it does.
    pub op: Op,
    /// Where it stands in the text.
    pub place: Place,
}

/// How a block ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Terminator {
    /// To one block.
    Jump(BlockId),
    /// To one of two: `then` where the guard holds.
    Branch {
        /// The condition.
        guard: Guard,
        /// Where it holds.
        then: BlockId,
        /// Where not.
        otherwise: BlockId,
    },
    /// `brx.idx`: to the block of that number; beyond the table is undefined in PTX and a trap here.
    Switch {
        /// The index, 32 bits.
        index: Operand,
        /// The blocks.
        targets: Vec<BlockId>,
    },
    /// Back to the caller; in an entry the end of the thread.
    Return,
    /// The end of the thread.
    Exit,
    /// The grid ends with an error: code that PTX leaves undefined (a function that falls off its end) or a trap.
    Trap,
}

/// A block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The instructions.
    pub insts: Vec<Inst>,
    /// The end.
    pub end: Terminator,
    /// Where the end stands in the text.
    pub end_place: Place,
}
