//! The small demo networks: trained ones where their files lie, else random ones of the same kind.

use super::weights::{Kind, Role, WeightSet};
use crate::Result;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the files lie below the repository's root, or a release's.
const FOLDER: &str = "weights/demo";

impl WeightSet {
    /// The small demo models for `roles`, such as [`Role::LIPSYNC`]: trained ones where one folder holds all that a job needs under
    /// their published names, else [`WeightSet::random`]. Looked at are `folder`, then `weights/demo` beside the running program or
    /// in a folder above it, the nearest first. [`WeightSet::kind`] says which it became.
    pub fn demo(roles: &[Role], folder: Option<&Path>) -> Result<Self> {
        let program = std::env::current_exe().ok();
        let places = folder.map(Path::to_path_buf).into_iter().chain(program.iter().flat_map(|path| above(path)));
        let Some(place) = { places }.find(|place| is_complete(place, roles)) else { return Self::random(roles) };
        let mut set = Self::open(roles, Some(&place), &BTreeMap::new())?;
        set.kind = Kind::TrainedDemo;
        Ok(set)
    }
}

/// The demo's folders beside `program` and in the folders above.
fn above(program: &Path) -> impl Iterator<Item = PathBuf> {
    program.ancestors().skip(1).map(|folder| folder.join(FOLDER))
}

/// Whether `folder` holds a file for each of `roles` that a job does not run without.
fn is_complete(folder: &Path, roles: &[Role]) -> bool {
    roles.iter().filter(|role| !role.is_optional()).all(|role| folder.join(role.file_names()[0]).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_sets_count() {
        let folder = tempfile::tempdir().unwrap();
        for role in Role::LIPSYNC {
            assert!(!is_complete(folder.path(), Role::LIPSYNC));
            std::fs::write(folder.path().join(role.file_names()[0]), "").unwrap();
        }
        assert!(is_complete(folder.path(), Role::LIPSYNC) && !is_complete(folder.path(), Role::ANIMATE));
        for role in Role::ANIMATE.iter().filter(|role| **role != Role::KeyfaceWeaker) {
            std::fs::write(folder.path().join(role.file_names()[0]), "").unwrap();
        }
        assert!(is_complete(folder.path(), Role::ANIMATE), "without the weaker network");
    }

    #[test]
    fn the_nearest_folder_comes_first() {
        let places: Vec<PathBuf> = above(Path::new("/a/target/release/viseme")).collect();
        let expected = ["/a/target/release", "/a/target", "/a", "/"].map(|folder| Path::new(folder).join(FOLDER));
        assert_eq!(places, expected);
    }
}
