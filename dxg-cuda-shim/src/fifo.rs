//! What kernels print: a FIFO that the host fills and we empty at synchronisation points.

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use dxg_wire::cuda::fifo;
use parking_lot::Mutex;

use crate::link::LEASE_BYTES;
use crate::link::LOST;
use crate::link::Window;
use crate::types::Answer;

/// The FIFO of a context.
#[derive(Debug)]
pub struct Fifo {
    window: Window,
    capacity: u64,
    read: Mutex<u64>,
}

impl Fifo {
    /// Bytes to lease for so much text.
    #[must_use]
    pub fn lease_bytes(text_bytes: u64) -> u64 {
        (text_bytes.next_power_of_two() + fifo::DATA).next_multiple_of(LEASE_BYTES)
    }

    /// An empty one.
    ///
    /// # Errors
    /// When the memory cannot be used.
    pub fn new(window: Window) -> Answer<Self> {
        let room = window.bytes().checked_sub(fifo::DATA).filter(|room| *room > 0).ok_or(LOST)?;
        // The largest power of two that fits.
        let capacity = 1 << room.ilog2();
        window.memory.zero(0, fifo::DATA as usize).map_err(|_| LOST)?;
        window.memory.atomic_u64(fifo::WRITTEN as usize).map_err(|_| LOST)?;
        Ok(Self { window, capacity, read: Mutex::new(0) })
    }

    /// Where the host sees it.
    #[must_use]
    pub fn io(&self) -> u64 {
        self.window.io
    }

    /// Bytes with the counters.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        fifo::DATA + self.capacity
    }

    /// Hands over all records that are there.
    pub fn drain(&self, print: &dyn Fn(&[u8])) {
        let mut read = self.read.lock();
        let Ok(written) = self.window.memory.atomic_u64(fifo::WRITTEN as usize) else { return };
        let written = written.load(Ordering::Acquire);
        while *read < written {
            let left = written - *read;
            let mut length = [0; 4];
            self.copy(*read, &mut length);
            let length = u64::from(u32::from_le_bytes(length));
            let record = 4 + length.next_multiple_of(4);
            // A host that writes nonsense loses what it has written.
            if record > left || record > self.capacity {
                *read = written;
                break;
            }
            let mut text = vec![0; length as usize];
            self.copy(*read + 4, &mut text);
            print(&text);
            *read += record;
        }
        if let Ok(counter) = self.window.memory.atomic_u64(fifo::READ as usize) {
            counter.store(*read, Ordering::Release);
        }
    }

    fn copy(&self, at: u64, into: &mut [u8]) {
        let start = at & (self.capacity - 1);
        let first = into.len().min((self.capacity - start) as usize);
        let (head, tail) = into.split_at_mut(first);
        for (at, part) in [(fifo::DATA + start, head), (fifo::DATA, tail)] {
            // The whole capacity is within the window, so this copies.
            let _ = self.window.memory.copy_out(at as usize, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::fake_host::window;

    #[test]
    fn records_come_in_order_and_wrap() {
        let memory = window(LEASE_BYTES);
        let fifo = Fifo::new(memory.clone()).unwrap();
        let mut written = 0_u64;
        let mut write = |bytes: &[u8]| {
            for byte in bytes {
                let at = fifo::DATA + written % fifo.capacity;
                memory.memory.copy_in(at as usize, &[*byte]).unwrap();
                written += 1;
            }
            memory.memory.write(fifo::WRITTEN as usize, &written).unwrap();
        };
        let long = vec![b'x'; 20_000];
        for round in 0..5 {
            let text = format!("round {round}");
            write(&20_000_u32.to_le_bytes());
            write(&long);
            write(&7_u32.to_le_bytes());
            write(text.as_bytes());
            write(&[0]);
            let seen = RefCell::new(Vec::new());
            fifo.drain(&|text| seen.borrow_mut().push(text.to_vec()));
            assert_eq!(*seen.borrow(), [long.clone(), text.into_bytes()]);
        }
    }

    #[test]
    fn record_of_impossible_length_ends_the_text() {
        let memory = window(LEASE_BYTES);
        let fifo = Fifo::new(memory.clone()).unwrap();
        memory.memory.write(fifo::DATA as usize, &u32::MAX).unwrap();
        memory.memory.write(fifo::WRITTEN as usize, &64_u64).unwrap();
        let count = RefCell::new(0);
        fifo.drain(&|_| *count.borrow_mut() += 1);
        assert_eq!(*count.borrow(), 0);
        assert_eq!(memory.memory.read::<u64>(fifo::READ as usize).unwrap(), 64);
    }
}
