//! The CPU engine of a worker: the threads that all its contexts share.

use std::io;
use std::sync::Arc;

use dxg_ptx::native::install_handlers;

use super::code::Improved;
use super::compile::Compiler;
use super::compile::OwnCompiler;
use super::jobs::Jobs;
use super::pool::Pool;
use super::watch::Watch;

/// The threads. They begin with the first context and end with the engine.
pub(super) struct Engine {
    pub(super) pool: Pool,
    pub(super) watch: Watch,
    pub(super) jobs: Jobs,
    pub(super) compiler: Arc<dyn Compiler>,
    pub(super) improved: Arc<Improved>,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// When there are no threads or descriptors left.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        Self::with(Arc::new(OwnCompiler))
    }

    /// Starts the threads, and has another compiler make code.
    ///
    /// # Errors
    /// When there are no threads or descriptors left.
    pub(super) fn with(compiler: Arc<dyn Compiler>) -> io::Result<Arc<Self>> {
        // Kernels that touch pages that are not there fault in the processor; the handlers end the grid, not the process.
        install_handlers()?;
        let pool = Pool::start()?;
        let watch = Watch::start(pool.handle())?;
        let jobs = Jobs::start()?;
        Ok(Arc::new(Self { pool, watch, jobs, compiler, improved: Arc::default() }))
    }
}
