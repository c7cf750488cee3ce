//! CUDA on the CPU: contexts, modules and streams of a client, run by the cores of this machine.
//!
//! *Why.* Programs that use CUDA run where there is no such device. Whatever adapter a virtual GPU has, its CUDA streams are served
//! here; the adapter `cpu` serves nothing else.
//!
//! *Order of reading.* [`reader`] takes entries, [`validate`] makes commands of them, [`server`] executes those in the order of the ring; work goes to the
//! streams in [`queue`], which threads of the [`pool`] run as [`work`] says, grids as [`grid`] says. [`memory`] is what addresses
//! mean, [`module`] what launches name, [`code`] what they wait for, made by the threads of [`jobs`].
//!
//! *Invariants.* A guest can write device memory, modules and parameters as it likes; what it makes go wrong ends in the error of its
//! context or the end of its session.

mod attributes;
mod charge;
mod code;
mod compile;
mod context;
mod engine;
mod fifo;
mod grid;
mod heap;
mod identity;
mod jobs;
mod layout;
pub mod libcuda;
mod loading;
mod memory;
mod module;
mod places;
mod pool;
mod queue;
mod range;
mod reader;
mod result;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod validate;
mod waits;
mod watch;
mod work;
mod workspace;

use std::sync::Arc;

use dxg_ptx::native::CodeStore;
use dxg_wire::session::StreamKind;
use parking_lot::Mutex;

use super::Adapter;
use super::AdapterIdentity;
use super::StreamEnd;
use super::StreamSeat;
use crate::failure::Fault;

pub use identity::identity;
pub use settings::Executor;
pub use settings::Settings;

use attributes::Machine;
use engine::Engine;

/// The adapter `cpu`: CUDA, and no other streams.
#[must_use]
pub fn cpu() -> Arc<dyn Adapter> {
    Arc::new(CudaAdapter::new(identity(), None))
}

/// An adapter with CUDA on the CPU beside its own streams.
#[must_use]
pub fn beside(adapter: Arc<dyn Adapter>) -> Arc<dyn Adapter> {
    Arc::new(CudaAdapter::new(adapter.identity().clone(), Some(adapter)))
}

/// Keeps the code of this process's client in a store, from now on.
pub fn keep_code(store: Arc<dyn CodeStore>) {
    compile::keep_in(store);
}

/// CUDA on the CPU.
struct CudaAdapter {
    identity: AdapterIdentity,
    machine: Machine,
    /// Whose streams are served beside.
    beside: Option<Arc<dyn Adapter>>,
    /// Made when the first context is: most clients have none.
    engine: Mutex<Option<Arc<Engine>>>,
}

impl CudaAdapter {
    fn new(identity: AdapterIdentity, beside: Option<Arc<dyn Adapter>>) -> Self {
        // Asked now: the process may not be able to later.
        Self { identity, machine: identity::machine(), beside, engine: Mutex::new(None) }
    }

    fn engine(&self) -> Result<Arc<Engine>, Fault> {
        let mut engine = self.engine.lock();
        if let Some(engine) = &*engine {
            return Ok(Arc::clone(engine));
        }
        let started = Engine::start().map_err(|error| Fault::new("start the CPU engine", error))?;
        *engine = Some(Arc::clone(&started));
        Ok(started)
    }
}

impl Adapter for CudaAdapter {
    fn identity(&self) -> &AdapterIdentity {
        &self.identity
    }

    fn serves(&self, kind: StreamKind) -> bool {
        kind == StreamKind::CUDA || self.beside.as_ref().is_some_and(|adapter| adapter.serves(kind))
    }

    fn run_stream(&self, seat: StreamSeat) -> Result<(), StreamEnd> {
        if seat.kind == StreamKind::CUDA {
            return server::run(self.engine()?, &self.identity, self.machine, seat);
        }
        match &self.beside {
            Some(adapter) => adapter.run_stream(seat),
            None => Err(StreamEnd::Unsupported),
        }
    }
}
