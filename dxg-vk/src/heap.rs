//! Memory of our own that both sides map: pieces of leased blocks.
//!
//! *Why.* A lease costs a round trip to the broker, so small pieces share a block. The host may still use a piece after
//! we have freed it, until it has executed the command that lets go of it; a piece therefore comes back together with a
//! stream position and is handed out again only when the host has passed that position.
//!
//! *Locks.* One per heap, held while a new block is leased.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ranges::GRANULE_BYTES;
use crate::ranges::Ranges;

/// A piece of more than this part of a block gets a block of its own.
const BLOCK_PARTS: u64 = 4;

/// Where blocks come from.
pub trait Lessor {
    /// One leased block; dropping it gives it back.
    type Block;
    /// Why there is none.
    type Error;

    /// Leases `size_bytes`.
    ///
    /// # Errors
    /// What the host answered.
    fn lease(&self, size_bytes: u64) -> Result<Self::Block, Self::Error>;
}

/// A piece of a block.
#[derive(Debug)]
pub struct Piece<B> {
    /// The block that holds it.
    pub block: Arc<B>,
    /// First byte in the block.
    pub offset_bytes: u64,
    /// Bytes asked for.
    pub size_bytes: u64,
    serial: u64,
}

impl<B> Piece<B> {
    /// All of a block that belongs to no heap: it is given back when the last piece of it is.
    #[must_use]
    pub fn whole(block: Arc<B>, size_bytes: u64) -> Self {
        Self { block, offset_bytes: 0, size_bytes, serial: u64::MAX }
    }
}

impl<B> Clone for Piece<B> {
    fn clone(&self) -> Self {
        Self { block: Arc::clone(&self.block), ..*self }
    }
}

/// Blocks and their free pieces.
#[derive(Debug)]
pub struct Heap<B> {
    block_bytes: u64,
    spare_blocks: usize,
    state: Mutex<State<B>>,
}

#[derive(Debug)]
struct State<B> {
    next_serial: u64,
    blocks: Vec<Block<B>>,
    retired: VecDeque<(u64, Piece<B>)>,
}

#[derive(Debug)]
struct Block<B> {
    serial: u64,
    memory: Arc<B>,
    ranges: Ranges,
    is_shared: bool,
}

impl<B> Heap<B> {
    /// A heap that leases shared blocks of `block_bytes`.
    #[must_use]
    pub fn new(block_bytes: u64) -> Self {
        let state = State { next_serial: 0, blocks: Vec::new(), retired: VecDeque::new() };
        Self { block_bytes, spare_blocks: 1, state: Mutex::new(state) }
    }

    /// The same that keeps so many unused shared blocks instead of one.
    #[must_use]
    pub fn keeping(self, spare_blocks: usize) -> Self {
        Self { spare_blocks, ..self }
    }

    /// Whether pieces of this size lie in blocks with others.
    #[must_use]
    pub fn is_shared(&self, size_bytes: u64) -> bool {
        size_bytes <= self.block_bytes / BLOCK_PARTS
    }

    /// Takes a piece. `executed` is how far the host has come.
    ///
    /// # Errors
    /// What the lessor answered when a block was needed.
    pub fn take<L: Lessor<Block = B> + ?Sized>(
        &self,
        lessor: &L,
        size_bytes: u64,
        alignment: u64,
        executed: u64,
    ) -> Result<Piece<B>, L::Error> {
        let mut state = self.state.lock();
        state.reclaim(executed, self.spare_blocks);
        let is_shared = self.is_shared(size_bytes);
        if is_shared {
            for block in &mut state.blocks {
                if let Some(offset_bytes) = block.ranges.take(size_bytes, alignment) {
                    let (block, serial) = (Arc::clone(&block.memory), block.serial);
                    return Ok(Piece { block, offset_bytes, size_bytes, serial });
                }
            }
        }
        let exact_bytes = size_bytes.checked_next_multiple_of(GRANULE_BYTES).unwrap_or(size_bytes);
        let shared = if is_shared { lessor.lease(self.block_bytes).ok() } else { None };
        let (memory, block_bytes, is_shared) = match shared {
            Some(memory) => (memory, self.block_bytes, true),
            // Near the quota there may be room for the piece, if not for a block to share.
            None => (lessor.lease(exact_bytes)?, exact_bytes, false),
        };
        let memory = Arc::new(memory);
        let serial = state.next_serial;
        state.next_serial += 1;
        let mut ranges = Ranges::new(block_bytes);
        let offset_bytes = ranges.take(size_bytes, 1).unwrap_or(0);
        state.blocks.push(Block { serial, memory: Arc::clone(&memory), ranges, is_shared });
        Ok(Piece { block: memory, offset_bytes, size_bytes, serial })
    }

