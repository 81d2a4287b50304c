//! The org-wide families, grouped by object once.
//!
//! An org has tens of thousands of permission rows; every object asks only for its own. Grouping keeps
//! a permission set's name once, not once a row. A family that failed keeps its reason, so that each
//! section can say so instead of showing "none".

use std::collections::{BTreeMap, HashMap};

use crate::model::{
    Families, Family, FamilyFailure, FlowRow, LayoutRow, ObjectName, ObjectPermissionRow, RecordTypeRow,
    TriggerRow, ValidationRuleRow, WorkflowRuleRow,
};

/// Families of one org, by object.
#[derive(Debug, Default)]
pub struct FamilyIndex {
    objects: HashMap<ObjectName, ObjectFamilies>,
    grantors: Vec<Grantor>,
    failures: BTreeMap<Family, String>,
    unjoined: BTreeMap<Family, usize>,
}

/// A permission set or a profile: whoever grants access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grantor {
    /// The org's id of the permission set; a profile owns a hidden one.
    pub id: String,
    /// As a reader calls it: ``profile `Sales` ``, ``permission set `Invoice admin` ``.
    pub title: String,
}

/// Position of a [`Grantor`] in its index.
pub(super) type GrantorNumber = u32;

/// What the families hold about one object.
#[derive(Debug, Default)]
pub(super) struct ObjectFamilies {
    pub flows: Vec<FlowRow>,
    pub triggers: Vec<TriggerSummary>,
    pub validation_rules: Vec<ValidationRuleRow>,
    pub workflow_rules: Vec<WorkflowRuleRow>,
    pub record_types: Vec<RecordTypeRow>,
    pub layouts: Vec<LayoutRow>,
    pub object_permissions: Vec<(GrantorNumber, ObjectPermissionRow)>,
    /// By field name: who reads, and whether it also edits.
    pub field_permissions: BTreeMap<Box<str>, Vec<(GrantorNumber, FieldAccess)>>,
    pub record_count: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FieldAccess {
    Read,
    Edit,
}

/// A trigger without its body: what a reader wants to know of the code is its size.
#[derive(Debug, Clone)]
pub(super) struct TriggerSummary {
    pub row: TriggerRow,
    pub complexity: Option<CodeComplexity>,
}

/// Lines of a piece of Apex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeComplexity {
    /// All lines.
    pub total_lines: usize,
    /// Lines that hold only comment.
    pub comment_lines: usize,
    /// Lines that are neither blank nor only comment.
    pub code_lines: usize,
}

impl CodeComplexity {
    /// Counts the lines of `body`. A line that ends a block comment and then goes on with code is code.
    pub fn of(body: &str) -> Self {
        let mut counts = Self { total_lines: 0, comment_lines: 0, code_lines: 0 };
        let mut in_block = false;
        for line in body.lines() {
            counts.total_lines += 1;
            let mut rest = line.trim();
            if rest.is_empty() {
                continue;
            }
            let mut has_code = false;
            while !rest.is_empty() {
                if in_block {
                    match rest.split_once("*/") {
                        Some((_, after)) => (in_block, rest) = (false, after.trim_start()),
                        None => rest = "",
                    }
                } else if rest.starts_with("//") {
                    rest = "";
                } else if let Some(after) = rest.strip_prefix("/*") {
                    (in_block, rest) = (true, after);
                } else {
                    has_code = true;
                    // Only a comment that opens here and stays open matters to the lines that follow.
                    in_block = opens_block(rest);
                    rest = "";
                }
            }
            if has_code {
                counts.code_lines += 1;
            } else {
                counts.comment_lines += 1;
            }
        }
        counts
    }
}

