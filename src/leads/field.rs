//! What penstock knows of a lead, and where in an org it stands: each company has custom fields of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $key:literal, $path:literal, $header:literal;)*) => {
        /// One thing that penstock knows of a lead.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum LeadField {
            $($(#[$doc])* #[serde(rename = $key)] $name,)*
        }

        impl LeadField {
            /// Every field, in the order of reports.
            pub const ALL: [Self; LeadField::COUNT] = [$(Self::$name,)*];
            /// How many there are.
            pub const COUNT: usize = [$($key,)*].len();

            /// The key in `[leads.fields]`.
            pub fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// Where it stands unless the config says otherwise; the name in answers over HTTP.
            pub fn default_path(self) -> &'static str {
                match self { $(Self::$name => $path,)* }
            }

            /// The head of its column in a report.
            pub fn header(self) -> &'static str {
                match self { $(Self::$name => $header,)* }
            }
        }
    };
}

fields! {
    /// Given name.
    FirstName = "first_name", "FirstName", "First Name";
    /// Family name.
    LastName = "last_name", "LastName", "Last Name";
    /// Phone number.
    Phone = "phone", "Phone", "Phone";
    /// Country.
    Country = "country", "Country", "Country";
    /// Job title.
    Title = "title", "Title", "Title";
    /// Industry.
    Industry = "industry", "Industry", "Industry";
    /// E-mail address.
    Email = "email", "Email", "Email";
    /// Channel by which the lead first came.
    FirstChannel = "first_channel", "First_Channel__c", "First Channel";
    /// Name of the market segment.
    SegmentName = "segment_name", "SegmentName__r.Name", "Segment Name";
    /// Range of the company's size, as sales knows it.
    CompanySizeRange = "company_size_range", "LS_Company_Size_Range__c", "Company Size Range";
    /// Website, as the lead gave it.
    Website = "website", "Website", "Website";
    /// Company, as the lead gave it.
    Company = "company", "Company", "Company";
    /// Website according to the enrichment.
    EnrichedWebsite = "enriched_website", "ZI_Website__c", "ZI Website";
    /// Company according to the enrichment.
    EnrichedCompany = "enriched_company", "ZI_Company_Name__c", "ZI Company Name";
    /// Employees according to the enrichment.
    EnrichedEmployees = "enriched_employees", "ZI_Employees__c", "ZI Employees";
    /// State or province.
    State = "state", "State", "State";
    /// State or province according to the enrichment.
    EnrichedState = "enriched_state", "ZI_State__c", "ZI State";
    /// Country according to the enrichment.
    EnrichedCountry = "enriched_country", "ZI_Country__c", "ZI Country";
}

impl LeadField {
    /// A field by its key.
    pub fn by_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.key() == key)
    }

    /// Position in [`LeadField::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A field of the Lead object, or of one that it refers to: `Website`, `SegmentName__r.Name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath {
    relation: Option<String>,
    field: String,
}

/// What is wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a field of Lead (`Website`) nor one of a parent (`Segment__r.Name`)")]
pub struct BadPath(String);

impl FieldPath {
    /// The relation that leads to the parent, such as `SegmentName__r`.
    pub fn relation(&self) -> Option<&str> {
        self.relation.as_deref()
    }

    /// The field, of the lead itself or of its parent.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The lead's own field to read: the field itself, or the one that holds the parent's id (`SegmentName__c`, `OwnerId`).
    pub fn own_field(&self) -> String {
        match &self.relation {
            None => self.field.clone(),
            Some(relation) => match relation.strip_suffix("__r") {
                Some(stem) => format!("{stem}__c"),
                None => format!("{relation}Id"),
            },
        }
    }
}

impl FromStr for FieldPath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let is_name = |name: &str| {
            name.len() <= 80
                && name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let (relation, field) = match text.split_once('.') {
            None => (None, text),
            Some((relation, field)) => (Some(relation), field),
        };
        if !is_name(field) || !relation.is_none_or(is_name) {
            return Err(BadPath(text.to_owned()));
        }
        Ok(Self { relation: relation.map(str::to_owned), field: field.to_owned() })
    }
}

impl TryFrom<String> for FieldPath {
    type Error = BadPath;

    fn try_from(text: String) -> Result<Self, BadPath> {
        text.parse()
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.relation {
            Some(relation) => write!(f, "{relation}.{}", self.field),
            None => f.write_str(&self.field),
        }
    }
}

/// Where each field stands in an org.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMapping {
    paths: Vec<Option<FieldPath>>,
    asked: Vec<bool>,
}

impl Default for FieldMapping {
    fn default() -> Self {
        let paths = LeadField::ALL.iter().map(|field| field.default_path().parse().ok()).collect();
        Self { paths, asked: vec![false; LeadField::COUNT] }
    }
}

impl FieldMapping {
    /// Says where a field stands; `None`: nowhere in this org.
    pub fn set(&mut self, field: LeadField, path: Option<FieldPath>) {
        self.paths[field.index()] = path;
        self.asked[field.index()] = true;
    }

    /// Takes away a field that an org lacks. Who asked for what stays as it was.
    pub fn leave_out(&mut self, field: LeadField) {
        self.paths[field.index()] = None;
    }

    /// Where a field stands.
    pub fn path(&self, field: LeadField) -> Option<&FieldPath> {
        self.paths[field.index()].as_ref()
    }

    /// Whether a person has said so. An org that lacks such a field is told to the person; one that lacks a default field
    /// simply has leads without it.
    pub fn is_asked_for(&self, field: LeadField) -> bool {
        self.asked[field.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Website", "Website")]
    #[case("SegmentName__r.Name", "SegmentName__c")]
    #[case("Owner.Name", "OwnerId")]
    fn a_path_names_the_leads_own_field(#[case] path: &str, #[case] own: &str) {
        let path: FieldPath = path.parse().unwrap();
        assert_eq!(path.own_field(), own);
        assert_eq!(path.to_string().parse(), Ok(path));
    }

    #[rstest]
    #[case("")]
    #[case("a.b.c")]
    #[case("Web site")]
    #[case("Id, (SELECT Id FROM Tasks)")]
    #[case("1abc")]
    fn what_is_no_path_is_refused(#[case] text: &str) {
        assert_eq!(text.parse::<FieldPath>(), Err(BadPath(text.to_owned())));
    }

    #[test]
    fn every_default_is_a_path() {
        let mapping = FieldMapping::default();
        for field in LeadField::ALL {
            assert_eq!(mapping.path(field).unwrap().to_string(), field.default_path());
        }
    }
}
