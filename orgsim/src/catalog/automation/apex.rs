//! Bodies of the org's Apex triggers, in the five shapes in which people write them.

use std::fmt::Write as _;

/// What a trigger does, as its table line says.
pub struct Plan<'a> {
    /// Trigger name.
    pub name: &'a str,
    /// Object it runs on.
    pub object: &'a str,
    /// `BeforeInsert`, `AfterUpdate`, ...
    pub events: &'a [String],
    /// `stamp`, `guard`, `rollup`, `publish` or `handler`.
    pub shape: &'a str,
    /// Field it reads or writes.
    pub field: &'a str,
    /// The other field, the parent object or the event it publishes.
    pub other: &'a str,
    /// Why it exists.
    pub purpose: &'a str,
}

/// The source text; `None` for an unknown shape.
#[must_use]
pub fn body(plan: &Plan) -> Option<String> {
    let inner = match plan.shape {
        "stamp" => stamp(plan),
        "guard" => guard(plan),
        "rollup" => rollup(plan),
        "publish" => publish(plan),
        "handler" => handler(plan),
        _ => return None,
    };
    let mut text = String::new();
    let _ = writeln!(
        text,
        "/**\n * {}\n *\n * Bypass: the custom setting Automation_Switch__c, field Triggers_Off__c,",
        plan.purpose
    );
    let _ = writeln!(text, " * for the user of a data load. Switch it off again afterwards.\n */");
    let _ = writeln!(text, "trigger {} on {} ({}) {{", plan.name, plan.object, events(plan.events));
    let _ = writeln!(
        text,
        "    if (Automation_Switch__c.getInstance().Triggers_Off__c == true) {{\n        return;\n    }}\n"
    );
    text.push_str(&inner);
    text.push_str("}\n");
    Some(text)
}

fn events(events: &[String]) -> String {
    let words: Vec<String> = events
        .iter()
        .map(|event| {
            let second = event.char_indices().skip(1).find(|(_, letter)| letter.is_ascii_uppercase());
            let at = second.map_or(event.len(), |(at, _)| at);
            format!("{} {}", event[..at].to_ascii_lowercase(), event[at..].to_ascii_lowercase())
        })
        .collect();
    words.join(", ")
}

fn stamp(plan: &Plan) -> String {
    let Plan { object, field, other, .. } = plan;
    let stem = object.trim_end_matches("__c").replace('_', "");
    format!(
        "    // Before save, so that no second update is needed.
    for ({object} record : Trigger.new) {{
        {object} before = Trigger.isUpdate ? Trigger.oldMap.get(record.Id) : null;
        Boolean changed = before == null || before.{field} != record.{field};
        if (!changed) {{
            continue;
        }}
        // A value typed in by hand wins over ours.
        if (record.{other} == null || (before != null && before.{other} == record.{other})) {{
            record.{other} = {stem}Rules.valueFor(record.{field});
        }}
    }}
"
    )
}

fn guard(plan: &Plan) -> String {
    let Plan { object, field, other, .. } = plan;
    format!(
        "    // One query for the whole batch; up to 200 records come at once.
    Map<Id, AggregateResult> inUse = new Map<Id, AggregateResult>([
        SELECT {field} Id, COUNT(Id) total
        FROM {other}
        WHERE {field} IN :Trigger.oldMap.keySet()
        GROUP BY {field}
    ]);

    for ({object} record : Trigger.old) {{
        if (inUse.containsKey(record.Id)) {{
            // Auditors want the history, so we refuse instead of deleting the children too.
            record.addError('This record is used elsewhere and cannot be deleted. Close it instead.');
        }}
    }}
"
    )
}

