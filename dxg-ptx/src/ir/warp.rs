//! What the lanes of a warp do together.

use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::ir::Space;

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
    /// `mma`: sources the registers of A, B, C in order, and the metadata of a sparse A; destinations those of D.
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
        /// Of a sparse A: which lanes of each four have the metadata.
        sparse: Option<u8>,
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
        /// How each sum of `f64` is rounded.
        round: Round,
        /// `.satfinite`.
        saturate: Integral,
        /// As of `Mma`.
        and_popc: Integral,
    },
}
