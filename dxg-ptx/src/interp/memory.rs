//! Memory as kernels see it: which addresses are allowed, and the accesses themselves.
//!
//! *Why.* Generic addresses are addresses of this process, so each is checked against the ranges that a thread may use before it
//! is touched. This is the interpreter's only module that touches memory by address.
//!
//! *Invariants.* All accesses are atomic ones of the host, so that kernels which race do not make the host's behaviour undefined.

// UNSAFETY: kernels name memory by address; the ranges are checked here, and the host promises that they are mapped.
#![expect(unsafe_code, reason = "kernels name memory by address")]

use std::alloc::Layout;
use std::alloc::alloc_zeroed;
use std::alloc::dealloc;
use std::alloc::handle_alloc_error;
use std::ops::Range;
use std::ptr;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::exec::FaultKind;
use crate::exec::Host;
use crate::ir::Order;
use crate::ir::Space;

/// How the start of a [`Buffer`] is aligned.
const BUFFER_ALIGN: usize = 1024;

/// Zeroed memory of our own, untouched pages of which cost nothing.
#[derive(Debug)]
pub(crate) struct Buffer {
    base: NonNull<u8>,
    layout: Layout,
    range: Range<u64>,
}

impl Buffer {
    /// Memory of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        // Rounded by hand: the allocator gives fresh zero pages for small alignments only.
        let layout =
            Layout::array::<u128>((bytes + BUFFER_ALIGN).div_ceil(16)).unwrap_or(Layout::new::<u128>());
        // SAFETY: the layout's size is not zero: `BUFFER_ALIGN` is added.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        let start = base.as_ptr().expose_provenance().next_multiple_of(BUFFER_ALIGN) as u64;
        Self { base, layout, range: start..start + bytes as u64 }
    }

    pub(crate) fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: `base` was allocated with this layout by `new`, and is freed once.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// What the threads of a block may touch, besides their own stacks.
pub(crate) struct Memory<'h> {
    host: &'h dyn Host,
    global: Range<u64>,
    shared: Range<u64>,
    params: Range<u64>,
    /// Kept alive as long as the ranges are used.
    _buffers: &'h [Buffer],
}

/// A thread's view of local memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stack {
    /// All of it.
    pub(crate) range: Range<u64>,
    /// Where the running function's frame starts.
    pub(crate) frame: u64,
}

/// Serialises atomics that the host has no instruction for.
static WIDE: Mutex<()> = Mutex::new(());

fn within(range: &Range<u64>, address: u64, bytes: u64) -> bool {
    address >= range.start && address.checked_add(bytes).is_some_and(|end| end <= range.end)
}

/// A pointer to an atomic of the host at an address that was checked.
fn pointer<T>(address: u64) -> *mut T {
    ptr::with_exposed_provenance_mut(address as usize)
}

impl<'h> Memory<'h> {
    /// Memory of a block: its shared memory is the first buffer (of which `shared_bytes` count), its parameters are the second.
    pub(crate) fn new(host: &'h dyn Host, buffers: &'h [Buffer; 2], shared_bytes: u64) -> Self {
        let shared = buffers[0].range();
        let shared = shared.start..shared.end.min(shared.start + shared_bytes);
        Self { host, global: host.memory(), shared, params: buffers[1].range(), _buffers: buffers }
    }

    /// Writes the parameter block.
    pub(crate) fn set_params(&self, params: &[u8]) {
        for (at, &byte) in params.iter().enumerate() {
            let stored =
                self.store(Space::Param, at as u64, (1, u64::from(byte)), &Stack::default(), Order::Weak);
            debug_assert!(stored.is_ok(), "the buffer has room for all parameters");
        }
    }

