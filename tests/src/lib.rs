//! Running one behaviour over every transport.
//!
//! `for_each_transport!(name, |transport| { ... })` makes two tests: `name::kernel` runs the body over a kernel node that lives in
//! a preloaded library, `name::host` over a virtual GPU of a daemon that is started for it.

pub mod again;
pub mod daemon;
pub mod fork;
pub mod kernel;
pub mod pages;

use dxg_core::Node;

use crate::daemon::Daemon;

/// Where the nodes of a test come from.
pub enum TestTransport {
    /// The kernel's device file, which a preloaded library provides.
    Kernel,
    /// A daemon of the test's own.
    Host(Daemon),
}

impl TestTransport {
    /// Opens a node. Each is as good as one of another process.
    ///
    /// # Panics
    ///
    /// When there is none: the test has failed.
    #[must_use]
    pub fn node(&self) -> Node {
        match self {
            Self::Kernel => {
                Node::open_kernel(std::path::Path::new(dxg_core::KERNEL_DEVICE)).expect("a kernel node")
            }
            Self::Host(daemon) => Node::connect(&daemon.socket()).expect("a host node"),
        }
    }
}

/// Makes a test per transport of one body.
#[macro_export]
macro_rules! for_each_transport {
    ($name:ident, |$transport:ident| $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "bodies use what their file imports")]
            use super::*;

            fn body($transport: &$crate::TestTransport) $body

            #[test]
            fn kernel() {
                $crate::kernel::run(concat!(stringify!($name), "::kernel"), body);
            }

            #[test]
            fn host() {
                match $crate::daemon::Daemon::start() {
                    Some(daemon) => body(&$crate::TestTransport::Host(daemon)),
                    None => println!("skipped: no dxgd"),
                }
            }
        }
    };
}
