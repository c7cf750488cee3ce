//! What threads do together, and what ends a grid: kernels written for it, on the interpreter and as native code.

#[path = "../support/mod.rs"]
mod support;

mod atomics;
mod barriers;
mod calls;
mod faults;
mod kernel;
mod matrices;
mod matrix;
mod memory;
mod packets;
mod sparse;
mod warps;
mod wmma;

/// Expands a test over all executors.
macro_rules! for_each_executor {
    ($($name:ident),* $(,)?) => {
        mod interpreted {
            $(
                #[test]
                fn $name() {
                    super::$name(&crate::support::program::interpreter);
                }
            )*
        }
        mod native {
            $(
                #[test]
                fn $name() {
                    super::$name(&crate::support::program::native);
                }
            )*
        }
        mod packets {
            $(
                #[test]
                fn $name() {
                    super::$name(&crate::support::program::packets);
                }
            )*
        }
    };
}
pub(crate) use for_each_executor;
