//! Finds metadata files below a folder.

use std::path::{Path, PathBuf};

const ENDINGS: &[&str] = &[
    ".object-meta.xml",
    ".object",
    ".field-meta.xml",
    ".validationRule-meta.xml",
    ".recordType-meta.xml",
    ".trigger",
    ".flow-meta.xml",
    ".flow",
    ".permissionset-meta.xml",
    ".permissionset",
    ".globalValueSet-meta.xml",
    ".globalValueSet",
];
const SKIPPED: &[&str] = &["node_modules", ".git", ".sfdx", ".sf"];
/// Deeper than any project; a link that leads back into itself ends here.
const DEPTH_MAX: usize = 32;

/// All metadata files below `dir`, sorted. Folders that cannot be read become warnings, `dir` itself an error.
pub fn metadata_files(dir: &Path, warnings: &mut Vec<String>) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                warnings.push(format!("{}: {error}", folder.display()));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if depth < DEPTH_MAX && !SKIPPED.contains(&name.as_str()) {
                    waiting.push((path, depth + 1));
                }
            } else if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The name in front of the first of `endings` that fits.
pub fn stem(path: &Path, endings: &[&str]) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    endings.iter().find_map(|ending| name.strip_suffix(ending)).map(str::to_owned)
}

/// The object whose part a file is: the folder above `fields`, `validationRules` or `recordTypes`.
pub fn object_folder(path: &Path) -> Option<String> {
    Some(path.parent()?.parent()?.file_name()?.to_str()?.to_owned())
}
