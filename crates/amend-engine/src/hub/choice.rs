//! Chooses the file of a repository, by the rules of llama.cpp.

use super::{HubModel, Shard};
use amend_core::model::EngineError;

/// The quantisations that are looked for if the user names none. Without either, the first
/// model file is used.
const DEFAULT_QUANTS: [&str; 2] = ["Q4_K_M", "Q8_0"];

/// Parts of the names of GGUF files that are not models of their own.
const COMPANIONS: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];

/// The most files or quantisations that an error lists.
const MAX_LISTED: usize = 30;

/// Chooses the files of a model among the `paths` of its repository: all shards in order, or
/// one file.
///
/// # Errors
/// No file matches, or a shard is missing.
pub(super) fn choose(model: &HubModel, paths: &[&str]) -> Result<Vec<String>, EngineError> {
    let chosen = match &model.file {
        Some(file) => named(model, file, paths)?,
        None => of_quant(model, paths)?,
    };
    let Some(shard) = Shard::parse(chosen) else {
        return Ok(vec![chosen.to_owned()]);
    };
    let shards: Vec<String> = shard.names().collect();
    for name in &shards {
        if !paths.contains(&name.as_str()) {
            return Err(EngineError::new(format!("{} has no file {name}", model.repo))
                .hinted("the model is split, and this part is missing: choose another one"));
        }
    }
    Ok(shards)
}

/// The file that the user named.
fn named<'p>(model: &HubModel, file: &str, paths: &[&'p str]) -> Result<&'p str, EngineError> {
    let Some(&chosen) = paths.iter().find(|path| **path == file) else {
        let files: Vec<&str> =
            paths.iter().copied().filter(|path| path.ends_with(".gguf")).collect();
        return Err(EngineError::new(format!("{} has no file {file}", model.repo))
            .hinted(format!("it has {}", listed(&files, "no GGUF files"))));
    };
    match Shard::parse(chosen) {
        Some(shard) if shard.index != 1 => Err(EngineError::new(format!(
            "{chosen} is part {} of a model that is split into {} files",
            shard.index, shard.count
        ))
        .hinted(format!("pass the first: --hf-file {}", shard.name(1)))),
        _ => Ok(chosen),
    }
}

/// The first file of the quantisation that the user named, or of a default one.
fn of_quant<'p>(model: &HubModel, paths: &[&'p str]) -> Result<&'p str, EngineError> {
    let models: Vec<&str> = paths.iter().copied().filter(|path| is_model(path)).collect();
    let wanted = match &model.quant {
        Some(quant) => vec![quant.as_str()],
        None => DEFAULT_QUANTS.to_vec(),
    };
    for quant in wanted {
        if let Some(path) = models.iter().find(|path| has_quant(path, quant)) {
            return Ok(path);
        }
    }
    match (&model.quant, models.first()) {
        (None, Some(first)) => Ok(first),
        (_, None) => Err(EngineError::new(format!("{} has no GGUF files", model.repo))
            .hinted("look for a repository of the same model whose name ends in GGUF")),
        (Some(quant), Some(_)) => {
            let mut quants: Vec<&str> = models.iter().map(|path| quant_of(path)).collect();
            quants.dedup();
            Err(EngineError::new(format!("{} has no file of {quant}", model.repo))
                .hinted(format!("it has {}", listed(&quants, "no quantisations"))))
        }
    }
}

/// Whether a file is a model, and the first shard if it is split.
fn is_model(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_first = Shard::parse(path).is_none_or(|shard| shard.index == 1);
    name.ends_with(".gguf") && is_first && !COMPANIONS.iter().any(|part| name.contains(part))
}

/// Whether the path contains the name of the quantisation, followed by `.` or `-`.
fn has_quant(path: &str, quant: &str) -> bool {
    let (path, quant) = (path.to_ascii_lowercase(), quant.to_ascii_lowercase());
    path.match_indices(&quant).any(|(at, _)| path[at + quant.len()..].starts_with(['.', '-']))
}

