//! What several tests of this folder start from.

use super::settings::ObjectSettings;

/// An object with every setting at its default.
pub fn object_settings(object: &str) -> ObjectSettings {
    ObjectSettings::new(object.parse().unwrap(), object.to_ascii_lowercase().parse().unwrap())
}
