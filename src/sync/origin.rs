//! Whose rows a table has.
//!
//! Promises: a table takes the rows of one object of one org. What is not known of a table, because it was made before that was
//! written down or because a login does not tell its org, refuses nobody. The name of an org in the configuration says
//! nothing here: its address may be another org's by now.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::evolve::EvolveError;
use super::settings::ObjectSettings;
use super::{DeletePolicy, Watermark};
use crate::model::{ObjectName, OrgName, OrganizationId};

/// Whose rows a table has, as the warehouse keeps it with the table; what is `None` is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The object's API name.
    pub object: Option<String>,
    /// The org's own id, of 18 characters.
    pub organization: Option<String>,
    /// The settings by which its rows were chosen, as [`chosen_by`] tells them.
    pub chosen_by: Option<String>,
}

impl Origin {
    /// Of an object of the org that is logged in to.
    pub fn of(object: &ObjectName, organization: Option<&OrganizationId>) -> Self {
        Self {
            object: Some(object.as_str().to_owned()),
            organization: organization.map(|id| id.as_str().to_owned()),
            chosen_by: None,
        }
    }

    /// What is to be written down of a table of which `self` is known, once it has rows of `new`; `None`: all of it is known.
    #[must_use]
    pub fn more(&self, new: Self) -> Option<Self> {
        let is_known = |new: &Option<String>, old: &Option<String>| new.is_none() || new == old;
        let all = is_known(&new.object, &self.object)
            && is_known(&new.organization, &self.organization)
            && is_known(&new.chosen_by, &self.chosen_by);
        (!all).then_some(new)
    }
}

/// Whose the rows are that a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsAre {
    /// Of the object and the org that more are to come from, as far as anybody knows.
    Ours,
    /// Of another org: all of them are to be replaced.
    OfAnotherOrg,
}

/// Whether a table of origin `was` takes rows of `now`. With `is_full_asked` somebody asked, now and by name, for every row to
/// be read: then rows of another org give way.
///
/// # Errors
/// [`EvolveError::OtherObject`], [`EvolveError::OtherOrganization`].
pub fn may_take(was: &Origin, now: &Origin, is_full_asked: bool) -> Result<RowsAre, EvolveError> {
    if let (Some(was), Some(now)) = (&was.object, &now.object)
        && !was.eq_ignore_ascii_case(now)
    {
        return Err(EvolveError::OtherObject { was: was.clone(), now: now.clone() });
    }
    match (&was.organization, &now.organization) {
        (Some(was), Some(now)) if was != now && !is_full_asked => {
            Err(EvolveError::OtherOrganization { was: was.clone(), now: now.clone() })
        }
        (Some(was), Some(now)) if was != now => Ok(RowsAre::OfAnotherOrg),
        _ => Ok(RowsAre::Ours),
    }
}

/// Of the settings that decide which rows a target holds, and as what.
pub fn fingerprint(org: &OrgName, settings: &ObjectSettings, deletes: DeletePolicy) -> String {
    let deletes = match deletes {
        DeletePolicy::Flag => "flag",
        DeletePolicy::Remove => "remove",
    };
    let filter = settings.filter.as_deref().unwrap_or_default();
    format!("{org}\n{}\n{}\n{deletes}\n{filter}", settings.table, settings.match_field.to_lowercase())
}

