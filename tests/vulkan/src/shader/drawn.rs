//! Modules for drawing that WGSL has no words for.

use anyhow::Result;
use rspirv::binary::Assemble as _;
use rspirv::dr::Builder;
use rspirv::dr::Operand;
use rspirv::spirv;
use rspirv::spirv::BuiltIn;
use rspirv::spirv::Capability;
use rspirv::spirv::Decoration;
use rspirv::spirv::ExecutionMode;
use rspirv::spirv::StorageClass;
use rspirv::spirv::Word;

fn start(capability: Capability) -> Builder {
    let mut b = Builder::new();
    b.set_version(1, 3);
    b.capability(Capability::Shader);
    b.capability(capability);
    b.memory_model(spirv::AddressingModel::Logical, spirv::MemoryModel::GLSL450);
    b
}

/// Opens a function without parameters.
fn open(b: &mut Builder) -> Result<Word> {
    let void = b.type_void();
    let kind = b.type_function(void, []);
    let main = b.begin_function(void, None, spirv::FunctionControl::NONE, kind)?;
    b.begin_block(None)?;
    Ok(main)
}

/// A fragment shader `fs` that writes twice what input attachment 0 (binding 0) holds.
pub(crate) fn double_input_attachment() -> Result<Vec<u32>> {
    let mut b = start(Capability::InputAttachment);
    let float = b.type_float(32, None);
    let int = b.type_int(32, 1);
    let zero = b.constant_bit32(int, 0);
    let pair = b.type_vector(int, 2);
    let origin = b.constant_composite(pair, [zero, zero]);
    let color = b.type_vector(float, 4);
    let two = b.constant_bit32(float, 2.0_f32.to_bits());
    let image =
        b.type_image(float, spirv::Dim::DimSubpassData, 0, 0, 0, 2, spirv::ImageFormat::Unknown, None);
    let pointer = b.type_pointer(None, StorageClass::UniformConstant, image);
    let input = b.variable(pointer, None, StorageClass::UniformConstant, None);
    for (decoration, value) in
        [(Decoration::DescriptorSet, 0), (Decoration::Binding, 0), (Decoration::InputAttachmentIndex, 0)]
    {
        b.decorate(input, decoration, [Operand::LiteralBit32(value)]);
    }
    let pointer = b.type_pointer(None, StorageClass::Output, color);
    let out = b.variable(pointer, None, StorageClass::Output, None);
    b.decorate(out, Decoration::Location, [Operand::LiteralBit32(0)]);
    let main = open(&mut b)?;
    let loaded = b.load(image, None, input, None, [])?;
    let texel = b.image_read(color, None, loaded, origin, None, [])?;
    let twice = b.vector_times_scalar(color, None, texel, two)?;
    b.store(out, twice, None, [])?;
    b.ret()?;
    b.end_function()?;
    b.entry_point(spirv::ExecutionModel::Fragment, main, "fs", [out]);
    b.execution_mode(main, ExecutionMode::OriginUpperLeft, []);
    Ok(b.module().assemble())
}

/// A vertex shader `vs` whose position, captured into transform feedback buffer 0, is its index and three zeros.
pub(crate) fn capture_positions() -> Result<Vec<u32>> {
    let mut b = start(Capability::TransformFeedback);
    let float = b.type_float(32, None);
    let int = b.type_int(32, 1);
    let nought = b.constant_bit32(float, 0);
    let color = b.type_vector(float, 4);
    let pointer = b.type_pointer(None, StorageClass::Input, int);
    let index = b.variable(pointer, None, StorageClass::Input, None);
    b.decorate(index, Decoration::BuiltIn, [Operand::BuiltIn(BuiltIn::VertexIndex)]);
    let pointer = b.type_pointer(None, StorageClass::Output, color);
    let position = b.variable(pointer, None, StorageClass::Output, None);
    b.decorate(position, Decoration::BuiltIn, [Operand::BuiltIn(BuiltIn::Position)]);
    for (decoration, value) in
        [(Decoration::XfbBuffer, 0), (Decoration::XfbStride, 16), (Decoration::Offset, 0)]
    {
        b.decorate(position, decoration, [Operand::LiteralBit32(value)]);
    }
    let main = open(&mut b)?;
    let number = b.load(int, None, index, None, [])?;
    let number = b.convert_s_to_f(float, None, number)?;
    let made = b.composite_construct(color, None, [number, nought, nought, nought])?;
    b.store(position, made, None, [])?;
    b.ret()?;
    b.end_function()?;
    b.entry_point(spirv::ExecutionModel::Vertex, main, "vs", [index, position]);
    b.execution_mode(main, ExecutionMode::Xfb, []);
    Ok(b.module().assemble())
}
