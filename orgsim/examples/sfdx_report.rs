//! Says what an import of project folders finds: `cargo run -p orgsim --example sfdx_report -- DIR...`

use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let dirs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (org, reports) = orgsim::catalog::build_with_report(1, &dirs)?;
    for (dir, report) in dirs.iter().zip(&reports) {
        println!("{}", dir.display());
        println!("  objects {} fields {}", report.objects, report.fields);
        println!("  validation rules {} record types {}", report.validation_rules, report.record_types);
        println!(
            "  triggers {} flows {} permission sets {}",
            report.triggers, report.flows, report.permission_sets
        );
        for warning in &report.warnings {
            println!("  warning: {warning}");
        }
    }
    println!("the org now has {} objects", org.objects.len());
    Ok(())
}
