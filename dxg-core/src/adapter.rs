//! An adapter: what a node offers.

use std::sync::Arc;

use dxg_ioctl::GpuVa;
use dxg_ioctl::Luid;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::ChangeVideoMemoryReservation;
use dxg_ioctl::abi::CloseAdapter;
use dxg_ioctl::abi::CreateDevice;
use dxg_ioctl::abi::Escape;
use dxg_ioctl::abi::EscapeFlags;
use dxg_ioctl::abi::EscapeType;
use dxg_ioctl::abi::FeatureId;
use dxg_ioctl::abi::FlushHeapTransitions;
use dxg_ioctl::abi::FreeGpuVirtualAddress;
use dxg_ioctl::abi::GpuClockData;
use dxg_ioctl::abi::GpuVaReservationType;
use dxg_ioctl::abi::IsFeatureEnabled;
use dxg_ioctl::abi::IsFeatureEnabledResult;
use dxg_ioctl::abi::MemorySegmentGroup;
use dxg_ioctl::abi::QueryAdapterInfo;
use dxg_ioctl::abi::QueryAdapterInfoType;
use dxg_ioctl::abi::QueryClockCalibration;
use dxg_ioctl::abi::QueryStatistics;
use dxg_ioctl::abi::QueryStatisticsResult;
use dxg_ioctl::abi::QueryStatisticsType;
use dxg_ioctl::abi::QueryVideoMemoryInfo;
use dxg_ioctl::abi::ReserveGpuVirtualAddress;
use dxg_ioctl::adapter_info;
use zerocopy::FromZeros;

use crate::Device;
use crate::Error;
use crate::Node;
use crate::caller::Buffers;
use crate::errno;
use crate::error::Op;

/// Memory of an adapter in one segment group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoMemory {
    /// Bytes that this process should stay under.
    pub budget_bytes: u64,
    /// Bytes that it uses.
    pub current_usage_bytes: u64,
    /// Bytes that it has reserved.
    pub current_reservation_bytes: u64,
    /// Bytes that it may reserve.
    pub available_for_reservation_bytes: u64,
}

/// A reserved range of GPU virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaRange {
    /// Its first address.
    pub base: GpuVa,
    /// Its bytes.
    pub size_bytes: u64,
}

/// Whom an escape is about, besides the adapter.
#[derive(Clone, Copy, Debug, Default)]
pub struct EscapeTarget<'a> {
    /// A device.
    pub device: Option<&'a Device>,
    /// A context.
    pub context: Option<&'a crate::Context>,
}

#[derive(Debug)]
struct Inner {
    node: Node,
    handle: RawHandle,
    luid: Luid,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.node.free(CloseAdapter { adapter_handle: self.handle });
    }
}

/// An open adapter. Clones are the same; it is closed with the last.
#[derive(Clone, Debug)]
pub struct Adapter {
    inner: Arc<Inner>,
}

impl Adapter {
    pub(crate) fn new(node: &Node, handle: RawHandle, luid: Luid) -> Self {
        Self { inner: Arc::new(Inner { node: node.clone(), handle, luid }) }
    }

    /// Names the adapter on this machine.
    #[must_use]
    pub fn luid(&self) -> Luid {
        self.inner.luid
    }

