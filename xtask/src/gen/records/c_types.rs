//! What is known about the C side beyond the layout files: scalars, and names for what has none.

use crate::r#gen::input::Field;

/// Names of unnamed members: (record, offset) to (field, type suffix).
pub(super) const UNNAMED: &[(&str, usize, &str, &str)] = &[
    ("d3dkmt_getdevicestate", 8, "state", "State"),
    ("d3dddi_synchronizationobjectinfo2", 8, "object", "Object"),
    ("d3dkmt_waitforsynchronizationobject2", 136, "value", "Value"),
    ("d3dkmt_signalsynchronizationobject2", 400, "value", "Value"),
    ("d3dkmt_waitforsynchronizationobjectfromgpu", 16, "value", "Value"),
    ("d3dkmt_signalsynchronizationobjectfromgpu", 16, "value", "Value"),
    ("d3dkmt_signalsynchronizationobjectfromgpu2", 32, "value", "Value"),
    ("d3dkmt_createallocation", 32, "data", "Data"),
    ("d3dddi_allocationinfo2", 48, "importance", "Importance"),
    ("d3dddi_updategpuvirtualaddress_operation", 8, "args", "Args"),
    ("d3dkmt_reclaimallocations2", 24, "output", "Output"),
    ("d3dkmt_opensyncobjectfromnthandle2", 24, "fence", "Fence"),
    ("d3dddi_allocationlist", 4, "value", "Value"),
    ("d3dddi_patchlocationlist", 4, "value", "Value"),
    ("d3dddi_updateallocproperty", 32, "property_mask_value", "Mask"),
    ("dxgk_isfeatureenabled_result", 2, "value", "Flags"),
    ("D3DKMT_WDDM_1_2_CAPS", 8, "value", "Flags"),
    ("D3DDDI_QUERYREGISTRY_INFO", 544, "output", "Output"),
    ("D3DKMDT_DISPLAYMODE_FLAGS", 0, "source", "Source"),
    ("D3DKMDT_DISPLAYMODE_FLAGS", 4, "timing", "Timing"),
    ("D3DKMT_QUERY_PHYSICAL_ADAPTER_PNP_KEY", 8, "p_dest", "Dest"),
    ("D3DKMT_QUERY_PHYSICAL_ADAPTER_PNP_KEY", 16, "p_cch_dest", "CchDest"),
    ("dxgkvmb_command_vgpu_to_host", 12, "channel", "Channel"),
    ("dxgkvmb_command_host_to_vm", 12, "channel", "Channel"),
    ("dxgkvmb_command_setguestdata", 32, "data", "Value"),
    ("dxgkvmb_command_setguestdata", 40, "kind", "Kind"),
    ("dxgkvmb_command_createprocess", 562, "flags", "Flags"),
    ("dxgkvmb_command_getinternaladapterinfo_return", 12, "flags", "Flags"),
    ("dxgkvmb_command_getstandardallocprivdata", 40, "surface", "Surface"),
    ("dxgkvmb_command_getstandardallocprivdata_return", 12, "surface", "Surface"),
    ("dxgkvmb_command_signalsyncobject", 48, "target", "Target"),
    ("dxgk_feature_desc", 4, "flags", "Flags"),
];

/// Bytes that a header leaves unnamed but that carry something: (record, offset, name, Rust type, size, doc).
pub(super) const EXTRA_FIELDS: &[(&str, usize, &str, &str, usize, &str)] = &[(
    "d3dkmt_querystatistics",
    800,
    "query_input",
    "u32",
    4,
    "What is asked about: a segment, node, source, group or physical adapter, by the statistics type",
)];

/// Fields whose C type is a plain 64-bit number and whose meaning is known.
pub(super) fn meaning_of_u64(name: &str) -> Option<&'static str> {
    const GPU_VA: &[&str] = &[
        "gpu_virtual_address",
        "fence_gpu_virtual_address",
        "virtual_address",
        "base_address",
        "minimum_address",
        "maximum_address",
        "source_address",
        "dest_address",
        "gpu_va",
        "fence_gpu_va",
        "fence_value_gpu_va",
        "queue_progress_fence_gpu_va",
        "hwqueue_progress_fence_gpuva",
        "faulted_virtual_address",
        "command_buffer",
    ];
    const FENCE: &[&str] =
        &["fence_value", "initial_fence_value", "paging_fence_value", "hwqueue_progress_fence_id"];
    if GPU_VA.contains(&name) {
        Some("GpuVa")
    } else if FENCE.contains(&name) {
        Some("FenceValue")
    } else {
        None
    }
}

pub(super) fn scalar(ty: &str) -> Option<(&'static str, usize)> {
    Some(match ty {
        "__u8" | "u8" | "char" | "_Bool" | "UCHAR" | "BOOLEAN" | "BYTE" | "uint8_t" => ("u8", 1),
        "__u16" | "u16" | "WCHAR" | "uint16_t" => ("u16", 2),
        "__u32"
        | "u32"
        | "UINT"
        | "UINT32"
        | "ULONG"
        | "DWORD"
        | "BOOL"
        | "uint32_t"
        | "D3DDDI_VIDEO_PRESENT_SOURCE_ID" => ("u32", 4),
        "int" | "LONG" => ("i32", 4),
        "__u64" | "u64" | "UINT64" | "ULONGLONG" | "HANDLE" => ("u64", 8),
        "LONGLONG" | "LARGE_INTEGER" | "int64_t" => ("i64", 8),
        _ => return None,
    })
}

pub(super) fn leaf_fields<'f>(fields: &'f [Field], out: &mut Vec<&'f Field>) {
    for field in fields {
        match &field.fields {
            Some(inner) if field.is_anonymous() => leaf_fields(inner, out),
            _ => out.push(field),
        }
    }
}

/// Whether these members are the bits of one storage unit of `size` bytes.
pub(super) fn is_bit_set(fields: &[Field], size: usize) -> bool {
    let mut leaves = Vec::new();
    leaf_fields(fields, &mut leaves);
    leaves.iter().any(|f| f.bit_width.is_some())
        && leaves.iter().all(|f| f.fields.is_none() && f.size == size && f.offset == leaves[0].offset)
}

/// The key of a C type in `Records::known`.
pub(in crate::r#gen) fn key(c_name: &str) -> String {
    let bare = ["struct ", "union ", "enum "].iter().find_map(|p| c_name.strip_prefix(p)).unwrap_or(c_name);
    bare.to_ascii_lowercase()
}
