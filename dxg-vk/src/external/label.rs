//! What a driver writes on shared memory for a driver that imports it.
//!
//! *Why.* Vulkan lets an import differ from the export in nothing: same device, same size, same type of memory. The label
//! is the runtime's private data of the resource; a resource without one was not made by Vulkan and fits if it is large
//! enough.
//!
//! *Layout*, 40 bytes, little-endian: `DXGVKMEM`, 16 bytes UUID of the virtual GPU, u64 bytes of the allocation, u32 index of
//! the memory type, u32 zero.

/// Begins every label.
const MAGIC: [u8; 8] = *b"DXGVKMEM";
/// Bytes of a label.
const LABEL_BYTES: usize = 40;

/// What an import must agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The virtual GPU.
    pub device: [u8; 16],
    /// The size that the program asked for.
    pub size_bytes: u64,
    /// The type of memory.
    pub memory_type: u32,
}

impl Label {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LABEL_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.device);
        bytes.extend_from_slice(&self.size_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.memory_type.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes
    }

    /// Whether an import that would write this label may have a resource with these bytes. Any other bytes than a label are
    /// none of ours.
    #[must_use]
    pub fn agrees_with(&self, bytes: &[u8]) -> bool {
        !bytes.starts_with(&MAGIC) || bytes == self.encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label { device: [7; 16], size_bytes: 1 << 33, memory_type: 3 };

    #[test]
    fn encode_is_as_long_as_documented_and_agrees_with_itself() {
        assert_eq!(LABEL.encode().len(), LABEL_BYTES);
        assert!(LABEL.agrees_with(&LABEL.encode()));
    }

    #[test]
    fn agrees_with_refuses_another_device_size_or_type() {
        for other in [
            Label { device: [8; 16], ..LABEL },
            Label { size_bytes: 1 << 32, ..LABEL },
            Label { memory_type: 2, ..LABEL },
        ] {
            assert!(!LABEL.agrees_with(&other.encode()), "{other:?}");
        }
        assert!(!LABEL.agrees_with(&LABEL.encode()[..39]));
    }

    #[test]
    fn agrees_with_takes_what_others_have_made() {
        assert!(LABEL.agrees_with(&[]));
        assert!(LABEL.agrees_with(b"anything"));
    }
}
