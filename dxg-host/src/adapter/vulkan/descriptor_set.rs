//! Descriptor sets with their writes, as the guest sends them when a set is about to be used.
//!
//! *Why.* The guest keeps writes until a command buffer binds the set. What a write names may be gone by then, which Vulkan
//! allows as long as no shader looks at it; such a descriptor is left as it is.
//!
//! *Invariants.* The operation is read whole before the driver hears of it. Every write that the driver gets has as many live
//! or null objects as it says.

// UNSAFETY: the driver is called through a raw function pointer.
#![expect(unsafe_code, reason = "a Vulkan driver is foreign code behind raw pointers")]

use ash::vk;
use ash::vk::Handle;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::vulkan::NULL_ARRAY;
use dxg_wire::vulkan::set_flags;

use super::objects::Objects;
use super::reader::ReadError;
use super::reader::Reader;
use crate::generated::vulkan::native::DeviceFns;

/// Smallest encodings of a write and of a descriptor of each kind.
const WRITE_BYTES: usize = 16;
const BUFFER_BYTES: usize = 24;
const IMAGE_BYTES: usize = 20;
const TEXEL_BYTES: usize = 8;

/// A set that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) id: u64,
    pub(crate) set: vk::DescriptorSet,
    pub(crate) pool: vk::DescriptorPool,
}

/// How the set comes to be.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// It is there.
    Known(vk::DescriptorSet),
    /// It is allocated first.
    New { id: u64, pool: vk::DescriptorPool, layout: vk::DescriptorSetLayout, variable: Option<u32> },
}

/// What the descriptors of a write are, and where the first of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Buffers(usize),
    Images(usize),
    Texels(usize),
    Bytes(usize),
}

/// A run of descriptors that are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Write {
    binding: u32,
    element: u32,
    count: u32,
    kind: vk::DescriptorType,
    at: At,
}

/// An operation that was read. Kept for the next one, for its memory.
#[derive(Debug, Default)]
pub(crate) struct Request {
    which: Option<Which>,
    writes: Vec<Write>,
    buffers: Vec<vk::DescriptorBufferInfo>,
    images: Vec<vk::DescriptorImageInfo>,
    texels: Vec<vk::BufferView>,
    bytes: Vec<u8>,
}

/// The object under an id: `None` for one that is no more, null for null.
fn live(objects: &Objects, kind: ObjectKind, id: u64) -> Option<u64> {
    if id == 0 { Some(0) } else { objects.lookup(kind, id).ok() }
}

fn fits(reader: &mut Reader<'_, '_>, count: u32, each_bytes: usize) -> Result<(), ReadError> {
    let needed = usize::try_from(count).ok().and_then(|count| count.checked_mul(each_bytes));
    match needed {
        Some(needed) if needed <= reader.decoder().remaining() => Ok(()),
        _ => Err(ReadError::Count),
    }
}

/// Adds what `next` reads `count` times to `items`, and a write for each run of those that are there.
fn runs<T>(
    head: Write,
    at: fn(usize) -> At,
    items: &mut Vec<T>,
    writes: &mut Vec<Write>,
    mut next: impl FnMut() -> Result<Option<T>, ReadError>,
) -> Result<(), ReadError> {
    let mut run = Write { count: 0, at: at(items.len()), ..head };
    let mut element = head.element;
    for _ in 0..head.count {
        element = element.wrapping_add(1);
        match next()? {
            Some(item) => {
                items.push(item);
                run.count += 1;
            }
            None => {
                writes.extend((run.count > 0).then_some(run));
                run = Write { count: 0, element, at: at(items.len()), ..head };
            }
        }
    }
    writes.extend((run.count > 0).then_some(run));
    Ok(())
}

