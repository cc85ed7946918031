//! SHA-256: as lower-case hexadecimal, or cut to a number.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The whole digest of `bytes`: 64 digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The first eight bytes of the digest, for tables and random streams.
pub fn first_64_bits(bytes: &[u8]) -> u64 {
    Sha256::digest(bytes)[..8].iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// Two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String can't fail
        text
    })
}