    /// Gives a piece back; it is reused when the host has executed all before `position`.
    pub fn give(&self, piece: Piece<B>, position: u64) {
        self.state.lock().retired.push_back((position, piece));
    }

    /// Blocks leased at this moment.
    pub fn block_count(&self) -> usize {
        self.state.lock().blocks.len()
    }

    /// Takes back what the host has passed, and returns blocks that nobody uses.
    pub fn reclaim(&self, executed: u64) {
        self.state.lock().reclaim(executed, self.spare_blocks);
    }
}

impl<B> State<B> {
    fn reclaim(&mut self, executed: u64, spare_blocks: usize) {
        while self.retired.front().is_some_and(|(position, _)| *position <= executed) {
            let Some((_, piece)) = self.retired.pop_front() else { return };
            let Some(at) = self.blocks.iter().position(|block| block.serial == piece.serial) else {
                continue;
            };
            let Some(block) = self.blocks.get_mut(at) else { continue };
            block.ranges.give(piece.offset_bytes, piece.size_bytes);
            // Some unused shared blocks are kept: programs that allocate and free in a loop would lease each time.
            let is_shared = block.is_shared;
            if block.ranges.is_unused() && !(is_shared && self.unused_shared_blocks() <= spare_blocks) {
                self.blocks.swap_remove(at);
            }
        }
    }

    fn unused_shared_blocks(&self) -> usize {
        self.blocks.iter().filter(|block| block.is_shared && block.ranges.is_unused()).count()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const BLOCK_BYTES: u64 = 16 << 20;
    const SHARED_PIECE_BYTES: u64 = BLOCK_BYTES / BLOCK_PARTS;

    #[derive(Default)]
    struct Log(RefCell<Vec<u64>>);

    impl Lessor for Log {
        type Block = u64;
        type Error = ();

        fn lease(&self, size_bytes: u64) -> Result<u64, ()> {
            self.0.borrow_mut().push(size_bytes);
            Ok(size_bytes)
        }
    }

    #[test]
    fn take_small_pieces_share_one_block() {
        let (heap, log) = (Heap::new(BLOCK_BYTES), Log::default());
        let first = heap.take(&log, 100, 1, 0).unwrap();
        let second = heap.take(&log, 100, 1, 0).unwrap();
        assert_eq!((first.offset_bytes, second.offset_bytes), (0, GRANULE_BYTES));
        assert_eq!(*log.0.borrow(), [BLOCK_BYTES]);
    }

    #[test]
    fn take_large_piece_has_an_exact_block_that_goes_when_freed() {
        let (heap, log) = (Heap::new(BLOCK_BYTES), Log::default());
        let piece = heap.take(&log, SHARED_PIECE_BYTES + 1, 1, 0).unwrap();
        assert_eq!(*log.0.borrow(), [SHARED_PIECE_BYTES + GRANULE_BYTES]);
        heap.give(piece, 5);
        heap.reclaim(4);
        assert_eq!(heap.block_count(), 1);
        heap.reclaim(5);
        assert_eq!(heap.block_count(), 0);
    }

    #[test]
    fn take_small_piece_near_the_quota_has_an_exact_block() {
        struct Tight;
        impl Lessor for Tight {
            type Block = u64;
            type Error = ();

            fn lease(&self, size_bytes: u64) -> Result<u64, ()> {
                if size_bytes <= 2 * GRANULE_BYTES { Ok(size_bytes) } else { Err(()) }
            }
        }
        let heap = Heap::new(BLOCK_BYTES);
        assert_eq!(*heap.take(&Tight, GRANULE_BYTES + 1, 1, 0).unwrap().block, 2 * GRANULE_BYTES);
        assert!(heap.take(&Tight, 2 * GRANULE_BYTES + 1, 1, 0).is_err());
    }

    #[test]
    fn give_piece_is_reused_only_after_its_position() {
        let (heap, log) = (Heap::new(BLOCK_BYTES), Log::default());
        let piece = heap.take(&log, 4096, 1, 0).unwrap();
        heap.give(piece, 10);
        assert_eq!(heap.take(&log, 4096, 1, 9).unwrap().offset_bytes, 4096);
        assert_eq!(heap.take(&log, 4096, 1, 10).unwrap().offset_bytes, 0);
        assert_eq!(*log.0.borrow(), [BLOCK_BYTES]);
    }

    #[test]
    fn reclaim_keeps_one_unused_shared_block() {
        let (heap, log) = (Heap::new(BLOCK_BYTES), Log::default());
        let pieces: Vec<_> = (0..8).map(|_| heap.take(&log, SHARED_PIECE_BYTES, 1, 0).unwrap()).collect();
        assert_eq!(heap.block_count(), 2);
        for piece in pieces {
            heap.give(piece, 0);
        }
        heap.reclaim(0);
        assert_eq!(heap.block_count(), 1);
    }
}
