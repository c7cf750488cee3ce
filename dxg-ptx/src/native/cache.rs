//! Code that was made once, kept by what it was made from: in memory, and in a directory if there is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use sha2::Digest;
use sha2::Sha256;

use crate::ir::FuncId;
use crate::native::Entry;
use crate::native::context;
use crate::native::disk::Directory;
use crate::native::prepare::Tier;

/// Raised whenever code of the same module becomes other code.
const FORMAT: u32 = 1;

/// What a module was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceKey([u8; 32]);

impl SourceKey {
    /// The key of texts that were read, in order, into one module.
    #[must_use]
    pub fn of(texts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for text in texts {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        Self(hash.finalize().into())
    }
}

/// What code was made from and for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CodeKey(pub(crate) [u8; 32]);

impl CodeKey {
    /// The key of an entry for a machine with these features.
    pub(crate) fn of(source: SourceKey, (entry, tier): (FuncId, Tier), machine: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(source.0);
        hash.update(entry.0.to_le_bytes());
        hash.update([tier as u8]);
        hash.update(FORMAT.to_le_bytes());
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(cranelift_codegen::VERSION);
        // Code knows where the fields are.
        for offset in context::at::ALL {
            hash.update(offset.to_le_bytes());
        }
        hash.update(machine);
        Self(hash.finalize().into())
    }
}

struct Kept {
    entry: Arc<Entry>,
    /// When it was last asked for.
    used: u64,
}

#[derive(Default)]
struct Memory {
    kept: HashMap<CodeKey, Kept>,
    clock: u64,
    bytes: usize,
}

/// Code of several programs, for all that share the cache.
pub struct CodeCache {
    memory: Mutex<Memory>,
    most_bytes: usize,
    directory: Option<Directory>,
}

impl std::fmt::Debug for CodeCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeCache")
            .field("most_bytes", &self.most_bytes)
            .field("directory", &self.directory)
            .finish()
    }
}

impl CodeCache {
    /// Keeps up to `most_bytes` of code in memory, and more in a directory if given.
    #[must_use]
    pub fn new(most_bytes: usize, directory: Option<Directory>) -> Self {
        Self { memory: Mutex::default(), most_bytes, directory }
    }

    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    pub(crate) fn get(&self, key: &CodeKey) -> Option<Arc<Entry>> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.clock += 1;
        let now = memory.clock;
        let kept = memory.kept.get_mut(key)?;
        kept.used = now;
        Some(Arc::clone(&kept.entry))
    }

    /// Keeps an entry; those that were not asked for the longest make room.
    pub(crate) fn put(&self, key: CodeKey, entry: &Arc<Entry>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.clock += 1;
        let kept = Kept { entry: Arc::clone(entry), used: memory.clock };
        memory.bytes += entry.code.bytes().len();
        if let Some(before) = memory.kept.insert(key, kept) {
            memory.bytes -= before.entry.code.bytes().len();
        }
        while memory.bytes > self.most_bytes {
            let Some(oldest) = memory.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key)
            else {
                break;
            };
            if let Some(removed) = memory.kept.remove(&oldest) {
                memory.bytes -= removed.entry.code.bytes().len();
            }
        }
    }

    /// Entries in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).kept.len()
    }

    /// Whether nothing is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
