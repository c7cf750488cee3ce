//! Compute shaders over texels of any format: one invocation for each workgroup, which is one texel.

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

/// What a shader sees of a texel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texels {
    /// Numbers with a point.
    Float,
    /// Whole numbers.
    Unsigned,
    /// Whole numbers of both signs.
    Signed,
}

impl Texels {
    /// All of them; each is at its own number.
    pub(crate) const ALL: [Self; 3] = [Self::Float, Self::Unsigned, Self::Signed];

    fn scalar(self, b: &mut Builder) -> Word {
        match self {
            Self::Float => b.type_float(32, None),
            Self::Unsigned => b.type_int(32, 0),
            Self::Signed => b.type_int(32, 1),
        }
    }
}

/// A shader that is open in `main`, and the place of its invocation.
struct Place {
    b: Builder,
    main: Word,
    id: Word,
    groups: Word,
    id_variable: Word,
    groups_variable: Word,
    uint: Word,
}

impl Place {
    /// `bind` makes the variables; then `main` is open.
    fn new<T>(capabilities: &[Capability], bind: impl FnOnce(&mut Builder) -> T) -> Result<(Self, T)> {
        let mut b = Builder::new();
        b.set_version(1, 3);
        b.capability(Capability::Shader);
        capabilities.iter().for_each(|capability| b.capability(*capability));
        b.memory_model(spirv::AddressingModel::Logical, spirv::MemoryModel::GLSL450);
        let uint = b.type_int(32, 0);
        let triple = b.type_vector(uint, 3);
        let pointer = b.type_pointer(None, StorageClass::Input, triple);
        let mut input = |builtin| {
            let variable = b.variable(pointer, None, StorageClass::Input, None);
            b.decorate(variable, Decoration::BuiltIn, [Operand::BuiltIn(builtin)]);
            variable
        };
        let (id_variable, groups_variable) =
            (input(BuiltIn::GlobalInvocationId), input(BuiltIn::NumWorkgroups));
        let bound = bind(&mut b);
        let void = b.type_void();
        let kind = b.type_function(void, []);
        let main = b.begin_function(void, None, spirv::FunctionControl::NONE, kind)?;
        b.begin_block(None)?;
        let id = b.load(triple, None, id_variable, None, [])?;
        let groups = b.load(triple, None, groups_variable, None, [])?;
        Ok((Self { b, main, id, groups, id_variable, groups_variable, uint }, bound))
    }

    /// `y * width + x`, and `x` and `y`.
    fn index(&mut self) -> Result<(Word, Word, Word)> {
        let x = self.b.composite_extract(self.uint, None, self.id, [0])?;
        let y = self.b.composite_extract(self.uint, None, self.id, [1])?;
        let width = self.b.composite_extract(self.uint, None, self.groups, [0])?;
        let row = self.b.i_mul(self.uint, None, y, width)?;
        Ok((self.b.i_add(self.uint, None, row, x)?, x, y))
    }

    fn close(mut self) -> Result<Vec<u32>> {
        self.b.ret()?;
        self.b.end_function()?;
        let inputs = [self.id_variable, self.groups_variable];
        self.b.entry_point(spirv::ExecutionModel::GLCompute, self.main, "main", inputs);
        self.b.execution_mode(self.main, spirv::ExecutionMode::LocalSize, [1, 1, 1]);
        Ok(self.b.module().assemble())
    }
}

fn bound(b: &mut Builder, pointer: Word, class: StorageClass, binding: u32) -> Word {
    let variable = b.variable(pointer, None, class, None);
    b.decorate(variable, Decoration::DescriptorSet, [Operand::LiteralBit32(0)]);
    b.decorate(variable, Decoration::Binding, [Operand::LiteralBit32(binding)]);
    variable
}

/// A storage buffer of vectors of four words.
fn vectors(b: &mut Builder, binding: u32) -> (Word, Word) {
    let uint = b.type_int(32, 0);
    let vector = b.type_vector(uint, 4);
    let array = b.type_runtime_array(vector);
    b.decorate(array, Decoration::ArrayStride, [Operand::LiteralBit32(16)]);
    let block = b.type_struct([array]);
    b.decorate(block, Decoration::Block, []);
    b.member_decorate(block, 0, Decoration::Offset, [Operand::LiteralBit32(0)]);
    let pointer = b.type_pointer(None, StorageClass::StorageBuffer, block);
    (bound(b, pointer, StorageClass::StorageBuffer, binding), vector)
}

