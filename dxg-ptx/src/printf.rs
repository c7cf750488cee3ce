//! What kernels print: `printf` formats and failed assertions.
//!
//! *Source: header* (C's `printf`); the argument buffer is what CUDA compilers write: each argument at its natural alignment, 4
//! bytes for integers up to `int`, 8 for longer ones, for doubles and for pointers.

/// Bytes of a text that are read at most.
pub const MOST_TEXT_BYTES: u64 = 64 << 10;

/// Bytes after which nothing more is printed by one `printf`.
const MOST_PRINTED_BYTES: usize = 256 << 10;

/// Width and precision that are padded at most.
const MOST_PADDING: usize = 4096;

/// What formatting asks of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// An argument of 4 or 8 bytes, this far into the argument buffer.
    Argument {
        /// Bytes from the start.
        offset: u64,
        /// 4 or 8.
        bytes: u32,
    },
    /// A text that ends with a NUL.
    Text {
        /// Where it starts.
        address: u64,
    },
}

/// What memory answers: a word to [`Request::Argument`], a text to [`Request::Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An argument.
    Word(u64),
    /// A text without its NUL.
    Text(Vec<u8>),
}

/// What one `printf` made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// The text.
    pub text: Vec<u8>,
    /// Arguments that the format names.
    pub arguments: u64,
}

/// One conversion of a format.
#[derive(Clone, Debug, Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    /// Bits that a length modifier leaves of an integer.
    bits: u32,
}

/// Reads a format and its arguments.
struct Reader<'m, E> {
    memory: &'m mut dyn FnMut(Request) -> Result<Answer, E>,
    offset: u64,
    arguments: u64,
}

impl<E> Reader<'_, E> {
    fn argument(&mut self, bytes: u32) -> Result<u64, E> {
        self.offset = self.offset.next_multiple_of(u64::from(bytes));
        let answer = (self.memory)(Request::Argument { offset: self.offset, bytes })?;
        self.offset += u64::from(bytes);
        self.arguments += 1;
        Ok(match answer {
            Answer::Word(word) => word,
            Answer::Text(_) => 0,
        })
    }

    fn text(&mut self, address: u64) -> Result<Vec<u8>, E> {
        if address == 0 {
            return Ok(b"(null)".to_vec());
        }
        Ok(match (self.memory)(Request::Text { address })? {
            Answer::Text(text) => text,
            Answer::Word(_) => Vec::new(),
        })
    }

    fn integer(&mut self, bits: u32) -> Result<u64, E> {
        self.argument(if bits == 64 { 8 } else { 4 })
    }
}

/// Formats as C does; an unknown conversion is printed as it stands.
///
/// # Errors
/// Those of `memory`.
pub fn format<E>(format: &[u8], memory: &mut dyn FnMut(Request) -> Result<Answer, E>) -> Result<Printed, E> {
    let mut reader = Reader { memory, offset: 0, arguments: 0 };
    let mut text = Vec::new();
    let mut rest = format;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        if text.len() >= MOST_PRINTED_BYTES {
            rest = &[];
            break;
        }
        let (plain, from) = rest.split_at(at);
        text.extend_from_slice(plain);
        let mut after = from.get(1..).unwrap_or_default();
        let spec = parse(&mut after, &mut reader)?;
        let Some((&conversion, tail)) = after.split_first() else {
            text.extend_from_slice(from);
            rest = &[];
            break;
        };
        rest = tail;
        let done = convert(&spec, conversion, &mut reader, &mut text)?;
        if !done {
            text.extend_from_slice(from.get(..from.len() - tail.len()).unwrap_or_default());
        }
    }
    text.extend_from_slice(rest);
    Ok(Printed { text, arguments: reader.arguments })
}

/// Takes a byte of a set off the front.
fn next(rest: &mut &[u8], set: &[u8]) -> Option<u8> {
    let (&byte, tail) = rest.split_first()?;
    set.contains(&byte).then(|| {
        *rest = tail;
        byte
    })
}

fn digits(rest: &mut &[u8]) -> usize {
    let mut number = 0_usize;
    while let Some(digit) = next(rest, b"0123456789") {
        number = (number * 10 + usize::from(digit - b'0')).min(MOST_PADDING);
    }
    number
}

