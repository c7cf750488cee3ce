//! What the registry does not say: what is left out and why, who writes which command, when a pointer is ignored.

const WSI: &str = "presenting is the guest's, which has none of this";
const VIDEO: &str = "video coding is not forwarded: its parameter sets are structures of other standards";
const FD: &str = "descriptors and handles of the host do not cross to a guest";
const HOST_POINTER: &str = "the host would read or write guest pointers of unknown length";
const RAY: &str = "build inputs are arrays of arrays and host addresses; not forwarded yet";
const DEBUG: &str = "names, labels and callbacks stay in the guest";
const GUEST: &str = "implemented in the guest";

/// Extensions whose commands and structures are not forwarded, with the reason.
pub(super) const EXCLUDED_EXTENSIONS: &[(&str, &str)] = &[
    ("VK_KHR_swapchain", GUEST),
    ("VK_KHR_display_swapchain", WSI),
    ("VK_KHR_incremental_present", GUEST),
    ("VK_EXT_display_control", WSI),
    ("VK_GOOGLE_display_timing", WSI),
    ("VK_EXT_hdr_metadata", WSI),
    ("VK_KHR_shared_presentable_image", WSI),
    ("VK_KHR_swapchain_mutable_format", GUEST),
    ("VK_AMD_display_native_hdr", WSI),
    ("VK_KHR_present_wait", GUEST),
    ("VK_KHR_present_id", GUEST),
    ("VK_EXT_swapchain_maintenance1", WSI),
    ("VK_NV_present_barrier", WSI),
    ("VK_EXT_image_compression_control_swapchain", WSI),
    ("VK_NV_low_latency", WSI),
    ("VK_NV_low_latency2", WSI),
    ("VK_EXT_frame_boundary", WSI),
    ("VK_KHR_video_queue", VIDEO),
    ("VK_KHR_video_decode_queue", VIDEO),
    ("VK_KHR_video_encode_queue", VIDEO),
    ("VK_KHR_video_encode_h264", VIDEO),
    ("VK_KHR_video_encode_h265", VIDEO),
    ("VK_KHR_video_decode_h264", VIDEO),
    ("VK_KHR_video_decode_h265", VIDEO),
    ("VK_KHR_video_decode_av1", VIDEO),
    ("VK_KHR_video_maintenance1", VIDEO),
    ("VK_KHR_external_memory_fd", GUEST),
    ("VK_KHR_external_semaphore_fd", GUEST),
    ("VK_KHR_external_fence_fd", GUEST),
    ("VK_EXT_external_memory_dma_buf", FD),
    ("VK_EXT_external_memory_acquire_unmodified", FD),
    ("VK_EXT_queue_family_foreign", FD),
    ("VK_NV_external_memory", FD),
    ("VK_NV_external_memory_rdma", FD),
    ("VK_EXT_debug_marker", DEBUG),
    ("VK_EXT_device_memory_report", DEBUG),
    ("VK_EXT_device_address_binding_report", DEBUG),
    (
        "VK_NV_device_diagnostic_checkpoints",
        "markers are guest pointers that come back later; not forwarded yet",
    ),
    ("VK_EXT_external_memory_host", GUEST),
    ("VK_EXT_memory_budget", GUEST),
    ("VK_EXT_private_data", GUEST),
    ("VK_EXT_tooling_info", GUEST),
    ("VK_KHR_map_memory2", GUEST),
    ("VK_KHR_descriptor_update_template", GUEST),
    ("VK_EXT_map_memory_placed", "memory lies where the lease lies; not placed yet"),
    ("VK_NVX_binary_import", HOST_POINTER),
    ("VK_NV_cuda_kernel_launch", HOST_POINTER),
    ("VK_EXT_host_image_copy", HOST_POINTER),
    ("VK_VALVE_descriptor_set_host_mapping", HOST_POINTER),
    ("VK_EXT_descriptor_buffer", "bytes of a descriptor would cost a round trip each"),
    ("VK_NV_device_generated_commands", "command tokens are unions of host pointers; not forwarded yet"),
    (
        "VK_NV_device_generated_commands_compute",
        "command tokens are unions of host pointers; not forwarded yet",
    ),
    ("VK_KHR_performance_query", "takes a lock on the profiler of the whole host"),
    ("VK_INTEL_performance_query", "takes the performance monitor of the whole host"),
    ("VK_EXT_device_fault", "counts and arrays are in different structures; not forwarded yet"),
    ("VK_EXT_pipeline_properties", "its output is a structure of unknown type"),
    ("VK_EXT_subpass_merge_feedback", "its outputs are pointers inside creation structures"),
    ("VK_KHR_acceleration_structure", RAY),
    ("VK_KHR_ray_tracing_pipeline", RAY),
    ("VK_KHR_ray_query", RAY),
    ("VK_KHR_ray_tracing_maintenance1", RAY),
    ("VK_KHR_ray_tracing_position_fetch", RAY),
    ("VK_KHR_deferred_host_operations", RAY),
    ("VK_NV_ray_tracing", RAY),
    ("VK_NV_ray_tracing_motion_blur", RAY),
    ("VK_NV_ray_tracing_invocation_reorder", RAY),
    ("VK_NV_ray_tracing_validation", RAY),
    ("VK_EXT_opacity_micromap", RAY),
    ("VK_EXT_pipeline_library_group_handles", RAY),
    ("VK_HUAWEI_invocation_mask", RAY),
];

