//! The operations of a Vulkan command stream that the registry does not define, and the layout of what they carry.
//!
//! *Why.* Commands of the registry are encoded by generated code under their own opcodes. Where guest and host do
//! something else than forward a command (memory, submission, recording, the bulk description), an operation here
//! says what crosses. All fields are in the encoding of `docs/WIRE.md`, in the order given; a structure named `Vk...` is
//! its generated encoding with its extension chain.

/// Operations 0x8000 and up of a Vulkan command stream.
pub mod op {
    /// Instance stream, with reply. Request: empty. Reply: the description of the physical device (`describe`, below).
    pub const DESCRIBE: u16 = 0x8000;
    /// Device stream, with reply, first of its stream. Request: `VkDeviceCreateInfo`, u32 queue count, per queue {u32 family,
    /// u32 index in the family, u32 flags, u64 IO address of its progress cell}. Queues are numbered in this order.
    /// Reply: i32 `VkResult`.
    pub const CREATE_DEVICE: u16 = 0x8001;
    /// Device stream, with reply: waits until the device is idle and destroys it with all it holds. Reply: empty.
    pub const DESTROY_DEVICE: u16 = 0x8002;
    /// Request: u64 memory id, u64 IO address of guest memory to import (0: memory of the driver), `VkMemoryAllocateInfo`.
    /// With reply: i32 `VkResult`. Without: a failure is the stream's sticky status.
    pub const ALLOCATE_MEMORY: u16 = 0x8003;
    /// Request: u32 queue, u64 sequence, u32 batch count, per batch { u32 flags; u32 count of {u64 semaphore, u64 value,
    /// u64 stages} to wait for; u32 count of u64 command buffers; u32 count of {u64 semaphore, u64 value, u64 stages} to
    /// signal }. When all is complete the queue's progress cell becomes the sequence. Never with reply.
    pub const QUEUE_SUBMIT: u16 = 0x8004;
    /// Request: u32 queue, u64 sequence, u32 count, `VkBindSparseInfo` each. Progress as for a submission. Never with reply.
    pub const QUEUE_BIND_SPARSE: u16 = 0x8005;
    /// Request: u64 semaphore id, u64 IO address of the feedback cell (0: binary), `VkSemaphoreCreateInfo`.
    /// The host keeps the cell at the counter's value, as far as it has seen it.
    pub const CREATE_SEMAPHORE: u16 = 0x8006;
    /// Request: u64 timeline semaphore, u64 value: signals it from the host. Never with reply.
    pub const SIGNAL_SEMAPHORE: u16 = 0x8007;
    /// Request: u64 command buffer, `VkCommandBufferBeginInfo`, u32 kind; kind 0: u32 length, then the recorded entries;
    /// kind 1: u64 IO address, u64 size of the recorded entries. The host begins, replays and ends the native command
    /// buffer. Recorded entries are ring entries without replies. Never with reply.
    pub const RECORD: u16 = 0x8008;
    /// With reply. Request: u64 query pool, u32 first query, u32 count, u64 bytes, u64 stride, u32 `VkQueryResultFlags`,
    /// u32 length, so many bytes: what the program has at the place for the results. Reply: i32 `VkResult` or
    /// [`QUERIES_ASK_AGAIN`](super::QUERIES_ASK_AGAIN); where it is not negative, u32 length and the bytes as they are then.
    pub const QUERY_RESULTS: u16 = 0x8009;
    /// A descriptor set and writes to it. Request: u64 set, u32 [`set_flags`](super::set_flags); if new: u64 pool, u64 layout, u32
    /// descriptors of the variable binding ([`NULL_ARRAY`](super::NULL_ARRAY): the allocation says nothing of it); u32 count of
    /// writes, each u32 binding, u32 element, u32 count, i32 `VkDescriptorType` and, by type, so many {u64 buffer, u64 offset,
    /// u64 range}, {u64 sampler, u64 view, i32 layout}, u64 views of buffers, or bytes. A descriptor of an object that is no
    /// more is left as it is. With reply: i32 `VkResult` of the allocation. Without: a failure is the stream's sticky status.
    pub const DESCRIPTOR_SET: u16 = 0x8010;
    /// A piece of a long recording. Request: u64 command buffer, u32 [`part`](super::part); with the first
    /// `VkCommandBufferBeginInfo`; u64 IO address, u64 size of recorded entries. The host begins the native command buffer with the
    /// first piece, replays each as it comes, and ends it with the last. Never with reply.
    pub const RECORD_PART: u16 = 0x8011;
    /// Request: u64 command buffer, whose recording came in pieces and will not be ended. Never with reply.
    pub const RECORD_ABANDON: u16 = 0x8012;
    /// Request: u64 semaphore id, u64 IO address of the cell in the page of a shared monitored fence. A semaphore whose value is
    /// the cell's, which others raise as well; submissions name it like a timeline semaphore and give their signals values
    /// that grow. With reply: i32 `VkResult`. It is destroyed like any semaphore.
    pub const CREATE_SHARED_SEMAPHORE: u16 = 0x8020;

