//! Memory as a program has it before it knows of any device.

// UNSAFETY: memory by address, which a test gives to a device and looks at meanwhile.
#![expect(unsafe_code, reason = "the memory is known by its address only")]

use std::fs;
use std::os::fd::AsFd;
use std::ptr;
use std::ptr::NonNull;
use std::sync::Arc;

use dxg_core::AdoptedMemory;
use dxg_core::Device;
use dxg_core::Error;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

/// Mapped memory of this process. It is never unmapped, so that anything may point to it for ever.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    start: NonNull<u8>,
    len: usize,
}

const RIGHTS: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

impl Pages {
    /// Private memory, filled with a byte.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn private(len: usize, fill: u8) -> Self {
        // SAFETY: no address is asked for, so the kernel picks a free range.
        let start = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, RIGHTS, MapFlags::PRIVATE) };
        let start = start.expect("memory").cast();
        let pages = Self { start: NonNull::new(start).expect("not null"), len };
        pages.write(0, &vec![fill; len]);
        pages
    }

    /// A private mapping of a file.
    ///
    /// # Panics
    ///
    /// When it cannot be mapped.
    #[must_use]
    pub fn of_file(file: impl AsFd, len: usize) -> Self {
        let flags = MapFlags::PRIVATE;
        // SAFETY: no address is asked for, so the kernel picks a free range.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), len, RIGHTS, flags, file, 0) };
        Self { start: NonNull::new(start.expect("a mapping").cast()).expect("not null"), len }
    }

    /// The first byte.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes from `at` on, as the program sees them.
    ///
    /// # Panics
    ///
    /// Past the end.
    #[must_use]
    pub fn read(&self, at: usize, len: usize) -> Vec<u8> {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "past the end");
        (at..at + len)
            .map(|at| {
                let byte = self.start.as_ptr().wrapping_add(at);
                // SAFETY: within the mapping, which is never unmapped; volatile, as others may write it.
                unsafe { byte.read_volatile() }
            })
            .collect()
    }

    /// Writes bytes from `at` on, as the program does.
    ///
    /// # Panics
    ///
    /// Past the end.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at.checked_add(bytes.len()).is_some_and(|end| end <= self.len), "past the end");
        for (at, byte) in (at..).zip(bytes) {
            let to = self.start.as_ptr().wrapping_add(at);
            // SAFETY: within the mapping, which is never unmapped; volatile, as others may read it.
            unsafe { to.write_volatile(*byte) };
        }
    }

    /// Gives bytes of it to a device.
    ///
    /// # Errors
    ///
    /// As [`AdoptedMemory::adopt`].
    ///
    /// # Panics
    ///
    /// Past the end.
    pub fn adopt(&self, device: &Device, at: usize, len: usize) -> Result<Arc<AdoptedMemory>, Error> {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "past the end");
        let start = NonNull::new(self.start.as_ptr().wrapping_add(at)).expect("not null");
        // SAFETY: the pages stay mapped for ever, only raw pointers go there, the test writes from one thread, and its allocations
        // have the size of the memory.
        unsafe { AdoptedMemory::adopt(device, start, len as u64) }.map(Arc::new)
    }

    /// What the system says is mapped at `at`: rights and file.
    ///
    /// # Panics
    ///
    /// When nothing is.
    #[must_use]
    pub fn mapping(&self, at: usize) -> String {
        let address = self.start.as_ptr().addr() + at;
        let maps = fs::read_to_string("/proc/self/maps").expect("maps");
        let line = maps.lines().find(|line| {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let parse = |text: &str| usize::from_str_radix(text, 16).expect("a number");
            range.is_some_and(|(start, end)| (parse(start)..parse(end)).contains(&address))
        });
        line.and_then(|line| line.split_once(' ')).expect("a mapping").1.to_owned()
    }
}
