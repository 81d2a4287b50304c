//! What a schema job has to ask the org for, and how many calls that is.

/// Documents of a whole org need this much of the org; what the cache has is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchemaPlan {
    /// Objects of the library, described or not.
    pub objects: usize,
    /// Objects that must be described.
    pub describes: usize,
    /// Describes that go into one call.
    pub describes_per_call: usize,
    /// Families that must be read whole, object permissions left out.
    pub families: usize,
    /// Whether object permissions must be read.
    pub object_permissions: bool,
    /// Groups of objects whose field permissions must be read, a query each.
    pub field_permission_groups: usize,
}

/// Grants an object has on average: every profile and permission set that may see it is a row. Orgs differ widely; a page of
/// 2,000 rows more or less is what that costs the forecast.
const GRANTS_PER_OBJECT: usize = 6;
const ROWS_PER_PAGE: usize = 2_000;

impl SchemaPlan {
    /// Calls that the plan needs, about: what depends on rows that nobody has counted yet is estimated.
    pub fn calls(&self) -> u64 {
        let describes = self.describes.div_ceil(self.describes_per_call.max(1));
        let grants = (self.objects * GRANTS_PER_OBJECT).div_ceil(ROWS_PER_PAGE).max(1);
        let object_permissions = if self.object_permissions { grants } else { 0 };
        (describes + self.families + object_permissions + self.field_permission_groups) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const WHOLE: SchemaPlan = SchemaPlan {
        objects: 1_462,
        describes: 1_462,
        describes_per_call: 25,
        families: 8,
        object_permissions: true,
        field_permission_groups: 25,
    };

    #[rstest]
    #[case::nothing(SchemaPlan::default(), 0)]
    #[case::whole(WHOLE, 59 + 8 + 5 + 25)]
    #[case::families_known(SchemaPlan { families: 0, object_permissions: false, field_permission_groups: 0, ..WHOLE }, 59)]
    #[case::one_object_more(SchemaPlan { describes: 1, families: 0, object_permissions: false, field_permission_groups: 1, ..WHOLE }, 2)]
    #[case::small_org(SchemaPlan { objects: 3, describes: 3, field_permission_groups: 1, ..WHOLE }, 1 + 8 + 1 + 1)]
    fn the_plan_says_what_it_costs(#[case] plan: SchemaPlan, #[case] calls: u64) {
        assert_eq!(plan.calls(), calls);
    }
}
