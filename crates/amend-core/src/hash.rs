//! SHA-256 digests, as lower-case hexadecimal or truncated to a number.

use sha2::{Digest, Sha256};

/// The SHA-256 digest of `bytes`: 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The first eight bytes of the SHA-256 digest, for tables and random streams.
pub fn first_64_bits(bytes: &[u8]) -> u64 {
    Sha256::digest(bytes)[..8].iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// Lower-case hexadecimal, two digits per byte.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}
