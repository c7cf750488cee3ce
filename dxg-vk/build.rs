//! Link arguments of the driver library.
//!
//! The driver keeps threads and thread-local values that outlive an instance, so the library must stay mapped when the
//! loader closes it: `-z nodelete` makes `dlclose` a no-op.

#![forbid(unsafe_code)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
