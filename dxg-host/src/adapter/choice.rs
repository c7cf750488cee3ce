//! Which adapter a worker loads, in the form that crosses a command line.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;
use uuid::Uuid;

/// One adapter of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum AdapterChoice {
    /// [`super::null`]: `none`.
    None,
    /// [`super::cuda`]: `cpu`.
    Cpu,
    /// The device of the host's CUDA driver with this UUID: `cuda:<uuid>`.
    Cuda(Uuid),
    /// The Vulkan device with this UUID: `vulkan:<uuid>`.
    Vulkan(Uuid),
}

/// Text that names no adapter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not \"none\", \"cpu\" or \"vulkan:<uuid>\"")]
pub struct UnknownAdapter(String);

impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(uuid) => write!(f, "cuda:{uuid}"),
            Self::Vulkan(uuid) => write!(f, "vulkan:{uuid}"),
        }
    }
}

impl FromStr for AdapterChoice {
    type Err = UnknownAdapter;

    fn from_str(text: &str) -> Result<Self, UnknownAdapter> {
        let unknown = || UnknownAdapter(text.to_owned());
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "cpu" => Ok(Self::Cpu),
            Some(("cuda", uuid)) => uuid.parse().map(Self::Cuda).map_err(|_| unknown()),
            Some(("vulkan", uuid)) => uuid.parse().map(Self::Vulkan).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl From<AdapterChoice> for String {
    fn from(choice: AdapterChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for AdapterChoice {
    type Error = UnknownAdapter;

    fn try_from(text: String) -> Result<Self, UnknownAdapter> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_survives_its_text() {
        let vulkan = AdapterChoice::Vulkan(Uuid::from_u128(7));
        assert_eq!(vulkan.to_string().parse(), Ok(vulkan));
        let cuda = AdapterChoice::Cuda(Uuid::from_u128(8));
        assert_eq!(cuda.to_string().parse(), Ok(cuda));
        assert_eq!("none".parse(), Ok(AdapterChoice::None));
        assert_eq!(AdapterChoice::Cpu.to_string().parse(), Ok(AdapterChoice::Cpu));
    }

    #[test]
    fn other_text_is_refused() {
        assert!("".parse::<AdapterChoice>().is_err());
        assert!("vulkan".parse::<AdapterChoice>().is_err());
        assert!("vulkan:1".parse::<AdapterChoice>().is_err());
    }
}
