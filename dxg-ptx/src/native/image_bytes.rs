//! Code as bytes, to be kept outside of this process.

use crate::native::code::CodeImage;

/// An image as bytes.
pub(crate) fn encode(image: &CodeImage) -> Vec<u8> {
    let mut out = Vec::with_capacity(image.bytes.len() + 12 * image.places.len() + 64);
    let mut word = |value: usize| out.extend_from_slice(&(value as u32).to_le_bytes());
    word(image.starts.len());
    word(image.places.len());
    word(image.bytes.len());
    image.starts.iter().for_each(|&start| word(start as usize));
    image.places.iter().flatten().for_each(|&part| word(part as usize));
    out.extend_from_slice(&image.bytes);
    out
}

/// The image that bytes stand for; nothing where they stand for none.
pub(crate) fn decode(content: &[u8]) -> Option<CodeImage> {
    let mut rest = content;
    let mut word = || {
        let (word, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        Some(u32::from_le_bytes(*word))
    };
    let [starts, places, bytes] = [word()?, word()?, word()?].map(|count| count as usize);
    let starts = (0..starts).map(|_| word()).collect::<Option<Vec<u32>>>()?;
    let places = (0..places).map(|_| Some([word()?, word()?, word()?])).collect::<Option<Vec<_>>>()?;
    (rest.len() == bytes && starts.iter().all(|&start| (start as usize) < bytes)).then(|| CodeImage {
        bytes: rest.to_vec(),
        starts,
        places,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(bytes: usize) -> CodeImage {
        CodeImage { bytes: vec![0xc3; bytes], starts: vec![0, 64], places: vec![[0, 0, 1], [64, 1, 2]] }
    }

    #[test]
    fn image_comes_back_from_its_bytes() {
        assert_eq!(decode(&encode(&image(200))), Some(image(200)));
    }

    #[test]
    fn bytes_that_are_cut_or_too_many_are_no_image() {
        let whole = encode(&image(200));
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "{len} bytes");
        }
        assert_eq!(decode(&[whole.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn unit_that_starts_behind_its_code_is_no_image() {
        assert_eq!(decode(&encode(&image(64))), None);
    }
}
