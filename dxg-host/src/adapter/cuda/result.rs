//! `CUresult` values that the host answers, and which fault of a kernel is which.

use dxg_ptx::exec::FaultKind;

/// `CUDA_SUCCESS`.
pub(super) const SUCCESS: i32 = 0;
/// `CUDA_ERROR_INVALID_VALUE`.
pub(super) const INVALID_VALUE: i32 = 1;
/// `CUDA_ERROR_OUT_OF_MEMORY`.
pub(super) const OUT_OF_MEMORY: i32 = 2;
/// `CUDA_ERROR_INVALID_IMAGE`.
pub(super) const INVALID_IMAGE: i32 = 200;
/// `CUDA_ERROR_NO_BINARY_FOR_GPU`.
pub(super) const NO_BINARY_FOR_GPU: i32 = 209;
/// `CUDA_ERROR_INVALID_PTX`.
pub(super) const INVALID_PTX: i32 = 218;
/// `CUDA_ERROR_UNSUPPORTED_PTX_VERSION`.
pub(super) const UNSUPPORTED_PTX_VERSION: i32 = 222;
/// `CUDA_ERROR_ILLEGAL_ADDRESS`.
pub(super) const ILLEGAL_ADDRESS: i32 = 700;
/// `CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES`.
pub(super) const LAUNCH_OUT_OF_RESOURCES: i32 = 701;
/// `CUDA_ERROR_LAUNCH_TIMEOUT`.
pub(super) const LAUNCH_TIMEOUT: i32 = 702;
/// `CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE`.
pub(super) const COOPERATIVE_LAUNCH_TOO_LARGE: i32 = 720;
/// `CUDA_ERROR_NOT_SUPPORTED`.
pub(super) const NOT_SUPPORTED: i32 = 801;

/// What the sticky error of a fault is.
pub(super) fn of_fault(kind: FaultKind) -> i32 {
    match kind {
        FaultKind::IllegalAddress { .. } => ILLEGAL_ADDRESS,
        FaultKind::Misaligned { .. } => 716,
        FaultKind::InvalidSpace => 717,
        FaultKind::Assert => 710,
        FaultKind::InvalidTarget => 718,
        FaultKind::StackOverflow => 714,
        FaultKind::Launch => LAUNCH_OUT_OF_RESOURCES,
        FaultKind::Stopped => LAUNCH_TIMEOUT,
        // A barrier that nobody can reach hangs a real device, whose watchdog then says the same as of a trap.
        _ => 719,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_the_numbers_of_the_driver_api() {
        let table = [
            (FaultKind::IllegalAddress { address: None }, 700),
            (FaultKind::Launch, 701),
            (FaultKind::Stopped, 702),
            (FaultKind::Assert, 710),
            (FaultKind::StackOverflow, 714),
            (FaultKind::Misaligned { address: 1 }, 716),
            (FaultKind::InvalidSpace, 717),
            (FaultKind::InvalidTarget, 718),
            (FaultKind::Trap, 719),
            (FaultKind::Deadlock, 719),
        ];
        for (kind, number) in table {
            assert_eq!(of_fault(kind), number, "{kind:?}");
        }
    }
}
