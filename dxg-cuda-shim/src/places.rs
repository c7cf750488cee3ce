//! What an address is: memory that the host sees too, or the program's own.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::arena::Allocation;
use crate::arena::Kind;
use crate::context::Context;
use crate::generated::enums::CUresult;
use crate::tables;
use crate::types::Answer;

/// Where bytes are, as seen from a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the context's range, at this address.
    Shared(u64),
    /// In memory that only this process sees, or of another context.
    Here(u64),
}

impl Place {
    /// An address at which this process reads and writes it.
    #[must_use]
    pub fn address(self) -> u64 {
        match self {
            Self::Shared(at) | Self::Here(at) => at,
        }
    }
}

/// The context whose memory an address is.
#[must_use]
pub fn owner(address: u64) -> Option<Arc<Context>> {
    tables::contexts().into_iter().find(|context| context.arena.holds(address))
}

/// The context and allocation that an address is in.
#[must_use]
pub fn find(address: u64) -> Option<(Arc<Context>, Allocation)> {
    let context = owner(address)?;
    let allocation = context.arena.find(address).filter(|found| found.kind != Kind::Own)?;
    Some((context, allocation))
}

/// Where `bytes` at an address of device memory are.
///
/// # Errors
/// Invalid value where no memory is.
pub fn device(context: &Context, address: u64, bytes: u64) -> Answer<Place> {
    if context.arena.holds(address) {
        let is_there = context.arena.is_mapped(address, bytes);
        return if is_there { Ok(Place::Shared(address)) } else { Err(CUresult::ERROR_INVALID_VALUE) };
    }
    let other = owner(address).filter(|other| other.arena.is_mapped(address, bytes));
    other.map(|_| Place::Here(address)).ok_or(CUresult::ERROR_INVALID_VALUE)
}

/// Where `bytes` at any address are: memory of the program that the device has been given counts as the device's.
#[must_use]
pub fn any(context: &Context, address: u64, bytes: u64) -> Place {
    if context.arena.holds(address) && context.arena.is_mapped(address, bytes) {
        return Place::Shared(address);
    }
    match context.registered.find(address) {
        Some(piece) if address - piece.host + bytes <= piece.bytes => {
            Place::Shared(piece.device + (address - piece.host))
        }
        _ => Place::Here(address),
    }
}
