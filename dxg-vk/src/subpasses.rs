//! Which attachments the subpasses of a render pass use.
//!
//! *Why.* A graphics pipeline's creation carries pointers that must be ignored when its subpass has no such attachment.

/// What a subpass writes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubpassUses {
    /// Its colour attachments.
    pub color: Attachment,
    /// Its depth/stencil attachment.
    pub depth_stencil: Attachment,
}

impl SubpassUses {
    /// A subpass of which nothing is known, so that nothing is ignored.
    pub const ALL: Self = Self { color: Attachment::Used, depth_stencil: Attachment::Used };
}

/// Whether an attachment is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attachment {
    /// It is.
    Used,
    /// It is not.
    #[default]
    Unused,
}
