//! A frame as a PNG file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;

/// The pixels of a frame: red, green, blue, a byte each, row after row.
pub(crate) struct Picture {
    /// Width and height in pixels.
    pub(crate) size: [u32; 2],
    /// `3 * width * height` bytes.
    pub(crate) pixels: Vec<u8>,
}

/// Writes the picture.
pub(crate) fn write(path: &Path, picture: &Picture) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let [width, height] = picture.size;
    let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&picture.pixels)?;
    Ok(())
}