fn rollup(plan: &Plan) -> String {
    let Plan { object, field, other, .. } = plan;
    format!(
        "    // A lookup has no roll-up summary, so the total is kept here.
    Set<Id> parentIds = new Set<Id>();
    List<{object}> touched = Trigger.isDelete ? Trigger.old : Trigger.new;

    for ({object} record : touched) {{
        if (record.{field} != null) {{
            parentIds.add(record.{field});
        }}
        // A child that moved changes the old parent's total as well.
        if (Trigger.isUpdate) {{
            Id former = Trigger.oldMap.get(record.Id).{field};
            if (former != null && former != record.{field}) {{
                parentIds.add(former);
            }}
        }}
    }}

    if (parentIds.isEmpty()) {{
        return;
    }}

    List<{other}> parents = new List<{other}>();
    for (AggregateResult row : [
        SELECT {field} parentId, COUNT(Id) total
        FROM {object}
        WHERE {field} IN :parentIds
        GROUP BY {field}
    ]) {{
        {other} parent = new {other}(Id = (Id) row.get('parentId'));
        RollupWriter.write(parent, (Decimal) row.get('total'));
        parents.add(parent);
        parentIds.remove(parent.Id);
    }}

    // Parents without children left are missing from the aggregate.
    for (Id emptied : parentIds) {{
        {other} parent = new {other}(Id = emptied);
        RollupWriter.write(parent, 0);
        parents.add(parent);
    }}

    // Sorted by id, so that two batches lock parents in the same order.
    parents.sort();
    update parents;
"
    )
}

fn publish(plan: &Plan) -> String {
    let Plan { object, field, other, .. } = plan;
    format!(
        "    List<{other}> events = new List<{other}>();
    for ({object} record : Trigger.new) {{
        {object} before = Trigger.isUpdate ? Trigger.oldMap.get(record.Id) : null;
        if (before != null && before.{field} == record.{field}) {{
            continue;
        }}
        events.add(new {other}(
            Record_Id__c = record.Id,
            Change__c = before == null ? 'created' : 'changed'
        ));
    }}

    if (events.isEmpty()) {{
        return;
    }}

    /* Publishing does not throw: each result has to be looked at,
       or a lost event is found only at the month end. */
    for (Database.SaveResult result : EventBus.publish(events)) {{
        if (!result.isSuccess()) {{
            IntegrationLog.warn('{name}', result.getErrors());
        }}
    }}
",
        name = plan.name
    )
}

fn handler(plan: &Plan) -> String {
    let mut text = format!(
        "    {}Handler handler = new {}Handler(Trigger.new, Trigger.oldMap);\n\n",
        plan.name, plan.name
    );
    text.push_str("    switch on Trigger.operationType {\n");
    for event in plan.events {
        let constant = event.replace("Before", "BEFORE_").replace("After", "AFTER_").to_ascii_uppercase();
        let method = format!("{}{}", event[..1].to_ascii_lowercase(), &event[1..]);
        let _ = writeln!(
            text,
            "        when {constant} {{\n            // {} depends on {}.",
            plan.other, plan.field
        );
        let _ = writeln!(text, "            handler.{method}();\n        }}");
    }
    text.push_str("    }\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("stamp")]
    #[case("guard")]
    #[case("rollup")]
    #[case("publish")]
    #[case("handler")]
    fn every_shape_has_a_header_comments_and_closed_braces(#[case] shape: &str) {
        let events = vec!["BeforeInsert".to_owned(), "AfterUndelete".to_owned()];
        let plan = Plan {
            name: "T",
            object: "Lease__c",
            events: &events,
            shape,
            field: "A__c",
            other: "B__c",
            purpose: "Why.",
        };
        let text = body(&plan).unwrap();
        assert!(text.contains("trigger T on Lease__c (before insert, after undelete) {"), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        let lines = text.lines().count();
        assert!((10..=120).contains(&lines), "{lines} lines");
        assert!(text.contains("//") || text.contains("/*"));
    }

    #[test]
    fn an_unknown_shape_has_no_body() {
        let plan =
            Plan { name: "T", object: "A", events: &[], shape: "magic", field: "", other: "", purpose: "" };
        assert!(body(&plan).is_none());
    }
}
