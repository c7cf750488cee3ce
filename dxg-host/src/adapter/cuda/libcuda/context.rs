//! One context of a host's driver: what all its streams share.
//!
//! *Failure.* The first error sticks, as on the driver's side: it is written in the status block before any cell moves on, and work
//! behind it completes without running.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dxg_wire::cuda::status;
use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

use super::super::super::SessionCalls;
use super::super::memory::MapError;
use super::super::memory::Memory;
use super::super::result;
use super::clock::Clock;
use super::clock::Events;
use super::driver::Code;
use super::driver::ContextHandle;
use super::driver::Driver;
use super::driver::Way;
use super::library::Maker;

/// Errors that one worker tells everybody of.
const LOUD_ERRORS: u32 = 8;

/// Device memory that work may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    bytes: u64,
    owner: Owner,
}

/// Who has device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The guest has allocated it, and is charged for it.
    Guest,
    /// It is a variable of a module.
    Module(u64),
}

/// An address that work names, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Memory of the guest, mapped here at the same address.
    Host,
    /// Memory of the device.
    Device,
}

/// Memory that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nowhere {
    pub(super) address: u64,
}

/// Whose context it is.
pub(super) struct Client {
    pub(super) calls: Arc<dyn SessionCalls>,
    /// Set when the client has closed the stream.
    pub(super) closing: Arc<AtomicBool>,
    /// How long a kernel may run.
    pub(super) watchdog: Option<Duration>,
}

/// What the streams of a context share.
pub(super) struct Context {
    pub(super) driver: Driver,
    pub(super) handle: ContextHandle,
    /// Memory of the guest.
    pub(super) memory: Memory,
    pub(super) events: Arc<Events>,
    pub(super) clock: Clock,
    status: SharedSlice,
    /// The sticky `CUresult`; 0 for none.
    error: AtomicU32,
    over: AtomicBool,
    client: Client,
    device: Mutex<BTreeMap<u64, Span>>,
}

