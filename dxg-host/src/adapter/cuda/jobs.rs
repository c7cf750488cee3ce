//! Work that no stream and no ring should wait behind: modules are read and code is made by threads that do nothing else.
//!
//! *Order.* What streams wait for goes first, then modules that are loaded, then what may be wanted later. Each kind has a bound on how
//! many threads it may take, so that one thread is left for streams however many modules are loaded, and what nobody waits for
//! takes one thread at most. Among equals the older goes first.
//!
//! *The end.* Nobody waits for these threads: they end when their work does. What is queued and not wanted any more is dropped.
//!
//! *Locks.* One mutex, held for looking only; jobs are run and dropped without it.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;

use parking_lot::Condvar;
use parking_lot::Mutex;
use parking_lot::MutexGuard;

/// Fewest threads, at most: one may be taken by what nobody waits for.
const LEAST: usize = 2;
/// Most threads.
const MOST: usize = 8;
/// Most jobs that nobody waits for, of each kind: more are not taken.
const MOST_AHEAD: usize = 256;

/// How soon a job is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A stream waits for it.
    Launched,
    /// A program waits for it.
    Loaded,
    /// Somebody may soon wait for it.
    Ahead,
    /// Nobody ever waits for it: what is there already would be better.
    Better,
}

impl Urgency {
    const ALL: [Self; 4] = [Self::Launched, Self::Loaded, Self::Ahead, Self::Better];

    fn is_awaited(self) -> bool {
        matches!(self, Self::Launched | Self::Loaded)
    }
}

/// Something to do.
pub(super) trait Job: Send + Sync {
    /// Whether anybody is there still who would use what it makes. Cheap, takes no locks.
    fn is_wanted(&self) -> bool;

    /// Does it.
    fn run(&self);
}

#[derive(Default)]
struct State {
    queues: [VecDeque<Arc<dyn Job>>; 4],
    /// Threads that work at jobs of each urgency.
    running: [usize; 4],
    threads: usize,
    /// Threads that sleep and that nobody has woken yet.
    idle: usize,
    /// Threads that were woken or started and have not looked yet.
    coming: usize,
    is_closing: bool,
}

/// Starts a thread that does this.
type Spawn = fn(Box<dyn FnOnce() + Send>) -> io::Result<()>;

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    most_threads: usize,
    spawn: Spawn,
}

/// The threads and what they are to do.
pub(super) struct Jobs(Arc<Shared>);

impl Jobs {
    /// Starts the first threads; others come with work, and all stay.
    ///
    /// # Errors
    /// When there is no thread.
    pub(super) fn start() -> io::Result<Self> {
        let most_threads = thread::available_parallelism().map_or(1, usize::from).clamp(LEAST, MOST);
        Self::with(most_threads, |body| {
            thread::Builder::new().name("cuda compile".to_owned()).spawn(body).map(drop)
        })
    }

    fn with(most_threads: usize, spawn: Spawn) -> io::Result<Self> {
        let state = Mutex::new(State { threads: 1, coming: 1, ..State::default() });
        let jobs = Self(Arc::new(Shared { state, work: Condvar::new(), most_threads, spawn }));
        jobs.0.spawn()?;
        // Of two, the one that has slept for longer is woken, and that one gets a crowded core sooner than one that has just read a module.
        let mut state = jobs.0.state.lock();
        if most_threads >= LEAST {
            state = jobs.0.add_thread(state);
        }
        drop(state);
        Ok(jobs)
    }

    /// Has a job done. What nobody waits for is forgotten where too much of it is queued.
    pub(super) fn submit(&self, urgency: Urgency, job: Arc<dyn Job>) {
        let mut state = self.0.state.lock();
        let queue = &mut state.queues[urgency as usize];
        if !urgency.is_awaited() && queue.len() >= MOST_AHEAD {
            let dropped = take_unwanted(queue);
            if queue.len() >= MOST_AHEAD {
                drop(state);
                drop(dropped);
                return;
            }
            queue.push_back(job);
            drop(state);
            // Whoever queued so much has woken a thread.
            return drop(dropped);
        }
        queue.push_back(job);
        let queued = |urgency: &Urgency| state.queues[*urgency as usize].len();
        let awaited: usize = Urgency::ALL.iter().filter(|urgency| urgency.is_awaited()).map(queued).sum();
        let all: usize = Urgency::ALL.iter().map(queued).sum();
        if state.idle > 0 && all > state.coming {
            state.idle -= 1;
            state.coming += 1;
            drop(state);
            self.0.work.notify_one();
        } else if awaited > state.coming && state.threads < self.0.most_threads {
            drop(self.0.add_thread(state));
        }
    }

    /// Forgets what is not wanted any more.
    pub(super) fn sweep(&self) {
        let mut state = self.0.state.lock();
        let dropped: Vec<_> = state.queues.iter_mut().map(take_unwanted).collect();
        drop(state);
        drop(dropped);
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_closing = true;
        let dropped = std::mem::take(&mut state.queues);
        drop(state);
        self.0.work.notify_all();
        drop(dropped);
    }
}

