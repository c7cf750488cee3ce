//! Logging: to standard error, if `DXG_LOG` asks for it.

use std::sync::Once;

use tracing_subscriber::EnvFilter;

static START: Once = Once::new();

/// Reads `DXG_LOG` once and, where it is set, installs a subscriber unless the program has one.
pub fn start() {
    START.call_once(|| {
        if let Ok(filter) = EnvFilter::try_from_env("DXG_LOG") {
            let subscriber =
                tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).finish();
            // A program that has a subscriber of its own keeps it.
            let _ = tracing::subscriber::set_global_default(subscriber);
        }
    });
}
