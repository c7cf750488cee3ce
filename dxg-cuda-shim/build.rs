//! Link arguments of the library.
//!
//! Programs look for the name that NVIDIA's library has. The library keeps threads and handlers that outlive any caller, so it
//! must stay mapped when a program closes it: `-z nodelete` makes `dlclose` a no-op.

#![forbid(unsafe_code)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
