//! Semaphores: the host's own, or with payloads that others share.

use std::sync::Arc;

use parking_lot::Mutex;

use super::payload::Payloads;
use super::payload::Use;
use crate::cells::Cell;
use crate::device::Device;

/// What the guest keeps of a semaphore.
#[derive(Clone, Debug)]
pub enum Semaphore {
    /// A binary semaphore of the host.
    Binary,
    /// A timeline semaphore of the host, with the cell that the host keeps at its counter.
    Timeline(Cell),
    /// A semaphore with payloads that others share.
    External(Arc<External>),
    /// No semaphore of the program: a payload.
    Payload,
}

/// A semaphore with payloads that others share.
#[derive(Debug)]
pub struct External {
    /// What it was when it was made; none where it was made to be shared and the host has nothing under its id.
    pub native: Option<Native>,
    /// Its payloads.
    pub payloads: Mutex<Payloads>,
}

/// A semaphore of the host.
#[derive(Clone, Debug)]
pub enum Native {
    /// A binary one.
    Binary,
    /// A timeline one.
    Timeline(Cell),
}

impl Semaphore {
    /// The cell with the counter of a timeline semaphore.
    #[must_use]
    pub fn counter(&self) -> Option<Cell> {
        match self {
            Self::Timeline(cell) => Some(cell.clone()),
            Self::External(external) => {
                external.payloads.lock().current().map(|payload| payload.cell().clone())
            }
            Self::Binary | Self::Payload => None,
        }
    }
}

/// What a submission does with a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It waits.
    Wait,
    /// It signals.
    Signal,
}

/// A use of a semaphore as the host shall see it: its payload's where it has one.
#[must_use]
pub fn resolve(device: &Device, act: Act, named: Use) -> Use {
    let external = device.objects.semaphores.with(named.id, |semaphore| match semaphore {
        Semaphore::External(external) => Some(Arc::clone(external)),
        _ => None,
    });
    let Some(external) = external.flatten() else { return named };
    let mut payloads = external.payloads.lock();
    match act {
        Act::Signal => payloads.current().map_or(named, |payload| payload.signal(named.value)),
        Act::Wait => match payloads.restore() {
            Some(temporary) => temporary.wait(named.value),
            None => payloads.current().map_or(named, |payload| payload.wait(named.value)),
        },
    }
}
