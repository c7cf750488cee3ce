//! The modules of a context, and how they are loaded: read and checked beside the ring, which goes on meanwhile.
//!
//! *The end.* Once the modules are closed nothing is answered any more: a module that is still being read is forgotten when it is done.
//!
//! *Locks.* One mutex; answers are given while it is held, so that none comes after the end.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use dxg_wire::codec::Encoder;
use dxg_wire::cuda;
use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

use super::super::answer::Answer;
use super::charge::Account;
use super::compile;
use super::compile::Compiler;
use super::compile::Refused;
use super::context::Context;
use super::jobs::Job;
use super::jobs::Urgency;
use super::module::Loaded;
use super::module::Placed;
use super::result;
use super::settings::Executor;
use crate::failure::Violation;

/// Most modules of a context.
const MOST_MODULES: usize = 1 << 16;
/// Entries of streams that a module being loaded stands for, where it is counted how much a context has queued.
const WEIGHT: usize = 1 << 10;

#[derive(Debug)]
enum Module {
    Loading,
    Loaded(Arc<Loaded>),
    Placed(Arc<Placed>, Arc<Loaded>),
}

/// The modules of a context.
#[derive(Debug, Default)]
pub(super) struct Modules {
    all: Mutex<HashMap<u64, Module>>,
    /// Changes while `all` is locked.
    is_closed: AtomicBool,
}

impl Modules {
    /// Takes the number of a module that will be loaded.
    pub(super) fn begin(&self, op: &'static str, number: u64) -> Result<(), Violation> {
        let mut all = self.all.lock();
        if all.len() >= MOST_MODULES {
            return Err(Violation::new(op, "too many modules"));
        }
        match all.entry(number) {
            Slot::Occupied(_) => Err(Violation::new(op, "the number is in use")),
            Slot::Vacant(slot) => {
                slot.insert(Module::Loading);
                Ok(())
            }
        }
    }

    /// A module that is loaded.
    pub(super) fn loaded(&self, op: &'static str, number: u64) -> Result<Arc<Loaded>, Violation> {
        match self.all.lock().get(&number) {
            Some(Module::Loaded(loaded) | Module::Placed(_, loaded)) => Ok(Arc::clone(loaded)),
            Some(Module::Loading) => Err(Violation::new(op, "the module is being loaded")),
            None => Err(Violation::new(op, "no such module")),
        }
    }

    /// A module that has no place yet.
    pub(super) fn unplaced(&self, op: &'static str, number: u64) -> Result<Arc<Loaded>, Violation> {
        if matches!(self.all.lock().get(&number), Some(Module::Placed(..))) {
            return Err(Violation::new(op, "it has a place"));
        }
        self.loaded(op, number)
    }

    /// A module that has a place.
    pub(super) fn placed(&self, op: &'static str, number: u64) -> Result<Arc<Placed>, Violation> {
        match self.all.lock().get(&number) {
            Some(Module::Placed(placed, _)) => Ok(Arc::clone(placed)),
            Some(_) => Err(Violation::new(op, "the module has no place")),
            None => Err(Violation::new(op, "no such module")),
        }
    }

    /// A module has its place.
    pub(super) fn place(&self, number: u64, placed: &Arc<Placed>, loaded: Arc<Loaded>) {
        self.all.lock().insert(number, Module::Placed(Arc::clone(placed), loaded));
    }

    /// Forgets a module.
    pub(super) fn remove(&self, op: &'static str, number: u64) -> Result<(), Violation> {
        let removed = self.all.lock().remove(&number);
        match removed {
            Some(Module::Loading) => Err(Violation::new(op, "it is being loaded")),
            Some(_) => Ok(()),
            None => Err(Violation::new(op, "no such module")),
        }
    }

    /// Forgets all, and those that are being loaded when they are.
    pub(super) fn close(&self) {
        let mut all = self.all.lock();
        self.is_closed.store(true, Ordering::Release);
        let modules = std::mem::take(&mut *all);
        drop(all);
        drop(modules);
    }
}

