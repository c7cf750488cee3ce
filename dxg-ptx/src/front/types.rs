//! The names of types, spaces and special registers.

use crate::ir::RegClass;
use crate::ir::Scalar;
use crate::ir::Space;
use crate::ir::Special;

/// The type of a name.
pub(super) fn scalar(name: &str) -> Option<Scalar> {
    // Most modifiers are no types; these letters start types.
    let first = *name.as_bytes().first()?;
    if !matches!(first, b'b' | b'u' | b's' | b'f' | b'p' | b't' | b'e') {
        return None;
    }
    Some(match name {
        "pred" => Scalar::Pred,
        "b8" => Scalar::B8,
        "b16" => Scalar::B16,
        "b32" => Scalar::B32,
        "b64" => Scalar::B64,
        "b128" => Scalar::B128,
        "u8" => Scalar::U8,
        "u16" => Scalar::U16,
        "u32" => Scalar::U32,
        "u64" => Scalar::U64,
        "s8" => Scalar::S8,
        "s16" => Scalar::S16,
        "s32" => Scalar::S32,
        "s64" => Scalar::S64,
        "f16" => Scalar::F16,
        "f16x2" => Scalar::F16x2,
        "bf16" => Scalar::BF16,
        "bf16x2" => Scalar::BF16x2,
        "tf32" => Scalar::TF32,
        "f32" => Scalar::F32,
        "f32x2" => Scalar::F32x2,
        "f64" => Scalar::F64,
        "u16x2" => Scalar::U16x2,
        "s16x2" => Scalar::S16x2,
        "u8x4" => Scalar::U8x4,
        "s8x4" => Scalar::S8x4,
        "e4m3x2" => Scalar::E4M3x2,
        "e5m2x2" => Scalar::E5M2x2,
        "e2m1x2" => Scalar::E2M1x2,
        "e2m3x2" => Scalar::E2M3x2,
        "e3m2x2" => Scalar::E3M2x2,
        "ue8m0x2" => Scalar::UE8M0x2,
        "s2f6x2" => Scalar::S2F6x2,
        _ => return None,
    })
}

/// The register that holds values of a declared type.
pub(super) fn class(ty: Scalar) -> RegClass {
    match ty {
        Scalar::Pred => RegClass::Pred,
        Scalar::F32 => RegClass::F32,
        Scalar::F64 => RegClass::F64,
        _ => match ty.size_bytes() {
            1 => RegClass::B8,
            2 => RegClass::B16,
            4 => RegClass::B32,
            8 => RegClass::B64,
            _ => RegClass::B128,
        },
    }
}

/// Bits of a value; 1 for a predicate.
pub(crate) fn width(ty: Scalar) -> u32 {
    if ty == Scalar::Pred { 1 } else { ty.size_bytes() * 8 }
}

/// The untyped value of so many bits.
pub(super) fn untyped(bits: u32) -> Scalar {
    match bits {
        1 => Scalar::Pred,
        8 => Scalar::B8,
        16 => Scalar::B16,
        32 => Scalar::B32,
        64 => Scalar::B64,
        _ => Scalar::B128,
    }
}

/// The state space of a modifier of a memory instruction.
pub(super) fn space(name: &str) -> Option<Space> {
    Some(match name {
        "global" => Space::Global,
        // A block is a cluster of its own.
        "shared" | "shared::cta" | "shared::cluster" => Space::Shared,
        "local" => Space::Local,
        "const" => Space::Const,
        "param" | "param::entry" | "param::func" => Space::Param,
        _ => return None,
    })
}

/// A special register by its name without the percent sign.
pub(super) fn special(name: &str) -> Option<Special> {
    Some(match name {
        "laneid" => Special::LaneId,
        "warpid" => Special::WarpId,
        "nwarpid" => Special::NwarpId,
        "smid" => Special::SmId,
        "nsmid" => Special::NsmId,
        "gridid" => Special::GridId,
        "lanemask_eq" => Special::LanemaskEq,
        "lanemask_le" => Special::LanemaskLe,
        "lanemask_lt" => Special::LanemaskLt,
        "lanemask_ge" => Special::LanemaskGe,
        "lanemask_gt" => Special::LanemaskGt,
        "clock" => Special::Clock,
        "clock_hi" => Special::ClockHi,
        "clock64" => Special::Clock64,
        "globaltimer" => Special::GlobalTimer,
        "globaltimer_lo" => Special::GlobalTimerLo,
        "globaltimer_hi" => Special::GlobalTimerHi,
        "total_smem_size" => Special::TotalSmemSize,
        "dynamic_smem_size" => Special::DynamicSmemSize,
        "aggr_smem_size" => Special::AggrSmemSize,
        "current_graph_exec" => Special::CurrentGraphExec,
        "cluster_ctarank" => Special::ClusterCtaRank,
        "cluster_nctarank" => Special::ClusterNctaRank,
        "is_explicit_cluster" => Special::IsExplicitCluster,
        "reserved_smem_offset_begin"
        | "reserved_smem_offset_end"
        | "reserved_smem_offset_cap"
        | "reserved_smem_offset_0"
        | "reserved_smem_offset_1" => Special::ReservedSmem,
        _ => {
            if let Some(number) = name.strip_prefix("envreg") {
                return number.parse().ok().filter(|&number: &u8| number < 32).map(Special::Envreg);
            }
            let number = name.strip_prefix("pm")?;
            let number = number.strip_suffix("_64").unwrap_or(number);
            return number.parse().ok().filter(|&number: &u8| number < 8).map(Special::Pm);
        }
    })
}

/// A special register of three parts.
pub(super) fn special_vector(name: &str) -> Option<[Special; 3]> {
    Some(match name {
        "tid" => [Special::TidX, Special::TidY, Special::TidZ],
        "ntid" => [Special::NtidX, Special::NtidY, Special::NtidZ],
        "ctaid" => [Special::CtaidX, Special::CtaidY, Special::CtaidZ],
        "nctaid" => [Special::NctaidX, Special::NctaidY, Special::NctaidZ],
        "clusterid" => [Special::ClusterIdX, Special::ClusterIdY, Special::ClusterIdZ],
        "nclusterid" => [Special::NclusterIdX, Special::NclusterIdY, Special::NclusterIdZ],
        "cluster_ctaid" => [Special::ClusterCtaId; 3],
        "cluster_nctaid" => [Special::ClusterNctaId; 3],
        _ => return None,
    })
}

/// Bits of a special register.
pub(crate) fn special_bits(special: Special) -> u32 {
    match special {
        Special::Clock64 | Special::GlobalTimer | Special::GridId | Special::CurrentGraphExec => 64,
        _ => 32,
    }
}

/// The element of a vector that `.x` and the like name.
pub(super) fn element(name: &str) -> Option<u32> {
    Some(match name {
        "x" | "r" => 0,
        "y" | "g" => 1,
        "z" | "b" => 2,
        "w" | "a" => 3,
        _ => return None,
    })
}