    /// Every operation of this module.
    pub const ALL: [u16; 14] = [
        DESCRIBE,
        CREATE_DEVICE,
        DESTROY_DEVICE,
        ALLOCATE_MEMORY,
        QUEUE_SUBMIT,
        QUEUE_BIND_SPARSE,
        CREATE_SEMAPHORE,
        SIGNAL_SEMAPHORE,
        RECORD,
        QUERY_RESULTS,
        DESCRIPTOR_SET,
        RECORD_PART,
        RECORD_ABANDON,
        CREATE_SHARED_SEMAPHORE,
    ];

    /// The name of an operation of this module; `None` for any other number.
    #[must_use]
    pub const fn name(op: u16) -> Option<&'static str> {
        Some(match op {
            DESCRIBE => "DESCRIBE",
            CREATE_DEVICE => "CREATE_DEVICE",
            DESTROY_DEVICE => "DESTROY_DEVICE",
            ALLOCATE_MEMORY => "ALLOCATE_MEMORY",
            QUEUE_SUBMIT => "QUEUE_SUBMIT",
            QUEUE_BIND_SPARSE => "QUEUE_BIND_SPARSE",
            CREATE_SEMAPHORE => "CREATE_SEMAPHORE",
            SIGNAL_SEMAPHORE => "SIGNAL_SEMAPHORE",
            RECORD => "RECORD",
            QUERY_RESULTS => "QUERY_RESULTS",
            DESCRIPTOR_SET => "DESCRIPTOR_SET",
            RECORD_PART => "RECORD_PART",
            RECORD_ABANDON => "RECORD_ABANDON",
            CREATE_SHARED_SEMAPHORE => "CREATE_SHARED_SEMAPHORE",
            _ => return None,
        })
    }
}

/// Which piece of a recording it is.
pub mod part {
    /// The first one.
    pub const FIRST: u32 = 0;
    /// One after the first and before the last.
    pub const NEXT: u32 = 1;
    /// The last one.
    pub const LAST: u32 = 2;
}

/// Flags of `DESCRIPTOR_SET`.
pub mod set_flags {
    /// The set is to be allocated first.
    pub const NEW: u32 = 1;
    /// The layout has immutable samplers: a sampler that does not exist is not looked at by the driver.
    pub const IMMUTABLE_SAMPLERS: u32 = 2;
}

/// Stands for a result of `QUERY_RESULTS` where the host's driver would wait for its device, which might wait for a command
/// behind this one.
pub const QUERIES_ASK_AGAIN: i32 = i32::MIN;

/// First word of a `DESCRIBE` reply.
///
/// The reply: u32 this version; u32 API version of the device; `VkPhysicalDeviceProperties`; `VkPhysicalDeviceFeatures`;
/// `VkPhysicalDeviceMemoryProperties`; u32 mask of memory types that import host pointers; u64 alignment of imported
/// host pointers; u32 count of queue families, each `VkQueueFamilyProperties` and a structure list; u32 count of device
/// extensions, each `VkExtensionProperties`; structure list of properties; structure list of features; u32 count of
/// formats, each {i32 format, `VkFormatProperties`, u64 linear, u64 optimal, u64 buffer features of `VkFormatProperties3`}.
/// A structure list is {u32 `sType`, u32 bytes, body} each, ended by u32 0xFFFF_FFFF.
pub const DESCRIPTION_VERSION: u32 = 1;
/// Ends a structure list and an extension chain.
pub const END_OF_CHAIN: u32 = u32::MAX;
/// Count that stands for a null array or string.
pub const NULL_ARRAY: u32 = u32::MAX;
