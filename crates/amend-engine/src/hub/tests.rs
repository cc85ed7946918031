//! Downloads from a small server that answers as the Hub does.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::server::{COMMIT, Hub, HubFile, REPO};
use super::*;
use amend_core::hash;

/// A content of two megabytes, which is more than one read.
fn content(seed: u8) -> Vec<u8> {
    (0..2_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

fn file(path: &str, content: Vec<u8>) -> HubFile {
    HubFile { path: path.to_owned(), sha256: hash::sha256(&content), content }
}

/// A repository with one model.
fn hub() -> Hub {
    Hub::start(vec![file("tiny-Q4_K_M.gguf", content(1))])
}

fn settings(hub: &Hub, folder: &TempDir) -> HubSettings {
    let cache = Some(folder.path().to_owned());
    HubSettings { endpoint: hub.url.clone(), token: None, cache }
}

fn model(quant: &str) -> HubModel {
    format!("{REPO}{quant}").parse().unwrap()
}

/// The result of [`fetch`], and where downloads started and ended.
fn fetched(
    model: &HubModel,
    settings: &HubSettings,
) -> (Result<HubFiles, EngineError>, Vec<String>) {
    let mut events = Vec::new();
    let result = fetch(model, settings, &mut |event| match event {
        DownloadEvent::Started { file, done, total } => {
            events.push(format!("{file} {done}/{total}"));
        }
        DownloadEvent::Advanced { .. } => {}
        DownloadEvent::Finished => events.push("finished".to_owned()),
    });
    (result, events)
}

fn error(model: &HubModel, settings: &HubSettings) -> String {
    let error = fetched(model, settings).0.unwrap_err();
    format!("{error}; {}", error.hint.as_deref().unwrap_or_default())
}

fn partial_file(folder: &TempDir, content: &[u8]) -> PathBuf {
    let cache = Cache::new(folder.path().to_owned()).repo(REPO);
    download::partial(&cache.blob(&hash::sha256(content)))
}

fn list() -> [String; 2] {
    [format!("/api/models/{REPO}/refs"), format!("/api/models/{REPO}/tree/{COMMIT}?recursive=true")]
}

#[test]
fn a_model_is_downloaded_once_into_the_layout_of_the_hub() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, &folder);
    let (result, events) = fetched(&model(""), &settings);
    let sha256 = hash::sha256(&content(1));
    let repo = folder.path().join("models--org--tiny-GGUF");
    let path = repo.join("snapshots").join(COMMIT).join("tiny-Q4_K_M.gguf");
    let expected = HubFiles { path: path.clone(), sha256: vec![Some(sha256.clone())] };
    assert_eq!(result.unwrap(), expected);
    assert_eq!(events, ["tiny-Q4_K_M.gguf 0/2000000", "finished"]);
    assert_eq!(fs::read(&path).unwrap(), content(1));
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../../blobs").join(&sha256));
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    let blobs: Vec<_> = fs::read_dir(repo.join("blobs")).unwrap().collect();
    assert_eq!(blobs.len(), 1, "nothing else is left: {blobs:?}");
    let [refs, tree] = list();
    let resolve = format!("/{REPO}/resolve/{COMMIT}/tiny-Q4_K_M.gguf");
    assert_eq!(hub.requests(), [refs, tree, resolve, "/content/tiny-Q4_K_M.gguf".to_owned()]);

    // The second time only the lists are requested.
    let (result, events) = fetched(&model(":q4_k_m"), &settings);
    assert_eq!(result.unwrap(), HubFiles { path: path.clone(), sha256: vec![None] });
    assert_eq!((events.len(), hub.requests()), (0, list().to_vec()));

    // A content that is there from another commit is only linked.
    fs::remove_file(&path).unwrap();
    assert_eq!(fetched(&model(""), &settings).0.unwrap().path, path);
    assert_eq!(hub.requests(), list());
}

#[test]
fn every_page_of_the_list_of_files_is_read() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    // The model is on the third page.
    hub.change(|answers| answers.page_size = 1);
    assert!(fetched(&model(""), &settings(&hub, &folder)).0.unwrap().path.exists());
    let [refs, tree] = list();
    let pages = [refs, tree.clone(), format!("{tree}&cursor=1"), format!("{tree}&cursor=2")];
    assert_eq!(hub.requests()[..4], pages);

    let many = (0..200).map(|number| file(&format!("{number}.gguf"), Vec::new())).collect();
    hub.change(|answers| answers.files = many);
    let folder = tempfile::tempdir().unwrap();
    let error = fetched(&model(""), &settings(&hub, &folder)).0.unwrap_err();
    let cause = error.source.unwrap().to_string();
    assert!(cause.ends_with("the repository has more files than fit on 100 pages"), "{cause}");
}

