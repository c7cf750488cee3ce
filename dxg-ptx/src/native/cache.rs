//! Code that was made once, kept by what it was made from: in memory, and in a store if there is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use sha2::Digest;
use sha2::Sha256;

use crate::ir::FuncId;
use crate::native::Entry;
use crate::native::code::CodeImage;
use crate::native::context;
use crate::native::image_bytes;
use crate::native::prepare::Tier;

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
        hash.update(env!("CARGO_PKG_VERSION"));
        // Between two versions the generator changes too.
        hash.update(env!("DXG_PTX_SOURCES"));
        hash.update(cranelift_codegen::VERSION);
        // Code knows where the fields are.
        for offset in context::at::ALL {
            hash.update(offset.to_le_bytes());
        }
        hash.update(machine);
        Self(hash.finalize().into())
    }
}

/// Keeps code beyond the life of a cache, by keys that say all that it depends on.
///
/// What comes back for a key runs as machine code, so that it must be what was given for that key. That it is not there, or could
/// not be kept, is no failure.
pub trait CodeStore: Send + Sync {
    /// What was given for a key.
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>>;

    /// Keeps bytes for a key, in place of what is there.
    fn put(&self, key: &[u8; 32], bytes: &[u8]);
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
    store: OnceLock<Arc<dyn CodeStore>>,
    compiled: AtomicU64,
}

impl std::fmt::Debug for CodeCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeCache")
            .field("most_bytes", &self.most_bytes)
            .field("compiled", &self.compiled)
            .finish_non_exhaustive()
    }
}

impl CodeCache {
    /// Keeps up to `most_bytes` of code in memory.
    #[must_use]
    pub fn new(most_bytes: usize) -> Self {
        Self { memory: Mutex::default(), most_bytes, store: OnceLock::new(), compiled: AtomicU64::new(0) }
    }

    /// From now on code is kept in a store too, and looked for there. The first store stays.
    pub fn keep_in(&self, store: Arc<dyn CodeStore>) {
        // A second one would have to be filled from the first.
        let _ = self.store.set(store);
    }

    /// How often code had to be made, because it was nowhere.
    #[must_use]
    pub fn compiled(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }

    /// The code of an entry that is not in memory: from the store where that has it and `fits` it, else made now.
    pub(crate) fn image(
        &self,
        key: &CodeKey,
        fits: impl Fn(&CodeImage) -> bool,
        make: impl FnOnce() -> Result<CodeImage, String>,
    ) -> Result<CodeImage, String> {
        let store = self.store.get();
        let kept = store.and_then(|store| image_bytes::decode(&store.get(&key.0)?));
        if let Some(image) = kept.filter(fits) {
            return Ok(image);
        }
        let image = make()?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        if let Some(store) = store {
            store.put(&key.0, &image_bytes::encode(&image));
        }
        Ok(image)
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