fn take_unwanted(queue: &mut VecDeque<Arc<dyn Job>>) -> VecDeque<Arc<dyn Job>> {
    let (wanted, unwanted) = std::mem::take(queue).into_iter().partition(|job| job.is_wanted());
    *queue = wanted;
    unwanted
}

impl Shared {
    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let shared = Arc::clone(self);
        (self.spawn)(Box::new(move || shared.run()))
    }

    /// Starts another thread, if there is one to be had: those that there are come to everything as well.
    fn add_thread<'s>(self: &'s Arc<Self>, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        state.threads += 1;
        state.coming += 1;
        drop(state);
        let started = self.spawn();
        let mut state = self.state.lock();
        if let Err(error) = started {
            tracing::debug!(%error, "no further thread for compiling");
            state.threads -= 1;
            state.coming -= 1;
        }
        state
    }

    fn run(&self) {
        let mut done = None;
        while let Some((urgency, job)) = self.next(done.take()) {
            if job.is_wanted() {
                // A mistake in one job must not take the thread from the others.
                let ran = panic::catch_unwind(AssertUnwindSafe(|| job.run()));
                if let Err(why) = ran {
                    tracing::error!(why = words(&*why), "a job of the compiler failed");
                }
            }
            drop(job);
            done = Some(urgency);
        }
    }

    /// The next job for a thread that has done one, or has just begun.
    fn next(&self, done: Option<Urgency>) -> Option<(Urgency, Arc<dyn Job>)> {
        let mut state = self.state.lock();
        match done {
            Some(urgency) => state.running[urgency as usize] -= 1,
            None => state.coming -= 1,
        }
        loop {
            if state.is_closing {
                return None;
            }
            if let Some(taken) = state.take(self.most_threads) {
                return Some(taken);
            }
            state.idle += 1;
            self.work.wait(&mut state);
            if !state.is_closing {
                // Whoever notified has counted us out of the idle ones.
                state.coming -= 1;
            }
        }
    }
}

impl State {
    fn take(&mut self, most_threads: usize) -> Option<(Urgency, Arc<dyn Job>)> {
        let running = |urgency: Urgency| self.running[urgency as usize];
        let is_quiet = running(Urgency::Ahead) + running(Urgency::Better) == 0;
        let has_room = |urgency: &Urgency| match urgency {
            Urgency::Launched => true,
            Urgency::Loaded => running(Urgency::Loaded) < most_threads.saturating_sub(1).max(1),
            Urgency::Ahead | Urgency::Better => is_quiet,
        };
        let next = Urgency::ALL
            .into_iter()
            .find(|urgency| !self.queues[*urgency as usize].is_empty() && has_room(urgency))?;
        let job = self.queues[next as usize].pop_front()?;
        self.running[next as usize] += 1;
        Some((next, job))
    }
}

