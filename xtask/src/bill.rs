//! The packages that a binary is made of: their licences, and a bill of materials in CycloneDX.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::dependencies;
use crate::json::Json;
use crate::workspace::{BINARY_PACKAGE, cargo, root};

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// SPDX expression of its licence.
    pub licence: String,
    repository: Option<String>,
    /// SHA-256 of the file that the registry has; nothing for packages of this workspace.
    checksum: Option<String>,
    folder: PathBuf,
    /// The packages that it is made of, by their places in the bill.
    needs: Vec<usize>,
}

/// The packages of the binary, by name and version. Tests and build scripts are no part of it.
#[derive(Debug)]
pub struct Bill(Vec<Package>);

impl Bill {
    /// Asks Cargo for the packages of the binary on a platform.
    ///
    /// # Errors
    /// Cargo cannot be started or fails; a file of the workspace cannot be read.
    pub fn of_binary(platform: &str) -> Result<Self, String> {
        let mut command = cargo("metadata");
        command.args(["--format-version", "1", "--locked", "--filter-platform", platform]);
        let output = command.output().map_err(|error| format!("cannot start cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let read = |name: &str| std::fs::read_to_string(root().join(name)).map_err(|error| format!("{name}: {error}"));
        let metadata = Json::parse(&String::from_utf8_lossy(&output.stdout))?;
        Self::new(&metadata, &built(platform)?, &read("Cargo.lock")?, &read("deny.toml")?)
    }

    /// The packages of `metadata` that are also in `built`: the graph of `cargo metadata` has all that features could switch on.
    fn new(metadata: &Json, built: &str, lock: &str, deny: &str) -> Result<Self, String> {
        let built: BTreeSet<(&str, &str)> = built.lines().filter_map(|line| line.split_once(" v")).collect();
        let known: BTreeMap<&str, &Json> =
            metadata.list("packages").iter().filter_map(|package| Some((package.str("id")?, package))).collect();
        let is_built = |id: &str| {
            let package = known.get(id);
            package.and_then(|p| Some((p.str("name")?, p.str("version")?))).is_some_and(|found| built.contains(&found))
        };
        let nodes = metadata.get("resolve").map_or(&[][..], |resolve| resolve.list("nodes"));
        let needs: BTreeMap<&str, Vec<&str>> =
            nodes.iter().filter_map(|node| Some((node.str("id")?, linked(node)))).collect();
        let is_binary = |(_, package): &(&&str, &&Json)| package.str("name") == Some(BINARY_PACKAGE);
        let (first, _) =
            known.iter().find(is_binary).ok_or_else(|| format!("Cargo knows no package {BINARY_PACKAGE}"))?;
        let (mut reached, mut open) = (BTreeSet::from([*first]), vec![*first]);
        while let Some(id) = open.pop() {
            for need in needs.get(id).into_iter().flatten().filter(|need| is_built(need) && reached.insert(need)) {
                open.push(need);
            }
        }
        let text = |package: &Json, key: &str| package.str(key).unwrap_or_default().to_owned();
        let mut ids: Vec<&str> = reached.into_iter().collect();
        ids.sort_by_key(|id| known.get(id).map(|package| (text(package, "name"), text(package, "version"))));
        let place: BTreeMap<&str, usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let checksums = checksums(lock);
        let packages = ids.iter().map(|id| {
            let package = known.get(id).ok_or_else(|| format!("Cargo says nothing of {id}"))?;
            let (name, version) = (text(package, "name"), text(package, "version"));
            let licence = dependencies::said(&name, &text(package, "license"), deny);
            let folder = Path::new(package.str("manifest_path").unwrap_or_default()).parent().unwrap_or(Path::new(""));
            let mut inner: Vec<usize> =
                needs.get(id).into_iter().flatten().filter_map(|need| place.get(need).copied()).collect();
            inner.sort_unstable();
            inner.dedup();
            Ok(Package {
                checksum: checksums.get(&(name.clone(), version.clone())).cloned(),
                repository: package.str("repository").map(str::to_owned),
                folder: folder.to_owned(),
                needs: inner,
                licence,
                name,
                version,
            })
        });
        packages.collect::<Result<_, String>>().map(Self)
    }

    /// The packages.
    #[cfg(test)]
    pub fn packages(&self) -> &[Package] {
        &self.0
    }

    /// The bill of materials: a document of CycloneDX 1.5, which says for each package its version, its licence, the checksum of its
    /// file and what it is made of. It has neither a time nor a serial number, so equal packages have equal bills.
    pub fn cyclonedx(&self) -> String {
        let reference = |package: &Package| Json::Text(format!("pkg:cargo/{}@{}", package.name, package.version));
        let component = |package: &Package| {
            let kind = if package.name == BINARY_PACKAGE { "application" } else { "library" };
            let mut fields = vec![
                ("type".to_owned(), Json::text(kind)),
                ("bom-ref".to_owned(), reference(package)),
                ("name".to_owned(), Json::text(&package.name)),
                ("version".to_owned(), Json::text(&package.version)),
            ];
            if let Some(checksum) = &package.checksum {
                let hash = Json::object([("alg", Json::text("SHA-256")), ("content", Json::text(checksum))]);
                fields.push(("hashes".to_owned(), Json::List(vec![hash])));
            }
            if !package.licence.is_empty() {
                let licence = Json::object([("expression", Json::text(&package.licence))]);
                fields.push(("licenses".to_owned(), Json::List(vec![licence])));
            }
            fields.push(("purl".to_owned(), reference(package)));
            if let Some(address) = &package.repository {
                let link = Json::object([("type", Json::text("vcs")), ("url", Json::text(address))]);
                fields.push(("externalReferences".to_owned(), Json::List(vec![link])));
            }
            Json::Object(fields)
        };
        let (binary, others): (Vec<&Package>, Vec<&Package>) =
            self.0.iter().partition(|package| package.name == BINARY_PACKAGE);
        let dependencies = self.0.iter().map(|package| {
            let needs = package.needs.iter().map(|need| reference(&self.0[*need])).collect();
            Json::object([("ref", reference(package)), ("dependsOn", Json::List(needs))])
        });
        let mut metadata = Vec::new();
        metadata.extend(binary.first().map(|package| ("component".to_owned(), component(package))));
        let bill = Json::object([
            ("bomFormat", Json::text("CycloneDX")),
            ("specVersion", Json::text("1.5")),
            ("version", Json::Word("1".to_owned())),
            ("metadata", Json::Object(metadata)),
            ("components", Json::List(others.into_iter().map(component).collect())),
            ("dependencies", Json::List(dependencies.collect())),
        ]);
        format!("{bill}\n")
    }

    /// The licences of all packages that are not of this workspace: first a list, then each text once.
    ///
    /// # Errors
    /// The folder of a package cannot be read.
    pub fn licences(&self) -> Result<String, String> {
        let mut texts: Vec<String> = Vec::new();
        let mut list = String::new();
        for package in self.0.iter().filter(|package| package.checksum.is_some()) {
            let mut numbers = Vec::new();
            for text in notices(&package.folder)? {
                let at = texts.iter().position(|known| *known == text).unwrap_or_else(|| {
                    texts.push(text);
                    texts.len() - 1
                });
                numbers.push((at + 1).to_string());
            }
            let which = match numbers.len() {
                0 => "no text in the package".to_owned(),
                1 => format!("text {}", numbers[0]),
                _ => format!("texts {}", numbers.join(", ")),
            };
            list += &format!("{} {}: {} ({which})\n", package.name, package.version, package.licence);
        }
        let rule = "-".repeat(80);
        let texts = texts.iter().enumerate().map(|(at, text)| format!("\n{rule}\nText {}\n{rule}\n\n{text}\n", at + 1));
        Ok(format!(
            "Injerto is made of the packages below, and of Rust's standard library (MIT OR Apache-2.0). The texts of their\n\
             licences, as the packages hold them, follow.\n\n{list}{}",
            texts.collect::<String>()
        ))
    }
}

/// The packages of the binary with the features that are on, one a line: `NAME vVERSION`.
fn built(platform: &str) -> Result<String, String> {
    let mut command = cargo("tree");
    command.args(["--package", BINARY_PACKAGE, "--edges", "normal", "--target", platform, "--locked"]);
    let output = command.args(["--prefix", "none", "--format", "{p}"]).output();
    let output = output.map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    // After the version follows the place of a package that is not from the registry, or a mark.
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines.lines().map(|line| line.split(" (").next().unwrap_or(line).to_owned() + "\n").collect())
}

/// The packages that a node of Cargo's graph links: no build scripts, and nothing for tests alone.
fn linked(node: &Json) -> Vec<&str> {
    let is_linked = |need: &&Json| need.list("dep_kinds").iter().any(|kind| kind.str("kind").is_none());
    node.list("deps").iter().filter(is_linked).filter_map(|need| need.str("pkg")).collect()
}

/// The checksums in a `Cargo.lock`, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|text| text.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    let known = |package| Some(((value(package, "name")?, value(package, "version")?), value(package, "checksum")?));
    packages.filter_map(known).collect()
}

