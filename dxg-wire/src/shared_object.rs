//! The private data of a shared object: what its maker says about it to those who open it.
//!
//! *Layout.* Little-endian words of 4 bytes: kind; then for a resource: length and bytes of the private runtime data,
//! length and bytes of the resource's private data, allocation count, and per allocation: size in bytes (two words),
//! offset in bytes in the shared memory (two words), flags, length and bytes of the private data. For a synchronization
//! object: type, flags, initial value (two words). Bytes are padded to 4.

use crate::session::SharedKind;

/// Most allocations of a shared resource.
pub const MAX_ALLOCATIONS: u32 = 1024;

/// A shared object, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedObject {
    /// A resource.
    Resource(SharedResource),
    /// A synchronization object.
    Sync(SharedSync),
}

/// A shared resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedResource {
    /// The runtime's private data.
    pub runtime_data: Vec<u8>,
    /// The driver's private data of the resource.
    pub resource_data: Vec<u8>,
    /// Its allocations, in order.
    pub allocations: Vec<SharedAllocation>,
}

/// One allocation of a shared resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedAllocation {
    /// Bytes of the allocation.
    pub size_bytes: u64,
    /// Where it begins in the shared memory.
    pub offset_bytes: u64,
    /// Flags of the reply that made it.
    pub flags: u32,
    /// The driver's private data of the allocation.
    pub private_data: Vec<u8>,
}

/// A shared synchronization object. Its page is the shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedSync {
    /// Its type, as in the kernel interface.
    pub kind: u32,
    /// Its flags.
    pub flags: u32,
    /// Its first value.
    pub initial_value: u64,
}

/// Bytes that do not describe a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("private data of a shared object: {0}")]
pub struct Malformed(&'static str);

impl SharedObject {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> SharedKind {
        match self {
            Self::Resource(_) => SharedKind::RESOURCE,
            Self::Sync(_) => SharedKind::SYNC_OBJECT,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.kind().0);
        match self {
            Self::Resource(resource) => {
                put_bytes(&mut out, &resource.runtime_data);
                put_bytes(&mut out, &resource.resource_data);
                put(&mut out, count(resource.allocations.len()));
                for allocation in &resource.allocations {
                    put_u64(&mut out, allocation.size_bytes);
                    put_u64(&mut out, allocation.offset_bytes);
                    put(&mut out, allocation.flags);
                    put_bytes(&mut out, &allocation.private_data);
                }
            }
            Self::Sync(sync) => {
                put(&mut out, sync.kind);
                put(&mut out, sync.flags);
                put_u64(&mut out, sync.initial_value);
            }
        }
        out
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`Malformed`] when they are not what [`Self::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let object = match SharedKind(reader.word()?) {
            SharedKind::RESOURCE => {
                let runtime_data = reader.bytes()?;
                let resource_data = reader.bytes()?;
                let count = reader.word()?;
                if count > MAX_ALLOCATIONS {
                    return Err(Malformed("too many allocations"));
                }
                let allocations = (0..count)
                    .map(|_| {
                        Ok(SharedAllocation {
                            size_bytes: reader.long()?,
                            offset_bytes: reader.long()?,
                            flags: reader.word()?,
                            private_data: reader.bytes()?,
                        })
                    })
                    .collect::<Result<_, Malformed>>()?;
                Self::Resource(SharedResource { runtime_data, resource_data, allocations })
            }
            SharedKind::SYNC_OBJECT => Self::Sync(SharedSync {
                kind: reader.word()?,
                flags: reader.word()?,
                initial_value: reader.long()?,
            }),
            _ => return Err(Malformed("unknown kind")),
        };
        if reader.0.is_empty() { Ok(object) } else { Err(Malformed("bytes left over")) }
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("private data is at most a message long")
}

fn put(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, long: u64) {
    out.extend_from_slice(&long.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, count(bytes.len()));
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, Malformed> {
        let (word, rest) = self.0.split_first_chunk::<4>().ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }

    fn long(&mut self) -> Result<u64, Malformed> {
        let (long, rest) = self.0.split_first_chunk::<8>().ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*long))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Malformed> {
        let len = usize::try_from(self.word()?).map_err(|_| Malformed("too long"))?;
        let padded = len.checked_next_multiple_of(4).ok_or(Malformed("too long"))?;
        let mut bytes = self.take(padded)?.to_vec();
        bytes.truncate(len);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> SharedObject {
        SharedObject::Resource(SharedResource {
            runtime_data: vec![1, 2, 3],
            resource_data: vec![],
            allocations: vec![SharedAllocation {
                size_bytes: 1 << 33,
                offset_bytes: 4096,
                flags: 1,
                private_data: vec![9; 5],
            }],
        })
    }

    #[test]
    fn resource_survives_its_bytes() {
        assert_eq!(SharedObject::decode(&resource().encode()), Ok(resource()));
    }

    #[test]
    fn sync_object_survives_its_bytes() {
        let sync = SharedObject::Sync(SharedSync { kind: 5, flags: 3, initial_value: u64::MAX });
        assert_eq!(SharedObject::decode(&sync.encode()), Ok(sync));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = resource().encode();
        for len in 0..bytes.len() {
            assert!(SharedObject::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn left_over_bytes_and_unknown_kinds_are_refused() {
        let mut bytes = resource().encode();
        bytes.push(0);
        assert!(SharedObject::decode(&bytes).is_err());
        assert!(SharedObject::decode(&7_u32.to_le_bytes()).is_err());
    }
}
