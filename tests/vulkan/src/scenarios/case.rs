//! What a scenario gets: a device, and a place for its results.

use std::fmt;

use anyhow::Result;

use crate::gpu::Gpu;
use crate::gpu::Physical;
use crate::gpu::Wanted;

/// One run of a scenario.
pub(crate) struct Case {
    /// The number of the device.
    pub(crate) device: usize,
    digest: u64,
}

/// Why a scenario has nothing to say about a device.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

impl Case {
    pub(crate) fn new(device: usize) -> Self {
        // The start value of FNV-1a.
        Self { device, digest: 0xcbf2_9ce4_8422_2325 }
    }

    /// A device of its own, with one queue.
    pub(crate) fn gpu(&self) -> Result<Gpu> {
        Gpu::open(Physical::open(self.device)?, Wanted::OneQueue)
    }

    /// A physical device of an instance of its own.
    pub(crate) fn physical(&self) -> Result<Physical> {
        Physical::open(self.device)
    }

    /// Adds results to the digest.
    pub(crate) fn digest<T: bytemuck::NoUninit>(&mut self, values: &[T]) {
        for byte in bytemuck::cast_slice::<T, u8>(values) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Adds what a value prints as to the digest.
    pub(crate) fn digest_text(&mut self, value: &impl fmt::Debug) {
        let text = format!("{value:?}");
        self.digest(text.as_bytes());
    }

    /// The digest of all results.
    pub(crate) fn result(&self) -> u64 {
        self.digest
    }

    /// Ends the scenario unless the device has what it needs.
    pub(crate) fn need(&self, there: impl Into<Needed>, what: &str) -> Result<()> {
        match there.into() {
            Needed::There => Ok(()),
            Needed::Missing => Err(Skip(format!("the device has no {what}")).into()),
        }
    }
}

/// Whether a device has something.
pub(crate) enum Needed {
    There,
    Missing,
}

impl From<bool> for Needed {
    fn from(there: bool) -> Self {
        if there { Self::There } else { Self::Missing }
    }
}

impl From<u32> for Needed {
    fn from(there: u32) -> Self {
        (there != 0).into()
    }
}
