//! Shared objects: which descriptor stands for which object, and who has it open.
//!
//! *Why.* The descriptor that a client passes around is one end of a socket pair. The kernel's cookie of that socket is
//! its identity, which nobody can forge; the other end stays here, and its hang-up says that the last copy was closed.
//!
//! *Invariants.* An object lives as long as a descriptor of it or a holder: a client in whose session it is open.
//! Global share handles are never reused.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use dxg_wire::session::SharedKind;

use super::ids::ClientId;
use super::ids::VgpuId;

/// One shared object.
pub(super) struct SharedObject {
    /// What it is.
    pub(super) kind: SharedKind,
    /// The user of its maker.
    pub(super) user: u32,
    /// The virtual GPU of its maker.
    pub(super) vgpu: VgpuId,
    /// The bytes of a resource, or the page of a fence.
    pub(super) memory: Rc<OwnedFd>,
    /// Bytes of `memory`.
    pub(super) size_bytes: u64,
    /// What an opener needs to know about it.
    pub(super) private: Rc<OwnedFd>,
    /// Bytes of `private`.
    pub(super) private_bytes: u64,
    /// Bytes that the maker left behind on the virtual GPU's account.
    pub(super) orphan_bytes: u64,
}

struct Entry {
    object: SharedObject,
    cookie: u64,
    /// Our end of the pair, while a descriptor may be left.
    watch: Option<OwnedFd>,
    holders: BTreeSet<ClientId>,
}

/// All shared objects of the daemon.
#[derive(Default)]
pub(super) struct Registry {
    last_share: u32,
    entries: BTreeMap<u32, Entry>,
    by_cookie: BTreeMap<u64, u32>,
}

impl Registry {
    /// Registers an object that `holder` made; answers its global share handle, or `None` when handles ran out.
    pub(super) fn register(
        &mut self,
        object: SharedObject,
        cookie: u64,
        watch: OwnedFd,
        holder: ClientId,
    ) -> Option<u32> {
        let share = self.last_share.checked_add(1)?;
        self.last_share = share;
        let holders = BTreeSet::from([holder]);
        self.entries.insert(share, Entry { object, cookie, watch: Some(watch), holders });
        self.by_cookie.insert(cookie, share);
        Some(share)
    }

    /// The object that the descriptor with this cookie stands for.
    pub(super) fn find(&self, cookie: u64) -> Option<u32> {
        self.by_cookie.get(&cookie).copied()
    }

    /// An object by its global share handle.
    pub(super) fn get(&self, share: u32) -> Option<&SharedObject> {
        self.entries.get(&share).map(|entry| &entry.object)
    }

    /// Whether `client` holds the object.
    pub(super) fn is_held_by(&self, share: u32, client: ClientId) -> bool {
        self.entries.get(&share).is_some_and(|entry| entry.holders.contains(&client))
    }

    /// Makes `client` a holder.
    pub(super) fn hold(&mut self, share: u32, client: ClientId) {
        if let Some(entry) = self.entries.get_mut(&share) {
            entry.holders.insert(client);
        }
    }

    /// Ends a client's hold; answers the object where that was its end.
    pub(super) fn release(&mut self, share: u32, client: ClientId) -> Option<SharedObject> {
        self.entries.get_mut(&share)?.holders.remove(&client);
        self.collect(share)
    }

    /// Our end of the object's pair, to be watched for its hang-up.
    pub(super) fn watch(&self, share: u32) -> Option<&OwnedFd> {
        self.entries.get(&share)?.watch.as_ref()
    }

    /// The last copy of the descriptor is closed; answers the object where that was its end.
    pub(super) fn hung_up(&mut self, share: u32) -> Option<SharedObject> {
        let entry = self.entries.get_mut(&share)?;
        entry.watch = None;
        let cookie = entry.cookie;
        self.by_cookie.remove(&cookie);
        self.collect(share)
    }

    /// An object whose memory this is.
    pub(super) fn find_memory(&self, memory: &Rc<OwnedFd>) -> Option<u32> {
        let is_it = |entry: &Entry| Rc::ptr_eq(&entry.object.memory, memory);
        self.entries.iter().find(|(_, entry)| is_it(entry)).map(|(share, _)| *share)
    }

    /// Notes that the maker's charge was left behind with the object.
    pub(super) fn leave_orphan(&mut self, share: u32, size_bytes: u64) {
        if let Some(entry) = self.entries.get_mut(&share) {
            entry.object.orphan_bytes = entry.object.orphan_bytes.saturating_add(size_bytes);
        }
    }

    /// How many objects there are.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn collect(&mut self, share: u32) -> Option<SharedObject> {
        let entry = self.entries.get(&share)?;
        if entry.watch.is_some() || !entry.holders.is_empty() {
            return None;
        }
        let mut object = self.entries.remove(&share)?.object;
        // What was shared twice is in memory until both are gone.
        if let Some(other) = self.find_memory(&object.memory) {
            self.leave_orphan(other, std::mem::take(&mut object.orphan_bytes));
        }
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ClientId = ClientId(1);
    const B: ClientId = ClientId(2);

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn register(registry: &mut Registry) -> u32 {
        let object = SharedObject {
            kind: SharedKind::RESOURCE,
            user: 0,
            vgpu: VgpuId(1),
            memory: Rc::new(null()),
            size_bytes: 4096,
            private: Rc::new(null()),
            private_bytes: 0,
            orphan_bytes: 0,
        };
        registry.register(object, 77, null(), A).unwrap()
    }

    #[test]
    fn object_outlives_its_maker_while_a_descriptor_is_left() {
        let mut registry = Registry::default();
        let share = register(&mut registry);
        assert!(registry.release(share, A).is_none());
        assert_eq!(registry.find(77), Some(share));
        assert!(registry.hung_up(share).is_some());
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn object_outlives_its_descriptor_while_it_is_open() {
        let mut registry = Registry::default();
        let share = register(&mut registry);
        registry.hold(share, B);
        assert!(registry.release(share, A).is_none());
        assert!(registry.hung_up(share).is_none());
        assert_eq!(registry.find(77), None);
        assert!(registry.is_held_by(share, B));
        assert!(registry.release(share, B).is_some());
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn charge_of_memory_that_was_shared_twice_stays_with_the_later_of_both() {
        let mut registry = Registry::default();
        let first = register(&mut registry);
        let memory = Rc::clone(&registry.get(first).unwrap().memory);
        let second = register(&mut registry);
        registry.entries.get_mut(&second).unwrap().object.memory = Rc::clone(&memory);
        registry.leave_orphan(first, 4096);
        registry.release(first, A);
        assert_eq!(registry.hung_up(first).unwrap().orphan_bytes, 0);
        assert_eq!(registry.find_memory(&memory), Some(second));
        registry.release(second, A);
        assert_eq!(registry.hung_up(second).unwrap().orphan_bytes, 4096);
    }

    #[test]
    fn handle_of_a_dead_object_is_not_used_again() {
        let mut registry = Registry::default();
        let first = register(&mut registry);
        registry.hung_up(first);
        registry.release(first, A);
        assert_ne!(register(&mut registry), first);
    }
}
