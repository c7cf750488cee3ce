//! Memory of this process that the device can be given.
//!
//! *Why not any memory.* The device writes such memory whenever it likes, so no Rust reference to it may exist. A virtual GPU sees
//! only memory that the host leased. Both are settled when the memory comes from here.

use std::os::fd::AsFd;

use dxg_ioctl::UserPtr;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;

use crate::Block;
use crate::Error;
use crate::Node;
use crate::errno;
use crate::error::Op;

const OP: &str = "get system memory";

/// Page-aligned memory of this process, for allocations over it. Zero at first.
#[derive(Debug)]
pub struct SystemMemory {
    memory: SharedSlice,
    /// What makes the host see it, on a virtual GPU.
    _lease: Option<Block>,
}

impl SystemMemory {
    pub(crate) fn new(node: &Node, size_bytes: u64) -> Result<Self, Error> {
        let size_bytes = size_bytes.checked_next_multiple_of(4096).filter(|size| *size != 0);
        let size_bytes = size_bytes.ok_or(errno::INVALID).op(OP)?;
        if node.host().is_some() {
            let block = Block::lease(node, size_bytes, OP)?;
            return Ok(Self { memory: block.memory().clone(), _lease: Some(block) });
        }
        let memfd =
            create_sealed("dxg-system-memory", size_bytes).map_err(|error| errno::from_io(&error)).op(OP)?;
        let len = usize::try_from(size_bytes).map_err(|_| errno::NO_MEMORY).op(OP)?;
        let mapping = Mapping::map(memfd.as_fd(), 0, len, Access::ReadWrite, Populate::Prefault);
        let mapping = mapping.map_err(|_| errno::NO_MEMORY).op(OP)?;
        Ok(Self { memory: SharedSlice::whole(&mapping), _lease: None })
    }

    /// The memory.
    #[must_use]
    pub fn memory(&self) -> &SharedSlice {
        &self.memory
    }

    /// Its bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    pub(crate) fn address(&self) -> UserPtr {
        UserPtr(self.memory.as_ptr().expose_provenance() as u64)
    }
}
