//! The rows of the command table.

use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering;

/// What a command's first parameter is, which says through which look-up it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An instance, or nothing.
    Instance,
    /// A physical device.
    PhysicalDevice,
    /// A device or what belongs to one.
    Device,
}

/// Something that brings a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requires {
    /// A version of Vulkan, or a later one.
    Version(u32),
    /// An extension.
    Extension(&'static str),
}

/// A function's address in a table.
#[derive(Debug)]
pub struct Address(AtomicPtr<()>);

impl Address {
    /// The address of a function.
    #[must_use]
    pub const fn new(function: *const ()) -> Self {
        Self(AtomicPtr::new(function.cast_mut()))
    }

    /// The address.
    #[must_use]
    pub fn get(&self) -> *const () {
        self.0.load(Ordering::Relaxed)
    }
}

/// A command with a generated entry point.
#[derive(Debug)]
pub struct Proc {
    /// Its name, which may be an alias.
    pub name: &'static str,
    /// What its first parameter is.
    pub level: Level,
    /// What brings it: any of these.
    pub requires: &'static [Requires],
    /// Its entry point.
    pub address: Address,
}

/// A command that is written by hand.
#[derive(Debug)]
pub struct CustomProc {
    /// Its name, which may be an alias.
    pub name: &'static str,
    /// The name that is not an alias.
    pub canonical: &'static str,
    /// What its first parameter is.
    pub level: Level,
    /// What brings it: any of these.
    pub requires: &'static [Requires],
}

/// A device extension that is forwarded.
#[derive(Debug)]
pub struct Forwarded {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub spec_version: u32,
}
