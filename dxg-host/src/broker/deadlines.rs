//! What may take only so long: a greeting.
//!
//! *Why.* A connection costs a descriptor from its first moment. One that says nothing is turned away after a while, and
//! earlier where there are many such: the first to go is the oldest of the user who has most of them, so that nobody
//! keeps others out by connecting often.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::session::Reason;

use super::Broker;
use super::greeting::Refusal;
use super::ids::ClientId;
use super::session_end::Ending;

/// Most connections that have not greeted.
pub(super) const MAX_SILENT: usize = 64;

/// Who is expected to greet by when, earliest first: all have the same time.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    greetings: VecDeque<(Instant, ClientId)>,
}

impl Deadlines {
    /// The earliest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.greetings.front().map(|(deadline, _)| *deadline)
    }
}

impl Broker {
    /// A client has connected and is to greet.
    pub(super) fn expect_greeting(&mut self, id: ClientId) {
        let deadline = Instant::now().checked_add(Duration::from_secs(self.config.greeting_seconds));
        if let Some(deadline) = deadline {
            self.deadlines.greetings.push_back((deadline, id));
        }
        let silent: Vec<(ClientId, u32)> = self
            .clients
            .values()
            .filter(|client| client.is_silent())
            .map(|client| (client.id, client.peer.uid))
            .collect();
        if silent.len() > MAX_SILENT
            && let Some(first) = oldest_of_the_most(&silent)
        {
            let refusal = Refusal::new(Reason::HOST_RESOURCES, "too many connections say nothing");
            self.end_session(first, Ending::Refused(refusal));
        }
    }

    /// Turns away who has not greeted in time.
    pub(super) fn end_overdue(&mut self) {
        let now = Instant::now();
        while let Some((deadline, id)) = self.deadlines.greetings.front().copied() {
            let is_silent = self.clients.get(&id).is_some_and(|client| client.is_silent());
            if is_silent && deadline > now {
                return;
            }
            self.deadlines.greetings.pop_front();
            if is_silent {
                let refusal = Refusal::new(Reason::BAD_HELLO, "no greeting came in time");
                self.end_session(id, Ending::Refused(refusal));
            }
        }
    }
}

/// Of connections in the order of their age, with the user of each: the oldest of the user who has most of them.
pub(super) fn oldest_of_the_most<Id: Copy>(connections: &[(Id, u32)]) -> Option<Id> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for (_, uid) in connections {
        *counts.entry(*uid).or_default() += 1;
    }
    let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    connections.iter().find(|(_, uid)| *uid == most).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_to_go_is_the_oldest_of_the_user_with_the_most() {
        assert_eq!(oldest_of_the_most(&[('a', 0), ('b', 7), ('c', 7), ('d', 0), ('e', 7)]), Some('b'));
        assert_eq!(oldest_of_the_most::<char>(&[]), None);
    }
}
