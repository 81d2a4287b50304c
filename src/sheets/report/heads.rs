//! Heads of columns that do not collide.

use std::collections::HashSet;

/// `names`, each told from those taken and from one another by `_2`, `_3` and so on. Case does not tell heads apart, because
/// it does not in a spreadsheet's tables.
pub(super) fn told_apart<'n>(taken: &[String], names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let mut seen: HashSet<String> = taken.iter().map(|head| head.to_lowercase()).collect();
    let mut tell = |name: &str| {
        let mut told = name.to_owned();
        let mut number = 2u32;
        while !seen.insert(told.to_lowercase()) {
            told = format!("{name}_{number}");
            number += 1;
        }
        told
    };
    names.into_iter().map(&mut tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[], &["Note", "Lead_ID"], &["Note", "Lead_ID"])]
    #[case(&["note", "Name"], &["Note"], &["Note_2"])]
    #[case(&["Note", "NOTE_2"], &["Note"], &["Note_3"])]
    #[case(&[], &["Name", "Name", "name", "Name_2"], &["Name", "Name_2", "name_3", "Name_2_2"])]
    fn heads_are_told_apart(#[case] taken: &[&str], #[case] names: &[&str], #[case] expected: &[&str]) {
        let taken: Vec<String> = taken.iter().map(|&head| head.to_owned()).collect();
        assert_eq!(told_apart(&taken, names.iter().copied()), expected);
    }
}