/// A fingerprint as the warehouse keeps it with the table: its hash, for a filter is a sentence of somebody's.
pub fn chosen_by(fingerprint: &str) -> String {
    let digest = Sha256::digest(fingerprint.as_bytes());
    digest.iter().take(16).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Whether the rows of a table were chosen by other settings than `now`, a fingerprint, or by nobody knows which. What the
/// warehouse keeps counts before `noted`, the fingerprint in the state folder: the daemon of another folder may have been here
/// since.
pub fn is_chosen_otherwise(kept: Option<&str>, noted: &str, now: &str) -> bool {
    kept.map_or(noted != now, |kept| kept != chosen_by(now))
}

/// Whether the warehouse is of an earlier day than what is `noted` of it: somebody has put back a copy. Warehouses keep
/// microseconds.
pub fn is_put_back(ledger: Option<Watermark>, noted: Option<Timestamp>) -> bool {
    match (ledger, noted) {
        (Some(ledger), Some(noted)) => ledger.at.as_microsecond() < noted.as_microsecond(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::sync::test_support::object_settings;

    fn origin(object: &str, organization: &str) -> Origin {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Origin { object: known(object), organization: known(organization), chosen_by: None }
    }

    #[rstest]
    #[case::same(origin("Lead", "00D1"), origin("lead", "00D1"), false, Ok(RowsAre::Ours))]
    #[case::nothing_known(origin("", ""), origin("Lead", "00D1"), false, Ok(RowsAre::Ours))]
    #[case::login_tells_nothing(origin("Lead", "00D1"), origin("Lead", ""), false, Ok(RowsAre::Ours))]
    #[case::asked_for(origin("Lead", "00D1"), origin("Lead", "00D2"), true, Ok(RowsAre::OfAnotherOrg))]
    fn a_table_takes_rows_of_its_own_and_others_where_that_was_asked_for(
        #[case] was: Origin,
        #[case] now: Origin,
        #[case] is_full_asked: bool,
        #[case] expected: Result<RowsAre, EvolveError>,
    ) {
        assert_eq!(may_take(&was, &now, is_full_asked), expected);
    }

    #[test]
    fn rows_of_another_object_or_org_are_refused_with_the_ways_out() {
        for is_full_asked in [false, true] {
            let told = may_take(&origin("Contact", "00D1"), &origin("Account", "00D1"), is_full_asked);
            let told = told.unwrap_err().to_string();
            assert!(told.contains("`Contact`") && told.contains("another `table`"), "{told}");
        }
        let told = may_take(&origin("Lead", "00D1"), &origin("Lead", "00D2"), false).unwrap_err().to_string();
        assert!(told.contains("00D1") && told.contains("00D2") && told.contains("--full"), "{told}");
    }

    #[test]
    fn what_is_known_already_is_not_written_down_again() {
        let was = Origin { chosen_by: Some("x".to_owned()), ..origin("Lead", "00D1") };
        assert_eq!(was.more(was.clone()), None);
        assert_eq!(was.more(origin("Lead", "")), None, "who knows less takes nothing away");
        assert_eq!(was.more(origin("Lead", "00D2")), Some(origin("Lead", "00D2")));
        assert_eq!(Origin::default().more(was.clone()), Some(was));
    }

    #[test]
    fn settings_that_choose_other_rows_are_noticed_without_the_state_folder() {
        let mut settings = object_settings("Lead");
        let org = "demo".parse().unwrap();
        let before = fingerprint(&org, &settings, DeletePolicy::Flag);
        settings.filter = Some("City = 'Oslo'".to_owned());
        let after = fingerprint(&org, &settings, DeletePolicy::Flag);
        let kept = chosen_by(&before);
        assert!(!kept.contains("Lead") && kept.len() == 32, "{kept}");
        for noted in ["", &before, &after] {
            assert!(!is_chosen_otherwise(Some(&kept), noted, &before), "the warehouse knows better");
            assert!(is_chosen_otherwise(Some(&kept), noted, &after));
        }
        assert!(is_chosen_otherwise(None, "", &before), "nobody knows");
        assert!(!is_chosen_otherwise(None, &before, &before), "of a warehouse made before it kept them");
        assert_ne!(before, fingerprint(&org, &object_settings("Lead"), DeletePolicy::Remove));
    }

    #[test]
    fn a_warehouse_of_an_earlier_day_was_put_back() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (early, late) = (at("2026-11-23T10:00:00.0000001Z"), at("2026-11-23T10:00:00.000001Z"));
        let mark = |at| Some(Watermark { at });
        assert!(is_put_back(mark(early), Some(late)));
        assert!(!is_put_back(mark(late), Some(early)) && !is_put_back(mark(late), Some(late)));
        assert!(!is_put_back(mark(at("2026-11-23T10:00:00Z")), Some(early)), "less than a warehouse keeps");
        assert!(!is_put_back(None, Some(late)) && !is_put_back(mark(late), None));
    }
}