    /// The node it is on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.inner.node
    }

    /// The handle, for requests that have no method here.
    #[must_use]
    pub fn handle(&self) -> RawHandle {
        self.inner.handle
    }

    /// Asks for information of a known type, such as [`query::DriverVersion`](adapter_info::query::DriverVersion).
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn info<Q: adapter_info::AdapterInfo>(&self) -> Result<Q::Out, Error> {
        let mut out = Q::Out::new_zeroed();
        let len = size_of::<Q::Out>();
        let mut buffers = Buffers::new();
        let at = buffers.inout(&mut out);
        self.query(Q::TYPE, at, len, &mut buffers)?;
        drop(buffers);
        Ok(out)
    }

    /// Asks for information of any type; what is in the buffer goes along.
    ///
    /// # Errors
    ///
    /// What the node answers; buffers of no byte or over 131072 bytes are refused.
    pub fn query_info(&self, kind: QueryAdapterInfoType, buffer: &mut [u8]) -> Result<(), Error> {
        let len = buffer.len();
        let mut buffers = Buffers::new();
        let at = buffers.inout(buffer);
        self.query(kind, at, len, &mut buffers)
    }

    fn query(
        &self,
        kind: QueryAdapterInfoType,
        at: dxg_ioctl::UserPtr,
        len: usize,
        buffers: &mut Buffers<'_>,
    ) -> Result<(), Error> {
        const OP: &str = "query adapter info";
        let mut args = QueryAdapterInfo::new_zeroed();
        args.adapter = self.handle();
        args.r#type = kind;
        args.private_data = at;
        args.private_data_size = u32::try_from(len).map_err(|_| errno::INVALID).op(OP)?;
        self.node().request(&mut args, buffers).op(OP).map(drop)
    }

    /// What the driver calls the adapter, for people.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn name(&self) -> Result<String, Error> {
        let mut wire = vec![0; 8192];
        self.query_info(QueryAdapterInfoType::DRIVER_DESCRIPTION, &mut wire)?;
        let units = wire.chunks_exact(2).filter_map(|unit| unit.try_into().ok().map(u16::from_le_bytes));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        Ok(String::from_utf16_lossy(&units))
    }

    /// Memory in one segment group of the first physical adapter.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn video_memory(&self, group: MemorySegmentGroup) -> Result<VideoMemory, Error> {
        let mut args = QueryVideoMemoryInfo::new_zeroed();
        args.adapter = self.handle();
        args.memory_segment_group = group;
        self.node().request(&mut args, &mut Buffers::new()).op("query video memory")?;
        Ok(VideoMemory {
            budget_bytes: args.budget,
            current_usage_bytes: args.current_usage,
            current_reservation_bytes: args.current_reservation,
            available_for_reservation_bytes: args.available_for_reservation,
        })
    }

    /// Asks for so many bytes of a segment group to be kept for this process.
    ///
    /// # Errors
    ///
    /// What the node answers; [`VideoMemory::available_for_reservation_bytes`] says how much it takes.
    pub fn reserve_video_memory(&self, group: MemorySegmentGroup, size_bytes: u64) -> Result<(), Error> {
        let mut args = ChangeVideoMemoryReservation::new_zeroed();
        args.adapter = self.handle();
        args.memory_segment_group = group;
        args.reservation = size_bytes;
        self.node().request(&mut args, &mut Buffers::new()).op("reserve video memory").map(drop)
    }

    /// Waits until memory that is on its way between heaps has arrived.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn flush_heap_transitions(&self) -> Result<(), Error> {
        let mut args = FlushHeapTransitions { adapter: self.handle() };
        self.node().request(&mut args, &mut Buffers::new()).op("flush heap transitions").map(drop)
    }

    /// Makes a device.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory) when the host refuses without a reason.
    pub fn create_device(&self) -> Result<Device, Error> {
        let mut args = CreateDevice::new_zeroed();
        args.adapter = self.handle();
        self.node().request(&mut args, &mut Buffers::new()).op("create device")?;
        // Success without a handle is how a refusal looks.
        if args.device.is_none() {
            return Err(errno::NO_MEMORY).op("create device");
        }
        Ok(Device::new(self, args.device))
    }

    /// Passes a block of private data to the driver and back.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn escape(&self, flags: EscapeFlags, target: EscapeTarget<'_>, data: &mut [u8]) -> Result<(), Error> {
        const OP: &str = "escape";
        let mut args = Escape::new_zeroed();
        args.adapter = self.handle();
        args.device = target.device.map_or(RawHandle::NONE, Device::handle);
        args.context = target.context.map_or(RawHandle::NONE, crate::Context::handle);
        args.r#type = EscapeType(0);
        args.flags = flags;
        args.priv_drv_data_size = u32::try_from(data.len()).map_err(|_| errno::INVALID).op(OP)?;
        let mut buffers = Buffers::new();
        args.priv_drv_data = buffers.inout(data);
        self.node().request(&mut args, &mut buffers).op(OP).map(drop)
    }

    /// Reserves GPU virtual addresses of the process, anywhere.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn reserve_va(&self, size_bytes: u64, kind: GpuVaReservationType) -> Result<VaRange, Error> {
        let mut args = ReserveGpuVirtualAddress::new_zeroed();
        args.adapter = self.handle();
        args.size = size_bytes;
        args.reservation_type = kind;
        self.node().request(&mut args, &mut Buffers::new()).op("reserve GPU addresses")?;
        Ok(VaRange { base: args.virtual_address, size_bytes })
    }

    /// Frees reserved or mapped GPU virtual addresses.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn free_va(&self, range: VaRange) -> Result<(), Error> {
        let mut args = FreeGpuVirtualAddress::new_zeroed();
        args.adapter = self.handle();
        args.base_address = range.base;
        args.size = range.size_bytes;
        self.node().request(&mut args, &mut Buffers::new()).op("free GPU addresses").map(drop)
    }

    /// Reads the clocks of an engine and of the CPU together.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn clock_calibration(&self, node_ordinal: u32) -> Result<GpuClockData, Error> {
        let mut args = QueryClockCalibration::new_zeroed();
        args.adapter = self.handle();
        args.node_ordinal = node_ordinal;
        self.node().request(&mut args, &mut Buffers::new()).op("query clock calibration")?;
        Ok(args.clock_data)
    }

    /// Asks about a feature of the operating system.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn feature(&self, feature: FeatureId) -> Result<IsFeatureEnabledResult, Error> {
        let mut args = IsFeatureEnabled::new_zeroed();
        args.adapter = self.handle();
        args.feature_id = feature;
        self.node().request(&mut args, &mut Buffers::new()).op("query feature")?;
        Ok(args.result)
    }

    /// Reads statistics; `input` names a segment, engine, source, group or physical adapter, by the type.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn statistics(&self, kind: QueryStatisticsType, input: u32) -> Result<QueryStatisticsResult, Error> {
        let mut args = QueryStatistics::new_zeroed();
        args.adapter_luid = self.luid();
        args.r#type = kind;
        args.query_input = input;
        self.node().request(&mut args, &mut Buffers::new()).op("query statistics")?;
        Ok(args.result)
    }
}
