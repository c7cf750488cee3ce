//! The driver that is called: compares what it is given with what is wanted, and keeps what it answers.

// UNSAFETY: reads and writes what the functions of a driver are given, by raw pointers.
#![expect(unsafe_code, reason = "a Vulkan driver is called with raw pointers")]

use std::any::Any;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;

use ash::vk;
use dxg_wire::codec::Encoder;

use super::NATIVE;
use crate::fill::Fill;

thread_local! {
    static WANTED: Cell<*const ()> = const { Cell::new(core::ptr::null()) };
    static VERDICT: Cell<vk::Result> = const { Cell::new(vk::Result::SUCCESS) };
    static SEED: Cell<u64> = const { Cell::new(0) };
    static CALLS: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) };
    static KEPT: RefCell<VecDeque<Box<dyn Any>>> = const { RefCell::new(VecDeque::new()) };
    static MADE: RefCell<VecDeque<u64>> = const { RefCell::new(VecDeque::new()) };
}

/// A call that the driver got.
#[derive(Debug)]
pub(crate) struct Seen {
    command: &'static str,
    /// Parameters that were not the wanted ones.
    wrong: Vec<&'static str>,
}

impl Seen {
    pub(crate) fn new(command: &'static str, leading: u64) -> Self {
        Self { command, wrong: if leading == NATIVE { Vec::new() } else { vec!["the first"] } }
    }

    pub(crate) fn param(&mut self, name: &'static str, same: bool) {
        if !same {
            self.wrong.push(name);
        }
    }

    pub(crate) fn end(self) {
        CALLS.with_borrow_mut(|calls| calls.push(self));
    }
}

/// From now on a command with these parameters is wanted; one time in four the driver refuses it.
pub(crate) fn want<T>(parameters: &T, fill: &mut Fill) {
    WANTED.set((&raw const *parameters).cast());
    VERDICT.set(if fill.chance() { vk::Result::ERROR_OUT_OF_DEVICE_MEMORY } else { vk::Result::SUCCESS });
    SEED.set(fill.u64());
    CALLS.with_borrow_mut(Vec::clear);
    KEPT.with_borrow_mut(VecDeque::clear);
    MADE.with_borrow_mut(VecDeque::clear);
}

/// The wanted parameters.
///
/// # Safety
/// The last [`want`] had this type, and its parameters live.
pub(crate) unsafe fn wanted<'a, T>() -> &'a T {
    // SAFETY: the caller promises the type and the life.
    unsafe { &*WANTED.get().cast() }
}

/// What the driver returns.
pub(crate) fn verdict() -> vk::Result {
    VERDICT.get()
}

/// Values for outputs.
pub(crate) fn fill() -> Fill {
    Fill::new(SEED.get(), 0)
}

/// Asserts that the driver was called once, with the wanted parameters.
pub(crate) fn seen(command: &str) {
    CALLS.with_borrow(|calls| {
        let [call] = calls.as_slice() else { panic!("{} calls of the driver", calls.len()) };
        assert_eq!(call.command, command);
        assert!(call.wrong.is_empty(), "the driver got other parameters: {:?}", call.wrong);
    });
}

/// Keeps a value for the comparison.
pub(crate) fn keep<T: Copy + 'static>(value: T) -> T {
    KEPT.with_borrow_mut(|kept| kept.push_back(Box::new(value)));
    value
}

/// Keeps `count` values, none behind null.
///
/// # Safety
/// `first` is null or points to as many.
pub(crate) unsafe fn keep_list<T: Copy + 'static>(first: *const T, count: usize) {
    // SAFETY: the caller promises the values.
    let list = unsafe { crate::reader::items(first, count) }.map(<[T]>::to_vec).unwrap_or_default();
    KEPT.with_borrow_mut(|kept| kept.push_back(Box::new(list)));
}

/// What was kept, in the order in which it was.
pub(crate) fn kept<T: 'static>() -> T {
    let value = KEPT.with_borrow_mut(VecDeque::pop_front).expect("something was kept");
    *value.downcast().expect("a value of this type was kept")
}

/// Writes new handles.
///
/// # Safety
/// `first` points to as many.
pub(crate) unsafe fn make<T: vk::Handle>(first: *mut T, count: usize) {
    for at in 0..count {
        let native = 0x5000 + SEED.get() % 0x1000 * 16 + at as u64;
        MADE.with_borrow_mut(|made| made.push_back(native));
        // SAFETY: the caller promises the place.
        let place = unsafe { first.add(at) };
        // SAFETY: as above.
        unsafe { place.write(T::from_raw(native)) };
    }
}

/// The native handles that were made, one after the other.
pub(crate) fn made() -> u64 {
    MADE.with_borrow_mut(VecDeque::pop_front).expect("a handle was made")
}

/// Fills all of a list.
///
/// # Safety
/// `first` points to as many values.
pub(crate) unsafe fn drive_all<T>(
    first: *mut T,
    count: usize,
    f: &mut Fill,
    each: impl Fn(&mut Fill, &mut T),
) {
    for at in 0..count {
        // SAFETY: the caller promises the values.
        let item = unsafe { first.add(at) };
        // SAFETY: as above; nobody else looks at it now.
        each(f, unsafe { &mut *item });
    }
}

/// The bytes that were recorded.
pub(crate) fn taken(recording: *mut Encoder) -> Vec<u8> {
    // SAFETY: the recording of a live host, which nobody uses now.
    let recording = unsafe { &mut *recording };
    let bytes = recording.as_slice().to_vec();
    recording.clear();
    bytes
}

/// Ends a recording.
pub(crate) fn free(recording: *mut Encoder) {
    // SAFETY: made by `Box::into_raw`, and given up by its host.
    drop(unsafe { Box::from_raw(recording) });
}
