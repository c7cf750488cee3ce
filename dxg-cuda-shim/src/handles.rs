//! Tables of objects that programs name.
//!
//! *Why.* A handle of the API is a pointer to the program and a number to us. A number whose object is gone, or that was never
//! one, is an error and nothing worse. A slot that is used again has another generation, and slots are reused oldest-first.
//!
//! *Layout of a number.* Bits 4 to 23 the slot, 24 to 43 its generation, from 44 the kind of object. The low bits are zero, so
//! that no number is one of the small ones that have a meaning of their own.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::generated::enums::CUresult;
use crate::types::Answer;

const SLOT_BITS: u32 = 20;
const GENERATION_BITS: u32 = 20;
const MASK: usize = (1 << SLOT_BITS) - 1;

/// What programs hold.
pub trait Name: Copy {
    /// As a number.
    fn number(self) -> usize;
    /// Of a number.
    fn of(number: usize) -> Self;
}

/// Kinds of objects, for numbers of different tables to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// Contexts.
    Context = 1,
    /// Streams.
    Stream,
    /// Events.
    Event,
    /// Modules.
    Module,
    /// Functions of modules.
    Function,
    /// Libraries.
    Library,
    /// Kernels of libraries.
    Kernel,
    /// Linkers.
    Linker,
    /// Graphs.
    Graph,
    /// Nodes of graphs.
    GraphNode,
    /// Graphs that can be launched.
    GraphExec,
    /// Memory pools.
    Pool,
    /// Physical memory.
    Physical,
    /// Memory of others.
    ExternalMemory,
    /// Semaphores of others.
    ExternalSemaphore,
    /// Things of the program that graphs hold.
    UserObject,
}

#[derive(Debug)]
struct Slot<T> {
    generation: usize,
    object: Option<Arc<T>>,
}

#[derive(Debug)]
struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: VecDeque<usize>,
}

/// Objects of one kind.
#[derive(Debug)]
pub struct Table<N, T> {
    kind: Kind,
    slots: RwLock<Slots<T>>,
    name: PhantomData<fn(N)>,
}

