//! Modules put together instruction by instruction: what WGSL has no words for.

use anyhow::Result;
use rspirv::binary::Assemble as _;
use rspirv::dr::Builder;
use rspirv::dr::Operand;
use rspirv::spirv;
use rspirv::spirv::BuiltIn;
use rspirv::spirv::Capability;
use rspirv::spirv::Decoration;
use rspirv::spirv::StorageClass;
use rspirv::spirv::Word;

/// The width of a narrow integer.
#[derive(Clone, Copy)]
pub(crate) enum Narrow {
    /// 8 bits.
    Bits8,
    /// 16 bits.
    Bits16,
}

/// A compute shader in the making: `main` is open and `index` is its global invocation's x.
struct Shader {
    b: Builder,
    main: Word,
    u32_type: Word,
    zero: Word,
    id_variable: Word,
}

impl Shader {
    fn new(capabilities: &[Capability], extensions: &[&str]) -> Self {
        let mut b = Builder::new();
        b.set_version(1, 3);
        b.capability(Capability::Shader);
        for capability in capabilities {
            b.capability(*capability);
        }
        for extension in extensions {
            b.extension(*extension);
        }
        let addressing = if capabilities.contains(&Capability::PhysicalStorageBufferAddresses) {
            spirv::AddressingModel::PhysicalStorageBuffer64
        } else {
            spirv::AddressingModel::Logical
        };
        b.memory_model(addressing, spirv::MemoryModel::GLSL450);
        let u32_type = b.type_int(32, 0);
        let zero = b.constant_bit32(u32_type, 0);
        let vector = b.type_vector(u32_type, 3);
        let pointer = b.type_pointer(None, StorageClass::Input, vector);
        let id_variable = b.variable(pointer, None, StorageClass::Input, None);
        b.decorate(id_variable, Decoration::BuiltIn, [Operand::BuiltIn(BuiltIn::GlobalInvocationId)]);
        let main = b.id();
        b.entry_point(spirv::ExecutionModel::GLCompute, main, "main", [id_variable]);
        Self { b, main, u32_type, zero, id_variable }
    }

    /// One invocation for each workgroup.
    fn one_invocation(&mut self) {
        self.b.execution_mode(self.main, spirv::ExecutionMode::LocalSize, [1, 1, 1]);
    }

    /// A variable with a place in set 0.
    fn bound(&mut self, pointer: Word, class: StorageClass, binding: u32) -> Word {
        let variable = self.b.variable(pointer, None, class, None);
        self.b.decorate(variable, Decoration::DescriptorSet, [Operand::LiteralBit32(0)]);
        self.b.decorate(variable, Decoration::Binding, [Operand::LiteralBit32(binding)]);
        variable
    }

    /// The type of a block that is one array without end.
    fn array_block(&mut self, element: Word, stride: u32) -> Word {
        let array = self.b.type_runtime_array(element);
        self.b.decorate(array, Decoration::ArrayStride, [Operand::LiteralBit32(stride)]);
        let block = self.b.type_struct([array]);
        self.b.decorate(block, Decoration::Block, []);
        self.b.member_decorate(block, 0, Decoration::Offset, [Operand::LiteralBit32(0)]);
        block
    }

    /// Opens `main` and loads the invocation's number.
    fn open(&mut self) -> Result<Word> {
        let void = self.b.type_void();
        let kind = self.b.type_function(void, []);
        self.b.begin_function(void, Some(self.main), spirv::FunctionControl::NONE, kind)?;
        self.b.begin_block(None)?;
        let pointer = self.b.type_pointer(None, StorageClass::Input, self.u32_type);
        let at = self.b.access_chain(pointer, None, self.id_variable, [self.zero])?;
        Ok(self.b.load(self.u32_type, None, at, None, [])?)
    }

    /// Closes `main` and gives the words.
    fn close(mut self) -> Result<Vec<u32>> {
        self.b.ret()?;
        self.b.end_function()?;
        Ok(self.b.module().assemble())
    }
}

/// `out[i] = input[i] + 1` over arrays of narrow integers; bindings 0 and 1, one invocation per workgroup.
pub(crate) fn add_one_to_narrow(narrow: Narrow) -> Result<Vec<u32>> {
    let (capabilities, extensions, bits): (&[Capability], &[&str], u32) = match narrow {
        Narrow::Bits8 => {
            (&[Capability::Int8, Capability::StorageBuffer8BitAccess], &["SPV_KHR_8bit_storage"], 8)
        }
        Narrow::Bits16 => (&[Capability::Int16, Capability::StorageBuffer16BitAccess], &[], 16),
    };
    let mut shader = Shader::new(capabilities, extensions);
    shader.one_invocation();
    let element = shader.b.type_int(bits, 0);
    let one = shader.b.constant_bit32(element, 1);
    let block = shader.array_block(element, bits / 8);
    let pointer = shader.b.type_pointer(None, StorageClass::StorageBuffer, block);
    let input = shader.bound(pointer, StorageClass::StorageBuffer, 0);
    let out = shader.bound(pointer, StorageClass::StorageBuffer, 1);
    let element_pointer = shader.b.type_pointer(None, StorageClass::StorageBuffer, element);
    let index = shader.open()?;
    let (b, zero) = (&mut shader.b, shader.zero);
    let from = b.access_chain(element_pointer, None, input, [zero, index])?;
    let value = b.load(element, None, from, None, [])?;
    let sum = b.i_add(element, None, value, one)?;
    let to = b.access_chain(element_pointer, None, out, [zero, index])?;
    b.store(to, sum, None, [])?;
    shader.close()
}

