//! What tells this library from a driver's.

// UNSAFETY: a symbol with a name of its own.
#![expect(unsafe_code, reason = "an exported symbol")]

/// A host that looks for a driver must not take this library for one by accident: it would be behind itself.
// SAFETY: no other library of a process has a symbol of this name.
#[unsafe(no_mangle)]
pub extern "C" fn dxg_cuda_shim() -> u32 {
    1
}