    pub(crate) fn host(&self) -> &'h dyn Host {
        self.host
    }

    /// Where a space starts in generic addresses.
    pub(crate) fn window(&self, space: Space, stack: &Stack) -> u64 {
        match space {
            Space::Shared => self.shared.start,
            Space::Local => stack.frame,
            Space::Param => self.params.start,
            Space::Generic | Space::Global | Space::Const => 0,
        }
    }

    /// Which space a generic address lies in; global if in no other.
    pub(crate) fn space_of(&self, address: u64, stack: &Stack) -> Space {
        match address {
            _ if self.shared.contains(&address) => Space::Shared,
            _ if stack.range.contains(&address) => Space::Local,
            _ if self.params.contains(&address) => Space::Param,
            _ => Space::Global,
        }
    }

    /// The generic address of an access, if it is allowed.
    pub(crate) fn check(
        &self,
        space: Space,
        address: u64,
        bytes: u64,
        stack: &Stack,
    ) -> Result<u64, FaultKind> {
        let generic = match space {
            Space::Shared => self.shared.start.checked_add(address),
            Space::Local => Some(stack.frame.wrapping_add(address)),
            Space::Param => self.params.start.checked_add(address),
            Space::Generic | Space::Global | Space::Const => Some(address),
        };
        let Some(generic) = generic else {
            return Err(FaultKind::IllegalAddress { address: None });
        };
        // What is both counts as misaligned, as the hardware says.
        if bytes > 1 && !generic.is_multiple_of(bytes) {
            return Err(FaultKind::Misaligned { address: generic });
        }
        let is_global = || within(&self.global, generic, bytes) && self.host.is_mapped(generic, bytes);
        let allowed = match space {
            Space::Shared => within(&self.shared, generic, bytes),
            Space::Local => within(&stack.range, generic, bytes),
            Space::Param => within(&self.params, generic, bytes),
            Space::Global | Space::Const => is_global(),
            Space::Generic => {
                [&self.shared, &stack.range, &self.params].iter().any(|range| within(range, generic, bytes))
                    || is_global()
            }
        };
        if !allowed {
            return Err(FaultKind::IllegalAddress { address: Some(generic) });
        }
        Ok(generic)
    }

    /// Reads 1, 2, 4 or 8 bytes.
    pub(crate) fn load(
        &self,
        space: Space,
        address: u64,
        bytes: u32,
        stack: &Stack,
        order: Order,
    ) -> Result<u64, FaultKind> {
        let at = self.check(space, address, u64::from(bytes), stack)?;
        let order = match order {
            Order::Acquire | Order::AcqRel => Ordering::Acquire,
            Order::SeqCst => Ordering::SeqCst,
            Order::Weak | Order::Volatile | Order::Relaxed | Order::Release => Ordering::Relaxed,
        };
        // SAFETY (of the four): `check` said that the bytes are mapped, readable and writable memory, and that the address is a
        // multiple of the access; nobody has references to it, all accesses are atomic.
        Ok(match bytes {
            1 => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU8::from_ptr(pointer(at)) };
                u64::from(cell.load(order))
            }
            2 => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU16::from_ptr(pointer(at)) };
                u64::from(cell.load(order))
            }
            4 => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU32::from_ptr(pointer(at)) };
                u64::from(cell.load(order))
            }
            _ => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU64::from_ptr(pointer(at)) };
                cell.load(order)
            }
        })
    }

    /// Writes 1, 2, 4 or 8 bytes.
    pub(crate) fn store(
        &self,
        space: Space,
        address: u64,
        (bytes, value): (u32, u64),
        stack: &Stack,
        order: Order,
    ) -> Result<(), FaultKind> {
        let at = self.check(space, address, u64::from(bytes), stack)?;
        let order = match order {
            Order::Release | Order::AcqRel => Ordering::Release,
            Order::SeqCst => Ordering::SeqCst,
            Order::Weak | Order::Volatile | Order::Relaxed | Order::Acquire => Ordering::Relaxed,
        };
        // SAFETY (of the four): as for `load`.
        match bytes {
            1 => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU8::from_ptr(pointer(at)) };
                cell.store(value as u8, order);
            }
            2 => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU16::from_ptr(pointer(at)) };
                cell.store(value as u16, order);
            }
            4 => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU32::from_ptr(pointer(at)) };
                cell.store(value as u32, order);
            }
            _ => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU64::from_ptr(pointer(at)) };
                cell.store(value, order);
            }
        }
        Ok(())
    }

    /// Copies the first `read` of `bytes` bytes and zeroes the others: `cp.async`. What is not read need not be there.
    pub(crate) fn copy(
        &self,
        from: (Space, u64),
        to: (Space, u64),
        [bytes, read]: [u64; 2],
        stack: &Stack,
    ) -> Result<(), FaultKind> {
        if bytes.is_power_of_two() && bytes <= 16 {
            self.check(to.0, to.1, bytes, stack)?;
        }
        if read == bytes && bytes.is_power_of_two() && bytes <= 16 {
            self.check(from.0, from.1, bytes, stack)?;
        }
        for at in 0..bytes {
            let value = match at < read {
                true => self.load(from.0, from.1.wrapping_add(at), 1, stack, Order::Weak)?,
                false => 0,
            };
            self.store(to.0, to.1.wrapping_add(at), (1, value), stack, Order::Weak)?;
        }
        Ok(())
    }

    /// Changes 2, 4 or 8 bytes at once; what was there before.
    pub(crate) fn update(
        &self,
        space: Space,
        address: u64,
        bytes: u32,
        stack: &Stack,
        change: &dyn Fn(u64) -> u64,
    ) -> Result<u64, FaultKind> {
        let at = self.check(space, address, u64::from(bytes), stack)?;
        // SAFETY (of the three): as for `load`.
        Ok(match bytes {
            2 => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU16::from_ptr(pointer(at)) };
                let change = |old| Some(change(u64::from(old)) as u16);
                let old = cell.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
                u64::from(old.unwrap_or_else(|old| old))
            }
            4 => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU32::from_ptr(pointer(at)) };
                let change = |old| Some(change(u64::from(old)) as u32);
                let old = cell.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
                u64::from(old.unwrap_or_else(|old| old))
            }
            _ => {
                // SAFETY: see above.
                let cell = unsafe { AtomicU64::from_ptr(pointer(at)) };
                let old = cell.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| Some(change(old)));
                old.unwrap_or_else(|old| old)
            }
        })
    }

    /// Changes 16 bytes at once, low half first; atomic against other such changes.
    pub(crate) fn update_wide(
        &self,
        space: Space,
        address: u64,
        stack: &Stack,
        change: &dyn Fn([u64; 2]) -> [u64; 2],
    ) -> Result<[u64; 2], FaultKind> {
        self.check(space, address, 16, stack)?;
        let _guard = WIDE.lock().unwrap_or_else(PoisonError::into_inner);
        let low = self.load(space, address, 8, stack, Order::SeqCst)?;
        let high = self.load(space, address + 8, 8, stack, Order::SeqCst)?;
        let [new_low, new_high] = change([low, high]);
        self.store(space, address, (8, new_low), stack, Order::SeqCst)?;
        self.store(space, address + 8, (8, new_high), stack, Order::SeqCst)?;
        Ok([low, high])
    }
}
