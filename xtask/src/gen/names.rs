//! How names of the C headers become names of ours.

use std::collections::HashSet;

use anyhow::Context;
use anyhow::bail;

/// Words that C names glue together. A name is split into as few of them as possible.
const WORDS: &str = "
acg adapter adapters address affinity aligned alignment alloc allocation allocations as bad bdd blocklist
broadcast budget buffer build by cache calibration caps change check child client clock close code command
commitment companion complete compute container content context contexts copy count counter counters cp cpu
create cross current data ddi decode desc describe description destroy device devices direct disabled
display dlist dll dma driver drm dupl enabled engine enum error escape event evict execution existing ext
extension factor fault feature fence file filter fitter flags flip flush for format free from gbl gdi
general get gpadl gpu granularity graphics group guest guid handle heap hint history host hud hw hybrid icd
id ids importance in independent indirect info information integrated interference internal invalidate io is
kernel key kind kmd known large library list local location lock locks luid make map mark max memory
metadata miracast mismatch mmu mode monitored mpo multi mutex name next node nt obj object objects of offer
on open opengl operation ordering output overlay ownership packet page pages paging panel paravirtualization
patch perf physical pipeline plane pn pnp policy power preemption preference preparation prepration present
primaries primary priority priv private proc process processes property protected protection pruning query
queue range rate rational reason reclaim reference region registry renaming render reservation reserve reset
residency resident resource result results rotation runtime scan scanout scheduler scheduling secondary
segment semaphore service set shadow share shared signal signaled simple size source space stage staging
standard state statistics statstics status stop store stretch submit support surface swizzling sync
synchronization sysmem system teardown terminations test tier to token tracked transfer transitions
translate type types um umd unique unlock update user va value version vgpu vid video virtual vm wait waited
wddm with working workload write written xbox
";

/// Words that the header spells its own way.
const SPELLING: &[(&str, &str)] =
    &[("statstics", "statistics"), ("prepration", "preparation"), ("obj", "object")];

/// C names whose words do not show in their spelling, or whose plain form would say too little.
const EXPLICIT: &[(&str, &str)] = &[
    ("d3dddiformat", "Format"),
    ("d3dkmdt_standardallocationtype", "KmdStandardAllocationType"),
    ("d3dddigpuva_protection_type", "GpuVaProtection"),
    ("d3dddigpuva_reservation_type", "GpuVaReservationType"),
    ("kmtqueryadapterinfotype", "QueryAdapterInfoType"),
    ("dxgk_nodemetadata", "DxgkNodeMetadata"),
    ("kmtumdversion", "UmdVersion"),
    ("kmt_display_umd_version", "DisplayUmdVersion"),
    ("dxgvmb_ext_header", "ExtHeader"),
    ("dxgkvmb_command_vm_to_host", "VmToHostHeader"),
    ("dxgkvmb_command_vgpu_to_host", "VgpuToHostHeader"),
    ("dxgkvmb_command_host_to_vm", "HostToVmHeader"),
    ("dxgkvmb_commandtype", "VgpuCommandId"),
    ("dxgkvmb_commandtype_global", "GlobalCommandId"),
    ("dxgkvmb_commandtype_host_to_vm", "HostToVmCommandId"),
    ("dxgkvmb_commandchanneltype", "ChannelType"),
    ("dxgkvmb_allocflags", "AllocationFlags"),
    ("dxgkvmb_command_allocinfo_return", "AllocationInfoReply"),
    ("dxgkvmb_command_createallocation_allocinfo", "CreateAllocationInfo"),
    ("dxgkvmb_command_getstandardallocprivdata", "GetStandardAllocationDriverDataCommand"),
    ("dxgkvmb_command_getstandardallocprivdata_return", "GetStandardAllocationDriverDataReply"),
    ("dxgkvmb_command_isfeatureenabled_gbl", "IsFeatureEnabledGlobalCommand"),
    ("dxgk_vmbus_guestcaps", "GuestCaps"),
    ("dxgk_vmbus_hostcaps", "HostCaps"),
    ("set_guestdata_type", "GuestDataType"),
    ("dxgdevice_flushschedulerreason", "FlushReason"),
    ("d3dkmt_wddm_1_2_caps", "Wddm12Caps"),
    ("d3dkmt_wddm_1_3_caps", "Wddm13Caps"),
    ("d3dkmt_wddm_2_0_caps", "Wddm20Caps"),
    ("d3dkmt_wddm_2_7_caps", "Wddm27Caps"),
    ("d3dkmt_wddm_2_9_caps", "Wddm29Caps"),
    ("d3dkmt_wddm_3_0_caps", "Wddm30Caps"),
    ("d3dddi_video_signal_scanline_ordering", "ScanLineOrdering"),
];

const PREFIXES: &[&str] = &[
    "lx_dx",
    "lx_",
    "d3dkmt_",
    "d3dddicb_",
    "d3dddi_",
    "d3dkmdt_",
    "dxgkvmb_command_",
    "dxgkvmb_",
    "dxgkarg_",
    "dxgk_",
    "kmt_",
    "kmtqaitype_",
    "kmtquitype_",
    "d3dkmt",
];

/// Splits and joins names; made once, because the word list is long.
pub(super) struct Namer {
    words: HashSet<&'static str>,
}

impl Namer {
    /// A namer over the word list.
    pub(super) fn new() -> Self {
        Self { words: WORDS.split_whitespace().collect() }
    }

