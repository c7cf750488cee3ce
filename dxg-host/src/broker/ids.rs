//! Numbers by which the broker knows its parties. They are never reused.

/// A virtual GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VgpuId(pub(super) u64);

/// A client connection; also the name of its session in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClientId(pub(super) u64);

/// A worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WorkerId(pub(super) u64);

/// A control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ControlId(pub(super) u64);

/// Hands out numbers.
#[derive(Debug, Default)]
pub(super) struct Counter(u64);

impl Counter {
    /// The next number, from 1.
    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    /// The last that it has handed out; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.0
    }
}
