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

use std::fmt;

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
    E4M3x2,
    E5M2x2,
}

impl Scalar {
    /// Bytes that a value takes in memory; 1 for a predicate.
    #[must_use]
    pub const fn size_bytes(self) -> u32 {
        match self {
            Self::Pred | Self::B8 | Self::U8 | Self::S8 => 1,
            Self::B16 | Self::U16 | Self::S16 | Self::F16 | Self::BF16 | Self::E4M3x2 | Self::E5M2x2 => 2,
            Self::B32
            | Self::U32
            | Self::S32
            | Self::F16x2
            | Self::BF16x2
            | Self::TF32
            | Self::F32
            | Self::U16x2
            | Self::S16x2 => 4,
            Self::B64 | Self::U64 | Self::S64 | Self::F32x2 | Self::F64 => 8,
            Self::B128 => 16,
        }
    }

    /// Whether integer instructions treat it as signed.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64 | Self::S16x2)
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

/// Rounding of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Round {
    /// To nearest, ties to even; what is meant where nothing is said.
    #[default]
    Nearest,
    /// To nearest, ties away from zero (`.rna`).
    NearestAway,
    /// Toward zero.
    Zero,
    /// Toward negative infinity.
    Down,
    /// Toward positive infinity.
    Up,
}

/// How exact a function must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Accuracy {
    /// As IEEE 754 says.
    #[default]
    Exact,
    /// `.approx`.
    Approx,
    /// `.full` of a division.
    Full,
}

/// Comparison of `setp`, `set`, `vset` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "the names are PTX's; `lo`, `ls`, `hi`, `hs` are `Lt`, `Le`, `Gt`, `Ge` of an unsigned type"
)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

/// How `setp` and `set` combine a comparison with a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum BoolOp {
    And,
    Or,
    Xor,
}

/// A category of `testp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum TestClass {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

/// Mode of `prmt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Permute {
    #[default]
    Index,
    F4e,
    B4e,
    Rc8,
    Ecl,
    Ecr,
    Rc16,
}

/// Which part of a product is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The low half.
    Low,
    /// The high half.
    High,
    /// All: the result is twice as wide as the operands.
    Wide,
}

/// The carry chain of an integer instruction. The carry flag is one more register of the function, named here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Carry {
    /// Added (or subtracted as borrow) if given: a predicate register.
    pub input: Option<Reg>,
    /// Receives the carry (or the borrow) if given: a predicate register.
    pub output: Option<Reg>,
}

/// A part of a register that a video instruction reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The whole word.
    Word,
    /// Byte 0 to 3.
    Byte(u8),
    /// Half 0 or 1.
    Half(u8),
}

/// A scalar or SIMD video instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum VideoOp {
    Add,
    Sub,
    AbsDiff,
    Min,
    Max,
    /// Shift left, clamped or wrapped.
    Shl {
        wrap: Wrap,
    },
    Shr {
        wrap: Wrap,
    },
    Mad {
        /// Bits by which the sum is shifted right: 0, 7 or 15.
        shift: u8,
        /// `.po`: plus one.
        plus_one: PlusOne,
        /// Which of product and addend is negated.
        negate: VideoNegate,
    },
    Set(Compare),
}

/// Whether `.po` is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum PlusOne {
    Yes,
    No,
}

/// What a `vmad` negates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum VideoNegate {
    None,
    Product,
    Addend,
}

/// What a shift amount beyond the width does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrap {
    /// Counts as the width.
    Clamp,
    /// Is taken modulo the width.
    Wrap,
}

/// The second operation of a video instruction, with operand `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum VideoSecond {
    None,
    Add,
    Min,
    Max,
    /// Insert into this part of `c`.
    Merge(Selector),
}