#[test]
fn a_cached_model_needs_no_network() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let mut settings = settings(&hub, &folder);
    let online = fetched(&model(""), &settings).0.unwrap();
    // Nothing listens on this port.
    settings.endpoint = "http://127.0.0.1:1".to_owned();
    let (offline, events) = fetched(&model(""), &settings);
    assert_eq!((offline.unwrap().path, events.len()), (online.path, 0));
    let error = error(&model(":Q8_0"), &settings);
    assert!(error.starts_with("failed to list the files of org/tiny-GGUF; the model is not"));
}

#[test]
fn a_cut_connection_is_resumed() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    hub.change(|answers| answers.cuts = vec![700_000, 0, 900_000]);
    let (result, events) = fetched(&model(""), &settings(&hub, &folder));
    assert_eq!(fs::read(result.unwrap().path).unwrap(), content(1));
    assert_eq!(events, ["tiny-Q4_K_M.gguf 0/2000000", "finished"]);
    let requests = hub.requests();
    let ranges: Vec<&str> = requests
        .iter()
        .filter_map(|request| Some(request.strip_prefix("/content/")?.split_once(' ')?.1))
        .collect();
    assert_eq!(ranges, ["bytes=700000-", "bytes=700000-", "bytes=1600000-"]);
}

#[test]
fn an_interrupted_download_is_continued_by_the_next_call() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, &folder);
    hub.change(|answers| answers.cuts = vec![300_000, 0, 0, 0]);
    assert_eq!(
        error(&model(""), &settings),
        "failed to download tiny-Q4_K_M.gguf: it ended after 300000 of 2000000 bytes; run the \
         command again: it continues where the download stopped"
    );
    let cache = Cache::new(folder.path().to_owned()).repo(REPO);
    assert_eq!(cache.commit(), None, "the branch does not point to a missing file");
    let (result, events) = fetched(&model(""), &settings);
    assert_eq!(events, ["tiny-Q4_K_M.gguf 300000/2000000", "finished"]);
    let HubFiles { path, sha256 } = result.unwrap();
    assert_eq!(fs::read(path).unwrap(), content(1));
    assert_eq!(sha256, [Some(hash::sha256(&content(1)))]);
}

#[test]
fn simultaneous_downloads_wait_for_each_other() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, &folder);
    std::thread::scope(|scope| {
        let calls = [(); 4].map(|()| scope.spawn(|| fetched(&model(""), &settings).0.unwrap()));
        for call in calls {
            assert_eq!(fs::read(call.join().unwrap().path).unwrap(), content(1));
        }
    });
    let is_content = |request: &&String| request.starts_with("/content/");
    assert_eq!(hub.requests().iter().filter(is_content).count(), 1);
    assert!(!partial_file(&folder, &content(1)).exists());
}

#[test]
fn a_server_that_misstates_ranges_is_asked_for_everything() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    hub.change(|answers| {
        answers.cuts = vec![700_000];
        answers.misstates_ranges = true;
    });
    let (result, _) = fetched(&model(""), &settings(&hub, &folder));
    assert_eq!(fs::read(result.unwrap().path).unwrap(), content(1));
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    hub.change(|answers| {
        answers.cuts = vec![700_000];
        answers.ignores_ranges = true;
    });
    let (result, _) = fetched(&model(""), &settings(&hub, &folder));
    assert_eq!(fs::read(result.unwrap().path).unwrap(), content(1));
}

#[test]
fn leftovers_of_another_size_or_content_are_not_used() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, &folder);
    let partial = partial_file(&folder, &content(1));
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, vec![0; 2_000_001]).unwrap();
    let path = fetched(&model(""), &settings).0.unwrap().path;
    assert_eq!(fs::read(&path).unwrap(), content(1));

    fs::remove_file(fs::canonicalize(&path).unwrap()).unwrap();
    fs::write(&partial, b"other bytes").unwrap();
    let damaged = error(&model(""), &settings);
    assert!(damaged.starts_with("tiny-Q4_K_M.gguf arrived damaged, and was deleted"), "{damaged}");
    assert!(!partial.exists() && !path.exists());
    assert_eq!(fs::read(fetched(&model(""), &settings).0.unwrap().path).unwrap(), content(1));
}

