//! Extension chains as the decoder makes them: found, read and changed in place.
//!
//! *Invariants.* A chain that is given to this module was made by the generated decoder: every structure is whole, in
//! memory of the operation's arena that nothing else refers to, and begins with its type and the next pointer.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;

use ash::vk;
use ash::vk::TaggedStructure;

/// The chain of one decoded structure.
pub(crate) struct Chain<'a> {
    next: *mut vk::BaseOutStructure<'static>,
    of: PhantomData<&'a mut ()>,
}

impl Chain<'_> {
    /// The chain that begins at `next`.
    ///
    /// # Safety
    /// The decoder (or the caller, as carefully) made it, it lives as long as the result and is not used otherwise.
    pub(crate) unsafe fn new(next: *const c_void) -> Self {
        Self { next: next.cast_mut().cast(), of: PhantomData }
    }

    /// The types in the chain, in order.
    pub(crate) fn types(&self) -> impl Iterator<Item = vk::StructureType> {
        let mut next = self.next;
        std::iter::from_fn(move || {
            // SAFETY:
            // - the structure is null or whole, by what `Chain::new` requires.
            let base = unsafe { next.as_ref() }?;
            next = base.p_next;
            Some(base.s_type)
        })
    }

    /// The structure of type `T`.
    pub(crate) fn find<T: TaggedStructure>(&mut self) -> Option<&mut T> {
        let mut next = NonNull::new(self.next)?;
        loop {
            // SAFETY:
            // - the structure is whole, by what `Chain::new` requires.
            let base = unsafe { next.as_ref() };
            if base.s_type == T::STRUCTURE_TYPE {
                // SAFETY:
                // - the type says that a whole `T` is here, and `self` is the only way to it.
                return Some(unsafe { next.cast().as_mut() });
            }
            next = NonNull::new(base.p_next)?;
        }
    }
}

/// The array that a count and a pointer of a decoded structure stand for.
///
/// # Safety
/// The decoder made both: where the count is not 0, the pointer is null or of as many elements, which live for `'a`.
pub(crate) unsafe fn array<'a, T>(pointer: *const T, count: u32) -> &'a [T] {
    match usize::try_from(count) {
        // SAFETY:
        // - the caller says that so many elements are there.
        Ok(count) if count > 0 && !pointer.is_null() => unsafe { std::slice::from_raw_parts(pointer, count) },
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use ash::vk;

    use super::Chain;

    #[test]
    fn structure_is_found_behind_another_and_changed_in_place() {
        let mut second = vk::PhysicalDeviceVulkan12Features::default();
        let first =
            vk::PhysicalDeviceVulkan11Features { p_next: (&raw mut second).cast(), ..Default::default() };
        // SAFETY:
        // - both structures are whole and live until the end of the test.
        let mut chain = unsafe { Chain::new((&raw const first).cast()) };
        assert_eq!(chain.types().count(), 2);
        chain.find::<vk::PhysicalDeviceVulkan12Features<'_>>().unwrap().timeline_semaphore = vk::TRUE;
        assert!(chain.find::<vk::PhysicalDeviceVulkan13Features<'_>>().is_none());
        assert_eq!(second.timeline_semaphore, vk::TRUE);
    }
}
