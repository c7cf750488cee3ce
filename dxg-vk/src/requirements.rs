//! What buffers and images ask of memory, remembered by how they were created.
//!
//! *Why.* Vulkan promises equal requirements for equal creation parameters on one device, and programs create the same kind
//! of object again and again. The first one asks the host, the others do not. Objects made alike share one entry, keyed by
//! the encoded creation parameters, and each entry remembers the reply to each form of the question.

use std::sync::Arc;
use std::sync::OnceLock;

use ash::vk;
use dxg_wire::quick_map::QuickMap;
use parking_lot::Mutex;

/// Entries kept; beyond that the cache starts over, so that a program with ever-changing sizes has bounded memory.
const MAX_ENTRIES: usize = 4096;

/// An encoded question and the reply to it.
type Asked = (Vec<u8>, Arc<[u8]>);

/// Replies to requirement queries for objects made alike, by the encoded question without the object.
#[derive(Debug, Default)]
pub struct Requirements {
    plain: OnceLock<vk::MemoryRequirements>,
    replies: Mutex<Vec<Asked>>,
}

impl Requirements {
    /// The remembered answer to the question without any extension.
    #[inline]
    pub fn plain(&self) -> Option<vk::MemoryRequirements> {
        self.plain.get().copied()
    }

    /// Remembers that answer.
    pub fn remember_plain(&self, answer: vk::MemoryRequirements) {
        // Whoever asked at the same time got the same answer.
        let _ = self.plain.set(answer);
    }

    /// The remembered reply to a question.
    pub fn reply(&self, question: &[u8]) -> Option<Arc<[u8]>> {
        let replies = self.replies.lock();
        replies.iter().find(|(asked, _)| asked == question).map(|(_, reply)| Arc::clone(reply))
    }

    /// Remembers a reply.
    pub fn remember(&self, question: Vec<u8>, reply: Arc<[u8]>) {
        let mut replies = self.replies.lock();
        if !replies.iter().any(|(asked, _)| *asked == question) {
            replies.push((question, reply));
        }
    }
}

/// Entries by encoded creation parameters.
#[derive(Debug, Default)]
pub struct RequirementsCache {
    entries: Mutex<QuickMap<Box<[u8]>, Arc<Requirements>>>,
}

impl RequirementsCache {
    /// The entry for objects created with these parameters.
    pub fn entry(&self, creation: &[u8]) -> Arc<Requirements> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(creation) {
            return Arc::clone(entry);
        }
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        let entry = Arc::<Requirements>::default();
        entries.insert(creation.into(), Arc::clone(&entry));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_same_creation_shares_replies_and_other_does_not() {
        let cache = RequirementsCache::default();
        cache.entry(b"buffer 64").remember(b"plain".to_vec(), Arc::from(*b"reply"));
        assert_eq!(cache.entry(b"buffer 64").reply(b"plain").as_deref(), Some(&b"reply"[..]));
        assert_eq!(cache.entry(b"buffer 64").reply(b"dedicated"), None);
        assert_eq!(cache.entry(b"buffer 65").reply(b"plain"), None);
    }

    #[test]
    fn entry_beyond_the_bound_starts_over() {
        let cache = RequirementsCache::default();
        for size in 0..=MAX_ENTRIES {
            cache.entry(&size.to_le_bytes());
        }
        assert_eq!(cache.entries.lock().len(), 1);
    }
}
