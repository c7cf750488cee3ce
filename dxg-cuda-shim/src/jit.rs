//! Options of the compiler, and linkers.

#![forbid(unsafe_code)]

use std::sync::Arc;

use parking_lot::Mutex;

use crate::context::Context;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::generated::enums::CUjit_option as O;
use crate::image::Image;
use crate::types::Answer;

/// Most bytes of a log that are asked of the host.
const MAX_LOG_BYTES: usize = 24 << 10;
const DEFAULT_OPTIMIZATION: u32 = 4;

/// Where a log goes.
#[derive(Clone, Copy, Debug, Default)]
struct Log {
    buffer: Option<Address>,
    bytes: usize,
    /// Where the option's value is: it becomes the bytes that were written.
    size_at: Option<usize>,
}

/// Options of a compilation.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    values: Mut<Address>,
    info: Log,
    error: Log,
    wall_time_at: Option<usize>,
    /// Optimisation level.
    pub optimization: u32,
}

impl Default for Options {
    fn default() -> Self {
        let (values, log) = (Mut::NULL, Log::default());
        Self { values, info: log, error: log, wall_time_at: None, optimization: DEFAULT_OPTIMIZATION }
    }
}

impl Options {
    /// No logs, this optimisation level.
    #[must_use]
    pub fn of_level(optimization: u32) -> Self {
        Self { optimization, ..Self::default() }
    }

    /// Reads a list of options.
    ///
    /// # Errors
    /// Invalid value for null lists.
    pub fn read(count: u32, options: Mut<O>, values: Mut<Address>) -> Answer<Self> {
        let mut read = Self { values, ..Self::default() };
        for (at, option) in options.list(count as usize)?.into_iter().enumerate() {
            let value = values.at(at).unwrap_or_default();
            // Sizes are 32 bits wide, in the low half of a pointer.
            let number = value.0 as u32;
            match option {
                O::INFO_LOG_BUFFER => read.info.buffer = Some(value),
                O::ERROR_LOG_BUFFER => read.error.buffer = Some(value),
                O::INFO_LOG_BUFFER_SIZE_BYTES => {
                    (read.info.bytes, read.info.size_at) = (number as usize, Some(at));
                }
                O::ERROR_LOG_BUFFER_SIZE_BYTES => {
                    (read.error.bytes, read.error.size_at) = (number as usize, Some(at));
                }
                O::OPTIMIZATION_LEVEL => read.optimization = number.min(DEFAULT_OPTIMIZATION),
                O::WALL_TIME => read.wall_time_at = Some(at),
                _ => {}
            }
        }
        Ok(read)
    }

    /// Bytes of each log to ask for.
    #[must_use]
    pub fn log_bytes(&self) -> u32 {
        self.info.bytes.max(self.error.bytes).clamp(1024, MAX_LOG_BYTES) as u32
    }

    /// Hands over what came of it.
    pub fn report(&self, info: &[u8], error: &[u8], nanoseconds: u64) {
        for (log, text) in [(&self.info, info), (&self.error, error)] {
            let Some(buffer) = log.buffer else { continue };
            buffer.typed::<u8>().put_text(text, log.bytes);
            let written = if log.bytes == 0 || text.is_empty() { 0 } else { (text.len() + 1).min(log.bytes) };
            if let Some(at) = log.size_at {
                // The list was read before, so it is there.
                let _ = self.values.set_at(at, Address(written));
            }
        }
        if let Some(at) = self.wall_time_at {
            let milliseconds = nanoseconds as f32 / 1e6;
            let _ = self.values.set_at(at, Address(milliseconds.to_bits() as usize));
        }
    }
}

/// What is linked together.
#[derive(Debug)]
pub struct Linker {
    /// The context.
    pub context: Arc<Context>,
    /// Options of the call that made it; its logs are written until it is destroyed.
    pub options: Options,
    /// What was added, and what came of it.
    pub state: Mutex<LinkState>,
}

/// The state of a linker.
#[derive(Debug, Default)]
pub struct LinkState {
    /// What was added.
    pub image: Image,
    /// What the program was given; it stays where it is.
    pub linked: Option<Box<[u8]>>,
}
