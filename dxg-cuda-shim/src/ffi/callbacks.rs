//! Functions of the program that the driver calls.

// UNSAFETY: calls functions that the program gave by address.
#![expect(unsafe_code, reason = "the program's functions are called")]

use std::ffi::c_void;
use std::mem::transmute;
use std::ptr;

use super::pointers::Address;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUstream;
use crate::types::Answer;

/// `CUhostFn`.
#[derive(Clone, Copy, Debug)]
pub struct HostFunction(extern "C" fn(*mut c_void));

/// `CUstreamCallback`.
#[derive(Clone, Copy, Debug)]
pub struct StreamCallback(extern "C" fn(CUstream, CUresult, *mut c_void));

/// `CUoccupancyB2DSize`.
#[derive(Clone, Copy, Debug)]
pub struct SizeFunction(extern "C" fn(i32) -> usize);

fn code(address: Address) -> Answer<*const ()> {
    address.given().map(|address| ptr::with_exposed_provenance(address.0))
}

impl HostFunction {
    /// The function at an address.
    ///
    /// # Errors
    /// Invalid value for null.
    pub fn at(address: Address) -> Answer<Self> {
        let code = code(address)?;
        // SAFETY: the program promises a function of this type, which stays callable until it was called.
        Ok(Self(unsafe { transmute::<*const (), extern "C" fn(*mut c_void)>(code) }))
    }

    /// Calls it.
    pub fn call(self, data: Address) {
        (self.0)(ptr::with_exposed_provenance_mut(data.0));
    }
}

impl StreamCallback {
    /// The function at an address.
    ///
    /// # Errors
    /// Invalid value for null.
    pub fn at(address: Address) -> Answer<Self> {
        let code = code(address)?;
        // SAFETY: the program promises a function of this type, which stays callable until it was called.
        Ok(Self(unsafe { transmute::<*const (), extern "C" fn(CUstream, CUresult, *mut c_void)>(code) }))
    }

    /// Calls it.
    pub fn call(self, stream: CUstream, status: CUresult, data: Address) {
        (self.0)(stream, status, ptr::with_exposed_provenance_mut(data.0));
    }
}

impl SizeFunction {
    /// The function at an address; none for null.
    #[must_use]
    pub fn at(address: Address) -> Option<Self> {
        let code = code(address).ok()?;
        // SAFETY: the program promises a function of this type.
        Some(Self(unsafe { transmute::<*const (), extern "C" fn(i32) -> usize>(code) }))
    }

    /// Calls it.
    #[must_use]
    pub fn call(self, block_size: i32) -> usize {
        (self.0)(block_size)
    }
}