/// Instance extensions whose commands are forwarded with those of core (they are its aliases).
pub(super) const INSTANCE_EXTENSIONS: &[&str] = &[
    "VK_KHR_get_physical_device_properties2",
    "VK_KHR_device_group_creation",
    "VK_KHR_external_memory_capabilities",
    "VK_KHR_external_semaphore_capabilities",
    "VK_KHR_external_fence_capabilities",
];

/// Structures that never cross, with the reason.
pub(super) const EXCLUDED_STRUCTS: &[(&str, &str)] = &[
    ("VkPipelineCreationFeedbackCreateInfo", "feedback is optional: the guest reports none"),
    ("VkBindMemoryStatusKHR", "binding does not wait for its result: the guest writes success"),
    ("VkDevicePrivateDataCreateInfo", GUEST),
    ("VkPrivateDataSlotCreateInfo", GUEST),
    ("VkDeviceGroupDeviceCreateInfo", "a virtual GPU is a group of one"),
    ("VkOpticalFlowSessionCreatePrivateDataInfoNV", HOST_POINTER),
    ("VkPushDescriptorSetWithTemplateInfoKHR", GUEST),
    ("VkDescriptorUpdateTemplateCreateInfo", GUEST),
    ("VkRenderPassCreationControlEXT", "part of render pass feedback"),
    ("VkSetDescriptorBufferOffsetsInfoEXT", "part of descriptor buffers"),
    ("VkBindDescriptorBufferEmbeddedSamplersInfoEXT", "part of descriptor buffers"),
    ("VkImageViewHandleInfoNVX", "image view handles index tables of the host"),
    ("VkImageSwapchainCreateInfoKHR", WSI),
    ("VkBindImageMemorySwapchainInfoKHR", WSI),
];

/// Instance extensions that the guest implements: window systems.
pub(super) const GUEST_INSTANCE_EXTENSIONS: &[&str] = &[
    "VK_EXT_headless_surface",
    "VK_KHR_get_surface_capabilities2",
    "VK_KHR_surface",
    "VK_KHR_wayland_surface",
    "VK_KHR_xcb_surface",
    "VK_KHR_xlib_surface",
];