/// The texts of licences and notices in the folder of a package, by name of their file.
fn notices(folder: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let is_notice = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        path.is_file() && ["LICEN", "COPYING", "NOTICE", "UNLICENSE"].iter().any(|start| name.starts_with(start))
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_notice).collect();
    files.sort();
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim_end().to_owned())
    };
    files.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "packages": [
            { "id": "b 1", "name": "b", "version": "1.0.0", "license": "MIT/Apache-2.0", "manifest_path": "/b/Cargo.toml",
              "repository": "https://example.org/b" },
            { "id": "cli", "name": "injerto-cli", "version": "0.1.0", "license": "MIT", "manifest_path": "/cli/Cargo.toml" },
            { "id": "c", "name": "c", "version": "2.0.0", "license": null, "manifest_path": "/c/Cargo.toml" },
            { "id": "off", "name": "off", "version": "1.0.0", "license": "MIT", "manifest_path": "/off/Cargo.toml" },
            { "id": "t", "name": "t", "version": "1.0.0", "license": "MIT", "manifest_path": "/t/Cargo.toml" } ],
        "resolve": { "nodes": [
            { "id": "cli", "deps": [
                { "pkg": "b 1", "dep_kinds": [{ "kind": null }, { "kind": "dev" }] },
                { "pkg": "off", "dep_kinds": [{ "kind": null }] },
                { "pkg": "t", "dep_kinds": [{ "kind": "dev" }] } ] },
            { "id": "b 1", "deps": [{ "pkg": "c", "dep_kinds": [{ "kind": null }] },
                { "pkg": "t", "dep_kinds": [{ "kind": "build" }] }] },
            { "id": "c", "deps": [] }, { "id": "t", "deps": [] } ] } }"#;
    const LOCK: &str = "[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n\n[[package]]\nname = \"c\"\nversion = \"2.0.0\"\n";
    const DENY: &str = "\n[[licenses.clarify]]\ncrate = \"c\"\nexpression = \"ISC\"\n";

    const BUILT: &str = "injerto-cli v0.1.0\nb v1.0.0\nc v2.0.0\n";

    fn bill() -> Bill {
        Bill::new(&Json::parse(METADATA).expect("JSON"), BUILT, LOCK, DENY).expect("a bill")
    }

    #[test]
    fn the_bill_has_what_is_linked_and_nothing_of_tests_build_scripts_and_features_that_are_off() {
        let said = |package: &Package| format!("{} {} {}", package.name, package.version, package.licence);
        let all: Vec<String> = bill().packages().iter().map(said).collect();
        assert_eq!(all, ["b 1.0.0 MIT OR Apache-2.0", "c 2.0.0 ISC", "injerto-cli 0.1.0 MIT"]);
    }

    #[test]
    fn the_bill_of_materials_says_what_each_package_is_made_of() {
        let bill = Json::parse(&bill().cyclonedx()).expect("JSON");
        assert_eq!((bill.str("bomFormat"), bill.str("specVersion")), (Some("CycloneDX"), Some("1.5")));
        let names: Vec<_> = bill.list("components").iter().map(|component| component.str("bom-ref")).collect();
        assert_eq!(names, [Some("pkg:cargo/b@1.0.0"), Some("pkg:cargo/c@2.0.0")]);
        let first = &bill.list("components")[0];
        assert_eq!(first.list("hashes")[0].str("content"), Some("abc"));
        assert_eq!(first.list("licenses")[0].str("expression"), Some("MIT OR Apache-2.0"));
        let binary = &bill.list("dependencies")[2];
        assert_eq!(binary.str("ref"), Some("pkg:cargo/injerto-cli@0.1.0"));
        assert_eq!(binary.list("dependsOn"), [Json::text("pkg:cargo/b@1.0.0")]);
    }
}
