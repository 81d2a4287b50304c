//! Where a job's leads come from, and what the org knows of them.

use std::path::Path;

use penstock::http::api::lead_service::{StartLeads, StartSource};
use penstock::leads::job::{LeadSource, ReportFormat};
use penstock::leads::{LeadField, LeadOutcome, ModelVerdict};

use crate::model::{asking, endpoint, list, results};
use crate::rig::*;

fn with_source(source: StartSource) -> StartLeads {
    StartLeads { source, reports: vec![ReportFormat::Jsonl], ..sheet(Path::new("none.csv")) }
}

/// The summary of a workbook, by its first two columns.
fn summary(path: &Path) -> std::collections::BTreeMap<String, calamine::Data> {
    use calamine::Reader;
    let mut book = calamine::open_workbook_auto(path).unwrap();
    let range = book.worksheet_range("Summary").unwrap();
    range.rows().filter(|row| row.len() > 1).map(|row| (row[0].to_string(), row[1].clone())).collect()
}

#[test]
fn ids_and_a_query_make_jobs_whose_report_has_a_line_a_lead() {
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let live = known(&client(&plant), false, 30).await;
        let mut ids: Vec<String> = live.iter().map(|lead| lead.id.clone()).collect();
        ids.extend([live[0].id[..15].to_owned(), "prose".to_owned(), nobody()]);
        let view = done(&plant, with_source(StartSource::Ids { ids })).await;
        let counts = view.progress.counts;
        assert_eq!((counts.rows, counts.duplicates, counts.invalid, counts.not_visible), (33, 1, 1, 1));
        assert_eq!(counts.assessed, 30);
        let path = service(&plant).report(&view.spec.job, ReportFormat::Jsonl).await.unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 33);

        // More than a page.
        let soql = "SELECT Id FROM Lead ORDER BY Id LIMIT 4500".to_owned();
        let view = done(&plant, with_source(StartSource::Query { soql })).await;
        let counts = view.progress.counts;
        assert_eq!((counts.rows, counts.leads, counts.assessed), (4_500, 4_500, 4_500));
        close(plant).await;
    });
}

#[test]
fn a_query_that_failed_is_asked_anew_and_a_retry_goes_on_with_the_leads_it_found() {
    use orgsim::{Fault, FaultRule};
    use penstock::leads::JobPhase;
    let mut rig = Rig::new();
    // The job fails behind its intake.
    rig.config.leads.fields.website = "Homepage__c".parse().ok();
    in_system(async {
        let plant = rig.plant().await;
        let server = &plant.simulators[0].1;
        server.faults().add(FaultRule::always(Fault::Latency { ms: 300 }).of_kind("query"));
        let soql = "SELECT Id FROM Lead ORDER BY Id LIMIT 30".to_owned();
        let same = || StartLeads { take_up: true, ..with_source(StartSource::Query { soql: soql.clone() }) };
        let service = service(&plant);
        let first = service.start(same()).await.unwrap().job.clone();
        assert_eq!(service.start(same()).await.unwrap().job, first, "it runs");
        let failed = over(&plant, &first).await;
        assert_eq!((failed.progress.phase, failed.progress.counts.open), (JobPhase::Failed, 30));

        let queries = || server.journal().calls.iter().filter(|call| call.kind == "query").count();
        let before = queries();
        let second = service.start(same()).await.unwrap().job.clone();
        assert_ne!(second, first, "what it found is as old as the job");
        over(&plant, &second).await;
        assert_eq!(queries(), before + 1);
        service.retry(&first, None).await.unwrap();
        assert_eq!(over(&plant, &first).await.progress.counts.open, 30);
        assert_eq!(queries(), before + 1, "a retry is of the same leads");
        close(plant).await;
    });
}

