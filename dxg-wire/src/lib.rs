//! What crosses from guest to host.
