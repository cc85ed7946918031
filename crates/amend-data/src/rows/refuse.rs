//! Kinds of files that cannot be read, and what to do with them instead.

use super::fault::ReadProblem;

/// How to convert tables that pandas reads.
const PANDAS: &str = "write it as JSON Lines, for example with pandas \
                      .to_json(\"rows.jsonl\", orient=\"records\", lines=True)";

/// The first bytes of a kind of file, what it is, and what to do with it.
const SIGNATURES: &[(&[u8], &str, &str)] = &[
    (b"%PDF", "a PDF", "copy its texts to a file with one row per line"),
    (b"\xd0\xcf\x11\xe0", "an old Office file", "save it as CSV UTF-8"),
    (b"{\\rtf", "an RTF document", "save it as plain text"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\xfd7zXZ\0", "an xz file", "decompress it, for example with xz -d"),
    (b"BZh91AY&SY", "a bzip2 file", "decompress it, for example with bzip2 -d"),
    (b"\x04\x22\x4d\x18", "an LZ4 file", "decompress it, for example with lz4 -d"),
    (
        b"SQLite format 3\0",
        "an SQLite database",
        "export the table: sqlite3 -csv -header FILE 'select * from TABLE'",
    ),
    (b"\x93NUMPY", "a NumPy array", PANDAS),
    (b"\x89HDF", "an HDF5 file", PANDAS),
    (b"FEA1", "Feather of version 1", PANDAS),
    (b"Obj\x01", "an Avro file", PANDAS),
    (b"\x80\x02", "a Python pickle", PANDAS),
    (b"\x80\x03", "a Python pickle", PANDAS),
    (b"\x80\x04", "a Python pickle", PANDAS),
    (b"\x80\x05", "a Python pickle", PANDAS),
    (b"\x89PNG", "an image", "rows are texts; amend reads no images"),
    (b"\xff\xd8\xff", "an image", "rows are texts; amend reads no images"),
    (b"GIF8", "an image", "rows are texts; amend reads no images"),
    (b"GGUF", "a model", "name it with -m, and the rows here"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer instead of the data",
        "download the data with git lfs pull",
    ),
    (b"\xff\xfe", "UTF-16", "convert it, for example with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16", "convert it, for example with iconv -f UTF-16 -t UTF-8"),
];

/// The first bytes of Parquet and of Arrow files, which are binary and can be read.
const COLUMNS: [&[u8]; 2] = [b"PAR1", b"ARROW1"];

/// What to do with ZIP files by the extension of the file: many kinds are ZIP files.
fn zip(extension: &str) -> (&'static str, &'static str) {
    match extension {
        "xlsx" | "xlsm" | "ods" => ("a spreadsheet", "save its sheet as CSV UTF-8"),
        "docx" | "odt" | "pptx" => ("a document", "copy its texts to a file with one row per line"),
        "npz" | "pt" | "pth" => ("an archive of arrays", PANDAS),
        _ => ("a ZIP archive", "unpack it first; a spreadsheet is saved as CSV UTF-8"),
    }
}

/// Refuses files that begin with `start` and cannot be read. `extension` is in lower case.
///
/// # Errors
/// [`ReadProblem::Unreadable`].
pub(super) fn refuse(start: &[u8], extension: &str) -> Result<(), ReadProblem> {
    let found = |found, fix: &str| Err(ReadProblem::Unreadable { found, fix: fix.to_owned() });
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        let (what, fix) = zip(extension);
        return found(what, fix);
    }
    for (signature, what, fix) in SIGNATURES {
        if start.starts_with(signature) && !is_arrow_stream(start) {
            return found(what, fix);
        }
    }
    if start.get(257..262) == Some(b"ustar") {
        return found("a tar archive", "unpack it first");
    }
    let text = start.trim_ascii_start();
    let head = text[..text.len().min(64)].to_ascii_lowercase();
    if head.starts_with(b"<!doctype html") || head.starts_with(b"<html") {
        let fix = "download the file itself: on many sites that is the link named raw";
        return found("a web page", fix);
    }
    if head.starts_with(b"<?xml") {
        return found("XML", PANDAS);
    }
    if is_utf16(start) {
        return found("UTF-16", "convert it, for example with iconv -f UTF-16LE -t UTF-8");
    }
    if is_binary(start)
        && !is_arrow_stream(start)
        && !COLUMNS.iter().any(|magic| start.starts_with(magic))
    {
        return found("a binary file of an unknown kind", "name JSON Lines, CSV or Parquet");
    }
    match extension {
        "yaml" | "yml" => found("YAML", "write it as JSON Lines"),
        "toml" => {
            found("TOML", "an evaluation set runs with amend eval, a constitution is named with -c")
        }
        _ => Ok(()),
    }
}

