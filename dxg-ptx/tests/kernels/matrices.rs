//! Matrix instructions: products through memory, against products of the host.