impl<N: Name, T> Table<N, T> {
    /// An empty table.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        let slots = RwLock::new(Slots { slots: Vec::new(), free: VecDeque::new() });
        Self { kind, slots, name: PhantomData }
    }

    /// Whether a number is one of this table, alive or not.
    #[must_use]
    pub fn is_of(&self, number: usize) -> bool {
        number >> (4 + SLOT_BITS + GENERATION_BITS) == self.kind as usize
    }

    fn number(&self, slot: usize, generation: usize) -> usize {
        (self.kind as usize) << (4 + SLOT_BITS + GENERATION_BITS) | generation << (4 + SLOT_BITS) | slot << 4
    }

    /// Gives an object a number.
    ///
    /// # Errors
    /// Out of memory when there are too many.
    pub fn insert(&self, object: Arc<T>) -> Answer<N> {
        self.insert_with(|_| object)
    }

    /// Makes an object that knows its number.
    ///
    /// # Errors
    /// Out of memory when there are too many.
    pub fn insert_with(&self, make: impl FnOnce(N) -> Arc<T>) -> Answer<N> {
        let mut slots = self.slots.write();
        let index = match slots.free.pop_front() {
            Some(index) => index,
            None if slots.slots.len() <= MASK => {
                slots.slots.push(Slot { generation: 0, object: None });
                slots.slots.len() - 1
            }
            None => return Err(CUresult::ERROR_OUT_OF_MEMORY),
        };
        let slot = slots.slots.get_mut(index).ok_or(CUresult::ERROR_UNKNOWN)?;
        let name = N::of(self.number(index, slot.generation));
        slot.object = Some(make(name));
        Ok(name)
    }

    fn index(&self, name: N) -> Option<(usize, usize)> {
        let number = name.number();
        let (slot, generation) = (number >> 4 & MASK, number >> (4 + SLOT_BITS) & MASK);
        (number == self.number(slot, generation)).then_some((slot, generation))
    }

    /// The object that a program names.
    ///
    /// # Errors
    /// Invalid handle.
    pub fn get(&self, name: N) -> Answer<Arc<T>> {
        self.find(name).ok_or(CUresult::ERROR_INVALID_HANDLE)
    }

    /// The object that a program names, if there is one.
    pub fn find(&self, name: N) -> Option<Arc<T>> {
        let (index, generation) = self.index(name)?;
        let slots = self.slots.read();
        let slot = slots.slots.get(index).filter(|slot| slot.generation == generation)?;
        slot.object.clone()
    }

    /// Takes an object out.
    ///
    /// # Errors
    /// Invalid handle.
    pub fn remove(&self, name: N) -> Answer<Arc<T>> {
        let (index, generation) = self.index(name).ok_or(CUresult::ERROR_INVALID_HANDLE)?;
        let mut slots = self.slots.write();
        let slot = slots.slots.get_mut(index).filter(|slot| slot.generation == generation);
        let object = slot.and_then(Slot::empty).ok_or(CUresult::ERROR_INVALID_HANDLE)?;
        slots.free.push_back(index);
        Ok(object)
    }

    /// The name of an object.
    pub fn name_of(&self, object: &Arc<T>) -> Option<N> {
        let slots = self.slots.read();
        let is_it = |slot: &Slot<T>| slot.object.as_ref().is_some_and(|one| Arc::ptr_eq(one, object));
        let index = slots.slots.iter().position(is_it)?;
        Some(N::of(self.number(index, slots.slots.get(index)?.generation)))
    }

    /// All objects at this moment.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.slots.read().slots.iter().filter_map(|slot| slot.object.clone()).collect()
    }

    /// Takes out all objects for which `is_over` holds, for the caller to drop without the lock.
    pub fn remove_all(&self, is_over: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let slots = &mut *self.slots.write();
        let mut removed = Vec::new();
        for (index, slot) in slots.slots.iter_mut().enumerate() {
            if slot.object.as_ref().is_some_and(|object| is_over(object)) {
                removed.extend(slot.empty());
                slots.free.push_back(index);
            }
        }
        removed
    }
}

impl<T> Slot<T> {
    fn empty(&mut self) -> Option<Arc<T>> {
        let object = self.object.take()?;
        self.generation = (self.generation + 1) & MASK;
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::handles::CUevent;

    #[test]
    fn number_of_an_object_that_is_gone_names_nothing_not_even_its_successor() {
        let table: Table<CUevent, u32> = Table::new(Kind::Event);
        let first = table.insert(Arc::new(1)).unwrap();
        assert_eq!(*table.get(first).unwrap(), 1);
        assert_eq!(*table.remove(first).unwrap(), 1);
        let second = table.insert(Arc::new(2)).unwrap();
        assert_ne!(first, second);
        assert_eq!(table.get(first), Err(CUresult::ERROR_INVALID_HANDLE));
        assert_eq!(table.remove(first), Err(CUresult::ERROR_INVALID_HANDLE));
        assert_eq!(*table.get(second).unwrap(), 2);
    }

    #[test]
    fn number_of_another_kind_names_nothing() {
        let events: Table<CUevent, u32> = Table::new(Kind::Event);
        let streams: Table<CUevent, u32> = Table::new(Kind::Stream);
        let event = events.insert(Arc::new(1)).unwrap();
        streams.insert(Arc::new(2)).unwrap();
        assert!(streams.get(event).is_err());
        assert!(events.is_of(event.0) && !streams.is_of(event.0));
        for small in [0, 1, 2, usize::MAX] {
            assert!(events.get(CUevent(small)).is_err());
        }
    }

    #[test]
    fn remove_all_takes_what_is_asked_for() {
        let table: Table<CUevent, u32> = Table::new(Kind::Event);
        let names: Vec<_> = (0..4).map(|value| table.insert(Arc::new(value)).unwrap()).collect();
        assert_eq!(table.remove_all(|value| value % 2 == 0).len(), 2);
        assert!(table.get(names[0]).is_err());
        assert!(table.get(names[1]).is_ok());
    }
}
