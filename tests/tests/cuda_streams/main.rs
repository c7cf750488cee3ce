//! CUDA streams through the whole path below a shim: a session, the daemon, a closed-in worker, code made for this machine.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod deaths;
mod enclosed;
mod guest;
mod hostile;
mod limits;
mod machine;
mod sessions;