impl Request {
    /// Reads the operation.
    ///
    /// # Errors
    /// No honest guest sends it.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_, '_>, objects: &Objects) -> Result<(), ReadError> {
        self.writes.clear();
        self.buffers.clear();
        self.images.clear();
        self.texels.clear();
        self.bytes.clear();
        let id = reader.u64()?;
        let flags = reader.u32()?;
        self.which = Some(if flags & set_flags::NEW != 0 {
            objects.check_vacant(ObjectKind::DESCRIPTOR_SET, id)?;
            let pool = vk::DescriptorPool::from_raw(reader.handle(ObjectKind::DESCRIPTOR_POOL)?);
            let layout = vk::DescriptorSetLayout::from_raw(reader.handle(ObjectKind::DESCRIPTOR_SET_LAYOUT)?);
            let variable = Some(reader.u32()?).filter(|count| *count != NULL_ARRAY);
            Which::New { id, pool, layout, variable }
        } else {
            let native = objects.lookup(ObjectKind::DESCRIPTOR_SET, id)?;
            Which::Known(vk::DescriptorSet::from_raw(native))
        });
        let count = reader.u32()?;
        fits(reader, count, WRITE_BYTES)?;
        for _ in 0..count {
            self.read_write(reader, objects, flags)?;
        }
        reader.finish()
    }

    fn read_write(
        &mut self,
        reader: &mut Reader<'_, '_>,
        objects: &Objects,
        flags: u32,
    ) -> Result<(), ReadError> {
        let (binding, element, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let kind = vk::DescriptorType::from_raw(reader.i32()?);
        let head = Write { binding, element, count, kind, at: At::Bytes(self.bytes.len()) };
        match kind {
            vk::DescriptorType::UNIFORM_BUFFER
            | vk::DescriptorType::STORAGE_BUFFER
            | vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC
            | vk::DescriptorType::STORAGE_BUFFER_DYNAMIC => {
                fits(reader, count, BUFFER_BYTES)?;
                runs(head, At::Buffers, &mut self.buffers, &mut self.writes, || {
                    let (id, offset, range) = (reader.u64()?, reader.u64()?, reader.u64()?);
                    let buffer = live(objects, ObjectKind::BUFFER, id).map(vk::Buffer::from_raw);
                    Ok(buffer.map(|buffer| vk::DescriptorBufferInfo { buffer, offset, range }))
                })
            }
            vk::DescriptorType::SAMPLER
            | vk::DescriptorType::COMBINED_IMAGE_SAMPLER
            | vk::DescriptorType::SAMPLED_IMAGE
            | vk::DescriptorType::STORAGE_IMAGE
            | vk::DescriptorType::INPUT_ATTACHMENT => {
                fits(reader, count, IMAGE_BYTES)?;
                runs(head, At::Images, &mut self.images, &mut self.writes, || {
                    let (sampler, view) = (reader.u64()?, reader.u64()?);
                    let image_layout = reader.image_layout()?;
                    let sampler = match live(objects, ObjectKind::SAMPLER, sampler) {
                        // The driver does not look at what stands in an immutable sampler's place.
                        None if flags & set_flags::IMMUTABLE_SAMPLERS != 0 => Some(0),
                        sampler => sampler,
                    };
                    let sampler = sampler.map(vk::Sampler::from_raw);
                    let view = live(objects, ObjectKind::IMAGE_VIEW, view).map(vk::ImageView::from_raw);
                    Ok(sampler.zip(view).map(|(sampler, image_view)| vk::DescriptorImageInfo {
                        sampler,
                        image_view,
                        image_layout,
                    }))
                })
            }
            vk::DescriptorType::UNIFORM_TEXEL_BUFFER | vk::DescriptorType::STORAGE_TEXEL_BUFFER => {
                fits(reader, count, TEXEL_BYTES)?;
                runs(head, At::Texels, &mut self.texels, &mut self.writes, || {
                    let id = reader.u64()?;
                    Ok(live(objects, ObjectKind::BUFFER_VIEW, id).map(vk::BufferView::from_raw))
                })
            }
            vk::DescriptorType::INLINE_UNIFORM_BLOCK => {
                let len = usize::try_from(count).map_err(|_| ReadError::Count)?;
                self.bytes.extend_from_slice(reader.decoder().bytes(len)?);
                self.writes.push(head);
                Ok(())
            }
            _ => Err(ReadError::Count),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The driver refused the set.
    pub(crate) fn run(&self, fns: &DeviceFns, device: vk::Device) -> Result<Option<Made>, vk::Result> {
        let missing = vk::Result::ERROR_EXTENSION_NOT_PRESENT;
        let (set, made) = match self.which {
            None => return Ok(None),
            Some(Which::Known(set)) => (set, None),
            Some(Which::New { id, pool, layout, variable }) => {
                let function = fns.allocate_descriptor_sets.ok_or(missing)?;
                let layouts = [layout];
                let counts = [variable.unwrap_or_default()];
                let mut variable_info = vk::DescriptorSetVariableDescriptorCountAllocateInfo::default()
                    .descriptor_counts(&counts);
                let mut info =
                    vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
                if variable.is_some() {
                    info = info.push_next(&mut variable_info);
                }
                let mut set = vk::DescriptorSet::null();
                // SAFETY:
                // - pool and layout are live objects of this device; one layout asks for one set, and there is room for it.
                unsafe { function(device, &info, &mut set) }.result()?;
                (set, Some(Made { id, set, pool }))
            }
        };
        if self.writes.is_empty() {
            return Ok(made);
        }
        let function = fns.update_descriptor_sets.ok_or(missing)?;
        let blocks: Vec<_> = self.writes.iter().map(|write| self.block(write)).collect();
        let writes: Vec<_> =
            self.writes.iter().zip(&blocks).map(|(write, block)| self.native(set, write, block)).collect();
        let count = u32::try_from(writes.len()).unwrap_or(u32::MAX);
        // SAFETY:
        // - each write names as many live or null objects of this device, or bytes, as it says; they live in `self`.
        unsafe { function(device, count, writes.as_ptr(), 0, std::ptr::null()) };
        Ok(made)
    }

    fn block(&self, write: &Write) -> vk::WriteDescriptorSetInlineUniformBlock<'_> {
        let bytes = match write.at {
            At::Bytes(at) => self.bytes.get(at..).unwrap_or_default(),
            _ => &[],
        };
        vk::WriteDescriptorSetInlineUniformBlock {
            data_size: write.count,
            p_data: bytes.as_ptr().cast(),
            ..Default::default()
        }
    }

    /// Each `Write` was made with as many elements, or bytes, as it counts from where it says.
    fn native<'a>(
        &'a self,
        set: vk::DescriptorSet,
        write: &Write,
        block: &'a vk::WriteDescriptorSetInlineUniformBlock<'a>,
    ) -> vk::WriteDescriptorSet<'a> {
        let mut native = vk::WriteDescriptorSet {
            dst_set: set,
            dst_binding: write.binding,
            dst_array_element: write.element,
            descriptor_count: write.count,
            descriptor_type: write.kind,
            ..Default::default()
        };
        match write.at {
            At::Buffers(at) => {
                native.p_buffer_info = self.buffers.get(at..).unwrap_or_default().as_ptr();
            }
            At::Images(at) => native.p_image_info = self.images.get(at..).unwrap_or_default().as_ptr(),
            At::Texels(at) => {
                native.p_texel_buffer_view = self.texels.get(at..).unwrap_or_default().as_ptr();
            }
            At::Bytes(_) => native.p_next = std::ptr::from_ref(block).cast(),
        }
        native
    }
}

