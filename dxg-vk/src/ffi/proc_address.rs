//! The rows of the command table.

// UNSAFETY: says of function addresses that threads may share them.
#![expect(unsafe_code, reason = "an untyped function address is a raw pointer")]

/// What a command's first parameter is, which says through which look-up it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// An instance, or nothing.
    Instance,
    /// A physical device.
    PhysicalDevice,
    /// A device or what belongs to one.
    Device,
}

/// Something that brings a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requires {
    /// A version of Vulkan, or a later one.
    Version(u32),
    /// An extension.
    Extension(&'static str),
}

/// A function's address in a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address(*const ());

// SAFETY: the address of a function, through which nothing is read or written.
unsafe impl Sync for Address {}

impl Address {
    /// The address of a function.
    #[must_use]
    pub(crate) const fn new(function: *const ()) -> Self {
        Self(function)
    }

    /// The address.
    #[must_use]
    pub(crate) const fn get(self) -> *const () {
        self.0
    }
}

/// A command with a generated entry point.
#[derive(Debug)]
pub(crate) struct Proc {
    /// Its name, which may be an alias.
    pub(crate) name: &'static str,
    /// What its first parameter is.
    pub(crate) level: Level,
    /// What brings it: any of these.
    pub(crate) requires: &'static [Requires],
    /// Its entry point.
    pub(crate) address: Address,
}

/// A command that is written by hand.
#[derive(Debug)]
pub(crate) struct CustomProc {
    /// Its name, which may be an alias.
    pub(crate) name: &'static str,
    /// The name that is not an alias.
    pub(crate) canonical: &'static str,
    /// What its first parameter is.
    pub(crate) level: Level,
    /// What brings it: any of these.
    pub(crate) requires: &'static [Requires],
}

/// A device extension that is forwarded.
#[derive(Debug)]
pub(crate) struct Forwarded {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its version.
    pub(crate) spec_version: u32,
}
