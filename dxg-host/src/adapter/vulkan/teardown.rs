//! The order in which what a client left behind is destroyed.

use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;

/// Kinds of objects with the commands that destroy them, users before what they use. What lives in a pool goes with it.
pub(crate) const TEAR_DOWN: &[(ObjectKind, VkOp)] = &[
    (ObjectKind::COMMAND_POOL, VkOp::DESTROY_COMMAND_POOL),
    (ObjectKind::DESCRIPTOR_POOL, VkOp::DESTROY_DESCRIPTOR_POOL),
    (ObjectKind::FRAMEBUFFER, VkOp::DESTROY_FRAMEBUFFER),
    (ObjectKind::PIPELINE, VkOp::DESTROY_PIPELINE),
    (ObjectKind::SHADER_EXT, VkOp::DESTROY_SHADER_EXT),
    (ObjectKind::PIPELINE_CACHE, VkOp::DESTROY_PIPELINE_CACHE),
    (ObjectKind::PIPELINE_LAYOUT, VkOp::DESTROY_PIPELINE_LAYOUT),
    (ObjectKind::SHADER_MODULE, VkOp::DESTROY_SHADER_MODULE),
    (ObjectKind::VALIDATION_CACHE_EXT, VkOp::DESTROY_VALIDATION_CACHE_EXT),
    (ObjectKind::RENDER_PASS, VkOp::DESTROY_RENDER_PASS),
    (ObjectKind::DESCRIPTOR_SET_LAYOUT, VkOp::DESTROY_DESCRIPTOR_SET_LAYOUT),
    (ObjectKind::OPTICAL_FLOW_SESSION_NV, VkOp::DESTROY_OPTICAL_FLOW_SESSION_NV),
    (ObjectKind::BUFFER_VIEW, VkOp::DESTROY_BUFFER_VIEW),
    (ObjectKind::IMAGE_VIEW, VkOp::DESTROY_IMAGE_VIEW),
    (ObjectKind::SAMPLER, VkOp::DESTROY_SAMPLER),
    (ObjectKind::SAMPLER_YCBCR_CONVERSION, VkOp::DESTROY_SAMPLER_YCBCR_CONVERSION),
    (ObjectKind::QUERY_POOL, VkOp::DESTROY_QUERY_POOL),
    (ObjectKind::EVENT, VkOp::DESTROY_EVENT),
    (ObjectKind::BUFFER, VkOp::DESTROY_BUFFER),
    (ObjectKind::IMAGE, VkOp::DESTROY_IMAGE),
    (ObjectKind::DEVICE_MEMORY, VkOp::FREE_MEMORY),
    (ObjectKind::SEMAPHORE, VkOp::DESTROY_SEMAPHORE),
];

#[cfg(test)]
mod tests {
    use dxg_wire::generated::vulkan::ObjectKind;

    use super::TEAR_DOWN;

    /// Gone with their pools, or never made on the host.
    const ELSEWHERE: [ObjectKind; 5] = [
        ObjectKind::COMMAND_BUFFER,
        ObjectKind::DESCRIPTOR_SET,
        ObjectKind::DESCRIPTOR_UPDATE_TEMPLATE,
        ObjectKind::FENCE,
        ObjectKind::PRIVATE_DATA_SLOT,
    ];

    #[test]
    fn every_kind_of_object_is_destroyed_once() {
        let mut kinds: Vec<u8> =
            TEAR_DOWN.iter().map(|(kind, _)| *kind).chain(ELSEWHERE).map(|kind| kind.0).collect();
        kinds.sort_unstable();
        let all: Vec<u8> = (0..u8::try_from(ObjectKind::COUNT).unwrap()).collect();
        assert_eq!(kinds, all);
    }
}