#[cfg(test)]
mod tests {
    use dxg_wire::codec::Encoder;

    use super::*;
    use crate::adapter::vulkan::reader::arena;

    const SET: u64 = 1 << 32 | 1;
    const BUFFER: u64 = 1 << 32 | 1;
    const GONE: u64 = 1 << 32 | 9;

    fn objects() -> Objects {
        let mut objects = Objects::default();
        objects.insert(ObjectKind::DESCRIPTOR_SET, SET, 70, 7).unwrap();
        objects.insert(ObjectKind::BUFFER, BUFFER, 80, 0).unwrap();
        objects
    }

    fn read(body: impl FnOnce(&mut Encoder)) -> Result<Request, ReadError> {
        let (objects, bump) = (objects(), arena());
        let mut encoder = Encoder::new();
        body(&mut encoder);
        let mut request = Request::default();
        request.read(&mut Reader::new(encoder.as_slice(), &bump, &objects), &objects)?;
        Ok(request)
    }

    fn buffers(encoder: &mut Encoder, ids: &[u64]) {
        encoder.u64(SET);
        encoder.u32(0);
        encoder.u32(1);
        let kind = vk::DescriptorType::STORAGE_BUFFER.as_raw().cast_unsigned();
        encoder.put_u32s([3, 4, ids.len() as u32, kind]);
        ids.iter().for_each(|id| encoder.u64s(&[*id, 16, 32]));
    }

    #[test]
    fn descriptors_of_objects_that_are_gone_are_left_out_and_the_others_keep_their_elements() {
        let request = read(|encoder| buffers(encoder, &[GONE, BUFFER, BUFFER, GONE, 0, GONE])).unwrap();
        let runs: Vec<_> =
            request.writes.iter().map(|write| (write.element, write.count, write.at)).collect();
        assert_eq!(runs, [(5, 2, At::Buffers(0)), (8, 1, At::Buffers(2))]);
        let natives: Vec<_> = request.buffers.iter().map(|info| info.buffer.as_raw()).collect();
        assert_eq!(natives, [80, 80, 0]);
    }

    #[test]
    fn counts_beyond_the_request_are_refused() {
        let kind = vk::DescriptorType::STORAGE_BUFFER.as_raw().cast_unsigned();
        let beyond = read(|encoder| {
            encoder.u64(SET);
            encoder.put_u32s([0, 1, 0, 0, u32::MAX, kind]);
        });
        assert_eq!(beyond.unwrap_err(), ReadError::Count);
        let writes = read(|encoder| {
            encoder.u64(SET);
            encoder.put_u32s([0, u32::MAX]);
        });
        assert_eq!(writes.unwrap_err(), ReadError::Count);
    }

    #[test]
    fn set_that_is_not_there_and_kinds_that_do_not_travel_so_are_refused() {
        assert!(read(|encoder| encoder.u64s(&[GONE, 0])).is_err());
        let kind = vk::DescriptorType::ACCELERATION_STRUCTURE_KHR.as_raw().cast_unsigned();
        let other = read(|encoder| {
            encoder.u64(SET);
            encoder.put_u32s([0, 1, 0, 0, 0, kind]);
        });
        assert!(other.is_err());
    }
}
