//! What the adapter says of itself: OPENADAPTER, GETINTERNALADAPTERINFO, QUERYADAPTERINFO.

use dxg_ioctl::Luid;
use dxg_ioctl::NtStatus;
use dxg_ioctl::abi::AdapterType;
use dxg_ioctl::abi::QueryAdapterInfoType;
use dxg_ioctl::adapter_info::AdapterAddress;
use dxg_ioctl::adapter_info::AdapterPerfData;
use dxg_ioctl::adapter_info::AdapterRegistryInfo;
use dxg_ioctl::adapter_info::DriverDescription;
use dxg_ioctl::adapter_info::DriverVersion;
use dxg_ioctl::adapter_info::EngineType;
use dxg_ioctl::adapter_info::NodeMetadata;
use dxg_ioctl::adapter_info::NodePerfData;
use dxg_ioctl::adapter_info::PhysicalAdapterCount;
use dxg_ioctl::adapter_info::QueryDeviceIds;
use dxg_ioctl::adapter_info::QueryRegistryInfo;
use dxg_ioctl::adapter_info::QueryRegistryStatus;
use dxg_ioctl::adapter_info::SegmentGroupSizeInfo;
use dxg_ioctl::adapter_info::SegmentSizeInfo;
use dxg_ioctl::adapter_info::UmdDriverVersion;
use dxg_ioctl::adapter_info::Wddm27Caps;
use dxg_wire::messages::DeviceTypes;
use dxg_wire::messages::GetInternalAdapterInfoReply;
use dxg_wire::messages::InterfaceVersion;
use dxg_wire::messages::OpenAdapterReply;
use dxg_wire::messages::info::QueryAdapterInfoAnswer;
use dxg_wire::messages::info::QueryAdapterInfoMessage;
use dxg_wire::transfer::ADAPTER_MAGIC;
use dxg_wire::transfer::AdapterData;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::NOT_SUPPORTED;
use super::answer::encoded;
use super::answer::reply;
use super::model::ADAPTER;
use crate::adapter::AdapterKind;
use crate::failure::Refusal;

/// PCI, as bus types go.
const BUS_TYPE_PCI: u32 = 5;
/// Nothing has that name.
const NO_NAME: Refusal = Refusal(NtStatus::OBJECT_NAME_NOT_FOUND);

/// OPENADAPTER.
pub(super) fn open() -> Answer {
    reply(&OpenAdapterReply {
        host_adapter_handle: ADAPTER,
        status: NtStatus::SUCCESS,
        vmbus_interface_version: InterfaceVersion::CURRENT.0,
        vmbus_last_compatible_interface_version: InterfaceVersion::LAST_COMPATIBLE.0,
    })
}

/// GETINTERNALADAPTERINFO.
pub(super) fn internal(session: &Session) -> Answer {
    let identity = session.adapter.identity();
    let mut answer = GetInternalAdapterInfoReply::new_zeroed();
    answer.device_types = DeviceTypes::VIRTUAL_RENDER_DEVICE;
    if matches!(identity.kind, AdapterKind::Cpu | AdapterKind::Virtual) {
        answer.device_types |= DeviceTypes::SOFTWARE_DEVICE;
    }
    answer.host_adapter_luid = session.luid;
    answer.host_vgpu_luid = Luid { a: session.luid.a, b: session.luid.b };
    put_text(&mut answer.device_description, &identity.name);
    put_text(&mut answer.device_instance_id, &format!("DXG\\{}", identity.device_uuid));
    Ok(answer.encode(InterfaceVersion::CURRENT))
}

/// QUERYADAPTERINFO: the buffer comes back filled, or as it was with a status.
pub(super) fn query(session: &Session, message: &QueryAdapterInfoMessage) -> Answer {
    let mut private_data = message.private_data.clone();
    let status = match fill(session, message.command.query_type, &mut private_data) {
        Ok(()) => NtStatus::SUCCESS,
        Err(refused) => refused.0,
    };
    encoded(QueryAdapterInfoAnswer { status, private_data }.encode(InterfaceVersion::CURRENT))
}