fn words(why: &(dyn Any + Send)) -> &str {
    why.downcast_ref::<&str>()
        .copied()
        .or_else(|| why.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;

    use super::*;

    /// A job that says its name when it runs, and waits at a gate if it has one.
    struct Named {
        name: &'static str,
        begun: mpsc::Sender<&'static str>,
        gate: Option<Mutex<mpsc::Receiver<()>>>,
        wanted: AtomicBool,
    }

    impl Job for Named {
        fn is_wanted(&self) -> bool {
            self.wanted.load(Ordering::SeqCst)
        }

        fn run(&self) {
            self.begun.send(self.name).unwrap();
            if let Some(gate) = &self.gate {
                // A gate opens when its other side is dropped.
                let _ = gate.lock().recv();
            }
        }
    }

    struct Bench {
        jobs: Jobs,
        begun: mpsc::Sender<&'static str>,
        seen: mpsc::Receiver<&'static str>,
    }

    impl Bench {
        fn new(threads: usize) -> Self {
            let (begun, seen) = mpsc::channel();
            let spawn: Spawn = |body| thread::Builder::new().spawn(body).map(drop);
            Self { jobs: Jobs::with(threads, spawn).unwrap(), begun, seen }
        }

        fn job(&self, name: &'static str) -> Arc<Named> {
            Arc::new(Named { name, begun: self.begun.clone(), gate: None, wanted: AtomicBool::new(true) })
        }

        fn submit(&self, urgency: Urgency, name: &'static str) {
            self.jobs.submit(urgency, self.job(name));
        }

        /// Submits a job that runs until the gate is dropped.
        fn submit_gated(&self, urgency: Urgency, name: &'static str) -> mpsc::Sender<()> {
            let (open, gate) = mpsc::channel();
            let gate = Some(Mutex::new(gate));
            let wanted = AtomicBool::new(true);
            self.jobs.submit(urgency, Arc::new(Named { name, begun: self.begun.clone(), gate, wanted }));
            open
        }

        fn next(&self) -> &'static str {
            self.seen.recv().unwrap()
        }
    }

    #[test]
    fn what_streams_wait_for_goes_before_all_else() {
        let bench = Bench::new(1);
        let gate = bench.submit_gated(Urgency::Launched, "first");
        assert_eq!(bench.next(), "first");
        bench.submit(Urgency::Better, "better");
        bench.submit(Urgency::Ahead, "ahead 1");
        bench.submit(Urgency::Ahead, "ahead 2");
        bench.submit(Urgency::Launched, "launched");
        drop(gate);
        assert_eq!([(); 4].map(|()| bench.next()), ["launched", "ahead 1", "ahead 2", "better"]);
    }

    #[test]
    fn modules_leave_a_thread_for_streams() {
        let bench = Bench::new(2);
        let _one = bench.submit_gated(Urgency::Loaded, "load 1");
        assert_eq!(bench.next(), "load 1");
        bench.submit(Urgency::Loaded, "load 2");
        bench.submit(Urgency::Launched, "launched");
        assert_eq!(bench.next(), "launched");
    }

    #[test]
    fn what_nobody_waits_for_takes_one_thread() {
        let bench = Bench::new(4);
        let gate = bench.submit_gated(Urgency::Ahead, "ahead");
        assert_eq!(bench.next(), "ahead");
        bench.submit(Urgency::Better, "better");
        bench.submit(Urgency::Launched, "launched 1");
        bench.submit(Urgency::Launched, "launched 2");
        // Two threads take these, and either may be the first to say so.
        let mut begun = [(); 2].map(|()| bench.next());
        begun.sort_unstable();
        assert_eq!(begun, ["launched 1", "launched 2"]);
        drop(gate);
        assert_eq!(bench.next(), "better");
    }

    #[test]
    fn service_without_its_first_thread_is_none() {
        let spawn: Spawn = |_| Err(io::ErrorKind::WouldBlock.into());
        assert!(Jobs::with(4, spawn).is_err());
    }

    #[test]
    fn service_that_gets_one_thread_only_does_everything_with_it() {
        static STARTED: AtomicBool = AtomicBool::new(false);
        let spawn: Spawn = |body| match STARTED.swap(true, Ordering::SeqCst) {
            false => thread::Builder::new().spawn(body).map(drop),
            true => Err(io::ErrorKind::WouldBlock.into()),
        };
        let (begun, seen) = mpsc::channel();
        let bench = Bench { jobs: Jobs::with(4, spawn).unwrap(), begun, seen };
        let gate = bench.submit_gated(Urgency::Loaded, "first");
        assert_eq!(bench.next(), "first");
        bench.submit(Urgency::Launched, "launched");
        bench.submit(Urgency::Loaded, "loaded");
        drop(gate);
        assert_eq!([(); 2].map(|()| bench.next()), ["launched", "loaded"]);
    }

    #[test]
    fn jobs_that_nobody_wants_are_dropped() {
        let bench = Bench::new(1);
        let gate = bench.submit_gated(Urgency::Launched, "first");
        assert_eq!(bench.next(), "first");
        let (swept, passed) = (bench.job("swept"), bench.job("passed"));
        bench.jobs.submit(Urgency::Loaded, Arc::clone(&swept) as Arc<dyn Job>);
        swept.wanted.store(false, Ordering::SeqCst);
        bench.jobs.sweep();
        assert_eq!(Arc::strong_count(&swept), 1);
        bench.jobs.submit(Urgency::Loaded, Arc::clone(&passed) as Arc<dyn Job>);
        passed.wanted.store(false, Ordering::SeqCst);
        bench.submit(Urgency::Loaded, "last");
        drop(gate);
        assert_eq!(bench.next(), "last");
    }

    #[test]
    fn queues_of_what_nobody_waits_for_are_bounded() {
        let bench = Bench::new(1);
        let _gate = bench.submit_gated(Urgency::Launched, "first");
        assert_eq!(bench.next(), "first");
        let job = bench.job("many");
        for _ in 0..MOST_AHEAD * 2 {
            bench.jobs.submit(Urgency::Better, Arc::clone(&job) as Arc<dyn Job>);
        }
        assert_eq!(Arc::strong_count(&job), 1 + MOST_AHEAD);
    }

    #[test]
    fn service_ends_with_jobs_queued_and_one_running() {
        let bench = Bench::new(1);
        let _gate = bench.submit_gated(Urgency::Launched, "first");
        assert_eq!(bench.next(), "first");
        let queued = bench.job("queued");
        bench.jobs.submit(Urgency::Launched, Arc::clone(&queued) as Arc<dyn Job>);
        drop(bench.jobs);
        assert_eq!(Arc::strong_count(&queued), 1);
    }

    #[test]
    fn job_that_panics_leaves_its_thread_to_the_next() {
        struct Panics;
        impl Job for Panics {
            fn is_wanted(&self) -> bool {
                true
            }

            fn run(&self) {
                panic!("as a mistake of ours would");
            }
        }
        let bench = Bench::new(1);
        bench.jobs.submit(Urgency::Launched, Arc::new(Panics));
        bench.submit(Urgency::Launched, "next");
        assert_eq!(bench.next(), "next");
    }
}
