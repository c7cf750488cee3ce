//! The CPU engine of a worker: the threads that all its contexts share.

use std::io;
use std::sync::Arc;

use dxg_ptx::native::install_handlers;

use super::pool::Pool;
use super::watch::Watch;

/// The threads. They begin with the first context and end with the engine.
pub(super) struct Engine {
    pub(super) pool: Pool,
    pub(super) watch: Watch,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// When there are no threads or descriptors left.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        // Kernels that touch pages that are not there fault in the processor; the handlers end the grid, not the process.
        install_handlers()?;
        let pool = Pool::start()?;
        let watch = Watch::start(pool.handle())?;
        Ok(Arc::new(Self { pool, watch }))
    }
}