impl Context {
    pub(super) fn new(
        driver: Driver,
        device: i32,
        memory: Memory,
        status: SharedSlice,
        client: Client,
    ) -> Result<Arc<Self>, Code> {
        let handle = driver.create_context(device)?;
        let events = Arc::new(Events::default());
        let clock = Clock::start(&driver, &events).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = driver.destroy_context(handle);
        })?;
        Ok(Arc::new(Self {
            driver,
            handle,
            memory,
            events,
            clock,
            status,
            error: AtomicU32::new(0),
            over: AtomicBool::new(false),
            client,
            device: Mutex::default(),
        }))
    }

    /// Whether work is only to be completed.
    pub(super) fn is_failed(&self) -> bool {
        self.error.load(Ordering::Acquire) != 0 || self.is_over()
    }

    /// Whether the client is gone.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.client.closing.load(Ordering::Acquire)
    }

    /// Work waits for nothing any more.
    pub(super) fn give_up(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Makes an error stick, unless one does already.
    pub(super) fn fail(&self, result: i32, why: &dyn std::fmt::Display) {
        let result = result.cast_unsigned();
        if self.error.compare_exchange(0, result, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        if let Ok(word) = self.status.atomic_u32(status::ERROR as usize) {
            word.store(result, Ordering::SeqCst);
        }
        static ERRORS: AtomicU32 = AtomicU32::new(0);
        if ERRORS.fetch_add(1, Ordering::Relaxed) < LOUD_ERRORS {
            tracing::warn!(result, %why, "CUDA context failed");
        } else {
            tracing::debug!(result, %why, "CUDA context failed");
        }
    }

    /// How long a kernel may run.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.client.watchdog
    }

    /// A kernel has run for longer than it may. The driver cannot stop it: it ends with this process, and the process with the session.
    pub(super) fn overrun(&self) {
        const WHY: &str = "a kernel ran for longer than the watchdog allows";
        self.fail(result::LAUNCH_TIMEOUT, &WHY);
        self.client.calls.lose(WHY);
    }

    /// [`Self::fail`] where a call of the driver has.
    pub(super) fn check(&self, op: &'static str, called: Result<(), Code>) {
        if let Err(code) = called {
            self.fail(code.0, &op);
        }
    }

    /// Puts memory of the guest into the range, where the device sees it too.
    pub(super) fn map(&self, at: u64, memory: SharedSlice) -> Result<(), MapError> {
        let bytes = memory.len() as u64;
        self.memory.map(at, memory)?;
        // Our own library would take the pages over, and the guest would not see them any more.
        if self.driver.maker == Maker::Other
            && let Err(code) = self.driver.register(at, bytes)
        {
            // Copies still reach it, only kernels do not.
            tracing::debug!(%code, bytes, "memory not registered");
        }
        Ok(())
    }

    /// Takes memory of the guest out again.
    pub(super) fn unmap(&self, at: u64, bytes: u64) -> Result<(), MapError> {
        if self.driver.maker == Maker::Other && self.memory.is_mapped(at, bytes) {
            // What was not registered need not be given back.
            let _ = self.driver.unregister(at);
        }
        self.memory.unmap(at, bytes)
    }

    /// Allocates device memory that the client is charged for.
    pub(super) fn allocate(&self, bytes: u64) -> Result<u64, Code> {
        self.client.calls.charge(bytes).map_err(|_| Code(result::OUT_OF_MEMORY))?;
        let address = self.driver.allocate(bytes).inspect_err(|_| self.client.calls.uncharge(bytes))?;
        self.device.lock().insert(address, Span { bytes, owner: Owner::Guest });
        Ok(address)
    }

    /// Frees device memory that was allocated here; whether it was.
    pub(super) fn free(&self, address: u64) -> bool {
        let span = {
            let mut device = self.device.lock();
            match device.get(&address) {
                Some(span) if span.owner == Owner::Guest => device.remove(&address),
                _ => None,
            }
        };
        let Some(span) = span else { return false };
        self.check("free", self.driver.free(address));
        self.client.calls.uncharge(span.bytes);
        true
    }

    /// A variable of a module may be named.
    pub(super) fn add_variable(&self, module: u64, address: u64, bytes: u64) {
        self.device.lock().entry(address).or_insert(Span { bytes, owner: Owner::Module(module) });
    }

    /// The variables of a module are gone.
    pub(super) fn forget_variables(&self, module: u64) {
        self.device.lock().retain(|_, span| span.owner != Owner::Module(module));
    }

    /// Where bytes are that work names.
    pub(super) fn place(&self, address: u64, bytes: u64) -> Result<Place, Nowhere> {
        if self.memory.is_mapped(address, bytes) {
            return Ok(Place::Host);
        }
        let device = self.device.lock();
        let span = device.range(..=address).next_back();
        let is_there = span.is_some_and(|(start, span)| {
            let end = start.saturating_add(span.bytes);
            address.checked_add(bytes).is_some_and(|wanted| wanted <= end)
        });
        if is_there { Ok(Place::Device) } else { Err(Nowhere { address }) }
    }

    /// Which way bytes go from one place to another.
    pub(super) fn way(&self, to: (u64, u64), from: (u64, u64)) -> Result<Way, Nowhere> {
        Ok(match (self.place(to.0, to.1)?, self.place(from.0, from.1)?) {
            (Place::Device, Place::Host) => Way::ToDevice,
            (Place::Host, Place::Device) => Way::ToHost,
            (Place::Device, Place::Device) => Way::OnDevice,
            (Place::Host, Place::Host) => Way::OnHost,
        })
    }

    /// Ends the context of the driver, when no thread works for it any more.
    pub(super) fn end(&self) {
        if let Err(code) = self.driver.destroy_context(self.handle) {
            tracing::debug!(%code, "context not destroyed");
        }
        let device = std::mem::take(&mut *self.device.lock());
        let charged = device.values().filter(|span| span.owner == Owner::Guest);
        self.client.calls.uncharge(charged.fold(0, |sum, span| sum.saturating_add(span.bytes)));
    }
}
