//! User objects: things of a program that live for as long as anybody holds a reference, graphs among them.
//!
//! *Locks.* None is held while the program's function runs.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::ffi::callbacks::HostFunction;
use crate::ffi::pointers::Address;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUuserObject;
use crate::tables;
use crate::types::Answer;

/// A thing of the program.
#[derive(Debug)]
pub struct UserObject {
    name: OnceLock<CUuserObject>,
    destroy: HostFunction,
    data: Address,
    references: Mutex<u64>,
}

impl UserObject {
    /// Gives a thing of the program a name; the program has `references` to it.
    ///
    /// # Errors
    /// Out of memory.
    pub fn create(destroy: HostFunction, data: Address, references: u32) -> Answer<CUuserObject> {
        let references = Mutex::new(u64::from(references));
        let object = Arc::new(Self { name: OnceLock::new(), destroy, data, references });
        let name = tables::USER_OBJECTS.insert(Arc::clone(&object))?;
        // A new object has none.
        let _ = object.name.set(name);
        Ok(name)
    }

    /// Adds references.
    ///
    /// # Errors
    /// Invalid value when there is nobody left who could.
    pub fn retain(&self, count: u32) -> Answer {
        let mut references = self.references.lock();
        if *references == 0 {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        *references += u64::from(count);
        Ok(())
    }

    /// Takes references away; the last ends the thing.
    ///
    /// # Errors
    /// Invalid value for more than there are.
    pub fn release(&self, count: u32) -> Answer {
        let mut references = self.references.lock();
        *references = references.checked_sub(u64::from(count)).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        let is_over = *references == 0 && count > 0;
        drop(references);
        if is_over {
            if let Some(name) = self.name.get() {
                // Only the last reference comes here.
                let _ = tables::USER_OBJECTS.remove(*name);
            }
            self.destroy.call(self.data);
        }
        Ok(())
    }
}

/// References that a graph holds.
#[derive(Debug, Default)]
pub struct Held(Mutex<Vec<(Arc<UserObject>, u32)>>);

impl Held {
    /// Takes over references that somebody had.
    pub fn adopt(&self, object: Arc<UserObject>, count: u32) {
        let held = &mut *self.0.lock();
        match held.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &object)) {
            Some((_, references)) => *references = references.saturating_add(count),
            None => held.push((object, count)),
        }
    }

    /// Lets go of references.
    ///
    /// # Errors
    /// Invalid value for more than there are.
    pub fn release(&self, object: &Arc<UserObject>, count: u32) -> Answer {
        let mut held = self.0.lock();
        let found = held.iter_mut().find(|(other, _)| Arc::ptr_eq(other, object));
        let (_, references) = found.ok_or(CUresult::ERROR_INVALID_VALUE)?;
        *references = references.checked_sub(count).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        held.retain(|(_, references)| *references > 0);
        drop(held);
        object.release(count)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// One more reference to each.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let held = self.0.lock();
        // What is held has references.
        let copy = held
            .iter()
            .filter(|(object, _)| object.retain(1).is_ok())
            .map(|(object, _)| (Arc::clone(object), 1));
        Self(Mutex::new(copy.collect()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for (object, count) in self.0.get_mut().drain(..) {
            let _ = object.release(count);
        }
    }
}