#[test]
fn a_wrong_checksum_or_size_is_refused() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let stated = "0".repeat(64);
    hub.change(|answers| answers.files[0].sha256.clone_from(&stated));
    let actual = hash::sha256(&content(1));
    assert_eq!(
        error(&model(""), &settings(&hub, &folder)),
        format!(
            "tiny-Q4_K_M.gguf arrived damaged, and was deleted: its SHA-256 is {actual}, and the \
             Hub states {stated}; run the command again to download the file again"
        )
    );
    let blobs = folder.path().join("models--org--tiny-GGUF/blobs");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let settings = HubSettings { token: Key::new("hf_secret"), ..settings(&hub, &folder) };
    fetched(&model(""), &settings).0.unwrap();
    let (content, others): (Vec<_>, Vec<_>) =
        hub.requests().into_iter().partition(|request| request.starts_with("/content/"));
    assert_eq!(content, ["/content/tiny-Q4_K_M.gguf"]);
    assert_eq!(others.len(), 3);
    assert!(others.iter().all(|request| request.ends_with(" Bearer hf_secret")), "{others:?}");
}

#[test]
fn refused_and_unknown_repositories_say_what_to_do() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let open = settings(&hub, &folder);
    let with_token = HubSettings { token: Key::new("hf_secret"), ..open.clone() };
    hub.change(|answers| answers.refused = Some((401, "GatedRepo")));
    assert_eq!(
        error(&model(""), &open),
        "access to org/tiny-GGUF is restricted; accept its conditions at \
         https://huggingface.co/org/tiny-GGUF, and set HF_TOKEN to an access token of your account"
    );
    hub.change(|answers| answers.refused = Some((403, "GatedRepo")));
    let refused = error(&model(""), &with_token);
    assert!(refused.starts_with("access to org/tiny-GGUF is restricted, and the token"));
    let unknown: HubModel = "org/other".parse().unwrap();
    assert_eq!(
        error(&unknown, &open),
        "there is no repository org/other, or it is private; check its name; for a private \
         repository, set HF_TOKEN to an access token"
    );
    assert_eq!(error(&model(":Q8_0"), &open), "org/tiny-GGUF has no file of Q8_0; it has Q4_K_M");
}

#[test]
fn every_shard_of_a_split_model_is_downloaded() {
    let shard = |index: u8| file(&format!("Q8/t-Q8_0-0000{index}-of-00003.gguf"), content(index));
    let hub = Hub::start(vec![shard(1), shard(2), shard(3), file("t-Q2_K.gguf", content(9))]);
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&hub, &folder);
    let (result, events) = fetched(&model(":Q8_0"), &settings);
    let HubFiles { path, sha256 } = result.unwrap();
    assert_eq!(events.len(), 6);
    let files = crate::shards::files(&path).unwrap();
    for (index, file) in (1..=3).zip(&files) {
        assert_eq!(fs::read(file).unwrap(), content(index));
    }
    assert_eq!(sha256, [1, 2, 3].map(|index| Some(hash::sha256(&content(index)))));
    // Offline, too, a model counts as cached only if all of its shards are there.
    let offline = HubSettings { endpoint: "http://127.0.0.1:1".to_owned(), ..settings };
    assert_eq!(fetched(&model(":Q8_0"), &offline).0.unwrap().path, path);
    fs::remove_file(&files[1]).unwrap();
    assert!(fetched(&model(":Q8_0"), &offline).0.is_err());
}

#[test]
fn a_full_disk_says_that_the_download_continues() {
    // Linux has a device that is always full.
    if !Path::new("/dev/full").exists() {
        return;
    }
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let partial = partial_file(&folder, &content(1));
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
    let error = error(&model(""), &settings(&hub, &folder));
    assert!(error.starts_with("failed to write ") && error.contains("free some space"), "{error}");
}

#[test]
fn names_of_models_are_checked() {
    for name in ["org/repo", "o.r-g/re_po-1.5-GGUF", "org/repo:Q4_K_M", "org/repo:UD-Q4_K_XL"] {
        assert_eq!(name.parse::<HubModel>().unwrap().to_string(), name);
    }
    for name in ["repo", "a/b/c", "org/", "/repo", "org/../x", "org/re po", "org/repo:", "a/b:c/d"]
    {
        assert_eq!(name.parse::<HubModel>(), Err(HubModelError(name.to_owned())));
    }
}