/// Commands with no encoding, with the reason.
pub(super) const EXCLUDED_COMMANDS: &[(&str, &str)] = &[
    ("vkCreateInstance", GUEST),
    ("vkDestroyInstance", GUEST),
    ("vkEnumeratePhysicalDevices", GUEST),
    ("vkEnumeratePhysicalDeviceGroups", GUEST),
    ("vkEnumerateInstanceVersion", GUEST),
    ("vkEnumerateInstanceLayerProperties", GUEST),
    ("vkEnumerateInstanceExtensionProperties", GUEST),
    ("vkEnumerateDeviceLayerProperties", GUEST),
    ("vkEnumerateDeviceExtensionProperties", GUEST),
    ("vkGetInstanceProcAddr", GUEST),
    ("vkGetDeviceProcAddr", GUEST),
    ("vkCreateDevice", "an operation of its own"),
    ("vkDestroyDevice", "an operation of its own"),
    ("vkGetDeviceQueue", GUEST),
    ("vkGetDeviceQueue2", GUEST),
    ("vkAllocateMemory", "an operation of its own"),
    ("vkMapMemory", GUEST),
    ("vkUnmapMemory", GUEST),
    ("vkMapMemory2KHR", GUEST),
    ("vkUnmapMemory2KHR", GUEST),
    ("vkFlushMappedMemoryRanges", GUEST),
    ("vkInvalidateMappedMemoryRanges", GUEST),
    ("vkCreateFence", GUEST),
    ("vkDestroyFence", GUEST),
    ("vkResetFences", GUEST),
    ("vkGetFenceStatus", GUEST),
    ("vkWaitForFences", GUEST),
    ("vkCreateSemaphore", "an operation of its own"),
    ("vkSignalSemaphore", "an operation of its own"),
    ("vkWaitSemaphores", GUEST),
    ("vkGetSemaphoreCounterValue", GUEST),
    ("vkQueueSubmit", "an operation of its own"),
    ("vkQueueSubmit2", "an operation of its own"),
    ("vkQueueBindSparse", "an operation of its own"),
    ("vkQueueWaitIdle", GUEST),
    ("vkDeviceWaitIdle", GUEST),
    ("vkBeginCommandBuffer", "an operation of its own"),
    ("vkEndCommandBuffer", "an operation of its own"),
    ("vkResetCommandBuffer", GUEST),
    ("vkCreatePrivateDataSlot", GUEST),
    ("vkDestroyPrivateDataSlot", GUEST),
    ("vkSetPrivateData", GUEST),
    ("vkGetPrivateData", GUEST),
    ("vkCreateDescriptorUpdateTemplate", GUEST),
    ("vkDestroyDescriptorUpdateTemplate", GUEST),
    ("vkUpdateDescriptorSetWithTemplate", GUEST),
    ("vkCmdPushDescriptorSetWithTemplateKHR", GUEST),
    ("vkCmdPushDescriptorSetWithTemplate2KHR", GUEST),
    ("vkCmdSetDescriptorBufferOffsets2EXT", "part of descriptor buffers"),
    ("vkCmdBindDescriptorBufferEmbeddedSamplers2EXT", "part of descriptor buffers"),
    ("vkGetPhysicalDeviceToolProperties", GUEST),
    ("vkGetDeviceGroupPresentCapabilitiesKHR", WSI),
    ("vkGetDeviceGroupSurfacePresentModesKHR", WSI),
    ("vkGetPhysicalDevicePresentRectanglesKHR", WSI),
    ("vkAcquireNextImage2KHR", WSI),
    ("vkGetQueueCheckpointData2NV", "markers are guest pointers that come back later"),
    ("vkGetImageViewHandleNVX", "image view handles index tables of the host"),
];

/// Structures that hand-written operations carry, beside those of commands.
pub(super) const ROOT_IN_STRUCTS: &[&str] = &[
    "VkDeviceCreateInfo",
    "VkMemoryAllocateInfo",
    "VkSemaphoreCreateInfo",
    "VkBindSparseInfo",
    "VkCommandBufferBeginInfo",
];

/// Output structures that hand-written operations carry, beside those of commands.
pub(super) const ROOT_OUT_STRUCTS: &[&str] = &["VkExtensionProperties"];

/// Commands with an encoding whose entry point is written by hand, with the reason. A name that ends in `*` stands for
/// all commands that begin so.
pub(super) const CUSTOM_COMMANDS: &[(&str, &str)] = &[
    ("vkGetPhysicalDeviceExternalBufferProperties", "asks the host about host pointers, as which it imports"),
    ("vkGetPhysicalDeviceExternalFenceProperties", "shared fences are guest objects"),
    ("vkGetPhysicalDeviceExternalSemaphoreProperties", "shared semaphores are guest objects"),
    ("vkGetPhysicalDevice*", "answered from the description of the device"),
    ("vkGetDeviceMemoryCommitment", "answered without the host where memory is not lazy"),
    ("vkFreeMemory", "gives a leased block back"),
    ("vkDestroySemaphore", "gives its feedback cell back"),
    ("vkCreateCommandPool", "the guest keeps the buffers of a pool"),
    ("vkDestroyCommandPool", "the guest keeps the buffers of a pool"),
    ("vkResetCommandPool", "the guest keeps the buffers of a pool"),
    ("vkTrimCommandPool", "the guest keeps the buffers of a pool"),
    ("vkAllocateCommandBuffers", "command buffers are guest objects"),
    ("vkFreeCommandBuffers", "command buffers are guest objects"),
    ("vkCreateDescriptorPool", "the guest counts what a pool gives"),
    ("vkDestroyDescriptorPool", "the guest counts what a pool gives"),
    ("vkResetDescriptorPool", "the guest counts what a pool gives"),
    ("vkAllocateDescriptorSets", "the guest counts what a pool gives"),
    ("vkFreeDescriptorSets", "the guest counts what a pool gives"),
    ("vkUpdateDescriptorSets", "sets travel when they are bound"),
    ("vkCmdBindDescriptorSets*", "sets travel when they are bound"),
    ("vkCreateDescriptorSetLayout", "the guest counts what a set takes"),
    ("vkDestroyDescriptorSetLayout", "the guest counts what a set takes"),
    ("vkGetBufferMemoryRequirements*", "requirements are cached"),
    ("vkGetImageMemoryRequirements*", "requirements are cached"),
    ("vkGetImageSparseMemoryRequirements*", "requirements are cached"),
    ("vkGetDeviceBufferMemoryRequirements", "requirements are cached"),
    ("vkGetDeviceImageMemoryRequirements", "requirements are cached"),
    ("vkGetDeviceImageSparseMemoryRequirements", "requirements are cached"),
    ("vkCreateBuffer", "requirements are cached by creation info"),
    ("vkDestroyBuffer", "requirements are cached by creation info"),
    ("vkCreateImage", "requirements are cached by creation info"),
    ("vkDestroyImage", "requirements are cached by creation info"),
    ("vkGetQueryPoolResults", "waiting is done in the guest"),
    ("vkCreateEvent", "the guest keeps the status"),
    ("vkDestroyEvent", "the guest keeps the status"),
    ("vkGetEventStatus", "the guest keeps the status until a recording names the event"),
    ("vkSetEvent", "the guest keeps the status"),
    ("vkResetEvent", "the guest keeps the status"),
    ("vkCmdSetEvent*", "the guest notes that the status is the host's"),
    ("vkCmdResetEvent*", "the guest notes that the status is the host's"),
    ("vkGetBufferDeviceAddress", "addresses are cached"),
    ("vkBindBufferMemory*", "memory may be part of a block"),
    ("vkBindImageMemory*", "memory may be part of a block"),
    ("vkCreateGraphicsPipelines", "pointers that the state makes ignored are dropped first"),
    ("vkCreateRenderPass*", "the guest notes which attachments a subpass has"),
    ("vkDestroyRenderPass", "the guest notes which attachments a subpass has"),
];

