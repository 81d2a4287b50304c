//! Whole runs, rules alone.

use crate::rig::*;

#[test]
fn a_list_goes_in_and_every_row_comes_back_with_what_became_of_its_lead() {
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let org = client(&plant);
        let live = known(&org, false, 300).await;
        let gone = known(&org, true, 40).await;
        let merged = gone.iter().filter(|lead| lead.master_record_id.is_some()).count();
        let converted = live.iter().filter(|lead| lead.is_converted).count();
        assert!(
            live.len() == 300 && merged > 0 && merged < gone.len() && converted > 0,
            "the org has all kinds"
        );

        let mut text = String::from("Company,Lead ID,Note\n");
        for (nth, lead) in live.iter().enumerate() {
            // Half of the ids lack their checksum.
            let id = if nth % 2 == 0 { &lead.id } else { &lead.id[..15] };
            text += &format!("\"Row, {nth}\",{id},=1+1\n");
        }
        for lead in &gone {
            text += &format!("gone,{},\n", lead.id);
        }
        text += &format!("nobody,{},\n", nobody());
        text += "blank,,\nwords,not an id,\nnumber,1.2E+17,\ncontact,0035g00000AbCdE,\n";
        text += &format!("again,{},\n", live[0].id);
        text += &format!("lower,{},\n", live[1].id.to_lowercase());
        let path = rig.file("list.csv", &text);

        let view = done(&plant, sheet(&path)).await;
        let counts = view.progress.counts;
        let rows = text.lines().count() as u64 - 1;
        assert_eq!((counts.rows, counts.blank, counts.invalid), (rows, 1, 3));
        assert_eq!((counts.duplicates, counts.repaired), (2, 1));
        assert_eq!(counts.leads, (live.len() + gone.len() + 1) as u64);
        assert_eq!((counts.assessed, counts.unread, counts.failed), (live.len() as u64, 0, 0));
        assert_eq!(counts.converted, converted as u64);
        assert_eq!((counts.merged, counts.deleted), (merged as u64, (gone.len() - merged) as u64));
        assert_eq!(counts.not_visible, 1);

        let report = csv_report(&plant, &view.spec.job).await;
        assert_eq!(report.len() as u64, rows);
        for ((nth, row), line) in report.iter().enumerate().zip(text.lines().skip(1)) {
            assert!(line.contains(&row["Lead ID"]), "row {nth} is where it was");
        }
        let status = |nth: usize| report[nth]["AI_Status"].as_str();
        assert_eq!((status(0), status(1)), ("Analyzed", "Analyzed"));
        let first_gone = live.len();
        for (nth, lead) in gone.iter().enumerate() {
            let expected = if lead.master_record_id.is_some() { "Merged Lead" } else { "Deleted Lead" };
            assert_eq!(status(first_gone + nth), expected);
        }
        assert_eq!(status(first_gone + gone.len()), "Lead Not Visible");
        let mine = |row: &std::collections::BTreeMap<String, String>| {
            let mut row = row.clone();
            row.retain(|head, _| head.contains('_') && head != "Note_2");
            row
        };
        assert_eq!(mine(&report[report.len() - 2]), mine(&report[0]), "a duplicate has its lead's verdict");
        close(plant).await;
    });
}

async fn ids(plant: &penstock::plant::Plant, limit: usize) -> Vec<String> {
    let mut pages = client(plant).lead_id_pages(&format!("SELECT Id FROM Lead LIMIT {limit}"), None).unwrap();
    let mut ids = Vec::new();
    while pages.next_ids(&mut ids).await.unwrap() {}
    assert_eq!(ids.len(), limit);
    ids
}

#[test]
fn a_long_list_takes_few_calls_and_the_job_counts_them_as_the_org_does() {
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let ids = ids(&plant, 12_000).await;
        let path = rig.file("long.csv", &format!("Id\n{}\n", ids.join("\n")));
        let before = plant.simulators[0].1.journal().total;
        let view = done(&plant, sheet(&path)).await;
        let calls = plant.simulators[0].1.journal().total - before;
        assert_eq!(view.progress.counts.assessed, 12_000);
        // Six reads, and a describe.
        assert_eq!((calls, view.progress.org_calls), (7, 7));
        close(plant).await;
    });
}

#[test]
fn a_bulk_query_tells_of_each_lead_what_a_read_by_its_id_tells() {
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let mut all = ids(&plant, 20_000).await;
        let some = known(&client(&plant), true, 60).await.into_iter().map(|lead| lead.id);
        let mut few: Vec<String> = some.chain([nobody()]).collect();
        few.extend(all.iter().step_by(10).cloned());
        all.retain(|id| !few.contains(id));
        all.extend(few.iter().cloned());
        let long = rig.file("long.csv", &format!("Id\n{}\n", all.join("\n")));
        let short = rig.file("short.csv", &format!("Id\n{}\n", few.join("\n")));

        let before = plant.simulators[0].1.journal();
        let by_bulk = done(&plant, sheet(&long)).await;
        let after = plant.simulators[0].1.journal();
        assert_eq!(
            by_bulk.progress.org_calls,
            after.total - before.total,
            "the job's own count is the org's"
        );
        let count = |journal: &orgsim::JournalSnapshot| journal.by_resource.get("collection").copied();
        assert_eq!(count(&after), count(&before), "nothing was read by its id");

        let by_ids = done(&plant, sheet(&short)).await;
        let by_lead = |report: Vec<std::collections::BTreeMap<String, String>>| {
            report
                .into_iter()
                .map(|row| (row["Id"].clone(), row))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        let bulk = by_lead(csv_report(&plant, &by_bulk.spec.job).await);
        let ids = by_lead(csv_report(&plant, &by_ids.spec.job).await);
        assert_eq!((bulk.len(), ids.len()), (all.len(), few.len()));
        for (id, row) in &ids {
            assert_eq!(&bulk[id], row);
        }
        close(plant).await;
    });
}