#[test]
fn an_org_without_enrichment_has_no_score_of_it_and_still_a_confidence() {
    in_system(async {
        let server = endpoint(&[]).await;
        let rig = crate::model::rig(&server, "");
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 40).await;
        for ask_model in [false, true] {
            let start = StartLeads { ask_model, ..asking(&path) };
            let view = done(&plant, start).await;
            for result in results(&plant, &view.spec.job).await {
                let LeadOutcome::Assessed(assessment) = result.outcome else { panic!("it has a record") };
                let scores = assessment.scores;
                assert_eq!(scores.enrichment, None);
                let (Some(acquisition), Some(coherence)) = (scores.acquisition, scores.coherence) else {
                    assert!(!ask_model, "the model has answered");
                    continue;
                };
                let expected = (0.15 * acquisition + 0.70 * coherence) / 0.85;
                assert!((scores.confidence.unwrap() - expected).abs() <= 0.051, "{scores:?}");
                if let ModelVerdict::Answered { answer, .. } = &assessment.model {
                    let proposed: Vec<&String> =
                        answer.corrections.keys().chain(answer.inferences.keys()).collect();
                    assert!(proposed.is_empty(), "the org has no such field: {proposed:?}");
                }
            }
            // Made when the run is over: what the org lacks stands in the job's store.
            let before = summary(&service(&plant).report(&view.spec.job, ReportFormat::Xlsx).await.unwrap());
            assert_eq!(before["Weight of enrichment"].to_string(), "0");
            assert_eq!(before["Weight of coherence"].to_string(), "0.7");
        }
        close(plant).await;
    });
}

#[test]
fn an_org_with_enrichment_gives_its_fields_and_those_of_parents() {
    in_system(async {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/leads/enrichment");
        let mut options = orgsim::Options { sfdx: vec![folder], ..orgsim::Options::default() };
        options.data.records.insert("Market_Segment__c".to_owned(), 5);
        let org = orgsim::Server::start(options).await.unwrap();
        let rig = Rig::new().with_org(&org);
        let plant = rig.plant().await;
        let path = list(&rig, &plant, 200).await;
        let view = done(&plant, sheet(&path)).await;
        let results = results(&plant, &view.spec.job).await;
        let has = |field| results.iter().filter(|result| result.lead.get(field).is_some()).count();
        let found = (has(LeadField::EnrichedCompany), has(LeadField::SegmentName));
        assert!(found.0 > 0 && found.1 > 0, "{found:?}");
        assert!(
            results.iter().all(|result| match &result.outcome {
                LeadOutcome::Assessed(assessment) => assessment.scores.enrichment.is_some(),
                _ => false,
            }),
            "where there is a field there is a score, be it 0"
        );
        let told = summary(&service(&plant).report(&view.spec.job, ReportFormat::Xlsx).await.unwrap());
        assert_eq!(told["Weight of enrichment"].to_string(), "0.15");
        close(plant).await;
    });
}

#[test]
fn a_list_without_heads_and_one_below_a_title_lose_no_lead() {
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let live = known(&client(&plant), false, 3).await;
        let text: String = live.iter().map(|lead| format!("{},x\n", lead.id)).collect();
        let path = rig.file("bare.csv", &text);
        let view = done(&plant, sheet(&path)).await;
        assert_eq!((view.progress.counts.rows, view.progress.counts.assessed), (3, 3));
        let report = csv_report(&plant, &view.spec.job).await;
        let ids: Vec<&String> = report.iter().map(|row| &row["Column A"]).collect();
        assert_eq!(ids, live.iter().map(|lead| &lead.id).collect::<Vec<_>>(), "each row, in its order");
        assert!(report.iter().all(|row| row["AI_Status"] == "Analyzed"));
        let jsonl = service(&plant).report(&view.spec.job, ReportFormat::Jsonl).await.unwrap();
        let first = std::fs::read_to_string(jsonl).unwrap();
        let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
        assert_eq!((&first["row"], first["input"]["Column A"].as_str()), (&1.into(), Some(&*live[0].id)));
        let workbook = service(&plant).report(&view.spec.job, ReportFormat::Xlsx).await.unwrap();
        assert_eq!(summary(&workbook)["Total rows"].to_string(), "3");

        let text: String = live.iter().map(|lead| format!("x,{}\n", lead.id)).collect();
        let path = rig.file("titled.csv", &format!("Leads of autumn\nWho,Lead ID\n{text}"));
        let view = done(&plant, sheet(&path)).await;
        let counts = view.progress.counts;
        assert_eq!((counts.rows, counts.invalid, counts.assessed), (4, 1, 3));
        close(plant).await;
    });
}

