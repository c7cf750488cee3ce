//! The sessions of this process: one for each virtual GPU, shared by its instances.
//!
//! *Why.* A session takes a worker of the host with a driver loaded, and isolation is between processes, not between
//! instances of one. A program that makes a second instance finds the session of the first one; a program that
//! destroys its last instance and makes a new one soon finds the session still there. Ending a session takes the host
//! a while, and nobody waits for it: a thread does it that lives for no longer.
//!
//! *Invariants.* A lost session is handed to nobody who did not have it. A session of a parent process is touched by
//! no child: each generation of forks has a table of its own, so that a lock that was held at the fork is left alone.
//!
//! *Locks.* One per table, never held while connecting, ending a session or spawning.

use std::ops::Deref;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use dxg_core::Candidate;
use dxg_core::ForkGeneration;
use dxg_core::spawn_without_signals;
use parking_lot::Condvar;
use parking_lot::Mutex;
use tracing::debug;
use tracing::warn;

use crate::physical::Physical;

/// How long a session that no instance uses is kept for the next one.
const LINGER: Duration = Duration::from_secs(2);
/// Tables; a child of a child of a child finds the table of the first process again, and in it nothing of its own.
const TABLES: usize = 8;

static SESSIONS: [Table<Physical>; TABLES] = [const { Table::new() }; TABLES];

/// What a table keeps.
pub(crate) trait Session: Send + Sync + 'static {
    /// Whether it is of no use any more.
    fn is_over(&self) -> bool;
}

impl Session for Physical {
    fn is_over(&self) -> bool {
        self.streams.is_lost() || self.is_worn()
    }
}

/// A session that an instance uses.
#[derive(Debug)]
pub(crate) struct Shared<S: Session = Physical> {
    session: Arc<S>,
    table: &'static Table<S>,
    generation: ForkGeneration,
}

impl<S: Session> Deref for Shared<S> {
    type Target = Arc<S>;

    fn deref(&self) -> &Arc<S> {
        &self.session
    }
}

impl<S: Session> Drop for Shared<S> {
    fn drop(&mut self) {
        if self.generation.is_current() {
            self.table.release(&self.session);
        }
    }
}

/// The session with a virtual GPU: the one that this process has, or a new one. `None`, with the reason logged, when
/// the virtual GPU is of no use.
pub(crate) fn open(candidate: &Candidate) -> Option<Shared> {
    let generation = ForkGeneration::current();
    let table = SESSIONS.get(generation.number() as usize % TABLES)?;
    table.open(candidate.path(), generation, || Physical::connect(candidate))
}

#[derive(Debug)]
struct Entry<S> {
    path: PathBuf,
    generation: ForkGeneration,
    session: Arc<S>,
    /// Instances that use it.
    users: usize,
    /// Since when there are none.
    idle_since: Option<Instant>,
}

#[derive(Debug)]
struct Entries<S> {
    entries: Vec<Entry<S>>,
    /// Whether a thread ends what is idle for too long.
    has_keeper: bool,
}

/// The sessions of one process.
#[derive(Debug)]
pub(crate) struct Table<S> {
    entries: Mutex<Entries<S>>,
    changed: Condvar,
}

impl<S: Session> Table<S> {
    const fn new() -> Self {
        let entries = Entries { entries: Vec::new(), has_keeper: false };
        Self { entries: Mutex::new(entries), changed: Condvar::new() }
    }

    fn open(
        &'static self,
        path: &Path,
        generation: ForkGeneration,
        connect: impl FnOnce() -> Option<S>,
    ) -> Option<Shared<S>> {
        let shared = |session| Shared { session, table: self, generation };
        if let Some(session) = self.find(path, generation) {
            debug!(path = %path.display(), "session shared");
            return Some(shared(session));
        }
        let made = Arc::new(connect()?);
        let mut entries = self.entries.lock();
        // Whoever came first has the session; ours ends when its last user has gone, as a session of its own.
        if let Some(session) = entries.take(path, generation) {
            drop(entries);
            drop(made);
            return Some(shared(session));
        }
        entries.entries.push(Entry {
            path: path.to_owned(),
            generation,
            session: Arc::clone(&made),
            users: 1,
            idle_since: None,
        });
        Some(shared(made))
    }

    fn find(&self, path: &Path, generation: ForkGeneration) -> Option<Arc<S>> {
        let mut entries = self.entries.lock();
        let over = entries.remove_over();
        let found = entries.take(path, generation);
        drop(entries);
        // Ending a session takes the host a while, or for one that is over already, nothing.
        drop(over);
        found
    }

