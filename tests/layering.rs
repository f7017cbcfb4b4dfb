//! A layer imports only those before it (DESIGN.md, layers): the `use crate::` lines of src/ are read and held to that.

use std::path::{Path, PathBuf};

const LAYERS: [&str; 15] = [
    "error",
    "svg",
    "gpu",
    "tensor",
    "weights",
    "ops",
    "nn",
    "models",
    "diffusion",
    "media",
    "face",
    "metrics",
    "pipelines",
    "verify",
    "bench",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The modules named in `use crate::a::..` and `use crate::{a, b::..}`, and in paths `crate::a::` within code.
fn imports(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default(),
        };
        found.extend(names.split(',').map(|name| name.trim().split("::").next().unwrap_or_default().to_string()));
    }
    found
}

#[test]
fn layers_import_only_those_before_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    files(&src, &mut sources);
    let place = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let mut seen = 0;
    for path in sources {
        let layer =
            path.strip_prefix(&src).unwrap().components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let layer = layer.trim_end_matches(".rs");
        if ["lib", "main", "cli"].contains(&layer) {
            continue;
        }
        let own = place(layer).unwrap_or_else(|| panic!("src/{layer} is in no layer: add it to LAYERS and DESIGN.md"));
        for import in imports(&std::fs::read_to_string(&path).unwrap()) {
            let Some(other) = place(&import) else { continue };
            assert!(other <= own, "{}: {layer} imports {import}, which comes after it", path.display());
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} imports were found");
}

#[test]
fn the_command_holds_nothing_that_the_library_lacks() {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    let mut sources = Vec::new();
    files(&cli, &mut sources);
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("crate::"), "{}: the command uses the library as any program does", path.display());
    }
}