/// Takes flags, width, precision and length off the front.
fn parse<E>(rest: &mut &[u8], reader: &mut Reader<'_, E>) -> Result<Spec, E> {
    let mut spec = Spec { bits: 32, ..Spec::default() };
    while let Some(flag) = next(rest, b"-+ #0") {
        match flag {
            b'-' => spec.left = true,
            b'+' => spec.plus = true,
            b' ' => spec.space = true,
            b'#' => spec.alternate = true,
            _ => spec.zero = true,
        }
    }
    if next(rest, b"*").is_some() {
        let width = reader.argument(4)? as u32 as i32;
        spec.left |= width < 0;
        spec.width = (width.unsigned_abs() as usize).min(MOST_PADDING);
    } else {
        spec.width = digits(rest);
    }
    if next(rest, b".").is_some() {
        if next(rest, b"*").is_some() {
            let precision = reader.argument(4)? as u32 as i32;
            spec.precision = usize::try_from(precision).ok().map(|precision| precision.min(MOST_PADDING));
        } else {
            spec.precision = Some(digits(rest));
        }
    }
    while let Some(length) = next(rest, b"hlLjzt") {
        spec.bits = match (length, spec.bits) {
            (b'h', 16) => 8,
            (b'h', _) => 16,
            _ => 64,
        };
    }
    Ok(spec)
}

