//! What a shared object is, for those who import it: the contents of its private-data memfd.
//!
//! *Layout.* Little-endian, nothing aligned: kind u32; then for a resource: runtime data, resource data, allocation count u32, and per
//! allocation size u64, offset in the memory u64, flags u32, private data; for a synchronization object: type u32, flags u32,
//! initial value u64. Data is its length u32 and its bytes.
//!
//! *Invariants.* Reading never takes more memory than the bytes given, and never fails in another way than by `None`.

use crate::session::SharedKind;

/// One allocation of a shared resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedAllocation {
    /// Its bytes.
    pub size_bytes: u64,
    /// Where it starts in the resource's memory.
    pub offset_bytes: u64,
    /// The host's flags for it.
    pub flags: u32,
    /// The driver's private data.
    pub private_data: Vec<u8>,
}

/// A shared object, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedData {
    /// A resource with its allocations.
    Resource {
        /// The runtime's private data.
        runtime_data: Vec<u8>,
        /// The driver's private data for the resource.
        resource_data: Vec<u8>,
        /// Its allocations.
        allocations: Vec<SharedAllocation>,
    },
    /// A synchronization object.
    SyncObject {
        /// Its type, as in the kernel ABI.
        kind: u32,
        /// Its flags, as in the kernel ABI.
        flags: u32,
        /// The value that it was made with.
        initial_value: u64,
    },
}

impl SharedData {
    /// What the session protocol calls it.
    #[must_use]
    pub fn kind(&self) -> SharedKind {
        match self {
            Self::Resource { .. } => SharedKind::RESOURCE,
            Self::SyncObject { .. } => SharedKind::SYNC_OBJECT,
        }
    }

    /// The bytes for the memfd. Data longer than 4 GiB is cut; nothing of that size exists.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.kind().0.to_le_bytes().to_vec();
        match self {
            Self::Resource { runtime_data, resource_data, allocations } => {
                put_data(&mut bytes, runtime_data);
                put_data(&mut bytes, resource_data);
                bytes.extend(u32::try_from(allocations.len()).unwrap_or(u32::MAX).to_le_bytes());
                for allocation in allocations {
                    bytes.extend(allocation.size_bytes.to_le_bytes());
                    bytes.extend(allocation.offset_bytes.to_le_bytes());
                    bytes.extend(allocation.flags.to_le_bytes());
                    put_data(&mut bytes, &allocation.private_data);
                }
            }
            Self::SyncObject { kind, flags, initial_value } => {
                bytes.extend(kind.to_le_bytes());
                bytes.extend(flags.to_le_bytes());
                bytes.extend(initial_value.to_le_bytes());
            }
        }
        bytes
    }

    /// The object that the bytes describe; what follows it is ignored. `None` when they describe none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        match SharedKind(take_u32(&mut rest)?) {
            SharedKind::RESOURCE => {
                let runtime_data = take_data(&mut rest)?;
                let resource_data = take_data(&mut rest)?;
                let count = take_u32(&mut rest)?;
                let mut allocations = Vec::new();
                for _ in 0..count {
                    allocations.push(SharedAllocation {
                        size_bytes: take_u64(&mut rest)?,
                        offset_bytes: take_u64(&mut rest)?,
                        flags: take_u32(&mut rest)?,
                        private_data: take_data(&mut rest)?,
                    });
                }
                Some(Self::Resource { runtime_data, resource_data, allocations })
            }
            SharedKind::SYNC_OBJECT => Some(Self::SyncObject {
                kind: take_u32(&mut rest)?,
                flags: take_u32(&mut rest)?,
                initial_value: take_u64(&mut rest)?,
            }),
            _ => None,
        }
    }
}

fn put_data(bytes: &mut Vec<u8>, data: &[u8]) {
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    bytes.extend(len.to_le_bytes());
    bytes.extend(data.iter().take(len as usize));
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest, 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn take_data(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let len = take_u32(rest)?;
    take(rest, usize::try_from(len).ok()?).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> SharedData {
        let allocation = |offset_bytes, byte| SharedAllocation {
            size_bytes: 4096,
            offset_bytes,
            flags: 3,
            private_data: vec![byte; 2],
        };
        SharedData::Resource {
            runtime_data: vec![1, 2, 3],
            resource_data: Vec::new(),
            allocations: vec![allocation(0, 8), allocation(4096, 9)],
        }
    }

    #[test]
    fn shared_data_round_trips() {
        let fence = SharedData::SyncObject { kind: 5, flags: 3, initial_value: u64::MAX };
        for data in [resource(), fence] {
            assert_eq!(SharedData::from_bytes(&data.to_bytes()), Some(data));
        }
    }

    #[test]
    fn shared_data_cut_anywhere_is_none() {
        let bytes = resource().to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(SharedData::from_bytes(&bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn shared_data_of_an_unknown_kind_is_none() {
        assert_eq!(SharedData::from_bytes(&[9, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn shared_data_count_beyond_the_bytes_takes_no_memory() {
        let mut bytes = SharedKind::RESOURCE.0.to_le_bytes().to_vec();
        bytes.extend([0; 8]);
        bytes.extend(u32::MAX.to_le_bytes());
        assert_eq!(SharedData::from_bytes(&bytes), None);
    }
}