/// What a pure instruction computes from its operands `a`, `b`, `c`, `d`.
///
/// The type is [`Alu::ty`]: for comparisons that of the compared operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AluOp {
    /// `a`. Also moves between types of one width.
    Mov,
    /// `a + b`, with carry for integers.
    Add(Carry),
    /// `a - b`, with borrow for integers.
    Sub(Carry),
    /// The product, integer.
    Mul(Part),
    /// The product of floats.
    FMul,
    /// The low 24 bits of `a` and `b` multiplied: the low or the high 32 bits of the 48.
    Mul24(Part),
    /// `a * b + c`, integer, with carry.
    Mad(Part, Carry),
    /// As `Mul24`, plus `c`.
    Mad24(Part),
    /// `a * b + c` rounded once.
    Fma,
    /// `|a - b| + c`.
    Sad,
    /// The quotient.
    Div,
    /// The remainder.
    Rem,
    /// The absolute value.
    Abs,
    /// The negative.
    Neg,
    /// The lesser.
    Min,
    /// The greater.
    Max,
    /// Of three: `min(min(a, b), c)`.
    Min3,
    /// Of three: `max(max(a, b), c)`.
    Max3,
    /// 1 / a.
    Rcp,
    /// The square root.
    Sqrt,
    /// 1 / the square root.
    Rsqrt,
    /// The sine.
    Sin,
    /// The cosine.
    Cos,
    /// The logarithm to base 2.
    Lg2,
    /// 2 to the power of `a`.
    Ex2,
    /// The hyperbolic tangent.
    Tanh,
    /// The sign of `a` on the magnitude of `b`.
    Copysign,
    /// Whether `a` is of this class; the result is a predicate.
    Testp(TestClass),
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Bitwise not.
    Not,
    /// 1 if `a` is 0, else 0.
    Cnot,
    /// Shift left by `b` (32 bits); beyond the width: 0.
    Shl,
    /// Shift right by `b` (32 bits), arithmetic for signed types; beyond the width: all sign bits.
    Shr,
    /// Funnel shift of {`b`, `a`} left by `c`: the high word.
    ShfLeft(Wrap),
    /// Funnel shift of {`b`, `a`} right by `c`: the low word.
    ShfRight(Wrap),
    /// Any function of three bits, by table.
    Lop3(u8),
    /// Bit field extract: from `a`, position `b`, length `c`.
    Bfe,
    /// Bit field insert: `a` into `b`, position `c`, length `d`.
    Bfi,
    /// A mask of `b` bits from position `a`.
    Bmsk(Wrap),
    /// Sign or zero extension from `b` bits.
    Szext(Wrap),
    /// Position of the leading one (or non-sign bit); all ones if none. The result is 32 bits.
    Bfind,
    /// The same, as the distance from the top.
    BfindShift,
    /// Position of the `c`-th one in `a` from `b`.
    Fns,
    /// Bits reversed.
    Brev,
    /// Leading zeros; 32 bits.
    Clz,
    /// Ones; 32 bits.
    Popc,
    /// Bytes chosen from {`b`, `a`} by `c`.
    Prmt(Permute),
    /// Four-way dot product; which signs: types of `a` and `b` (`U32` or `S32`); `c` is added.
    Dp4a(Scalar, Scalar),
    /// Two-way dot product of 16-bit `a` and the low (`Part::Low`) or high bytes of `b`.
    Dp2a(Scalar, Scalar, Part),
    /// `b` if predicate `c`, else... see PTX: `selp d, a, b, c` = `c ? a : b`.
    Selp,
    /// `slct d, a, b, c` = `c >= 0 ? a : b`; the type of `c` is `S32` or `F32`.
    Slct(Scalar),
    /// `setp`: a predicate. With two results the second is the negated comparison under the same combination. `c`, if given, is the
    /// predicate that is combined.
    Setp(Compare, Option<BoolOp>),
    /// `set`: the result has the given type: all ones or 0, or 1.0 or 0.0. `c` as for `Setp`.
    Set(Compare, Option<BoolOp>, Scalar),
    /// Conversion from the given type to [`Alu::ty`]. Between integer and float types [`Alu::round`] rounds; from float to float of the
    /// same type it rounds to an integer when `integral` is set.
    Cvt {
        /// The source type.
        from: Scalar,
        /// `.rni` and the like between floats: round to an integral value.
        integral: Integral,
    },
    /// `cvt.pack.sat`: two (and `c`) packed into [`Alu::ty`], from `S32`.
    CvtPack,
    /// Two sources converted and packed: `a` into the upper, `b` into the lower half.
    CvtPair {
        /// The source type.
        from: Scalar,
    },
    /// A video instruction: operand and result types, parts, the second operation. SIMD forms have `lanes` 2 or 4.
    Video {
        /// What.
        op: VideoOp,
        /// The types of `a` and `b` (`U32` or `S32`), the type of the result.
        types: [Scalar; 3],
        /// The parts of `a` and `b`.
        parts: [Selector; 2],
        /// What follows.
        second: VideoSecond,
        /// 1, 2 or 4.
        lanes: u8,
    },
}

/// Whether a conversion rounds to an integral value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Integral {
    #[default]
    No,
    Yes,
}