/// Stores a vector of any kind as words at `index`.
fn store(place: &mut Place, out: Word, vector: Word, index: Word, value: Word, texels: Texels) -> Result<()> {
    let b = &mut place.b;
    let words = match texels {
        Texels::Unsigned => value,
        _ => b.bitcast(vector, None, value)?,
    };
    let pointer = b.type_pointer(None, StorageClass::StorageBuffer, vector);
    let zero = b.constant_bit32(place.uint, 0);
    let to = b.access_chain(pointer, None, out, [zero, index])?;
    Ok(b.store(to, words, None, [])?)
}

fn image(b: &mut Builder, texels: Texels, dim: spirv::Dim, sampled: u32) -> (Word, Word) {
    let scalar = texels.scalar(b);
    let kind = b.type_image(scalar, dim, 0, 0, 0, sampled, spirv::ImageFormat::Unknown, None);
    (kind, scalar)
}

/// `out[y * width + x] = image[x, y]`: a sampled image at binding 0, words at binding 1.
pub(crate) fn read_texels(texels: Texels) -> Result<Vec<u32>> {
    let (mut place, (kind, scalar, input, out, vector)) = Place::new(&[], |b| {
        let (kind, scalar) = image(b, texels, spirv::Dim::Dim2D, 1);
        let pointer = b.type_pointer(None, StorageClass::UniformConstant, kind);
        let input = bound(b, pointer, StorageClass::UniformConstant, 0);
        let (out, vector) = vectors(b, 1);
        (kind, scalar, input, out, vector)
    })?;
    let (index, x, y) = place.index()?;
    let b = &mut place.b;
    let pair = b.type_vector(place.uint, 2);
    let at = b.composite_construct(pair, None, [x, y])?;
    let loaded = b.load(kind, None, input, None, [])?;
    let texel = b.type_vector(scalar, 4);
    let level = b.constant_bit32(place.uint, 0);
    let value =
        b.image_fetch(texel, None, loaded, at, Some(spirv::ImageOperands::LOD), [Operand::IdRef(level)])?;
    store(&mut place, out, vector, index, value, texels)?;
    place.close()
}

/// `out[i] = buffer[i]`: a uniform texel buffer at binding 0, words at binding 1.
pub(crate) fn fetch_texels(texels: Texels) -> Result<Vec<u32>> {
    let (mut place, (kind, scalar, input, out, vector)) = Place::new(&[Capability::SampledBuffer], |b| {
        let (kind, scalar) = image(b, texels, spirv::Dim::DimBuffer, 1);
        let pointer = b.type_pointer(None, StorageClass::UniformConstant, kind);
        let input = bound(b, pointer, StorageClass::UniformConstant, 0);
        let (out, vector) = vectors(b, 1);
        (kind, scalar, input, out, vector)
    })?;
    let (index, ..) = place.index()?;
    let b = &mut place.b;
    let loaded = b.load(kind, None, input, None, [])?;
    let texel = b.type_vector(scalar, 4);
    let value = b.image_fetch(texel, None, loaded, index, None, [])?;
    store(&mut place, out, vector, index, value, texels)?;
    place.close()
}

/// `image[x, y] = (x, y, 1, 1)`, the first two over 32 where there is a point: a storage image at binding 0.
pub(crate) fn write_texels(texels: Texels) -> Result<Vec<u32>> {
    let capability = Capability::StorageImageWriteWithoutFormat;
    let (mut place, (kind, scalar, out)) = Place::new(&[capability], |b| {
        let (kind, scalar) = image(b, texels, spirv::Dim::Dim2D, 2);
        let pointer = b.type_pointer(None, StorageClass::UniformConstant, kind);
        let out = bound(b, pointer, StorageClass::UniformConstant, 0);
        b.decorate(out, Decoration::NonReadable, []);
        (kind, scalar, out)
    })?;
    let (_, x, y) = place.index()?;
    let b = &mut place.b;
    let mut parts = Vec::new();
    for part in [x, y] {
        parts.push(match texels {
            Texels::Unsigned => part,
            Texels::Signed => b.bitcast(scalar, None, part)?,
            Texels::Float => {
                let number = b.convert_u_to_f(scalar, None, part)?;
                let scale = b.constant_bit32(scalar, (1.0_f32 / 32.0).to_bits());
                b.f_mul(scalar, None, number, scale)?
            }
        });
    }
    let one = match texels {
        Texels::Float => b.constant_bit32(scalar, 1.0_f32.to_bits()),
        _ => b.constant_bit32(scalar, 1),
    };
    let texel = b.type_vector(scalar, 4);
    let value = b.composite_construct(texel, None, [parts[0], parts[1], one, one])?;
    let pair = b.type_vector(place.uint, 2);
    let at = b.composite_construct(pair, None, [x, y])?;
    let loaded = b.load(kind, None, out, None, [])?;
    b.image_write(loaded, at, value, None, [])?;
    place.close()
}