/// The quantisation in the name of a file, or the name if there is none.
fn quant_of(path: &str) -> &str {
    let stem = match Shard::parse(path) {
        Some(shard) => shard.prefix,
        None => path.strip_suffix(".gguf").unwrap_or(path),
    };
    let is_quant = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match stem.rsplit_once(['-', '.']) {
        Some((_, quant)) if is_quant(quant) => quant,
        _ => path,
    }
}

/// The names as a list, or `none` if there are none.
fn listed(names: &[&str], none: &str) -> String {
    if names.is_empty() {
        return none.to_owned();
    }
    let shown = names[..names.len().min(MAX_LISTED)].join(", ");
    if names.len() > MAX_LISTED { format!("{shown}, …") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 9] = [
        ".gitattributes",
        "mmproj-m-Q4_K_M.gguf",
        "m-BF16.gguf",
        "m-Q4_K_M.gguf",
        "m-Q5_K_M-00001-of-00002.gguf",
        "m-Q5_K_M-00002-of-00002.gguf",
        "m-UD-Q8_0.gguf",
        "m.Q2_K.gguf",
        "half/m-Q6_K-00001-of-00002.gguf",
    ];

    fn chosen(name: &str, file: Option<&str>, files: &[&str]) -> Result<Vec<String>, String> {
        let model: HubModel = name.parse().unwrap();
        choose(&model.with_file(file.map(str::to_owned)), files)
            .map_err(|error| format!("{error}; {}", error.hint.as_deref().unwrap_or_default()))
    }

    #[test]
    fn the_file_of_a_quantisation_is_chosen() {
        for (name, files, expected) in [
            ("o/m", &FILES[..], &["m-Q4_K_M.gguf"][..]),
            ("o/m:q4_k_m", &FILES, &["m-Q4_K_M.gguf"]),
            ("o/m:Q2_K", &FILES, &["m.Q2_K.gguf"]),
            ("o/m:UD-Q8_0", &FILES, &["m-UD-Q8_0.gguf"]),
            ("o/m:Q5_K_M", &FILES, &FILES[4..6]),
            // Without Q4_K_M the default is Q8_0, and then the first model.
            ("o/m", &["m-BF16.gguf", "m-Q8_0.gguf"], &["m-Q8_0.gguf"]),
            ("o/m", &["mmproj-BF16.gguf", "m-BF16.gguf", "m-Q2_K.gguf"], &["m-BF16.gguf"]),
        ] {
            let expected = expected.iter().map(ToString::to_string).collect();
            assert_eq!(chosen(name, None, files), Ok(expected), "{name}");
        }
        let file = "mmproj-m-Q4_K_M.gguf";
        assert_eq!(chosen("o/m:Q2_K", Some(file), &FILES), Ok(vec![file.to_owned()]));
    }

    #[test]
    fn a_missing_choice_lists_what_exists() {
        for (name, file, files, expected) in [
            (
                "o/m:Q3_K",
                None,
                &FILES[..],
                "o/m has no file of Q3_K; it has BF16, Q4_K_M, Q5_K_M, Q8_0, Q2_K, Q6_K",
            ),
            ("o/m:Q4", None, &["m-Q4_K_M.gguf"], "o/m has no file of Q4; it has Q4_K_M"),
            (
                "o/m",
                None,
                &["model.safetensors"],
                "o/m has no GGUF files; look for a repository of the same model whose name ends \
                 in GGUF",
            ),
            (
                "o/m",
                Some("x.gguf"),
                &["README.md", "m-Q4_K_M.gguf"],
                "o/m has no file x.gguf; it has m-Q4_K_M.gguf",
            ),
            (
                "o/m",
                Some("m-Q5_K_M-00002-of-00002.gguf"),
                &FILES,
                "m-Q5_K_M-00002-of-00002.gguf is part 2 of a model that is split into 2 files; \
                 pass the first: --hf-file m-Q5_K_M-00001-of-00002.gguf",
            ),
            (
                "o/m:Q6_K",
                None,
                &FILES,
                "o/m has no file half/m-Q6_K-00002-of-00002.gguf; the model is split, and this \
                 part is missing: choose another one",
            ),
        ] {
            assert_eq!(chosen(name, file, files), Err(expected.to_owned()));
        }
    }
}