/// A pure instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Alu {
    /// What it computes.
    pub op: AluOp,
    /// In which type.
    pub ty: Scalar,
    /// Rounding.
    pub round: Round,
    /// Accuracy.
    pub accuracy: Accuracy,
    /// Modifiers.
    pub mods: Mods,
    /// Where the result goes; `None` for `_`. The second is that of a two-result `setp`, or the predicate of `shfl`-like forms.
    pub dst: Option<Reg>,
    /// The second result.
    pub dst2: Option<Reg>,
    /// The operands.
    pub src: [Option<Operand>; 4],
}

/// Modifiers of a pure instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mods(pub u8);

impl Mods {
    /// `.ftz`: subnormal inputs and results count as zero of their sign.
    pub const FTZ: Self = Self(1);
    /// `.sat`: floats to [0, 1], integers to their range. `.satfinite` of conversions too.
    pub const SAT: Self = Self(2);
    /// `.nan` of `min` and `max`.
    pub const NAN: Self = Self(4);
    /// `.xorsign` of `min` and `max`.
    pub const XORSIGN: Self = Self(8);
    /// `.abs` of `min` and `max`.
    pub const ABS: Self = Self(16);
    /// `.relu`.
    pub const RELU: Self = Self(32);
    /// `.oob` of `fma`.
    pub const OOB: Self = Self(64);

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
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

/// Mode of `shfl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum ShuffleMode {
    Up,
    Down,
    Bfly,
    Idx,
}

/// Mode of `vote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum VoteMode {
    All,
    Any,
    Uni,
    Ballot,
}

/// Operation of `redux` and `bar.red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum ReduceOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Popc,
}

/// Layout of a matrix operand of `mma` and `wmma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Layout {
    Row,
    Col,
}

/// An element type of a matrix instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum MatrixType {
    F16,
    BF16,
    TF32,
    F32,
    F64,
    U8,
    S8,
    U4,
    S4,
    B1,
    S32,
    E4M3,
    E5M2,
}

/// Which matrix a `wmma.load` or `.store` moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Fragment {
    A,
    B,
    C,
    D,
}

/// What the lanes of a warp do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WarpOp {
    /// `shfl`: sources are value, lane, clamp-and-segment; two destinations, value and predicate, each `None` if not wanted.
    Shuffle(ShuffleMode),
    /// `vote`: source a predicate (`negate` already applied by a preceding instruction); destination a predicate, or 32 bits.
    Vote(VoteMode),
    /// `match.any`: source of the given type; destination a mask.
    MatchAny(Scalar),
    /// `match.all`: the same; second destination a predicate.
    MatchAll(Scalar),
    /// `redux`.
    Redux(ReduceOp, Scalar, Mods),
    /// `activemask`: the lanes that execute it together. No mask operand.
    ActiveMask,
    /// `bar.warp.sync`.
    Barrier,
    /// `elect`: destination the elected lane, second a predicate.
    Elect,
    /// `ldmatrix`: `count` (1, 2, 4) matrices; source the shared address. Element bits 16 (m8n8) or 8 (m16n16).
    LdMatrix {
        /// Matrices.
        count: u8,
        /// `.trans`.
        transpose: Layout,
        /// The space of the address.
        space: Space,
        /// Added to the address.
        offset: i32,
    },
    /// `stmatrix`: sources address, then the registers.
    StMatrix {
        /// Matrices.
        count: u8,
        /// `.trans` is `Col`.
        transpose: Layout,
        /// The space of the address.
        space: Space,
        /// Added to the address.
        offset: i32,
    },
    /// `movmatrix`.
    MovMatrix,
    /// `mma`: sources the registers of A, B, C in order; destinations those of D.
    Mma {
        /// M, N, K.
        shape: [u16; 3],
        /// Layouts of A and B.
        layouts: [Layout; 2],
        /// Element types of D, A, B, C.
        types: [MatrixType; 4],
        /// `.satfinite`.
        saturate: Integral,
        /// Of one-bit matrices: `.and.popc` instead of `.xor.popc`.
        and_popc: Integral,
    },
    /// `wmma.load`: sources address, stride in elements; destinations the fragment.
    WmmaLoad {
        /// Which.
        fragment: Fragment,
        /// M, N, K.
        shape: [u16; 3],
        /// Layout in memory.
        layout: Layout,
        /// Element type.
        ty: MatrixType,
        /// The space of the address.
        space: Space,
        /// Added to the address.
        offset: i32,
    },
    /// `wmma.store`: sources address, stride, then the fragment.
    WmmaStore {
        /// M, N, K.
        shape: [u16; 3],
        /// Layout in memory.
        layout: Layout,
        /// Element type.
        ty: MatrixType,
        /// The space of the address.
        space: Space,
        /// Added to the address.
        offset: i32,
    },
    /// `wmma.mma`: as `Mma`, on fragments of `wmma`.
    WmmaMma {
        /// M, N, K.
        shape: [u16; 3],
        /// Layouts of A and B.
        layouts: [Layout; 2],
        /// Element types of D, A, B, C.
        types: [MatrixType; 4],
        /// `.satfinite`.
        saturate: Integral,
        /// As of `Mma`.
        and_popc: Integral,
    },
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
    /// For an indirect call: functions of the module that fit the prototype.
    pub candidates: Vec<FuncId>,
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

