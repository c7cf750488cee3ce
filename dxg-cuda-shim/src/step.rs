//! Steps: what programs put on streams and into graphs, before it is work for the host.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::condition::Branches;
use crate::event::Event;
use crate::exec::Prepared;
use crate::external::Semaphore;
use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::work::Box3d;
use crate::work::Fill;
use crate::work::HostCall;
use crate::work::Launch;
use crate::work::Work;

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nothing.
    Empty,
    /// A grid.
    Launch(Launch),
    /// A copy between places that the host sees.
    Copy(Box3d),
    /// A copy from or to memory of the program that only it sees: made here, when its turn comes.
    HostCopy(Box3d),
    /// Rows to fill.
    Fill(Fill),
    /// A function of the program.
    Host(HostCall),
    /// Records an event.
    Record(Arc<Event>),
    /// Waits for an event.
    Wait(Arc<Event>),
    /// Waits and writes in memory.
    Values(Vec<Work>),
    /// Raises semaphores of others to values.
    Signal(Vec<(Arc<Semaphore>, u64)>),
    /// Waits for semaphores of others.
    Await(Vec<(Arc<Semaphore>, u64)>),
    /// Allocates what a graph said: nothing to do, the memory is there for as long as the graph is.
    Allocated(u64),
    /// Frees what a graph allocated: it stays with the graph.
    Freed(u64),
    /// A graph within.
    Graph(Arc<Prepared>),
    /// Graphs that run by a value.
    Branch(Arc<Branches>),
}

impl Box3d {
    /// Bytes in a line.
    #[must_use]
    pub fn line(to: u64, from: u64, bytes: u64) -> Self {
        Self { to: [to, bytes, bytes], from: [from, bytes, bytes], extent: [bytes, 1, 1] }
    }

    /// Whether it is no more than bytes in a line; then how many.
    #[must_use]
    pub fn as_line(&self) -> Option<u64> {
        let [width, height, depth] = self.extent;
        if height == 1 && depth == 1 {
            return Some(width);
        }
        let rows = self.to[1] == width && self.from[1] == width;
        let slices = depth == 1 || (self.to[2] == width * height && self.from[2] == width * height);
        (rows && slices).then(|| width * height * depth)
    }

    /// Makes the copy here. All of it is mapped.
    pub fn copy_here(&self) {
        if let Some(bytes) = self.as_line() {
            return copy(self.to[0], self.from[0], bytes);
        }
        let [width, height, depth] = self.extent;
        for slice in 0..depth {
            for row in 0..height {
                let at = |place: [u64; 3]| place[0] + slice * place[2] + row * place[1];
                copy(at(self.to), at(self.from), width);
            }
        }
    }
}

fn copy(to: u64, from: u64, bytes: u64) {
    memory::copy(Address(to as usize), Address(from as usize), bytes as usize);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn box_without_gaps_is_a_line() {
        let dense = Box3d { to: [0, 4, 8], from: [100, 4, 8], extent: [4, 2, 3] };
        assert_eq!(dense.as_line(), Some(24));
        assert_eq!(Box3d { to: [0, 5, 10], ..dense }.as_line(), None);
        assert_eq!(Box3d::line(1, 2, 3).as_line(), Some(3));
    }

    #[test]
    fn copy_here_keeps_what_lies_between_rows() {
        let from: Vec<u8> = (0..24).collect();
        let mut to = [0_u8; 24];
        let at = |bytes: *const u8| bytes.expose_provenance() as u64;
        let copy =
            Box3d { to: [at(to.as_mut_ptr()), 4, 12], from: [at(from.as_ptr()), 4, 12], extent: [2, 2, 2] };
        copy.copy_here();
        assert_eq!(to[..14], [0, 1, 0, 0, 4, 5, 0, 0, 0, 0, 0, 0, 12, 13]);
    }
}
