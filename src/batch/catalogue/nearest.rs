//! The name that a misspelt name was most likely meant to be.

/// `; did you mean `x`?` or nothing, to be appended to a message.
pub fn hint<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or_else(String::new, |found| format!("; did you mean `{found}`?"))
}

/// The candidate with the fewest edits, when they are few for its length; of equals the first by name.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= (name.len().max(candidate.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters put in, taken out, changed or swapped with their neighbour, case aside.
fn edits(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (line, from) in left.iter().enumerate() {
        let mut row = vec![line + 1];
        for (at, to) in right.iter().enumerate() {
            let changed = rows[line][at] + usize::from(from != to);
            let mut fewest = changed.min(row[at] + 1).min(rows[line][at + 1] + 1);
            if line > 0 && at > 0 && *from == right[at - 1] && left[line - 1] == *to {
                fewest = fewest.min(rows[line - 1][at - 1] + 1);
            }
            row.push(fewest);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("curier", "; did you mean `courier`?")]
    #[case("coruier", "; did you mean `courier`?")]
    #[case("Courier", "; did you mean `courier`?")]
    #[case("status", "; did you mean `status`?")]
    #[case("colour", "")]
    #[case("", "")]
    fn a_misspelt_name_finds_its_neighbour(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(hint(name, ["courier", "status", "parcel_id"].into_iter()), expected);
    }
}