/// A parameter of an entry, or a variable of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name in the text.
    pub name: String,
    /// From the start of the parameters, or of the frame.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// A power of two.
    pub align: u32,
}

/// A function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Whether it can be launched.
    pub is_entry: bool,
    /// Parameters of an entry, in its parameter block of `param_bytes`.
    pub params: Vec<Slot>,
    /// Bytes of the parameter block of an entry.
    pub param_bytes: u32,
    /// Variables of the frame.
    pub locals: Vec<Slot>,
    /// Bytes of the frame; aligned to 16 or to the most aligned variable.
    pub local_bytes: u32,
    /// The alignment of the frame.
    pub local_align: u32,
    /// Of a `.func`: which variables are its parameters and results.
    pub args: Vec<LocalId>,
    /// The results.
    pub rets: Vec<LocalId>,
    /// The registers.
    pub regs: Vec<RegClass>,
    /// The blocks; the first is the entry. Empty for a function that is declared only and never called.
    pub blocks: Vec<Block>,
    /// Directives.
    pub limits: LaunchLimits,
    /// Who may see it; `Extern` if this module only declares it.
    pub linkage: Linkage,
    /// Where it stands in the text.
    pub place: Place,
}

/// What an entry says about its launches; 0 where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaunchLimits {
    /// `.maxntid`: most threads.
    pub max_threads: [u32; 3],
    /// `.reqntid`: exactly these.
    pub required_threads: [u32; 3],
    /// `.minnctapersm`.
    pub min_blocks_per_sm: u32,
    /// `.maxnreg`.
    pub max_registers: u32,
}

/// A variable of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Its name.
    pub name: String,
    /// `Global`, `Const` or `Shared`.
    pub space: Space,
    /// A power of two.
    pub align: u32,
    /// Bytes; 0 for `.extern .shared x[]`, which starts where static shared memory ends.
    pub size: u64,
    /// The first bytes; the rest is zero.
    pub init: Vec<u8>,
    /// Addresses in it.
    pub relocations: Vec<Relocation>,
    /// Who may see it.
    pub linkage: Linkage,
    /// `.managed`.
    pub is_managed: bool,
    /// Where it stands in the text.
    pub place: Place,
}

/// Linkage of a symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Linkage {
    #[default]
    Local,
    Visible,
    Extern,
    Weak,
    Common,
}

/// An address within an initialiser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Where.
    pub offset: u64,
    /// How many bytes are written: 1, 2, 4 or 8.
    pub size: u8,
    /// The bits of the address that are written, from this one (`mask` operators).
    pub shift: u8,
    /// Whose address.
    pub symbol: Symbol,
    /// Added.
    pub addend: i64,
    /// Whether it is the generic address (`generic(x)`), which differs for shared variables only.
    pub is_generic: bool,
}

/// A module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// `.version`.
    pub version: (u32, u32),
    /// `.target sm_<n>`.
    pub target_sm: u32,
    /// Variables.
    pub globals: Vec<Global>,
    /// Functions and entries.
    pub functions: Vec<Function>,
}

impl Module {
    /// The entry of this name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<FuncId> {
        let index = self.functions.iter().position(|function| function.is_entry && function.name == name)?;
        Some(FuncId(u32::try_from(index).ok()?))
    }

    /// The number that stands for a function's address: not 0, and no address of memory that a kernel can reach.
    #[must_use]
    pub const fn function_address(id: FuncId) -> u64 {
        0x10 + 0x10 * id.0 as u64
    }

    /// The function whose address this is.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<FuncId> {
        let index = address.checked_sub(0x10).filter(|offset| offset % 0x10 == 0)? / 0x10;
        ((index as usize) < self.functions.len()).then_some(FuncId(u32::try_from(index).ok()?))
    }
}