/// `to[i] = from[i] + 1` where push constants hold two buffer addresses; one invocation per workgroup.
pub(crate) fn copy_by_address() -> Result<Vec<u32>> {
    let capabilities = [Capability::PhysicalStorageBufferAddresses, Capability::Int64];
    let mut shader = Shader::new(&capabilities, &["SPV_KHR_physical_storage_buffer"]);
    shader.one_invocation();
    let u32_type = shader.u32_type;
    let block = shader.array_block(u32_type, 4);
    let one = shader.b.constant_bit32(u32_type, 1);
    let class = StorageClass::PhysicalStorageBuffer;
    let address = shader.b.type_pointer(None, class, block);
    let push = shader.b.type_struct([address, address]);
    shader.b.decorate(push, Decoration::Block, []);
    shader.b.member_decorate(push, 0, Decoration::Offset, [Operand::LiteralBit32(0)]);
    shader.b.member_decorate(push, 1, Decoration::Offset, [Operand::LiteralBit32(8)]);
    let push_pointer = shader.b.type_pointer(None, StorageClass::PushConstant, push);
    let constants = shader.b.variable(push_pointer, None, StorageClass::PushConstant, None);
    let member_pointer = shader.b.type_pointer(None, StorageClass::PushConstant, address);
    let word_pointer = shader.b.type_pointer(None, class, u32_type);
    let index = shader.open()?;
    let (b, zero) = (&mut shader.b, shader.zero);
    let aligned = Some(spirv::MemoryAccess::ALIGNED);
    let at = b.access_chain(member_pointer, None, constants, [zero])?;
    let from = b.load(address, None, at, None, [])?;
    let at = b.access_chain(member_pointer, None, constants, [one])?;
    let to = b.load(address, None, at, None, [])?;
    let at = b.access_chain(word_pointer, None, from, [zero, index])?;
    let value = b.load(u32_type, None, at, aligned, [Operand::LiteralBit32(4)])?;
    let sum = b.i_add(u32_type, None, value, one)?;
    let at = b.access_chain(word_pointer, None, to, [zero, index])?;
    b.store(at, sum, aligned, [Operand::LiteralBit32(4)])?;
    shader.close()
}

/// `out[i] = constant 0 * 1000 + constant 1 + i`, where constant 2 is the size of a workgroup.
///
/// The constants are 7, 5 and 1 unless specialised.
pub(crate) fn specialized() -> Result<Vec<u32>> {
    let mut shader = Shader::new(&[], &[]);
    let u32_type = shader.u32_type;
    let constants: Vec<Word> = [7, 5, 1]
        .into_iter()
        .zip(0..)
        .map(|(value, id)| {
            let constant = shader.b.spec_constant_bit32(u32_type, value);
            shader.b.decorate(constant, Decoration::SpecId, [Operand::LiteralBit32(id)]);
            constant
        })
        .collect();
    let one = shader.b.constant_bit32(u32_type, 1);
    let thousand = shader.b.constant_bit32(u32_type, 1000);
    let vector = shader.b.type_vector(u32_type, 3);
    let size = shader.b.spec_constant_composite(vector, [constants[2], one, one]);
    shader.b.decorate(size, Decoration::BuiltIn, [Operand::BuiltIn(BuiltIn::WorkgroupSize)]);
    let block = shader.array_block(u32_type, 4);
    let pointer = shader.b.type_pointer(None, StorageClass::StorageBuffer, block);
    let out = shader.bound(pointer, StorageClass::StorageBuffer, 0);
    let word_pointer = shader.b.type_pointer(None, StorageClass::StorageBuffer, u32_type);
    shader.one_invocation();
    let index = shader.open()?;
    let (b, zero) = (&mut shader.b, shader.zero);
    let high = b.i_mul(u32_type, None, constants[0], thousand)?;
    let both = b.i_add(u32_type, None, high, constants[1])?;
    let sum = b.i_add(u32_type, None, both, index)?;
    let at = b.access_chain(word_pointer, None, out, [zero, index])?;
    b.store(at, sum, None, [])?;
    shader.close()
}

/// Copies texels of a uniform texel buffer (binding 0) to a storage texel buffer of `R32ui` (binding 1).
pub(crate) fn copy_texels() -> Result<Vec<u32>> {
    let mut shader = Shader::new(&[Capability::SampledBuffer, Capability::ImageBuffer], &[]);
    shader.one_invocation();
    let u32_type = shader.u32_type;
    let image = |b: &mut Builder, sampled: u32, format: spirv::ImageFormat| {
        b.type_image(u32_type, spirv::Dim::DimBuffer, 0, 0, 0, sampled, format, None)
    };
    let class = StorageClass::UniformConstant;
    let from_type = image(&mut shader.b, 1, spirv::ImageFormat::Unknown);
    let to_type = image(&mut shader.b, 2, spirv::ImageFormat::R32ui);
    let pointer = shader.b.type_pointer(None, class, from_type);
    let from = shader.bound(pointer, class, 0);
    let pointer = shader.b.type_pointer(None, class, to_type);
    let to = shader.bound(pointer, class, 1);
    let vector = shader.b.type_vector(u32_type, 4);
    let index = shader.open()?;
    let b = &mut shader.b;
    let texels = b.load(from_type, None, from, None, [])?;
    let texel = b.image_fetch(vector, None, texels, index, None, [])?;
    let texels = b.load(to_type, None, to, None, [])?;
    b.image_write(texels, index, texel, None, [])?;
    shader.close()
}
