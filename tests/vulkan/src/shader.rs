//! Shaders: WGSL compiled here, and modules put together word by word for what WGSL cannot say.

mod assembled;
mod drawn;
mod texels;

use anyhow::Context as _;
use anyhow::Result;

pub(crate) use self::assembled::Narrow;
pub(crate) use self::assembled::add_one_to_narrow;
pub(crate) use self::assembled::copy_by_address;
pub(crate) use self::assembled::copy_texels;
pub(crate) use self::assembled::specialized;
pub(crate) use self::drawn::capture_positions;
pub(crate) use self::drawn::double_input_attachment;
pub(crate) use self::texels::Texels;
pub(crate) use self::texels::fetch_texels;
pub(crate) use self::texels::read_texels;
pub(crate) use self::texels::write_texels;

/// Compiles WGSL to SPIR-V 1.3.
pub(crate) fn wgsl(source: &str) -> Result<Vec<u32>> {
    let module = naga::front::wgsl::parse_str(source)
        .map_err(|error| anyhow::anyhow!("{}", error.emit_to_string(source)))?;
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    let info = validator.validate(&module).context("WGSL does not validate")?;
    let options = naga::back::spv::Options {
        lang_version: (1, 3),
        use_storage_input_output_16: false,
        ..Default::default()
    };
    Ok(naga::back::spv::write_vec(&module, &info, &options, None)?)
}
