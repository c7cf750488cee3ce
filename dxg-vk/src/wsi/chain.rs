//! The images of a swapchain: who has which, and the thread that presents.
//!
//! *Why a thread.* An image is presented when the device has finished it. The program must not wait for that, and the device
//! cannot talk to a window system.
//!
//! *Locks.* One, held for moments; never while the presenter works or the device is waited for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use ash::vk;
use parking_lot::Condvar;
use parking_lot::Mutex;

use super::Presenter;
use super::Shown;

/// Says when the device is done with an image; an error when it never will be.
pub type Ready = Box<dyn Fn() -> Result<(), vk::Result> + Send>;

/// An image on its way to the window.
struct Request {
    image: usize,
    ready: Ready,
    is_ready: Box<dyn Fn() -> bool + Send>,
    damage: Vec<vk::RectLayerKHR>,
    id: u64,
}

#[derive(Default)]
struct State {
    free: VecDeque<usize>,
    queue: VecDeque<Request>,
    /// Why nothing can be presented any more.
    error: Option<vk::Result>,
    is_suboptimal: bool,
    is_retired: bool,
    is_ending: bool,
    /// Threads that wait for a free image.
    waiting: u32,
    /// The largest id among presented images.
    presented: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A swapchain, without its images.
pub struct Chain {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    mode: vk::PresentModeKHR,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// An image for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// Its number.
    pub image: usize,
    /// Whether another swapchain would fit the window better.
    pub is_suboptimal: bool,
}

impl Chain {
    /// A chain of `images` images, all free.
    ///
    /// # Errors
    /// Out of host memory when there can be no thread.
    pub fn new(
        images: usize,
        mode: vk::PresentModeKHR,
        presenter: Box<dyn Presenter>,
    ) -> Result<Self, vk::Result> {
        let state = State { free: (0..images).collect(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let worker = Worker { shared: Arc::clone(&shared), mode, presenter };
        let thread = std::thread::Builder::new().name("dxg-present".to_owned());
        let thread = thread.spawn(move || worker.run()).map_err(|_| vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        Ok(Self { shared, thread: Some(thread), mode })
    }

    /// Takes a free image; waits for one until `deadline`, for ever without one.
    ///
    /// # Errors
    /// `NOT_READY` or `TIMEOUT` when none came, as `is_patient` says; why the swapchain is over.
    pub fn acquire(&self, deadline: Option<Instant>, is_patient: bool) -> Result<Acquired, vk::Result> {
        let mut state = self.shared.state.lock();
        loop {
            if state.is_retired {
                return Err(vk::Result::ERROR_OUT_OF_DATE_KHR);
            }
            if let Some(error) = state.error {
                return Err(error);
            }
            if let Some(image) = state.free.pop_front() {
                return Ok(Acquired { image, is_suboptimal: state.is_suboptimal });
            }
            if !is_patient {
                return Err(vk::Result::NOT_READY);
            }
            state.waiting += 1;
            self.shared.changed.notify_all();
            let timed_out = match deadline {
                Some(deadline) => self.shared.changed.wait_until(&mut state, deadline).timed_out(),
                None => {
                    self.shared.changed.wait(&mut state);
                    false
                }
            };
            state.waiting -= 1;
            if timed_out && state.free.is_empty() && state.error.is_none() {
                return Err(vk::Result::TIMEOUT);
            }
        }
    }

    /// Gives an image back that was acquired and not presented.
    pub fn give_back(&self, image: usize) {
        self.shared.state.lock().free.push_front(image);
        self.shared.changed.notify_all();
    }

    /// Presents an image when it is ready.
    ///
    /// # Errors
    /// Why the swapchain is over; the image is free again.
    pub fn present(
        &self,
        image: usize,
        ready: Ready,
        is_ready: Box<dyn Fn() -> bool + Send>,
        damage: Vec<vk::RectLayerKHR>,
        id: u64,
    ) -> Result<Shown, vk::Result> {
        let mut state = self.shared.state.lock();
        if let Some(error) = state.error {
            state.free.push_back(image);
            drop(state);
            self.shared.changed.notify_all();
            return Err(error);
        }
        state.queue.push_back(Request { image, ready, is_ready, damage, id });
        let shown = match state {
            ref state if state.is_retired => Err(vk::Result::ERROR_OUT_OF_DATE_KHR),
            ref state if state.is_suboptimal => Ok(Shown::Suboptimal),
            _ => Ok(Shown::Optimal),
        };
        drop(state);
        self.shared.changed.notify_all();
        shown
    }

    /// Waits until an image with at least this id is presented.
    ///
    /// # Errors
    /// `TIMEOUT`; why the swapchain is over.
    pub fn wait_for(&self, id: u64, deadline: Option<Instant>) -> Result<(), vk::Result> {
        let mut state = self.shared.state.lock();
        loop {
            if state.presented >= id {
                return Ok(());
            }
            if let Some(error) = state.error {
                return Err(error);
            }
            match deadline {
                Some(deadline) => {
                    if self.shared.changed.wait_until(&mut state, deadline).timed_out()
                        && state.presented < id
                    {
                        return Err(vk::Result::TIMEOUT);
                    }
                }
                None => self.shared.changed.wait(&mut state),
            }
        }
    }

    /// Nothing is acquired from it any more: another swapchain has its surface.
    pub fn retire(&self) {
        self.shared.state.lock().is_retired = true;
        self.shared.changed.notify_all();
    }

    /// Whether the swapchain is over: why.
    ///
    /// # Errors
    /// The reason.
    pub fn status(&self) -> Result<Shown, vk::Result> {
        let state = self.shared.state.lock();
        match state.error {
            Some(error) => Err(error),
            None if state.is_retired => Err(vk::Result::ERROR_OUT_OF_DATE_KHR),
            None if state.is_suboptimal => Ok(Shown::Suboptimal),
            None => Ok(Shown::Optimal),
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.shared.state.lock().is_ending = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to tell.
            let _ = thread.join();
        }
    }
}

/// The thread's half.
struct Worker {
    shared: Arc<Shared>,
    mode: vk::PresentModeKHR,
    presenter: Box<dyn Presenter>,
}

impl Worker {
    fn run(mut self) {
        while let Some(request) = self.next() {
            let ready = (request.ready)();
            let outcome = match ready {
                Ok(()) => Ok(self.presenter.show(request.image, &request.damage)),
                Err(error) => Err(error),
            };
            let released = self.presenter.released();
            let mut state = self.shared.state.lock();
            match outcome {
                Ok(Shown::Optimal) => {}
                Ok(Shown::Suboptimal) => state.is_suboptimal = true,
                Ok(Shown::OutOfDate) => state.fail(vk::Result::ERROR_OUT_OF_DATE_KHR),
                Ok(Shown::SurfaceLost) => state.fail(vk::Result::ERROR_SURFACE_LOST_KHR),
                Err(error) => state.fail(error),
            }
            state.free.extend(released);
            state.presented = state.presented.max(request.id);
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    /// The next image to present; `None` when the swapchain ends and none is left.
    fn next(&mut self) -> Option<Request> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        loop {
            if state.error.is_some() {
                // What comes after the end is not presented, and is free.
                let rest: Vec<usize> = state.queue.drain(..).map(|request| request.image).collect();
                state.free.extend(rest);
            }
            if self.mode == vk::PresentModeKHR::MAILBOX {
                state.drop_replaced();
            }
            if let Some(request) = state.queue.pop_front() {
                return Some(request);
            }
            if state.is_ending {
                return None;
            }
            if state.waiting > 0 && state.free.is_empty() && state.error.is_none() {
                drop(state);
                self.presenter.wait_released();
                let released = self.presenter.released();
                state = shared.state.lock();
                if !released.is_empty() {
                    state.free.extend(released);
                    shared.changed.notify_all();
                }
                if state.queue.is_empty() && !state.is_ending && state.waiting > 0 && state.free.is_empty() {
                    // A presenter that cannot wait must not spin.
                    shared.changed.wait_for(&mut state, std::time::Duration::from_millis(1));
                }
                continue;
            }
            shared.changed.wait(&mut state);
        }
    }
}

impl State {
    fn fail(&mut self, error: vk::Result) {
        self.error.get_or_insert(error);
    }

    /// Frees images that a newer one has replaced before they were seen.
    fn drop_replaced(&mut self) {
        while let [_, later @ ..] = self.queue.make_contiguous()
            && later.iter().any(|request| (request.is_ready)())
        {
            let Some(replaced) = self.queue.pop_front() else { return };
            self.presented = self.presented.max(replaced.id);
            self.free.push_back(replaced.image);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::Receiver;
    use std::sync::mpsc::Sender;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    /// Shows what the test lets it show.
    struct Fake {
        outcomes: Receiver<Shown>,
        seen: Sender<usize>,
        shown: Vec<usize>,
    }

    impl Presenter for Fake {
        fn show(&mut self, image: usize, _damage: &[vk::RectLayerKHR]) -> Shown {
            self.seen.send(image).unwrap();
            let outcome = self.outcomes.recv().unwrap_or(Shown::Optimal);
            self.shown.push(image);
            outcome
        }

        fn released(&mut self) -> Vec<usize> {
            std::mem::take(&mut self.shown)
        }
    }

    fn chain(images: usize, mode: vk::PresentModeKHR) -> (Chain, Sender<Shown>, Receiver<usize>) {
        let (allow, outcomes) = channel();
        let (seen, order) = channel();
        let presenter = Box::new(Fake { outcomes, seen, shown: Vec::new() });
        (Chain::new(images, mode, presenter).unwrap(), allow, order)
    }

    /// Hangs are cut here; no test depends on it.
    fn guard() -> Option<Instant> {
        Instant::now().checked_add(Duration::from_secs(60))
    }

    fn present(chain: &Chain, image: usize, id: u64) -> Result<Shown, vk::Result> {
        chain.present(image, Box::new(|| Ok(())), Box::new(|| true), Vec::new(), id)
    }

    #[test]
    fn image_comes_back_when_it_was_shown() {
        let (chain, allow, order) = chain(2, vk::PresentModeKHR::FIFO);
        let first = chain.acquire(guard(), true).unwrap().image;
        let second = chain.acquire(guard(), true).unwrap().image;
        assert_eq!((first, second), (0, 1));
        assert_eq!(chain.acquire(None, false), Err(vk::Result::NOT_READY));
        assert_eq!(chain.acquire(Some(Instant::now()), true), Err(vk::Result::TIMEOUT));
        present(&chain, second, 0).unwrap();
        allow.send(Shown::Optimal).unwrap();
        assert_eq!(chain.acquire(guard(), true).unwrap().image, second);
        assert_eq!(order.recv().unwrap(), second);
    }

    #[test]
    fn images_are_shown_in_the_order_of_their_presents() {
        let (chain, allow, order) = chain(3, vk::PresentModeKHR::FIFO);
        for image in [2, 0, 1] {
            present(&chain, image, 0).unwrap();
            allow.send(Shown::Optimal).unwrap();
        }
        drop(chain);
        assert_eq!(order.iter().collect::<Vec<_>>(), [2, 0, 1]);
    }

    #[test]
    fn mailbox_frees_what_a_newer_ready_image_replaces() {
        let (chain, allow, order) = chain(4, vk::PresentModeKHR::MAILBOX);
        for _ in 0..4 {
            chain.acquire(guard(), true).unwrap();
        }
        present(&chain, 0, 1).unwrap();
        // The presenter is busy with the first while three more come.
        assert_eq!(order.recv().unwrap(), 0);
        for image in 1..4 {
            present(&chain, image, image as u64 + 1).unwrap();
        }
        allow.send(Shown::Optimal).unwrap();
        allow.send(Shown::Optimal).unwrap();
        chain.wait_for(4, guard()).unwrap();
        assert_eq!(order.recv().unwrap(), 3);
        let mut free: Vec<usize> = (0..4).map(|_| chain.acquire(guard(), true).unwrap().image).collect();
        free.sort_unstable();
        assert_eq!(free, [0, 1, 2, 3]);
    }

    #[test]
    fn image_is_shown_only_when_the_device_is_done() {
        let (chain, allow, order) = chain(1, vk::PresentModeKHR::FIFO);
        let done = Arc::new(AtomicBool::new(false));
        let (go, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let seen_done = Arc::clone(&done);
        let ready = Box::new(move || {
            gate.lock().recv().map_err(|_| vk::Result::ERROR_DEVICE_LOST)?;
            seen_done.store(true, Ordering::Release);
            Ok(())
        });
        chain.present(0, ready, Box::new(|| false), Vec::new(), 7).unwrap();
        assert_eq!(chain.wait_for(7, Some(Instant::now())), Err(vk::Result::TIMEOUT));
        allow.send(Shown::Optimal).unwrap();
        go.send(()).unwrap();
        assert_eq!(order.recv().unwrap(), 0);
        assert!(done.load(Ordering::Acquire));
        chain.wait_for(7, guard()).unwrap();
    }

    #[test]
    fn end_of_the_window_ends_the_chain_and_whoever_waits_for_it() {
        let (chain, allow, _order) = chain(1, vk::PresentModeKHR::FIFO);
        let image = chain.acquire(guard(), true).unwrap().image;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| chain.wait_for(1, guard()));
            present(&chain, image, 0).unwrap();
            allow.send(Shown::SurfaceLost).unwrap();
            assert_eq!(waiting.join().unwrap(), Err(vk::Result::ERROR_SURFACE_LOST_KHR));
        });
        assert_eq!(chain.acquire(guard(), true), Err(vk::Result::ERROR_SURFACE_LOST_KHR));
        assert_eq!(present(&chain, image, 0), Err(vk::Result::ERROR_SURFACE_LOST_KHR));
    }

    #[test]
    fn device_that_is_lost_ends_the_chain() {
        let (chain, _allow, _order) = chain(1, vk::PresentModeKHR::FIFO);
        let ready = Box::new(|| Err(vk::Result::ERROR_DEVICE_LOST));
        chain.present(0, ready, Box::new(|| true), Vec::new(), 0).unwrap();
        assert_eq!(chain.wait_for(1, guard()), Err(vk::Result::ERROR_DEVICE_LOST));
        assert_eq!(chain.status(), Err(vk::Result::ERROR_DEVICE_LOST));
    }

    #[test]
    fn retired_chain_gives_nothing_and_says_so_to_who_waits() {
        let (chain, allow, _order) = chain(1, vk::PresentModeKHR::FIFO);
        let image = chain.acquire(guard(), true).unwrap().image;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| chain.acquire(guard(), true));
            chain.retire();
            assert_eq!(waiting.join().unwrap(), Err(vk::Result::ERROR_OUT_OF_DATE_KHR));
        });
        assert_eq!(present(&chain, image, 0), Err(vk::Result::ERROR_OUT_OF_DATE_KHR));
        allow.send(Shown::Optimal).unwrap();
    }

    #[test]
    fn window_of_another_size_makes_images_suboptimal() {
        let (chain, allow, _order) = chain(1, vk::PresentModeKHR::FIFO);
        let image = chain.acquire(guard(), true).unwrap().image;
        present(&chain, image, 1).unwrap();
        allow.send(Shown::Suboptimal).unwrap();
        let again = chain.acquire(guard(), true).unwrap();
        assert!(again.is_suboptimal);
        assert_eq!(present(&chain, image, 2), Ok(Shown::Suboptimal));
        allow.send(Shown::Optimal).unwrap();
    }
}
