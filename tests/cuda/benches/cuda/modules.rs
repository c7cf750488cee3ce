//! What it takes to make modules of others ready: the kernels that are kept as test data of `dxg-ptx`.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;

use crate::driver::Cuda;
use crate::driver::Shape;

/// Whether the driver has seen the text before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    New,
    Known,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dxg-ptx/tests/cases")
}

/// The names of the cases, such as `clang/recursion_sm70`.
pub(crate) fn cases() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for producer in fs::read_dir(directory()).context("the cases of dxg-ptx")? {
        let producer = producer?.path();
        if !producer.is_dir() {
            continue;
        }
        for file in fs::read_dir(&producer)? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "ptx") {
                let name = file.with_extension("");
                let name = name.strip_prefix(directory())?.to_str().context("a name that is no text")?;
                names.push(name.to_owned());
            }
        }
    }
    ensure!(!names.is_empty(), "there are no cases");
    names.sort();
    Ok(names)
}

/// Milliseconds that loading a module and making its kernel ready takes: loading and the first launch, less what a later
/// launch takes. Its buffers are zeros, so it may do less than it would.
pub(crate) fn ready(name: &str, text: Text) -> Result<f64> {
    let path = directory().join(name);
    let json: Value = serde_json::from_str(&fs::read_to_string(path.with_extension("json"))?)?;
    let ptx = fs::read_to_string(path.with_extension("ptx"))?;
    let cuda = Cuda::open()?;
    // A module that nobody keeps, so that what is measured is not the start of the compiler as such.
    crate::kernels::function(&cuda, "empty")?;
    let entry = json["entry"].as_str().context("no entry")?;
    let shape = shape(&json["launch"])?;
    let parameters = parameters(&cuda, &json)?;
    // The daemon may have seen this file in an earlier run.
    let unheard_of = format!("{ptx}\n// {} {:?}\n", std::process::id(), std::time::SystemTime::now());
    let ptx = CString::new(unheard_of)?;
    let once = || -> Result<(Duration, Duration)> {
        let begin = Instant::now();
        let module = cuda.load(&ptx)?;
        let function = cuda.function(module, entry)?;
        let launch = || -> Result<()> {
            cuda.launch(function, &shape, &parameters)?;
            cuda.synchronize()
        };
        launch()?;
        let first = begin.elapsed();
        let begin = Instant::now();
        launch()?;
        let later = begin.elapsed();
        cuda.unload(module)?;
        Ok((first, later))
    };
    let mut times = once()?;
    if text == Text::Known {
        times = once()?;
    }
    let (first, later) = times;
    Ok(first.saturating_sub(later).as_secs_f64() * 1e3)
}

fn shape(launch: &Value) -> Result<Shape> {
    let three = |key: &str| -> Result<[u32; 3]> {
        let list = launch[key].as_array().with_context(|| format!("no {key}"))?;
        let numbers: Vec<u32> = list.iter().map(number).collect::<Result<_>>()?;
        numbers.try_into().ok().with_context(|| format!("{key} has not three numbers"))
    };
    Ok(Shape {
        grid: three("grid")?,
        block: three("block")?,
        shared_bytes: number(&launch["dynamic_shared_bytes"])?,
    })
}

fn number(value: &Value) -> Result<u32> {
    let number = value.as_u64().with_context(|| format!("{value} is no number"))?;
    Ok(u32::try_from(number)?)
}

/// The parameters of a case, with buffers of zeros.
fn parameters(cuda: &Cuda, json: &Value) -> Result<Vec<Vec<u8>>> {
    let empty = Vec::new();
    let params = json["params"].as_array().context("no params")?;
    let extra = json["extra_buffers"].as_array().unwrap_or(&empty);
    let mut addresses = HashMap::new();
    for buffer in params.iter().filter(|param| param["kind"] == "buffer").chain(extra) {
        // Elements have eight bytes at most.
        let size_bytes = number(&buffer["count"])? as usize * 8;
        let address = cuda.allocate(size_bytes)?;
        cuda.zero(address, size_bytes)?;
        addresses.insert(buffer["name"].as_str().context("a buffer without a name")?, address);
    }
    for buffer in extra {
        let address = addresses[buffer["name"].as_str().unwrap_or_default()];
        for field in buffer["fields"].as_array().unwrap_or(&empty) {
            cuda.write(address + u64::from(number(&field["offset"])?), &value(field, &addresses)?)?;
        }
    }
    params
        .iter()
        .map(|param| match param["kind"].as_str() {
            Some("buffer") => {
                Ok(addresses[param["name"].as_str().unwrap_or_default()].to_le_bytes().to_vec())
            }
            Some("scalar") => value(param, &addresses),
            Some("struct") => {
                let mut bytes = vec![0; number(&param["size"])? as usize];
                for field in param["fields"].as_array().unwrap_or(&empty) {
                    let offset = number(&field["offset"])? as usize;
                    let value = value(field, &addresses)?;
                    let place = bytes.get_mut(offset..offset + value.len()).context("a field outside")?;
                    place.copy_from_slice(&value);
                }
                Ok(bytes)
            }
            kind => bail!("a parameter of kind {kind:?}"),
        })
        .collect()
}

/// The bytes of a scalar or of a field.
fn value(json: &Value, addresses: &HashMap<&str, u64>) -> Result<Vec<u8>> {
    if let Some(buffer) = json["buffer"].as_str() {
        return Ok(addresses.get(buffer).context("a buffer that is not there")?.to_le_bytes().to_vec());
    }
    let value = &json["value"];
    Ok(match json["type"].as_str() {
        Some("i32") => i32::try_from(value.as_i64().context("no number")?)?.to_le_bytes().to_vec(),
        Some("u32") => number(value)?.to_le_bytes().to_vec(),
        Some("f32") => (value.as_f64().context("no number")? as f32).to_le_bytes().to_vec(),
        Some("f64") => value.as_f64().context("no number")?.to_le_bytes().to_vec(),
        kind => bail!("a value of type {kind:?}"),
    })
}
