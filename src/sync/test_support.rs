//! What several tests of this folder start from.

use super::settings::ObjectSettings;

/// An object with every setting at its default.
pub fn object_settings(object: &str) -> ObjectSettings {
    ObjectSettings {
        object: object.parse().unwrap(),
        table: object.to_ascii_lowercase().parse().unwrap(),
        match_field: "Id".to_owned(),
        use_stage: false,
        stage_name: None,
        force_full_sync: false,
        filter: None,
        existing_job_id: None,
        delete_job: true,
        exclude: Vec::new(),
        compounds: false,
        base64: false,
        every: None,
        cron: None,
    }
}
