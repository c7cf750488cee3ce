//! Numbers that name things, and the answer of most functions.

#![forbid(unsafe_code)]

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

use crate::generated::enums::CUresult;

/// What a function answers besides what it writes.
pub type Answer<T = ()> = Result<T, CUresult>;

/// `CUdevice`: place in the list of visible devices.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CUdevice(pub i32);

/// `CUdeviceptr`.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct CUdeviceptr(pub u64);

/// `CUlaunchAttributeValue`: 64 bytes that each attribute reads in its own way.
pub type CUlaunchAttributeValue = [u64; 8];

/// Parameter of `cuDeviceGetNvSciSyncAttributes` and others by value that are 8 bytes: as the register holds it.
pub type Word = u64;