/// Commands that an entry of [`CUSTOM_COMMANDS`] covers and that are forwarded all the same: rare ones, asked for once.
pub(super) const NOT_CUSTOM_COMMANDS: &[&str] = &[
    "vkGetPhysicalDeviceCooperativeMatrixPropertiesNV",
    "vkGetPhysicalDeviceOpticalFlowImageFormatsNV",
    "vkGetPhysicalDeviceSupportedFramebufferMixedSamplesCombinationsNV",
];

/// Commands with one new handle that do not wait for the host: what is made is small, and programs make many.
pub(super) const ASYNC_CREATES: &[&str] = &[
    "vkCreateBufferView",
    "vkCreateImageView",
    "vkCreateSampler",
    "vkCreateSamplerYcbcrConversion",
    "vkCreateShaderModule",
    "vkCreatePipelineLayout",
    "vkCreateFramebuffer",
    "vkCreatePipelineCache",
    "vkCreateValidationCacheEXT",
];

/// Commands with a result that do not wait for it.
pub(super) const POSTED: &[&str] = &["vkMergePipelineCaches", "vkMergeValidationCachesEXT"];

/// (command, parameter) whose handles are given back.
pub(super) const FREES: &[(&str, &str)] = &[
    ("vkFreeMemory", "memory"),
    ("vkFreeDescriptorSets", "pDescriptorSets"),
    ("vkFreeCommandBuffers", "pCommandBuffers"),
];

/// Commands that end all objects of a pool: (command, parameter, type of the objects).
pub(super) const POOL_ENDS: &[(&str, &str, &str)] = &[
    ("vkDestroyDescriptorPool", "descriptorPool", "VkDescriptorSet"),
    ("vkResetDescriptorPool", "descriptorPool", "VkDescriptorSet"),
    ("vkDestroyCommandPool", "commandPool", "VkCommandBuffer"),
];

/// Objects that belong to a pool: (type, member of the create info that names the pool).
pub(super) const POOL_MEMBERS: &[(&str, &str)] =
    &[("VkDescriptorSet", "descriptorPool"), ("VkCommandBuffer", "commandPool")];