/// Whether a line that starts with code leaves a block comment open. Text in quotes does not count.
fn opens_block(line: &str) -> bool {
    let mut letters = line.chars().peekable();
    let (mut in_text, mut in_block) = (false, false);
    while let Some(letter) = letters.next() {
        let next = letters.peek().copied();
        match (letter, next) {
            ('*', Some('/')) if in_block => {
                in_block = false;
                letters.next();
            }
            _ if in_block => {}
            ('\\', Some(_)) if in_text => {
                letters.next();
            }
            ('\'', _) => in_text = !in_text,
            _ if in_text => {}
            ('/', Some('/')) => return false,
            ('/', Some('*')) => {
                in_block = true;
                letters.next();
            }
            _ => {}
        }
    }
    in_block
}

impl FamilyIndex {
    /// Groups `families` by object; the rows are moved, trigger bodies are counted and dropped.
    pub fn new(families: Families) -> Self {
        let mut index = Self::default();
        let sets = index.rows(Family::PermissionSets, families.permission_sets);
        let mut numbers: HashMap<String, GrantorNumber> = HashMap::with_capacity(sets.len());
        for set in sets {
            let title = match &set.profile {
                Some(profile) => format!("profile `{profile}`"),
                None if set.label.is_empty() => format!("permission set `{}`", set.name),
                None => format!("permission set `{}`", set.label),
            };
            index.grantor(&mut numbers, set.id, Some(title));
        }

        for row in index.rows(Family::Flows, families.flows) {
            // Flows that no record starts (screens, schedules) belong to no object.
            if let Some(object) = row.object.clone() {
                index.entry(object).flows.push(row);
            }
        }
        for mut row in index.rows(Family::Triggers, families.triggers) {
            let complexity = row.body.take().map(|body| CodeComplexity::of(&body));
            index.entry(row.object.clone()).triggers.push(TriggerSummary { row, complexity });
        }
        for row in index.rows(Family::ValidationRules, families.validation_rules) {
            index.entry(row.object.clone()).validation_rules.push(row);
        }
        for row in index.rows(Family::WorkflowRules, families.workflow_rules) {
            if let Some(object) = index.joined(Family::WorkflowRules, &row.object) {
                index.entry(object).workflow_rules.push(row);
            }
        }
        for row in index.rows(Family::RecordTypes, families.record_types) {
            index.entry(row.object.clone()).record_types.push(row);
        }
        for row in index.rows(Family::Layouts, families.layouts) {
            if let Some(object) = index.joined(Family::Layouts, &row.object) {
                index.entry(object).layouts.push(row);
            }
        }
        for row in index.rows(Family::ObjectPermissions, families.object_permissions) {
            let number = index.grantor(&mut numbers, row.parent_id.clone(), None);
            index.entry(row.object.clone()).object_permissions.push((number, row));
        }
        for row in index.rows(Family::FieldPermissions, families.field_permissions) {
            let access = match (row.edit, row.read) {
                (true, _) => FieldAccess::Edit,
                (false, true) => FieldAccess::Read,
                (false, false) => continue,
            };
            let number = index.grantor(&mut numbers, row.parent_id, None);
            // Some orgs answer the field with its object before it.
            let field = row.field.rsplit('.').next().unwrap_or_default().into();
            index.entry(row.object).field_permissions.entry(field).or_default().push((number, access));
        }
        for row in index.rows(Family::RecordCounts, families.record_counts) {
            index.entry(row.object).record_count = Some(row.count);
        }
        index.sort();
        index
    }

    /// Families that could not be read, in the order of [`Family::ALL`].
    pub fn failures(&self) -> Vec<FamilyFailure> {
        let failure =
            |(&family, reason): (&Family, &String)| FamilyFailure { family, reason: reason.clone() };
        self.failures.iter().map(failure).collect()
    }

    /// Rows that name their object by an internal id and so could not be joined to it, by family.
    pub fn unjoined(&self) -> &BTreeMap<Family, usize> {
        &self.unjoined
    }

    /// Why `family` shows nothing, if it failed.
    pub(super) fn failure(&self, family: Family) -> Option<&str> {
        self.failures.get(&family).map(String::as_str)
    }