    /// The type name for the C type `c_name`.
    pub(super) fn type_name(&self, c_name: &str) -> anyhow::Result<String> {
        let lower = c_name.to_ascii_lowercase();
        if let Some((_, name)) = EXPLICIT.iter().find(|(c, _)| *c == lower) {
            return Ok((*name).to_owned());
        }
        let (stem, suffix) = match lower.strip_prefix("dxgkvmb_command_") {
            Some(rest) => match rest.strip_suffix("_return") {
                Some(stem) => (stem, "Reply"),
                None => (rest, "Command"),
            },
            None => (lower.as_str(), ""),
        };
        Ok(camel(&self.words_of(stem)?) + suffix)
    }

    /// The lower-case words of a C name, without its prefix.
    pub(super) fn words_of(&self, c_name: &str) -> anyhow::Result<Vec<String>> {
        let lower = c_name.to_ascii_lowercase();
        let stem = PREFIXES.iter().find_map(|p| lower.strip_prefix(p)).unwrap_or(&lower);
        let mut words = Vec::new();
        for token in stem.split('_').filter(|t| !t.is_empty()) {
            words.extend(self.split(token).with_context(|| format!("name {c_name}"))?);
        }
        Ok(words)
    }

    fn split(&self, token: &str) -> anyhow::Result<Vec<String>> {
        // best[i] is the fewest words that make up token[..i], with where the last of them starts.
        let mut best: Vec<Option<(usize, usize)>> = vec![None; token.len() + 1];
        best[0] = Some((0, 0));
        for end in 1..=token.len() {
            for start in 0..end {
                let Some((count, _)) = best[start] else { continue };
                let piece = &token[start..end];
                let known = self.words.contains(piece) || piece.bytes().all(|b| b.is_ascii_digit());
                if known && best[end].is_none_or(|(old, _)| count + 1 < old) {
                    best[end] = Some((count + 1, start));
                }
            }
        }
        if best[token.len()].is_none() {
            bail!("no words for `{token}`: add them to the word list in names.rs");
        }
        let mut words = Vec::new();
        let mut end = token.len();
        while let Some((_, start)) = best[end].filter(|_| end > 0) {
            let word = &token[start..end];
            words.push(
                SPELLING.iter().find(|(bad, _)| *bad == word).map_or(word, |(_, good)| good).to_owned(),
            );
            end = start;
        }
        words.reverse();
        Ok(words)
    }
}

/// `create device` -> `CreateDevice`.
pub(super) fn camel(words: &[String]) -> String {
    words
        .iter()
        .map(|w| {
            let mut chars = w.chars();
            chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
        })
        .collect()
}

/// `lock 2` -> `LOCK2`, `create device` -> `CREATE_DEVICE`.
pub(super) fn constant_of(words: &[String]) -> String {
    let mut out = String::new();
    for word in words {
        if !out.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit()) {
            out.push('_');
        }
        out += &word.to_ascii_uppercase();
    }
    out
}

/// `CreateDevice` or `pDest` or `VidPnSourceId` -> `create_device`, `p_dest`, `vid_pn_source_id`.
pub(super) fn snake(name: &str) -> String {
    let chars: Vec<char> = name.trim_start_matches('_').chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_lower = i > 0 && (chars[i - 1].is_ascii_lowercase() || chars[i - 1].is_ascii_digit());
        let starts_word = i > 0 && chars.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if c.is_ascii_uppercase() && (after_lower || starts_word) && !out.ends_with('_') {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    match out.as_str() {
        "type" => "r#type".to_owned(),
        _ => out,
    }
}

/// A constant's name for a C identifier.
pub(super) fn screaming(name: &str) -> String {
    let out = snake(name).trim_start_matches("r#").to_ascii_uppercase();
    if out.starts_with(|c: char| c.is_ascii_digit()) { format!("N{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_words_without_prefix() {
        let namer = Namer::new();
        for (c_name, rust) in [
            ("d3dkmt_createdevice", "CreateDevice"),
            ("d3dddicb_lock2flags", "Lock2Flags"),
            ("D3DKMT_SEGMENTGROUPSIZEINFO", "SegmentGroupSizeInfo"),
            ("d3dkmt_opensyncobjectfromnthandle2", "OpenSyncObjectFromNtHandle2"),
            ("dxgkvmb_command_createdevice", "CreateDeviceCommand"),
            ("dxgkvmb_command_createdevice_return", "CreateDeviceReply"),
            ("dxgvmb_ext_header", "ExtHeader"),
        ] {
            assert_eq!(namer.type_name(c_name).unwrap(), rust);
        }
    }

    #[test]
    fn name_of_unknown_words_is_an_error_that_says_which() {
        let error = Namer::new().type_name("d3dkmt_createzebra").unwrap_err();
        assert!(format!("{error:#}").contains("createzebra"));
    }

    #[test]
    fn constants_keep_digits_at_the_word_before() {
        let namer = Namer::new();
        assert_eq!(constant_of(&namer.words_of("LX_DXUNLOCK2").unwrap()), "UNLOCK2");
        assert_eq!(constant_of(&namer.words_of("LX_DXCREATEDEVICE").unwrap()), "CREATE_DEVICE");
    }

    #[test]
    fn snake_case_splits_where_a_word_starts() {
        for (c_name, rust) in [
            ("PhysicalAdapterIndex", "physical_adapter_index"),
            ("pDest", "p_dest"),
            ("MaxMemoryFrequencyOC", "max_memory_frequency_oc"),
            ("_Policy", "policy"),
            ("request_vSync", "request_v_sync"),
            ("Type", "r#type"),
        ] {
            assert_eq!(snake(c_name), rust);
        }
    }
}
