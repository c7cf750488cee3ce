//! Which attachments the subpasses of a render pass use.
//!
//! *Why.* A graphics pipeline's creation carries pointers that must be ignored when its subpass has no such attachment.

/// What a subpass writes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubpassUses {
    /// It has a colour attachment that is used.
    pub color: Attachment,
    /// It has a depth/stencil attachment that is used.
    pub depth_stencil: Attachment,
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