fn fill(session: &Session, kind: QueryAdapterInfoType, buffer: &mut [u8]) -> Result<(), Refusal> {
    let identity = session.adapter.identity();
    match kind {
        QueryAdapterInfoType::UMDRIVERPRIVATE => put(
            buffer,
            &AdapterData {
                magic: ADAPTER_MAGIC,
                version: 1,
                device_uuid: *identity.device_uuid.as_bytes(),
                quota_bytes: session.quota_bytes,
            },
        ),
        // There are no files of a user-mode driver behind this adapter.
        QueryAdapterInfoType::UMDRIVERNAME => Err(NO_NAME),
        QueryAdapterInfoType::GETSEGMENTSIZE => put(buffer, &segments(session)),
        QueryAdapterInfoType::ADAPTERADDRESS | QueryAdapterInfoType::ADAPTERADDRESS_RENDER => {
            // Where the device sits on the host is the host's affair.
            put(buffer, &AdapterAddress::new_zeroed())
        }
        QueryAdapterInfoType::ADAPTERREGISTRYINFO | QueryAdapterInfoType::ADAPTERREGISTRYINFO_RENDER => {
            let mut info = AdapterRegistryInfo::new_zeroed();
            put_text(&mut info.adapter_string, &identity.name);
            put_text(&mut info.bios_string, &identity.driver_info);
            put_text(&mut info.dac_type, "none");
            put_text(&mut info.chip_type, &identity.driver_name);
            put(buffer, &info)
        }
        QueryAdapterInfoType::DRIVERVERSION | QueryAdapterInfoType::DRIVERVERSION_RENDER => {
            put(buffer, &DriverVersion::WDDM_2_9)
        }
        QueryAdapterInfoType::ADAPTERTYPE | QueryAdapterInfoType::ADAPTERTYPE_RENDER => {
            put(buffer, &adapter_type(identity.kind))
        }
        QueryAdapterInfoType::UMD_DRIVER_VERSION | QueryAdapterInfoType::KMD_DRIVER_VERSION => {
            put(buffer, &UmdDriverVersion { driver_version: i64::from(identity.driver_version) })
        }
        QueryAdapterInfoType::NODEMETADATA => node_metadata(buffer),
        QueryAdapterInfoType::PHYSICALADAPTERCOUNT => put(buffer, &PhysicalAdapterCount { count: 1 }),
        QueryAdapterInfoType::PHYSICALADAPTERDEVICEIDS => device_ids(session, buffer),
        QueryAdapterInfoType::GETSEGMENTGROUPSIZE => {
            let asked = SegmentGroupSizeInfo::read_from_prefix(buffer).map_err(|_| INVALID)?.0;
            only_physical_adapter(asked.physical_adapter_index)?;
            let mut info = SegmentGroupSizeInfo::new_zeroed();
            info.legacy_info = segments(session);
            info.local_memory = session.quota_bytes;
            put(buffer, &info)
        }
        QueryAdapterInfoType::QUERYREGISTRY => registry(buffer),
        QueryAdapterInfoType::NODEPERFDATA => {
            let asked = NodePerfData::read_from_prefix(buffer).map_err(|_| INVALID)?.0;
            only_physical_adapter(asked.physical_adapter_index)?;
            let mut data = NodePerfData::new_zeroed();
            data.node_ordinal = asked.node_ordinal;
            put(buffer, &data)
        }
        QueryAdapterInfoType::ADAPTERPERFDATA => {
            let asked = AdapterPerfData::read_from_prefix(buffer).map_err(|_| INVALID)?.0;
            only_physical_adapter(asked.physical_adapter_index)?;
            put(buffer, &AdapterPerfData::new_zeroed())
        }
        QueryAdapterInfoType::DRIVER_DESCRIPTION | QueryAdapterInfoType::DRIVER_DESCRIPTION_RENDER => {
            let mut description = DriverDescription::new_zeroed();
            put_text(&mut description.driver_description, &identity.name);
            put(buffer, &description)
        }
        QueryAdapterInfoType::WDDM_2_7_CAPS => put(buffer, &Wddm27Caps::empty()),
        _ => Err(NOT_SUPPORTED),
    }
}

