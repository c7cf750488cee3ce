//! Pure instructions: what they compute from their operands.

use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::Scalar;

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
    /// Half of the sum, rounded away from zero.
    Average,
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
    /// Of SIMD forms: only these lanes are added, as a mask.
    AddLanes(u8),
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
    /// `cvt.pack.sat`: two of [`Alu::ty`] (`S32`) clamped to so many bits and packed, of less than 16 bits below `c`.
    CvtPack {
        /// 2, 4, 8 or 16.
        bits: u8,
        /// Whether the clamped values are signed.
        signed: Integral,
    },
    /// Two sources converted and packed: `a` into the upper, `b` into the lower half.
    CvtPair {
        /// The source type.
        from: Scalar,
        /// What operand `c` is.
        extra: Extra,
    },
    /// A pair converted to a pair; operand `b` is a pair of scales (`ue8m0x2`): what becomes narrow is divided by them, what becomes
    /// wide multiplied.
    CvtScaled {
        /// The source type.
        from: Scalar,
    },
    /// The product of polynomials over bits, `a` times `b`: its low or high 64 bits, exclusive-or `c`.
    Clmad(Part),
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

/// What a conversion of two values has as its third operand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Extra {
    /// None.
    #[default]
    None,
    /// A pair of scales by which the values are divided (`ue8m0x2`).
    Scale,
    /// Random bits of `.rs`. For a result of halves those of `a` are in the upper half, those of `b` in the lower. Smaller results have
    /// 16 bits in the lower half for both: `b` takes them as they are, `a` in reversed order.
    Random,
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
    /// `.sat`: floats to [0, 1], integers to their range.
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
    /// `.satfinite` of conversions: what is beyond the greatest finite value is that value.
    pub const SATFINITE: Self = Self(128);

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
