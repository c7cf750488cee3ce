//! The way to the compiler: texts to one module, a module to something that runs.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use dxg_ptx::DiagnosticKind;
use dxg_ptx::Diagnostics;
use dxg_ptx::exec::Executable;
use dxg_ptx::exec::Placement;
use dxg_ptx::interp::Interpreter;
use dxg_ptx::ir::FuncId;
use dxg_ptx::ir::Module;
use dxg_ptx::native::CodeCache;
use dxg_ptx::native::CodeStore;
use dxg_ptx::native::NativeProgram;
use dxg_ptx::native::SourceKey;
use dxg_wire::cuda::image_kind;

use super::result;
use super::settings::Executor;

/// Bytes of machine code that are kept for modules that come again.
const MOST_CODE_BYTES: usize = 64 << 20;

/// Code that has kept cores busy for so long may do so again: better code takes some milliseconds to make.
const WORTH_IMPROVING: Duration = Duration::from_millis(5);

/// The machine code of this worker, whose modules are all of one client.
static CODE: LazyLock<Arc<CodeCache>> = LazyLock::new(|| Arc::new(CodeCache::new(MOST_CODE_BYTES)));

/// Machine code is kept in a store as well.
pub(super) fn keep_in(store: Arc<dyn CodeStore>) {
    CODE.keep_in(store);
}

/// One image, in private memory.
#[derive(Debug)]
pub(super) struct Image {
    /// Of [`dxg_wire::cuda::image_kind`].
    pub(super) kind: u32,
    /// Its name in messages.
    pub(super) name: String,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
}

/// A module that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{log}")]
pub(super) struct Refused {
    /// A `CUresult`.
    pub(super) result: i32,
    /// For the error log.
    pub(super) log: String,
}

impl Refused {
    fn new(result: i32, log: impl Into<String>) -> Self {
        Self { result, log: log.into() }
    }

    /// Its variables have no end.
    pub(super) fn too_large() -> Self {
        Self::new(result::OUT_OF_MEMORY, "the variables of the module are larger than any memory")
    }

    /// The client may hold no more memory.
    pub(super) fn quota() -> Self {
        Self::new(result::OUT_OF_MEMORY, "the module is large and the quota has no room for it")
    }

    /// A mistake of ours.
    pub(super) fn failed() -> Self {
        Self::new(result::INVALID_PTX, "the compiler failed")
    }

    /// Its text is not where it was any more.
    pub(super) fn gone() -> Self {
        Self::new(result::INVALID_IMAGE, "the memory of the image is gone")
    }

    /// Its variables were placed where nothing is.
    pub(super) fn no_memory() -> Self {
        Self::new(result::ILLEGAL_ADDRESS, "the variables of the module have no memory")
    }
}

/// Parses and links images.
///
/// # Errors
/// What is wrong with them.
pub(super) fn link(images: &[Image]) -> Result<Module, Refused> {
    if images.iter().any(|image| image.kind != image_kind::PTX) {
        return Err(Refused::new(result::NO_BINARY_FOR_GPU, "only PTX can be compiled for this device"));
    }
    let mut modules = Vec::with_capacity(images.len());
    for image in images {
        modules.push(dxg_ptx::parse(&image.bytes, &image.name).map_err(|problems| wrong(&problems))?);
    }
    // A single image is the usual case, and its name then that of the module.
    let name = images.first().map_or("module", |image| image.name.as_str());
    let module = dxg_ptx::link::link(modules, name).map_err(|problems| wrong(&problems))?;
    dxg_ptx::link::check_resolved(&module, name).map_err(|problems| wrong(&problems))?;
    Ok(module)
}

fn wrong(problems: &Diagnostics) -> Refused {
    let result = match problems.kind() {
        DiagnosticKind::UnsupportedVersion => result::UNSUPPORTED_PTX_VERSION,
        DiagnosticKind::Unsupported => result::NOT_SUPPORTED,
        _ => result::INVALID_PTX,
    };
    Refused::new(result, problems.to_string())
}

/// What the code of a module made of these images is known by.
pub(super) fn source(images: &[Image]) -> SourceKey {
    let texts: Vec<&[u8]> = images.iter().map(|image| image.bytes.as_slice()).collect();
    SourceKey::of(&texts)
}

/// A module that runs once its variables have a place, and whose code is made entry by entry.
pub(super) trait Program: Executable {
    /// The program with its variables where the placement says.
    fn placed(self: Box<Self>, placement: Placement) -> Arc<dyn Program>;

    /// Whether entries are launched sooner for having been made before.
    fn is_made(&self) -> bool {
        true
    }

    /// Makes what launches of an entry run, which may take long. A launch before that would make it itself, and others wait.
    fn make(&self, entry: FuncId);

    /// How long an entry must have kept cores busy before it is worth better code than what [`Program::make`] makes; `None` where there is
    /// none.
    fn worth_improving_after(&self) -> Option<Duration> {
        None
    }

    /// Makes better code of an entry, which launches that begin later run. How many bytes it takes.
    fn improve(&self, _entry: FuncId) -> u64 {
        0
    }
}

impl Program for NativeProgram {
    fn placed(self: Box<Self>, placement: Placement) -> Arc<dyn Program> {
        Arc::new(Self::placed(*self, placement))
    }

    fn make(&self, entry: FuncId) {
        if let Err(error) = self.compile(entry) {
            tracing::debug!(%error, entry = entry.0, "an entry is interpreted");
        }
    }

    fn worth_improving_after(&self) -> Option<Duration> {
        Some(WORTH_IMPROVING)
    }

    fn improve(&self, entry: FuncId) -> u64 {
        match Self::improve(self, entry) {
            Ok(true) => self.machine_code(entry).map_or(0, |code| code.len() as u64),
            Ok(false) => 0,
            Err(error) => {
                tracing::debug!(%error, entry = entry.0, "an entry is not improved");
                0
            }
        }
    }
}

impl Program for Interpreter {
    fn placed(self: Box<Self>, placement: Placement) -> Arc<dyn Program> {
        Arc::new(Self::placed(*self, placement))
    }

    fn is_made(&self) -> bool {
        false
    }

    fn make(&self, _entry: FuncId) {}
}

/// What makes modules run.
pub(super) trait Compiler: Send + Sync {
    /// A module that runs once it is placed.
    ///
    /// # Errors
    /// When there is no code for this machine.
    fn program(
        &self,
        executor: Executor,
        module: &Arc<Module>,
        source: SourceKey,
    ) -> Result<Box<dyn Program>, Refused>;
}

/// The compiler of this worker.
#[derive(Debug)]
pub(super) struct OwnCompiler;

impl Compiler for OwnCompiler {
    fn program(
        &self,
        executor: Executor,
        module: &Arc<Module>,
        source: SourceKey,
    ) -> Result<Box<dyn Program>, Refused> {
        let nowhere = Placement::default();
        match executor {
            Executor::Native => {
                let program = NativeProgram::new(Arc::clone(module), nowhere);
                let program =
                    program.map_err(|error| Refused::new(result::NOT_SUPPORTED, error.to_string()))?;
                Ok(Box::new(program.with_cache(Arc::clone(&CODE), source)))
            }
            Executor::Interpreter => Ok(Box::new(Interpreter::new(Arc::clone(module), nowhere))),
        }
    }
}