/// Writes an answer over the front of a buffer that has room for it.
fn put<T: IntoBytes + Immutable>(buffer: &mut [u8], answer: &T) -> Result<(), Refusal> {
    let bytes = answer.as_bytes();
    buffer.get_mut(..bytes.len()).ok_or(INVALID)?.copy_from_slice(bytes);
    Ok(())
}

/// Writes text with its end, cut to the field.
fn put_text(field: &mut [u16], text: &str) {
    let room = field.len().saturating_sub(1);
    for (unit, char) in field.iter_mut().take(room).zip(text.encode_utf16()) {
        *unit = char;
    }
}

fn only_physical_adapter(index: u32) -> Result<(), Refusal> {
    if index == 0 { Ok(()) } else { Err(INVALID) }
}

fn segments(session: &Session) -> SegmentSizeInfo {
    let dedicated = session.adapter.identity().kind == AdapterKind::Discrete;
    SegmentSizeInfo {
        dedicated_video_memory_size: if dedicated { session.quota_bytes } else { 0 },
        dedicated_system_memory_size: 0,
        shared_system_memory_size: if dedicated { 0 } else { session.quota_bytes },
    }
}

fn adapter_type(kind: AdapterKind) -> AdapterType {
    let common = AdapterType::RENDER_SUPPORTED | AdapterType::PARAVIRTUALIZED;
    match kind {
        AdapterKind::Discrete => common | AdapterType::HYBRID_DISCRETE,
        AdapterKind::Integrated => common | AdapterType::HYBRID_INTEGRATED,
        AdapterKind::Cpu | AdapterKind::Virtual => common | AdapterType::SOFTWARE_DEVICE,
    }
}

fn node_metadata(buffer: &mut [u8]) -> Result<(), Refusal> {
    let (mut metadata, _) = NodeMetadata::read_from_prefix(buffer).map_err(|_| INVALID)?;
    // Node in the low half, physical adapter in the high half; there is one of each.
    if metadata.node_ordinal_and_adapter_index != 0 {
        return Err(INVALID);
    }
    metadata.node_data.zero();
    metadata.node_data.engine_type = EngineType::COPY;
    metadata.node_data.gpu_mmu_supported = 1;
    let mut name = [0; 32];
    put_text(&mut name, "transfer");
    metadata.node_data.friendly_name = name;
    put(buffer, &metadata)
}

fn device_ids(session: &Session, buffer: &mut [u8]) -> Result<(), Refusal> {
    let (asked, _) = QueryDeviceIds::read_from_prefix(buffer).map_err(|_| INVALID)?;
    only_physical_adapter(asked.physical_adapter_index)?;
    let identity = session.adapter.identity();
    let mut ids = QueryDeviceIds::new_zeroed();
    ids.device_ids.vendor_id = identity.vendor_id;
    ids.device_ids.device_id = identity.device_id;
    ids.device_ids.sub_vendor_id = identity.subsystem_id & 0xFFFF;
    ids.device_ids.sub_system_id = identity.subsystem_id >> 16;
    ids.device_ids.revision_id = identity.revision;
    ids.device_ids.bus_type = BUS_TYPE_PCI;
    put(buffer, &ids)
}

/// No registry stands behind this adapter: every value is one that does not exist.
fn registry(buffer: &mut [u8]) -> Result<(), Refusal> {
    let (mut info, _) = QueryRegistryInfo::read_from_prefix(buffer).map_err(|_| INVALID)?;
    info.status = QueryRegistryStatus::FAIL;
    info.output_value_size = 0;
    put(buffer, &info)?;
    Err(NO_NAME)
}
