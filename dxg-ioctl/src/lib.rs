//! The dxg kernel ABI, typed.
//!
//! A *node* (`/dev/dxg`, or whatever answers in its place) takes requests. A request is a number and one struct that
//! is both argument and answer. This crate has every such struct, every number, and the one raw call. It holds no
//! state, opens nothing and decides nothing; what a sequence of requests means is the business of the crates above.
//!
//! Where to look:
//!
//! - [`abi`]: the structs, flag sets, value sets and limits. Names follow the header without its prefixes:
//!   `D3DKMT_CREATEDEVICE` is [`abi::CreateDevice`], and rustdoc finds it under both.
//! - [`Ioctl`] and [`Ioctl::table`]: the requests, one row each. [`Request`] ties an argument struct to its row.
//! - [`sys`]: the raw call, and the only unsafe code here.
//! - [`status`]: [`NtStatus`], [`Errno`] and the maps between them. An answer that is an errno and an answer that is
//!   a status stay apart in [`CallError`].
//! - [`adapter_info`]: what the query-adapter-info request answers, typed by query.
//! - [`statistics`]: the same for the statistics request.
//! - [`handle`]: how a 32-bit handle is cut into index and reuse counter.
//!
//! # Example
//!
//! ```
//! use dxg_ioctl::Request;
//! use dxg_ioctl::Ioctl;
//! use dxg_ioctl::abi::Lock2;
//!
//! assert_eq!(Lock2::IOCTL, Ioctl::LOCK2);
//! assert_eq!(Ioctl::LOCK2.size_bytes(), size_of::<Lock2>());
//! ```
//!
//! # Invariants
//!
//! - Any byte pattern of the right length is a value of any type here: no `bool`, no Rust `enum`, no reference.
//! - Padding is a field. What is sent is built from zeroes (`FromZeros::new_zeroed`), so nothing leaks through it.
//! - A value that this crate does not know stays what it is.
//!
//! # Source
//!
//! Layouts and numbers are generated from the data files in `tests/data`, which also drive the tests. Each item says
//! `Source: header` (layout or number), `Source: observed` or `Source: assumed`.

pub mod adapter_info;
mod generated;
pub mod handle;
pub mod request;
mod scalar;
pub mod statistics;
pub mod status;
pub mod sys;

/// The structs, unions, flag sets, value sets and limits of the header, and the scalar types they are made of.
pub mod abi {
    pub use crate::generated::constants::*;
    pub use crate::generated::enums::*;
    pub use crate::generated::structs::*;
    pub use crate::scalar::FenceValue;
    pub use crate::scalar::GpuVa;
    pub use crate::scalar::Luid;
    pub use crate::scalar::RawHandle;
    pub use crate::scalar::UserPtr;
    pub use crate::status::NtStatus;
}

pub use crate::adapter_info::AdapterInfo;
pub use crate::request::Ioctl;
pub use crate::request::PlainRequest;
pub use crate::request::Request;
pub use crate::request::RequestInfo;
pub use crate::scalar::FenceValue;
pub use crate::scalar::GpuVa;
pub use crate::scalar::Luid;
pub use crate::scalar::RawHandle;
pub use crate::scalar::UserPtr;
pub use crate::status::Errno;
pub use crate::status::NtStatus;
pub use crate::sys::CallError;