/// A text that is to be read, in memory of the guest.
#[derive(Debug)]
pub(super) struct Text {
    /// Of [`dxg_wire::cuda::image_kind`].
    pub(super) kind: u32,
    /// Its name in messages.
    pub(super) name: String,
    /// Where it is; none of it if it is empty.
    pub(super) memory: Option<SharedSlice>,
}

/// What a module is loaded from.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) log_bytes: usize,
    pub(super) compute_capability: u32,
    pub(super) texts: Vec<Text>,
    pub(super) answer: Answer,
}

/// Loads a module beside the ring. Its number was taken before.
pub(super) fn start(context: &Arc<Context>, modules: &Arc<Modules>, request: Request) {
    context.queued(WEIGHT);
    let loading = Loading {
        modules: Arc::clone(modules),
        account: Arc::clone(&context.modules),
        compiler: Arc::clone(&context.engine.compiler),
        executor: context.settings.executor,
        context: Arc::downgrade(context),
        request,
    };
    context.engine.jobs.submit(Urgency::Loaded, Arc::new(loading));
}

/// A module that is being loaded.
struct Loading {
    modules: Arc<Modules>,
    account: Arc<Account>,
    compiler: Arc<dyn Compiler>,
    executor: Executor,
    context: Weak<Context>,
    request: Request,
}

impl Loading {
    /// Copies the texts, once, and reads them.
    fn load(&self) -> Result<Loaded, Refused> {
        let texts = &self.request.texts;
        let bytes = texts.iter().filter_map(|text| text.memory.as_ref()).map(|memory| memory.len() as u64);
        let bytes = Loaded::bytes_of(bytes.fold(0, u64::saturating_add));
        let part = self.account.take(bytes).ok_or_else(Refused::quota)?;
        let copy = |text: &Text| {
            let mut bytes = Vec::new();
            if let Some(memory) = &text.memory {
                bytes.resize(memory.len(), 0);
                memory.copy_out(0, &mut bytes).map_err(|_| Refused::gone())?;
            }
            Ok(compile::Image { kind: text.kind, name: text.name.clone(), bytes })
        };
        let images: Vec<compile::Image> = texts.iter().map(copy).collect::<Result<_, Refused>>()?;
        Loaded::new(&images, self.request.compute_capability, part, (&*self.compiler, self.executor))
    }

    fn finish(&self, loaded: Result<Loaded, Refused>, nanoseconds: u64) {
        let Request { number, log_bytes, .. } = self.request;
        let mut all = self.modules.all.lock();
        if self.modules.is_closed.load(Ordering::Acquire) {
            return;
        }
        let nothing = cuda::ModuleLoaded {
            result: result::SUCCESS,
            variable_bytes: 0,
            variable_align: 0,
            info_bytes: 0,
            nanoseconds,
            info_log: Vec::new(),
            error_log: Vec::new(),
        };
        let answer = match loaded {
            Ok(loaded) => {
                let answer = cuda::ModuleLoaded {
                    variable_bytes: loaded.variables.bytes,
                    variable_align: loaded.variables.align,
                    info_bytes: loaded.info.len() as u64,
                    ..nothing
                };
                all.insert(number, Module::Loaded(Arc::new(loaded)));
                answer
            }
            Err(refused) => {
                all.remove(&number);
                let mut error_log = refused.log.into_bytes();
                error_log.truncate(log_bytes);
                cuda::ModuleLoaded { result: refused.result, error_log, ..nothing }
            }
        };
        let mut reply = Encoder::new();
        answer.encode(&mut reply);
        if !self.request.answer.give(reply.as_slice()) {
            // The slot was judged when the entry was read; one that takes not even a number deceives its own guest.
            tracing::debug!("the answer to LOAD_MODULE found no room");
        }
    }
}

impl Job for Loading {
    fn is_wanted(&self) -> bool {
        !self.modules.is_closed.load(Ordering::Acquire)
    }

    fn run(&self) {
        let since = Instant::now();
        // Whatever happens, the guest is answered.
        let loaded = panic::catch_unwind(AssertUnwindSafe(|| self.load()));
        let loaded = loaded.unwrap_or_else(|_| Err(Refused::failed()));
        let nanoseconds = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.finish(loaded, nanoseconds);
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        if let Some(context) = self.context.upgrade() {
            context.taken(WEIGHT);
        }
    }
}
