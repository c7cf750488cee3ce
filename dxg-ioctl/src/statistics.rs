//! What the statistics request answers.
//!
//! The answer is a fixed block of 776 bytes whose shape follows the type that was asked for; these methods read it as
//! each of the shapes. Reading it as the wrong one is harmless and gives numbers without meaning.
//!
//! Source: header.

use zerocopy::FromBytes;

use crate::abi::QueryStatisticsResult;
use crate::adapter_info as info;

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident: $ty:ident;)*) => {
        impl QueryStatisticsResult {
            $($(#[$doc])*
            pub fn $name(&self) -> info::$ty {
                let (value, _) =
                    info::$ty::read_from_prefix(&self.size).expect("each shape fits the block, asserted below");
                value
            })*
        }
        $(const _: () = assert!(size_of::<info::$ty>() <= size_of::<QueryStatisticsResult>());)*
    };
}

shapes! {
    /// Type 0: the adapter.
    adapter: QueryStatisticsAdapterInformation;
    /// Type 1: a process.
    process: QueryStatisticsProcessInformation;
    /// Type 2: a process on the adapter.
    process_adapter: QueryStatisticsProcessAdapterInformation;
    /// Type 3: a memory segment.
    segment: QueryStatisticsSegmentInformation;
    /// Type 4: a process in a memory segment.
    process_segment: QueryStatisticsProcessSegmentInformation;
    /// Type 5: an engine.
    node: QueryStatisticsNodeInformation;
    /// Type 6: a process on an engine.
    process_node: QueryStatisticsProcessNodeInformation;
    /// Type 7: a display source.
    vid_pn_source: QueryStatisticsVidPnSourceInformation;
    /// Type 8: a process on a display source.
    process_vid_pn_source: QueryStatisticsProcessVidPnSourceInformation;
    /// Type 9: a process in a group of segments.
    process_segment_group: QueryStatisticsProcessSegmentGroupInformation;
    /// Type 10: a physical adapter.
    physical_adapter: QueryStatisticsPhysicalAdapterInformation;
}