/// Whether a file begins like a stream of Arrow messages.
pub(super) fn is_arrow_stream(start: &[u8]) -> bool {
    start.starts_with(b"\xff\xff\xff\xff")
}

/// Whether every other of the first bytes is NUL, as in ASCII text in UTF-16 without a mark.
fn is_utf16(start: &[u8]) -> bool {
    let start = &start[..start.len().min(32) & !1];
    let nul_at = |offset| start.iter().skip(offset).step_by(2).all(|&byte| byte == 0);
    let text_at = |offset| start.iter().skip(offset).step_by(2).all(|&byte| byte != 0);
    start.len() >= 4 && ((nul_at(0) && text_at(1)) || (nul_at(1) && text_at(0)))
}

/// Whether the first bytes are not text: one in twenty is a control character, and there are
/// several. A single damaged character is the fault of its row.
fn is_binary(start: &[u8]) -> bool {
    let start = &start[..start.len().min(1024)];
    let control =
        |byte: &&u8| **byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    let count = start.iter().filter(control).count();
    count > 1 && count * 20 > start.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_cannot_be_read_are_refused_with_a_fix() {
        let mut tar = vec![b'a'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        let utf16: Vec<u8> = "prompt".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (start, extension, found, fix) in [
            (&b"PK\x03\x04"[..], "xlsx", "a spreadsheet", "CSV"),
            (b"PK\x03\x04", "docx", "a document", "one row per line"),
            (b"PK\x03\x04", "zip", "a ZIP archive", "unpack"),
            (b"%PDF-1.7", "pdf", "a PDF", "one row per line"),
            (&tar, "tar", "a tar archive", "unpack"),
            (b"\x80\x04\x95", "pkl", "a Python pickle", "pandas"),
            (b"SQLite format 3\0", "db", "an SQLite database", "sqlite3"),
            (b"\x89PNG\r\n", "jsonl", "an image", "texts"),
            (b"\n <!DOCTYPE html>", "jsonl", "a web page", "download"),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "parquet",
                "a Git LFS pointer",
                "git lfs pull",
            ),
            (b"\xff\xfep\0", "csv", "UTF-16", "iconv"),
            (&utf16, "csv", "UTF-16", "iconv"),
            (b"\x00\x01\xf8\xf9", "", "a binary file", "JSON Lines"),
            (b"a: b", "yaml", "YAML", "JSON Lines"),
            (b"[set]", "toml", "TOML", "amend eval"),
        ] {
            let error = refuse(start, extension).unwrap_err().to_string();
            assert!(error.starts_with(found) && error.contains(fix), "{extension}: {error}");
        }
    }

    #[test]
    fn texts_are_not_refused() {
        for start in [
            &b"{\"a\": 1}"[..],
            b"PAR1\x15\x04\0\0",
            b"ARROW1\0\0",
            b"\xff\xff\xff\xff\x10\0\0\0",
            b"Organise my day\n",
            b"a damaged text\0",
            "é".as_bytes(),
            b"",
        ] {
            assert!(refuse(start, "").is_ok(), "{start:?}");
        }
    }
}
