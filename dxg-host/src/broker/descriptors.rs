//! How many descriptors the daemon keeps for whom.
//!
//! *Why.* What can be shared costs the daemon descriptors for as long as it can be. There is one table of them for all, and
//! with a full one nobody can connect; so a part of it is never given to shared things, and one user gets no more than a
//! part of the rest. The daemon's own user may have all of that: it is only itself that it could keep out.

use std::collections::BTreeMap;

use dxg_wire::session::Reason;

/// What a shared object keeps: its memory, its private data, and our end of its pair.
pub(super) const PER_OBJECT: usize = 3;
/// What a window keeps whose memory may be shared.
pub(super) const PER_WINDOW: usize = 1;

/// Who keeps how many.
#[derive(Debug)]
pub(super) struct Descriptors {
    owner: u32,
    most: usize,
    most_of_a_user: usize,
    by_user: BTreeMap<u32, usize>,
}

impl Descriptors {
    /// For a table of `limit` descriptors of a daemon of user `owner`.
    pub(super) fn new(limit: usize, owner: u32) -> Self {
        Self { owner, most: limit / 4 * 3, most_of_a_user: limit / 4, by_user: BTreeMap::new() }
    }

    /// For the table of this process.
    pub(super) fn of_this_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Self::new(limit, rustix::process::geteuid().as_raw())
    }

    /// Takes `count` for things of a user, or none.
    pub(super) fn take(&mut self, user: u32, count: usize) -> Result<(), Reason> {
        let all: usize = self.by_user.values().sum();
        let of_user = self.by_user.get(&user).copied().unwrap_or(0);
        let most = if user == self.owner { self.most } else { self.most_of_a_user };
        if all + count > self.most || of_user + count > most {
            return Err(Reason::HOST_RESOURCES);
        }
        self.by_user.insert(user, of_user + count);
        Ok(())
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&mut self, user: u32, count: usize) {
        if let Some(held) = self.by_user.get_mut(&user) {
            *held = held.saturating_sub(count);
            if *held == 0 {
                self.by_user.remove(&user);
            }
        }
    }

    /// Whether nothing is taken.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_gets_a_quarter_and_all_together_leave_one() {
        let mut descriptors = Descriptors::new(40, 0);
        assert_eq!(descriptors.take(7, 10), Ok(()));
        assert_eq!(descriptors.take(7, 1), Err(Reason::HOST_RESOURCES));
        assert_eq!(descriptors.take(8, 10), Ok(()));
        assert_eq!(descriptors.take(9, 10), Ok(()));
        assert_eq!(descriptors.take(10, 1), Err(Reason::HOST_RESOURCES));
        descriptors.give_back(7, 1);
        assert_eq!(descriptors.take(10, 1), Ok(()));
    }

    #[test]
    fn owner_gets_all_but_what_connections_need() {
        let mut descriptors = Descriptors::new(40, 7);
        assert_eq!(descriptors.take(7, 30), Ok(()));
        assert_eq!(descriptors.take(7, 1), Err(Reason::HOST_RESOURCES));
        descriptors.give_back(7, 30);
        assert!(descriptors.is_empty());
    }
}