/// One conversion; whether it is known.
fn convert<E>(spec: &Spec, conversion: u8, reader: &mut Reader<'_, E>, out: &mut Vec<u8>) -> Result<bool, E> {
    match conversion {
        b'%' => out.push(b'%'),
        b'd' | b'i' => {
            let raw = reader.integer(spec.bits)?;
            let value = (raw << (64 - spec.bits)) as i64 >> (64 - spec.bits);
            integer(spec, sign(spec, value < 0), value.unsigned_abs().to_string(), value == 0, out);
        }
        b'u' | b'x' | b'X' | b'o' => {
            let raw = reader.integer(spec.bits)?;
            let value = raw << (64 - spec.bits) >> (64 - spec.bits);
            let (prefix, digits) = match conversion {
                b'u' => ("", value.to_string()),
                b'x' => ("0x", format!("{value:x}")),
                b'X' => ("0X", format!("{value:X}")),
                _ => ("0", format!("{value:o}")),
            };
            let prefix = if spec.alternate && value != 0 { prefix } else { "" };
            integer(spec, prefix, digits, value == 0, out);
        }
        b'c' => {
            let byte = reader.argument(4)? as u8;
            pad(spec, &[byte], out);
        }
        b's' => {
            let address = reader.argument(8)?;
            let mut text = reader.text(address)?;
            text.truncate(spec.precision.unwrap_or(usize::MAX));
            pad(spec, &text, out);
        }
        b'p' => {
            let address = reader.argument(8)?;
            let text = if address == 0 { "(nil)".to_owned() } else { format!("0x{address:x}") };
            pad(spec, text.as_bytes(), out);
        }
        b'e' | b'E' | b'f' | b'F' | b'g' | b'G' | b'a' | b'A' => {
            let value = f64::from_bits(reader.argument(8)?);
            float(spec, conversion, value, out);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn sign(spec: &Spec, negative: bool) -> &'static str {
    match () {
        () if negative => "-",
        () if spec.plus => "+",
        () if spec.space => " ",
        () => "",
    }
}

fn pad(spec: &Spec, text: &[u8], out: &mut Vec<u8>) {
    let blanks = spec.width.saturating_sub(text.len());
    if !spec.left {
        out.resize(out.len() + blanks, b' ');
    }
    out.extend_from_slice(text);
    if spec.left {
        out.resize(out.len() + blanks, b' ');
    }
}

/// A number with its sign or prefix, zeros between the two if asked.
fn number(spec: &Spec, prefix: &str, digits: &str, zeros: bool, out: &mut Vec<u8>) {
    let length = prefix.len() + digits.len();
    let fill = if zeros && !spec.left { spec.width.saturating_sub(length) } else { 0 };
    let text = format!("{prefix}{:0<fill$}{digits}", "");
    pad(spec, text.as_bytes(), out);
}

fn integer(spec: &Spec, prefix: &str, digits: String, is_zero: bool, out: &mut Vec<u8>) {
    let least = spec.precision.unwrap_or(1);
    let digits = if is_zero { String::new() } else { digits };
    let digits = format!("{:0<fill$}{digits}", "", fill = least.saturating_sub(digits.len()));
    number(spec, prefix, &digits, spec.zero && spec.precision.is_none(), out);
}

fn float(spec: &Spec, conversion: u8, value: f64, out: &mut Vec<u8>) {
    let prefix = sign(spec, value.is_sign_negative());
    let magnitude = value.abs();
    let text = match conversion.to_ascii_lowercase() {
        _ if value.is_nan() => "nan".to_owned(),
        _ if value.is_infinite() => "inf".to_owned(),
        b'f' => fixed(magnitude, spec.precision.unwrap_or(6), spec.alternate),
        b'e' => exponential(magnitude, spec.precision.unwrap_or(6), spec.alternate),
        b'g' => general(magnitude, spec.precision.unwrap_or(6).max(1), spec.alternate),
        _ => hexadecimal(magnitude, spec.precision, spec.alternate),
    };
    let text = if conversion.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text };
    number(spec, prefix, &text, spec.zero && value.is_finite(), out);
}

fn fixed(value: f64, precision: usize, point: bool) -> String {
    let dot = if point && precision == 0 { "." } else { "" };
    format!("{value:.precision$}{dot}")
}

/// Mantissa and decimal exponent of a value rounded to so many digits after the point.
fn decimal(value: f64, precision: usize) -> (String, i32) {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or(0))
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

fn exponential(value: f64, precision: usize, point: bool) -> String {
    let (mut mantissa, exponent) = decimal(value, precision);
    if point && precision == 0 {
        mantissa.push('.');
    }
    with_exponent(&mantissa, exponent)
}

fn general(value: f64, precision: usize, keeps_zeros: bool) -> String {
    let (mantissa, exponent) = decimal(value, precision - 1);
    let trim = |text: &str| match text.contains('.') && !keeps_zeros {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let digits = i32::try_from(precision).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= digits {
        return with_exponent(&trim(&mantissa), exponent);
    }
    let after = usize::try_from(digits - 1 - exponent).unwrap_or(0);
    trim(&fixed(value, after, keeps_zeros))
}

fn hexadecimal(value: f64, precision: Option<usize>, point: bool) -> String {
    let bits = value.to_bits();
    let (mut lead, mut fraction) = (u64::from(bits >> 52 != 0), bits & ((1 << 52) - 1));
    let exponent = match bits >> 52 & 0x7ff {
        0 if fraction == 0 => 0,
        0 => -1022,
        biased => biased as i32 - 1023,
    };
    let mut digits = precision.unwrap_or(13);
    if digits < 13 {
        let cut = 4 * (13 - digits as u32);
        let whole = lead << 52 | fraction;
        let half = 1_u64 << (cut - 1);
        let rest = whole & ((1 << cut) - 1);
        let odd = whole >> cut & 1 == 1;
        let rounded = (whole >> cut) + u64::from(rest > half || rest == half && odd);
        let whole = rounded << cut;
        (lead, fraction) = (whole >> 52, whole & ((1 << 52) - 1));
    }
    let mut text = format!("{fraction:013x}");
    if precision.is_none() {
        let kept = text.trim_end_matches('0').len();
        text.truncate(kept);
        digits = kept;
    } else {
        text.truncate(digits);
        text = format!("{text:0<digits$}");
    }
    let dot = if digits > 0 || point { "." } else { "" };
    format!("0x{lead:x}{dot}{text}p{exponent:+}")
}

/// An assertion of a kernel that did not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assertion {
    /// What was asserted.
    pub message: Vec<u8>,
    /// The file.
    pub file: Vec<u8>,
    /// The line.
    pub line: u32,
    /// The function.
    pub function: Vec<u8>,
    /// In which block.
    pub block: [u32; 3],
    /// In which thread.
    pub thread: [u32; 3],
}

impl Assertion {
    /// As CUDA prints it.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let [bx, by, bz] = self.block;
        let [tx, ty, tz] = self.thread;
        let place = format!(": block: [{bx},{by},{bz}], thread: [{tx},{ty},{tz}] Assertion `");
        let line = format!(":{}: ", self.line);
        [&self.file, line.as_bytes(), &self.function, place.as_bytes(), &self.message, b"` failed.\n"]
            .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats with arguments laid out as a compiler does.
    fn printed(text: &str, arguments: &[Argument]) -> String {
        let mut buffer = Vec::new();
        let mut texts = Vec::new();
        for argument in arguments {
            let bytes = match argument {
                Argument::Int(value) => value.to_le_bytes().to_vec(),
                Argument::Long(value) => value.to_le_bytes().to_vec(),
                Argument::Float(value) => value.to_le_bytes().to_vec(),
                Argument::Text(text) => {
                    texts.push(text.as_bytes().to_vec());
                    (texts.len() as u64).to_le_bytes().to_vec()
                }
            };
            buffer.resize(buffer.len().next_multiple_of(bytes.len()), 0);
            buffer.extend(bytes);
        }
        let mut memory = |request: Request| -> Result<Answer, ()> {
            match request {
                Request::Argument { offset, bytes } => {
                    let start = offset as usize;
                    let mut word = [0; 8];
                    word[..bytes as usize].copy_from_slice(&buffer[start..start + bytes as usize]);
                    Ok(Answer::Word(u64::from_le_bytes(word)))
                }
                Request::Text { address } => Ok(Answer::Text(texts[address as usize - 1].clone())),
            }
        };
        let printed = format(text.as_bytes(), &mut memory).expect("memory answers");
        assert_eq!(printed.arguments as usize, arguments.len());
        String::from_utf8(printed.text).expect("the text is ASCII")
    }

    enum Argument {
        Int(i32),
        Long(i64),
        Float(f64),
        Text(&'static str),
    }
    use Argument::Float;
    use Argument::Int;
    use Argument::Long;
    use Argument::Text;

    #[test]
    fn format_of_integers_follows_c() {
        assert_eq!(
            printed("[%d|%5d|%-5d|%05d|%+d|% d]", &[-7, 42, 42, -42, 7, 7].map(Int)),
            "[-7|   42|42   |-0042|+7| 7]"
        );
        assert_eq!(printed("%u %x %#X %o %#o", &[-1, 255, 255, 8, 8].map(Int)), "4294967295 ff 0XFF 10 010");
        assert_eq!(
            printed("%hhd %hd %.5d|%8.3d|%.0d", &[0x1ff, 0x1_8000, 42, 7, 0].map(Int)),
            "-1 -32768 00042|     007|"
        );
        assert_eq!(printed("%d %lld %i", &[Int(1), Long(i64::MIN), Int(3)]), "1 -9223372036854775808 3");
        assert_eq!(
            printed("%*d|%-*d|%.*f", &[Int(4), Int(1), Int(3), Int(2), Int(1), Float(2.55)]),
            "   1|2  |2.5"
        );
    }

    #[test]
    fn format_of_floats_follows_c() {
        assert_eq!(
            printed("%f %.2f %e %.0e", &[1.5, -2.675, 12345.678, 15.0].map(Float)),
            "1.500000 -2.67 1.234568e+04 2e+01"
        );
        assert_eq!(
            printed("%g %g %g %g %#g", &[100000.0, 1e6, 1e-5, 0.0001, 1.0].map(Float)),
            "100000 1e+06 1e-05 0.0001 1.00000"
        );
        assert_eq!(
            printed(
                "%a %.1a %f %08.1f %F",
                &[1.0, 1.96875, f64::NEG_INFINITY, -1.25, f64::INFINITY].map(Float)
            ),
            "0x1p+0 0x2.0p+0 -inf -00001.2 INF"
        );
    }

    #[test]
    fn format_of_texts_pads_and_cuts() {
        assert_eq!(
            printed("%s|%6s|%-6s|%.2s|%c%%", &[Text("ab"), Text("cd"), Text("ef"), Text("ghi"), Int(65)]),
            "ab|    cd|ef    |gh|A%"
        );
        assert_eq!(printed("%p %s", &[Long(0x1000), Long(0)]), "0x1000 (null)");
        assert_eq!(printed("%y or 100%", &[]), "%y or 100%");
    }

    #[test]
    fn text_of_one_call_has_an_end() {
        let long = vec![b'x'; MOST_TEXT_BYTES as usize];
        let mut memory = |request: Request| -> Result<Answer, ()> {
            match request {
                Request::Argument { .. } => Ok(Answer::Word(1)),
                Request::Text { .. } => Ok(Answer::Text(long.clone())),
            }
        };
        let printed = format("%s".repeat(1 << 15).as_bytes(), &mut memory).expect("memory answers");
        assert_eq!(printed.text.len(), MOST_PRINTED_BYTES);
    }
}
