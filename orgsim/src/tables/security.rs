//! PermissionSet, Profile, ObjectPermissions, FieldPermissions.

use super::{Kind::*, LAST_CHANGE_MS, MetaTable, Offered, Parent, col, optional, text};
use crate::{ids, model, org::OrgData, rows_api::Value};

pub(super) const TABLES: &[MetaTable] = &[PERMISSION_SET, PROFILE, OBJECT_PERMISSIONS, FIELD_PERMISSIONS];

fn set(org: &OrgData, row: u64) -> &model::PermissionSet {
    &org.model.permission_sets[row as usize]
}

const PERMISSION_SET: MetaTable = MetaTable {
    name: "PermissionSet",
    offered: Offered::Both,
    key_prefix: "0PS",
    id_column: "Id",
    len: |org| org.model.permission_sets.len() as u64,
    parents: &[Parent {
        relation: "Profile",
        table: "Profile",
        row: |org, row| org.profile_of_set[row as usize],
    }],
    columns: &[
        col("Id", Id, |org, row| text(&set(org, row).id)),
        col("Name", Text, |org, row| text(&set(org, row).name)),
        col("Label", Text, |org, row| text(&set(org, row).label)),
        col("IsOwnedByProfile", Bool, |org, row| Value::Bool(set(org, row).profile_id.is_some())),
        col("ProfileId", Id, |org, row| optional(set(org, row).profile_id.as_deref())),
        col("Type", Text, |org, row| {
            text(if set(org, row).profile_id.is_some() { "Profile" } else { "Regular" })
        }),
        col("IsCustom", Bool, |_, _| Value::Bool(true)),
        col("Description", Text, |_, _| Value::Null),
        col("NamespacePrefix", Text, |_, _| Value::Null),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
        col("SystemModstamp", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};

const PROFILE: MetaTable = MetaTable {
    name: "Profile",
    offered: Offered::Both,
    key_prefix: "00e",
    id_column: "Id",
    len: |org| org.profiles.len() as u64,
    parents: &[],
    columns: &[
        col("Id", Id, |org, row| text(&org.profiles[row as usize].id)),
        col("Name", Text, |org, row| text(&org.profiles[row as usize].name)),
        col("UserType", Text, |_, _| text("Standard")),
        col("LastModifiedDate", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};

fn on_object(org: &OrgData, row: u64) -> &model::ObjectPermission {
    &org.model.object_permissions[row as usize]
}

const OBJECT_PERMISSIONS: MetaTable = MetaTable {
    name: "ObjectPermissions",
    offered: Offered::Data,
    key_prefix: "110",
    id_column: "Id",
    len: |org| org.model.object_permissions.len() as u64,
    parents: &[Parent {
        relation: "Parent",
        table: "PermissionSet",
        row: |org, row| Some(on_object(org, row).set as u64),
    }],
    columns: &[
        col("Id", Id, |_, row| Value::Text(ids::numbered("110", row + 1))),
        col("ParentId", Id, |org, row| text(&set(org, on_object(org, row).set as u64).id)),
        col("SobjectType", Text, |org, row| text(&on_object(org, row).object)),
        col("PermissionsRead", Bool, |org, row| Value::Bool(on_object(org, row).read)),
        col("PermissionsCreate", Bool, |org, row| Value::Bool(on_object(org, row).create)),
        col("PermissionsEdit", Bool, |org, row| Value::Bool(on_object(org, row).edit)),
        col("PermissionsDelete", Bool, |org, row| Value::Bool(on_object(org, row).delete)),
        col("PermissionsViewAllRecords", Bool, |org, row| Value::Bool(on_object(org, row).view_all)),
        col("PermissionsModifyAllRecords", Bool, |org, row| Value::Bool(on_object(org, row).modify_all)),
        col("SystemModstamp", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};

fn on_field(org: &OrgData, row: u64) -> &model::FieldPermission {
    &org.model.field_permissions[row as usize]
}

const FIELD_PERMISSIONS: MetaTable = MetaTable {
    name: "FieldPermissions",
    offered: Offered::Data,
    key_prefix: "01k",
    id_column: "Id",
    len: |org| org.model.field_permissions.len() as u64,
    parents: &[Parent {
        relation: "Parent",
        table: "PermissionSet",
        row: |org, row| Some(on_field(org, row).set as u64),
    }],
    columns: &[
        col("Id", Id, |_, row| Value::Text(ids::numbered("01k", row + 1))),
        col("ParentId", Id, |org, row| text(&set(org, on_field(org, row).set as u64).id)),
        col("SobjectType", Text, |org, row| text(&on_field(org, row).object)),
        // `Object.Field`, never the bare field name.
        col("Field", Text, |org, row| {
            let granted = on_field(org, row);
            Value::Text(format!("{}.{}", granted.object, granted.field))
        }),
        col("PermissionsRead", Bool, |org, row| Value::Bool(on_field(org, row).read)),
        col("PermissionsEdit", Bool, |org, row| Value::Bool(on_field(org, row).edit)),
        col("SystemModstamp", DateTime, |_, _| Value::DateTime(LAST_CHANGE_MS)),
    ],
};