    pub(super) fn object(&self, object: &ObjectName) -> Option<&ObjectFamilies> {
        self.objects.get(object)
    }

    pub(super) fn title(&self, number: GrantorNumber) -> &str {
        self.grantors.get(number as usize).map_or("someone unknown", |grantor| &grantor.title)
    }

    fn rows<T>(&mut self, family: Family, rows: Result<Vec<T>, FamilyFailure>) -> Vec<T> {
        rows.unwrap_or_else(|failure| {
            self.failures.insert(family, failure.reason);
            Vec::new()
        })
    }

    fn entry(&mut self, object: ObjectName) -> &mut ObjectFamilies {
        self.objects.entry(object).or_default()
    }

    /// The object that a row names, unless it names it by an `01I` id, which nothing here can resolve.
    fn joined(&mut self, family: Family, object: &str) -> Option<ObjectName> {
        let parsed = object.parse().ok().filter(|_| !object.starts_with("01I"));
        if parsed.is_none() {
            *self.unjoined.entry(family).or_default() += 1;
        }
        parsed
    }

    fn grantor(
        &mut self,
        numbers: &mut HashMap<String, GrantorNumber>,
        id: String,
        title: Option<String>,
    ) -> GrantorNumber {
        if let Some(&number) = numbers.get(&id) {
            return number;
        }
        let number = GrantorNumber::try_from(self.grantors.len()).unwrap_or(GrantorNumber::MAX);
        // A row may name a set that the list of sets lacks, for example when reading that list failed.
        let title = title.unwrap_or_else(|| format!("permission set with id `{id}`"));
        numbers.insert(id.clone(), number);
        self.grantors.push(Grantor { id, title });
        number
    }

    /// Brings every list into an order of its own, so that the org's answer order never shows.
    fn sort(&mut self) {
        let titles: Vec<(String, String)> =
            self.grantors.iter().map(|grantor| (grantor.title.clone(), grantor.id.clone())).collect();
        let title = |number: GrantorNumber| titles.get(number as usize);
        for object in self.objects.values_mut() {
            object.flows.sort_by(|a, b| a.api_name.cmp(&b.api_name));
            object.triggers.sort_by(|a, b| a.row.name.cmp(&b.row.name));
            object.validation_rules.sort_by(|a, b| a.name.cmp(&b.name));
            object.workflow_rules.sort_by(|a, b| a.name.cmp(&b.name));
            object.record_types.sort_by(|a, b| a.developer_name.cmp(&b.developer_name));
            object.layouts.sort_by(|a, b| a.name.cmp(&b.name));
            object.object_permissions.sort_by(|a, b| title(a.0).cmp(&title(b.0)));
            for grants in object.field_permissions.values_mut() {
                grants.sort_by(|a, b| title(a.0).cmp(&title(b.0)));
                grants.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("trigger T on A (before insert) {\n  a();\n}", 3, 0, 3)]
    #[case::line_comments("// one\na();\n  // two", 3, 2, 1)]
    #[case::block("/*\n * told\n still told\n */\na();", 5, 4, 1)]
    #[case::blank_lines("a();\n\n\nb();", 4, 0, 2)]
    #[case::code_after_a_block("/* x */ a();", 1, 0, 1)]
    #[case::block_opened_behind_code("a(); /* x\n y\n */", 3, 2, 1)]
    #[case::quoted_stars("s = '/*';\na();", 2, 0, 2)]
    #[case::empty("", 0, 0, 0)]
    fn code_lines_are_told_from_comment_lines(
        #[case] body: &str,
        #[case] total: usize,
        #[case] comment: usize,
        #[case] code: usize,
    ) {
        let expected = CodeComplexity { total_lines: total, comment_lines: comment, code_lines: code };
        assert_eq!(CodeComplexity::of(body), expected);
    }
}
