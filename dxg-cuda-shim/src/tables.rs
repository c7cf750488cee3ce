//! The objects that programs name.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::context::Context;
use crate::event::Event;
use crate::exec::Exec;
use crate::external::Memory;
use crate::external::Semaphore;
use crate::generated::enums::CUresult;
use crate::generated::handles::*;
use crate::graph::Graph;
use crate::graph::NodeRef;
use crate::handles::Kind;
use crate::handles::Table;
use crate::jit::Linker;
use crate::lane::Lane;
use crate::module::Function;
use crate::module::Kernel;
use crate::module::Library;
use crate::module::Module;
use crate::pool::Pool;
use crate::types::Answer;
use crate::user_object::UserObject;

/// A stream that a program made.
#[derive(Debug)]
pub struct Stream {
    /// Its context.
    pub context: Arc<Context>,
    /// What it is on the host.
    pub lane: Arc<Lane>,
    /// Flags of the call that made it.
    pub flags: u32,
}

/// Contexts.
pub static CONTEXTS: Table<CUcontext, Context> = Table::new(Kind::Context);
/// Streams.
pub static STREAMS: Table<CUstream, Stream> = Table::new(Kind::Stream);
/// Events.
pub static EVENTS: Table<CUevent, Event> = Table::new(Kind::Event);
/// Modules.
pub static MODULES: Table<CUmodule, Module> = Table::new(Kind::Module);
/// Functions.
pub static FUNCTIONS: Table<CUfunction, Function> = Table::new(Kind::Function);
/// Libraries.
pub static LIBRARIES: Table<CUlibrary, Library> = Table::new(Kind::Library);
/// Kernels.
pub static KERNELS: Table<CUkernel, Kernel> = Table::new(Kind::Kernel);
/// Linkers.
pub static LINKERS: Table<CUlinkState, Linker> = Table::new(Kind::Linker);
/// Graphs.
pub static GRAPHS: Table<CUgraph, Graph> = Table::new(Kind::Graph);
/// Nodes.
pub static NODES: Table<CUgraphNode, NodeRef> = Table::new(Kind::GraphNode);
/// Graphs that can be launched.
pub static EXECS: Table<CUgraphExec, Exec> = Table::new(Kind::GraphExec);
/// Pools.
pub static POOLS: Table<CUmemoryPool, Pool> = Table::new(Kind::Pool);
/// Physical memory; the name is a `CUmemGenericAllocationHandle`.
pub static PHYSICAL: Table<Physical, Memory> = Table::new(Kind::Physical);
/// Memory of others.
pub static EXTERNAL_MEMORY: Table<CUexternalMemory, Memory> = Table::new(Kind::ExternalMemory);
/// Semaphores of others.
pub static SEMAPHORES: Table<CUexternalSemaphore, Semaphore> = Table::new(Kind::ExternalSemaphore);
/// Things of programs that graphs hold.
pub static USER_OBJECTS: Table<CUuserObject, UserObject> = Table::new(Kind::UserObject);

/// `CUmemGenericAllocationHandle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Physical(pub u64);

impl crate::handles::Name for Physical {
    fn number(self) -> usize {
        self.0 as usize
    }

    fn of(number: usize) -> Self {
        Self(number as u64)
    }
}

/// Forgets what belongs to a context.
pub fn forget(context: &Context) {
    let is_its = |other: &Arc<Context>| other.id == context.id;
    drop(FUNCTIONS.remove_all(|function| is_its(&function.module.context)));
    drop(MODULES.remove_all(|module| is_its(&module.context)));
    drop(STREAMS.remove_all(|stream| is_its(&stream.context)));
    drop(EVENTS.remove_all(|event| is_its(&event.context)));
    crate::module::forget_in_libraries(context);
    crate::pool::forget(context);
}

/// Ends a context and its name.
pub fn destroy_context(context: &Arc<Context>) {
    if let Some(name) = context.name.get() {
        // Whoever was faster has removed it.
        let _ = CONTEXTS.remove(*name);
    }
    context.destroy();
}

/// A context by its name.
///
/// # Errors
/// Invalid context.
pub fn context(name: CUcontext) -> Answer<Arc<Context>> {
    CONTEXTS.find(name).ok_or(CUresult::ERROR_INVALID_CONTEXT)
}

/// All contexts at this moment, for addresses of which nobody says whose they are.
#[must_use]
pub fn contexts() -> Vec<Arc<Context>> {
    CONTEXTS.all()
}