    fn release(&'static self, session: &Arc<S>) {
        let mut entries = self.entries.lock();
        let found = entries.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.session, session));
        let Some(entry) = found else { return };
        entry.users = entry.users.saturating_sub(1);
        if entry.users > 0 {
            return;
        }
        entry.idle_since = Some(Instant::now());
        let has_keeper = std::mem::replace(&mut entries.has_keeper, true);
        drop(entries);
        if has_keeper {
            self.changed.notify_one();
        } else if let Err(error) = spawn_without_signals("dxg-sessions", || self.keep()) {
            warn!(%error, "no thread to keep a session");
            self.entries.lock().has_keeper = false;
            drop(self.take_expired(Duration::ZERO));
        }
    }

    /// Ends what is idle for too long; returns once nothing is idle.
    fn keep(&self) {
        loop {
            drop(self.take_expired(LINGER));
            let mut entries = self.entries.lock();
            let Some(first) = entries.entries.iter().filter_map(|entry| entry.idle_since).min() else {
                entries.has_keeper = false;
                return;
            };
            self.changed.wait_for(&mut entries, (first + LINGER).saturating_duration_since(Instant::now()));
        }
    }

    /// Takes out what is idle for so long, or over, for the caller to drop without the lock.
    fn take_expired(&self, idle: Duration) -> Vec<Arc<S>> {
        let now = Instant::now();
        let is_expired = |entry: &Entry<S>| {
            entry
                .idle_since
                .is_some_and(|since| entry.session.is_over() || now.saturating_duration_since(since) >= idle)
        };
        self.entries.lock().remove(is_expired)
    }
}

impl<S: Session> Entries<S> {
    /// The session at `path`, with one more user.
    fn take(&mut self, path: &Path, generation: ForkGeneration) -> Option<Arc<S>> {
        let is_it = |entry: &&mut Entry<S>| {
            entry.path == path && entry.generation == generation && !entry.session.is_over()
        };
        let entry = self.entries.iter_mut().find(is_it)?;
        entry.users += 1;
        entry.idle_since = None;
        Some(Arc::clone(&entry.session))
    }

    /// Takes out what is over: its users have it, and nobody else gets it.
    fn remove_over(&mut self) -> Vec<Arc<S>> {
        self.remove(|entry| entry.session.is_over())
    }

    fn remove(&mut self, is_wanted: impl Fn(&Entry<S>) -> bool) -> Vec<Arc<S>> {
        self.entries.extract_if(.., |entry| is_wanted(entry)).map(|entry| entry.session).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use super::*;

    const PATH: &str = "/a/virtual/gpu";

    /// A session that says when it ends.
    #[derive(Debug, Default)]
    struct Fake {
        over: AtomicBool,
        ended: Arc<AtomicUsize>,
    }

    impl Session for Fake {
        fn is_over(&self) -> bool {
            self.over.load(Ordering::Relaxed)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn table() -> &'static Table<Fake> {
        Box::leak(Box::new(Table::new()))
    }

    fn open(table: &'static Table<Fake>, path: &str) -> Shared<Fake> {
        table.open(Path::new(path), ForkGeneration::current(), || Some(Fake::default())).unwrap()
    }

    #[test]
    fn second_user_shares_the_session_of_the_first() {
        let table = table();
        let first = open(table, PATH);
        let second = open(table, PATH);
        let other = open(table, "/another");
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn session_without_users_is_found_by_the_next_one_and_ends_when_its_time_is_over() {
        let table = table();
        let first = open(table, PATH);
        let ended = Arc::clone(&first.ended);
        drop(first);
        let second = open(table, PATH);
        assert!(Arc::ptr_eq(&ended, &second.ended));
        drop(table.take_expired(Duration::ZERO));
        assert_eq!(ended.load(Ordering::Relaxed), 0);
        drop(second);
        drop(table.take_expired(Duration::from_secs(3600)));
        assert_eq!(ended.load(Ordering::Relaxed), 0);
        drop(table.take_expired(Duration::ZERO));
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn session_that_is_over_is_given_to_nobody_else_and_ends_with_its_last_user() {
        let table = table();
        let first = open(table, PATH);
        let ended = Arc::clone(&first.ended);
        first.over.store(true, Ordering::Relaxed);
        let second = open(table, PATH);
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(ended.load(Ordering::Relaxed), 0);
        drop(first);
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        assert!(Arc::ptr_eq(&second, &open(table, PATH)));
    }

    #[test]
    fn virtual_gpu_that_cannot_be_reached_is_asked_again() {
        let table = table();
        let nothing = table.open(Path::new(PATH), ForkGeneration::current(), || None);
        assert!(nothing.is_none());
        assert!(!open(table, PATH).is_over());
    }
}
