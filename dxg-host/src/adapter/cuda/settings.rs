//! What the administrator decides about CUDA on a virtual GPU, in the form in which the worker uses it.

use std::time::Duration;

use dxg_wire::control;
use dxg_wire::session::CudaSettings;
use serde::Deserialize;

use crate::adapter::AdapterChoice;

/// What runs kernels.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Executor {
    /// Code of this machine's processor.
    #[default]
    Native,
    /// The interpreter: slow, and what the compiler is compared with.
    Interpreter,
}

/// How contexts of one virtual GPU behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What runs kernels.
    pub executor: Executor,
    /// Compute capability that is reported, 10 * major + minor.
    pub compute_capability: u32,
    /// How long a grid may run; without an end where none is given.
    pub watchdog: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { executor: Executor::default(), compute_capability: 75, watchdog: None }
    }
}

impl Settings {
    /// What the control protocol says of a virtual GPU of this adapter.
    pub(crate) fn describe(self, choice: AdapterChoice) -> control::Cuda {
        let watchdog_ms = CudaSettings::from(self).watchdog_ms;
        let (executor, compute_capability) = match (choice, self.executor) {
            (AdapterChoice::None, _) => return control::Cuda::default(),
            (AdapterChoice::Cuda(_), _) => ("driver", 0),
            (_, Executor::Native) => ("native", self.compute_capability),
            (_, Executor::Interpreter) => ("interpreter", self.compute_capability),
        };
        control::Cuda { executor: executor.to_owned(), compute_capability, watchdog_ms }
    }
}

const EXECUTOR_NATIVE: u32 = 0;
const EXECUTOR_INTERPRETER: u32 = 1;

impl From<CudaSettings> for Settings {
    /// What the broker says. What it does not say is as without configuration.
    fn from(said: CudaSettings) -> Self {
        let default = Self::default();
        Self {
            executor: match said.executor {
                EXECUTOR_INTERPRETER => Executor::Interpreter,
                _ => Executor::Native,
            },
            compute_capability: match said.compute_capability {
                0 => default.compute_capability,
                said => said,
            },
            watchdog: (said.watchdog_ms != 0).then(|| Duration::from_millis(said.watchdog_ms.into())),
        }
    }
}

impl From<Settings> for CudaSettings {
    fn from(settings: Settings) -> Self {
        let watchdog_ms = settings.watchdog.map_or(0, |limit| limit.as_millis().max(1));
        Self {
            executor: match settings.executor {
                Executor::Native => EXECUTOR_NATIVE,
                Executor::Interpreter => EXECUTOR_INTERPRETER,
            },
            compute_capability: settings.compute_capability,
            watchdog_ms: u32::try_from(watchdog_ms).unwrap_or(u32::MAX),
            reserved: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_the_way_to_the_worker() {
        let settings = Settings {
            executor: Executor::Interpreter,
            compute_capability: 86,
            watchdog: Some(Duration::from_secs(3)),
        };
        assert_eq!(Settings::from(CudaSettings::from(settings)), settings);
        assert_eq!(Settings::from(CudaSettings::from(Settings::default())), Settings::default());
    }

    #[test]
    fn settings_are_described_as_far_as_the_adapter_heeds_them() {
        let settings = Settings { watchdog: Some(Duration::from_secs(3)), ..Settings::default() };
        let said = |choice| {
            let said = settings.describe(choice);
            (said.executor, said.compute_capability, said.watchdog_ms)
        };
        assert_eq!(said(AdapterChoice::Cpu), ("native".to_owned(), 75, 3000));
        assert_eq!(said(AdapterChoice::Cuda(uuid::Uuid::nil())), ("driver".to_owned(), 0, 3000));
        assert_eq!(said(AdapterChoice::None), (String::new(), 0, 0));
    }
}
