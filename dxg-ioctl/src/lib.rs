//! The dxg kernel ABI, typed.
