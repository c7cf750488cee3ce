//! One answer that one thread waits for and another brings.

use std::time::Instant;

use dxg_ioctl::CallError;
use parking_lot::Condvar;
use parking_lot::Mutex;

enum State<T> {
    /// What is waited for is still being sent.
    Sending,
    Waiting,
    Lead,
    Done(Result<T, CallError>),
    Taken,
}

/// What ended a wait.
pub(super) enum Woken<T> {
    /// The answer.
    Done(Result<T, CallError>),
    /// No answer yet; the waiter is to receive for everybody.
    Lead,
}

/// A place for one answer.
pub(super) struct Slot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State::Waiting), changed: Condvar::new() }
    }

    /// A place for the answer to what is still being sent: its waiter cannot receive for others yet.
    pub(super) fn sending() -> Self {
        Self { state: Mutex::new(State::Sending), changed: Condvar::new() }
    }

    /// It is sent: the waiter looks for the receiver next.
    pub(super) fn sent(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Sending) {
            *state = State::Waiting;
        }
    }

    /// Brings the answer. The first one counts.
    pub(super) fn put(&self, answer: Result<T, CallError>) {
        let mut state = self.state.lock();
        if matches!(*state, State::Sending | State::Waiting | State::Lead) {
            *state = State::Done(answer);
            self.changed.notify_one();
        }
    }

    /// Asks the waiter to receive. Answers whether there is a waiter that can and still needs its answer.
    pub(super) fn promote(&self) -> bool {
        let mut state = self.state.lock();
        let waits = matches!(*state, State::Waiting | State::Lead);
        if waits {
            *state = State::Lead;
            self.changed.notify_one();
        }
        waits
    }

    /// The answer, if it is here.
    pub(super) fn try_take(&self) -> Option<Result<T, CallError>> {
        let mut state = self.state.lock();
        Self::take(&mut state)
    }

    /// Sleeps until there is an answer or the waiter is asked to receive.
    pub(super) fn wait(&self) -> Woken<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(answer) = Self::take(&mut state) {
                return Woken::Done(answer);
            }
            if matches!(*state, State::Lead) {
                *state = State::Waiting;
                return Woken::Lead;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Sleeps until there is an answer; for slots that nobody promotes.
    pub(super) fn wait_done(&self) -> Result<T, CallError> {
        loop {
            if let Woken::Done(answer) = self.wait() {
                return answer;
            }
        }
    }

    /// The same until a moment; `None` when it comes first.
    pub(super) fn wait_done_until(&self, deadline: Instant) -> Option<Result<T, CallError>> {
        let mut state = self.state.lock();
        loop {
            if let Some(answer) = Self::take(&mut state) {
                return Some(answer);
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Self::take(&mut state);
            }
        }
    }

    fn take(state: &mut State<T>) -> Option<Result<T, CallError>> {
        match std::mem::replace(state, State::Taken) {
            State::Done(answer) => Some(answer),
            other => {
                *state = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_keeps_the_first_answer() {
        let slot = Slot::new();
        slot.put(Ok(1));
        slot.put(Ok(2));
        assert!(matches!(slot.try_take(), Some(Ok(1))));
        assert!(slot.try_take().is_none());
    }

    #[test]
    fn slot_asked_to_lead_wakes_its_waiter_without_an_answer() {
        let slot = Slot::<u8>::new();
        assert!(slot.promote());
        assert!(matches!(slot.wait(), Woken::Lead));
        slot.put(Ok(3));
        assert!(matches!(slot.wait(), Woken::Done(Ok(3))));
    }

    #[test]
    fn slot_that_is_still_being_sent_cannot_lead_but_is_answered() {
        let slot = Slot::sending();
        assert!(!slot.promote());
        slot.put(Ok(4));
        slot.sent();
        assert!(!slot.promote());
        assert!(matches!(slot.wait(), Woken::Done(Ok(4))));
    }

    #[test]
    fn slot_answered_after_it_was_asked_to_lead_has_its_answer() {
        let slot = Slot::new();
        assert!(slot.promote());
        slot.put(Ok(5));
        assert!(matches!(slot.wait(), Woken::Done(Ok(5))));
    }
}