/// When a pointer counts: (structure, member, condition over `s`). Where it does not hold nothing is read or sent.
pub(super) const VALID_WHEN: &[(&str, &str, &str)] = &[
    (
        "VkWriteDescriptorSet",
        "pImageInfo",
        "matches!(s.descriptor_type, vk::DescriptorType::SAMPLER | vk::DescriptorType::COMBINED_IMAGE_SAMPLER | \
         vk::DescriptorType::SAMPLED_IMAGE | vk::DescriptorType::STORAGE_IMAGE | vk::DescriptorType::INPUT_ATTACHMENT \
         | vk::DescriptorType::SAMPLE_WEIGHT_IMAGE_QCOM | vk::DescriptorType::BLOCK_MATCH_IMAGE_QCOM)",
    ),
    (
        "VkWriteDescriptorSet",
        "pBufferInfo",
        "matches!(s.descriptor_type, vk::DescriptorType::UNIFORM_BUFFER | vk::DescriptorType::STORAGE_BUFFER | \
         vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC | vk::DescriptorType::STORAGE_BUFFER_DYNAMIC)",
    ),
    (
        "VkWriteDescriptorSet",
        "pTexelBufferView",
        "matches!(s.descriptor_type, vk::DescriptorType::UNIFORM_TEXEL_BUFFER | \
         vk::DescriptorType::STORAGE_TEXEL_BUFFER)",
    ),
    ("VkBufferCreateInfo", "pQueueFamilyIndices", "s.sharing_mode == vk::SharingMode::CONCURRENT"),
    ("VkImageCreateInfo", "pQueueFamilyIndices", "s.sharing_mode == vk::SharingMode::CONCURRENT"),
    (
        "VkPhysicalDeviceImageDrmFormatModifierInfoEXT",
        "pQueueFamilyIndices",
        "s.sharing_mode == vk::SharingMode::CONCURRENT",
    ),
    (
        "VkDescriptorSetLayoutBinding",
        "pImmutableSamplers",
        "matches!(s.descriptor_type, vk::DescriptorType::SAMPLER | vk::DescriptorType::COMBINED_IMAGE_SAMPLER)",
    ),
    ("VkFramebufferCreateInfo", "pAttachments", "!s.flags.contains(vk::FramebufferCreateFlags::IMAGELESS)"),
];

/// What a driver relies on beyond lengths: (structure, condition over the decoded `s` and the reader `r`).
pub(super) const STRUCT_CHECKS: &[(&str, &str)] = &[("VkSpecializationInfo", "r.constants_fit(&s)")];

/// What a driver relies on beyond lengths: (command, condition over its parameters).
pub(super) const COMMAND_CHECKS: &[(&str, &str)] = &[(
    "vkGetQueryPoolResults",
    "u64::from(query_count.saturating_sub(1)).saturating_mul(stride) <= data_size as u64",
)];

/// Handles that the rules let be stale: an unknown one becomes null. (structure, member)
pub(super) const STALE_HANDLES: &[(&str, &str)] = &[
    ("VkDescriptorImageInfo", "sampler"),
    ("VkDescriptorImageInfo", "imageView"),
    ("VkWriteDescriptorSet", "dstSet"),
    ("VkGraphicsPipelineCreateInfo", "basePipelineHandle"),
    ("VkGraphicsPipelineCreateInfo", "layout"),
    ("VkGraphicsPipelineCreateInfo", "renderPass"),
    ("VkComputePipelineCreateInfo", "basePipelineHandle"),
    ("VkCommandBufferInheritanceInfo", "renderPass"),
    ("VkCommandBufferInheritanceInfo", "framebuffer"),
    ("VkRenderingAttachmentInfo", "imageView"),
    ("VkRenderingAttachmentInfo", "resolveImageView"),
    ("VkPipelineShaderStageCreateInfo", "module"),
];

/// Pointers that the registry does not declare `const` although they are only read.
pub(super) const READ_ONLY: &[(&str, &str)] = &[("VkImageCompressionControlEXT", "pFixedRateFlags")];

/// Arrays whose elements lie apart by a parameter: (command, array, stride).
pub(super) const STRIDED: &[(&str, &str, &str)] =
    &[("vkCmdDrawMultiEXT", "pVertexInfo", "stride"), ("vkCmdDrawMultiIndexedEXT", "pIndexInfo", "stride")];

/// Unions without pointers: how to reach a member that covers all bytes, its scalar and how many.
pub(super) const PLAIN_UNIONS: &[(&str, &str, &str, usize)] = &[
    ("VkClearColorValue", "uint32", "uint32_t", 4),
    ("VkClearValue", "color.uint32", "uint32_t", 4),
    ("VkDeviceOrHostAddressKHR", "device_address", "uint64_t", 1),
    ("VkDeviceOrHostAddressConstKHR", "device_address", "uint64_t", 1),
    ("VkPipelineExecutableStatisticValueKHR", "u64", "uint64_t", 1),
    ("VkPerformanceCounterResultKHR", "uint64", "uint64_t", 1),
];

/// Why `name` is left out by `table`, where entries may end in `*`.
pub(super) fn reason(table: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    table
        .iter()
        .find(|(entry, _)| entry.strip_suffix('*').map_or(*entry == name, |prefix| name.starts_with(prefix)))
        .map(|(_, reason)| *reason)
}