#[test]
fn a_workbook_goes_through_with_its_sheet_and_column_named_or_guessed() {
    let rig = Rig::new();
    in_system(async {
        let plant = rig.plant().await;
        let live = known(&client(&plant), false, 12).await;
        let path = rig.folder.path().join("two.xlsx");
        let mut book = rust_xlsxwriter::Workbook::new();
        // What a person does not see is not taken, though it has ids and stands first.
        let hidden = book.add_worksheet().set_name("Last year").unwrap().set_hidden(true);
        hidden.write_row(0, 0, ["Lead ID"]).unwrap();
        for (row, lead) in (1..).zip(&live[9..]) {
            hidden.write_row(row, 0, [lead.id.clone()]).unwrap();
        }
        let cover = book.add_worksheet().set_name("Cover").unwrap().set_active(true);
        cover.write_row(0, 0, ["Leads of the autumn"]).unwrap();
        let first = book.add_worksheet().set_name("Leads").unwrap();
        first.write_row(0, 0, ["Who", "Record"]).unwrap();
        for (row, lead) in (1..).zip(&live[..5]) {
            first.write_row(row, 0, [format!("row {row}"), lead.id.clone()]).unwrap();
        }
        let second = book.add_worksheet().set_name("More").unwrap();
        second.write_row(0, 0, ["Old Id", "New Id"]).unwrap();
        for (row, lead) in (1..).zip(&live[5..]) {
            second.write_row(row, 0, [live[0].id.clone(), lead.id.clone()]).unwrap();
        }
        book.save(&path).unwrap();
        let start = |sheet_name: Option<&str>, id_column: Option<&str>| StartLeads {
            source: StartSource::Sheet {
                path: path.clone(),
                name: "two.xlsx".to_owned(),
                sheet: sheet_name.map(str::to_owned),
                id_column: id_column.map(str::to_owned),
                is_ours: false,
            },
            reports: Vec::new(),
            ..sheet(&path)
        };
        let guessed = done(&plant, start(None, None)).await;
        assert_eq!((guessed.progress.counts.rows, guessed.progress.counts.assessed), (5, 5));
        let LeadSource::Sheet { sheet: taken, id_column, .. } = &guessed.spec.source else {
            panic!("a sheet")
        };
        assert_eq!((taken.as_deref(), id_column.as_str()), (Some("Leads"), "Record"));
        let told = service(&plant).forecast(start(None, None)).await.unwrap();
        assert_eq!((told.sheet.as_deref(), told.id_column.as_deref()), (Some("Leads"), Some("Record")));
        let hidden = done(&plant, start(Some("last year"), None)).await;
        assert_eq!(hidden.progress.counts.rows, 3, "a sheet that is named may be hidden");
        let named = done(&plant, start(Some("More"), Some("New Id"))).await;
        let counts = named.progress.counts;
        assert_eq!((counts.rows, counts.assessed, counts.duplicates), (7, 7, 0));
        assert_eq!(named.spec.reports, [ReportFormat::Xlsx], "the form of its sheet");
        let told = summary(&service(&plant).report(&named.spec.job, ReportFormat::Xlsx).await.unwrap());
        assert!(!told.is_empty());
        let refused = service(&plant).start(start(Some("More"), Some("Nobody"))).await.unwrap_err();
        let refused = format!("{refused:?}");
        assert!(refused.contains("Old Id") && refused.contains("New Id"), "{refused}");
        close(plant).await;
    });
}
