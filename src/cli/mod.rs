//! The command line: `penstock <command>`.
//!
//! Data goes to stdout, everything else to stderr; `--json` gives one JSON document. Commands that ask a running daemon
//! speak to its control socket; without a daemon they open the state folder themselves.

mod batch;
mod daemon;
mod demo;
mod leads;
mod one_shot;
mod progress;
mod query;
mod show;
mod show_limits;
mod sync;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::actors::fetcher::chain;
use crate::ai::{self, Embedder};
use crate::config::{Config, Problems, process_environment};
use crate::control::{self, BulkJobsAsk, Command, ControlError, Reply, SyncAsk, SyncOrder};
use crate::model::{ObjectName, OrgName};
use crate::store::state_folder::{control_socket_path, library_path};
use crate::vectors::{Search, SearchError, SearchFilter};

const USAGE: u8 = 2;
const FAILED: u8 = 1;
const STATE_FOLDER: u8 = 73;
const CONFIG: u8 = 78;

/// Gets things out of a Salesforce org.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Args)]
struct ConfigArg {
    /// The configuration [default: ./config.toml, else the built-in one with the simulated org]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Output {
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Reads a whole simulated org into a library, asks it questions, and sends a batch; needs nothing but this program
    Demo {
        /// Adds the metadata of an SFDX or metadata-API project (repeatable)
        #[arg(long, value_name = "DIR")]
        sfdx: Vec<PathBuf>,
        /// Holds each answer of the simulated org back, as a real one would
        #[arg(long, value_name = "MS")]
        latency_ms: Option<u64>,
        #[command(flatten)]
        output: Output,
    },
    /// Runs the daemon
    Run(ConfigArg),
    /// Runs the schema job once and waits for it
    Schema {
        #[command(flatten)]
        config: ConfigArg,
        /// Only this org
        #[arg(long)]
        org: Option<OrgName>,
        #[command(flatten)]
        output: Output,
    },
    /// Answers a question from the library
    Search {
        /// The question, in your own words, or an API name
        question: String,
        #[command(flatten)]
        config: ConfigArg,
        /// The org to search [default: the first of the configuration]
        #[arg(long)]
        org: Option<OrgName>,
        /// Only this object
        #[arg(long)]
        object: Option<ObjectName>,
        /// Objects in the answer
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=50))]
        limit: u16,
        #[command(flatten)]
        output: Output,
    },
    /// Writes the rows of a query as JSON lines
    Query {
        /// SELECT .. FROM ..
        statement: String,
        #[command(flatten)]
        config: ConfigArg,
        /// The org to ask [default: the first of the configuration]
        #[arg(long)]
        org: Option<OrgName>,
        /// Deleted and archived rows too
        #[arg(long)]
        all: bool,
        /// By which interface
        #[arg(long, value_enum, default_value_t = query::QueryApi::Auto)]
        api: query::QueryApi,
        /// Into this file; the same command goes on where a killed one stopped
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Runs a batch of dependent reads and writes on a database
    Batch {
        /// The request as JSON, as `POST /batch` takes it; `-` reads stdin
        file: PathBuf,
        #[command(flatten)]
        config: ConfigArg,
        /// Says how it would run, and touches no table
        #[arg(long, conflicts_with_all = ["dry_run", "idempotency_key"])]
        plan: bool,
        /// Runs it, then rolls it back
        #[arg(long)]
        dry_run: bool,
        /// Claims to act with, as a JSON object: roles, subject, and what filters need
        #[arg(long, value_name = "JSON")]
        claims: Option<String>,
        /// The database [default: the one that has the entities]
        #[arg(long, value_name = "NAME")]
        database: Option<String>,
        /// A repeat with the same key is answered with the first answer
        #[arg(long, value_name = "K")]
        idempotency_key: Option<String>,
    },
    /// Judges a list of lead ids, and writes a report with the list's own columns and rows
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Leads {
        #[command(subcommand)]
        command: Option<LeadsCommand>,
        /// A workbook (.xlsx, .xls) or a .csv or .tsv file
        #[arg(required = true)]
        file: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigArg,
        /// The org to ask [default: that of the configuration]
        #[arg(long)]
        org: Option<OrgName>,
        /// The sheet with the ids [default: the first of those not hidden that has ids]
        #[arg(long)]
        sheet: Option<String>,
        /// The head of the column with the ids [default: the column that holds them]
        #[arg(long, value_name = "HEAD")]
        id_column: Option<String>,
        /// Ids in one read of the org
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2000))]
        batch_size: Option<u32>,
        /// Leads that go to the model together
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2000))]
        ai_batch_size: Option<u32>,
        /// Most that the model may cost, in the currency of the configured prices
        #[arg(long, value_name = "MONEY", value_parser = money)]
        max_cost: Option<f64>,
        /// Asks no model
        #[arg(long)]
        rules_only: bool,
        /// The report: .xlsx, .csv or .jsonl [default: FILE-report in this folder]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Says what it would take in calls, tokens and money, and spends nothing
        #[arg(long)]
        explain: bool,
        /// Leaves the job to the running daemon and prints its id
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Brings objects into the warehouse: all rows the first time, then what changed
    Sync {
        /// The objects [default: all that are configured]
        objects: Vec<ObjectName>,
        #[command(flatten)]
        config: ConfigArg,
        /// Says which method would be chosen, why, and what it would cost; writes nothing
        #[arg(long)]
        explain: bool,
        /// Every row, whatever was synced before
        #[arg(long)]
        full: bool,
        /// Compares the ids of all rows, which finds every row that is gone
        #[arg(long)]
        compare_ids: bool,
        /// Reads formula fields again, due or not
        #[arg(long)]
        formulas: bool,
        /// Counts at the org and in the table, due or not
        #[arg(long)]
        reconcile: bool,
        /// Takes the rows of a bulk job that is at the org already; for one object
        #[arg(long, value_name = "ID")]
        existing_job_id: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Sends rows of the warehouse back to the org
    Push {
        /// Names of the pushes [default: all that are configured]
        names: Vec<String>,
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        output: Output,
    },
    /// Bulk jobs that are at the org
    BulkJobs {
        #[command(subcommand)]
        command: BulkJobsCommand,
    },
    /// Checks the configuration and tells every mistake
    Check(ConfigArg),
    /// The configuration as it is used
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Shows what the daemon is doing
    Status {
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        output: Output,
    },
    /// Shows the org's limits, what is left of the daily allowance to each priority, and the circuit breakers
    Limits {
        #[command(flatten)]
        config: ConfigArg,
        /// Only this org
        #[arg(long)]
        org: Option<OrgName>,
        #[command(flatten)]
        output: Output,
    },
    /// Freezes the line; the pause survives a restart
    Pause(ConfigArg),
    /// Ends a pause
    Resume(ConfigArg),
    /// Dead letters: items that were given up
    Dead {
        #[command(subcommand)]
        command: DeadCommand,
    },
    /// The cache of the org's answers
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
}

#[derive(Debug, Subcommand)]
enum LeadsCommand {
    /// Tries failed and unread leads of a job again, and goes on with a job that failed
    Retry {
        /// The job's id
        job: String,
        #[command(flatten)]
        config: ConfigArg,
        /// The new report
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Most that the job may cost from now on, what it has cost included [default: as before]
        #[arg(long, value_name = "MONEY", value_parser = money)]
        max_cost: Option<f64>,
        #[command(flatten)]
        output: Output,
    },
    /// Lists the jobs that are kept
    List {
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct AtOrg {
    #[command(flatten)]
    config: ConfigArg,
    /// The org [default: the first of the configuration]
    #[arg(long)]
    org: Option<OrgName>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum BulkJobsCommand {
    /// Lists them
    List(AtOrg),
    /// Shows one
    Show {
        /// Its id
        job: String,
        #[command(flatten)]
        at: AtOrg,
    },
    /// Deletes some, with their results
    Delete {
        /// Their ids
        #[arg(required = true)]
        jobs: Vec<String>,
        #[command(flatten)]
        at: AtOrg,
    },
    /// Deletes those that have ended and are older than some hours
    Clean {
        /// Age in hours
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        older_than_hours: u64,
        #[command(flatten)]
        at: AtOrg,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints every key with the value that is used, overrides of the environment included; secrets are left empty
    Dump(ConfigArg),
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// Lists them
    List {
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        output: Output,
    },
    /// Tries them again; without numbers, all
    Retry {
        /// Their numbers
        numbers: Vec<u64>,
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        output: Output,
    },
    /// Removes them; without numbers, all
    Drop {
        /// Their numbers
        numbers: Vec<u64>,
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// What is in it
    Stats {
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        output: Output,
    },
    /// Lists its keys: org/version/kind/name
    Keys {
        /// Only those that start with it
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        output: Output,
    },
    /// Removes entries
    Clear {
        /// Only those whose key starts with it, such as `demo/`
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        output: Output,
    },
}

/// Reads an amount of money: not negative, and not without end.
fn money(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(units) if (0.0..=1e9).contains(&units) => Ok(units),
        _ => Err("an amount of money from 0 to 1000000000 is needed, such as 2.50".to_owned()),
    }
}

/// Parses the arguments and does what they say. Signals must have been blocked before.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no mistakes; clap knows which stream.
            let code = if error.use_stderr() { USAGE } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    ExitCode::from(dispatch(cli.command))
}

fn dispatch(command: CliCommand) -> u8 {
    match command {
        CliCommand::Demo { sfdx, latency_ms, output } => demo::demo(sfdx, latency_ms, output.json),
        CliCommand::Run(config) => with_config(&config, daemon::run),
        CliCommand::Schema { config, org, output } => with_config(&config, |config, _| {
            let command = Command::Schema { org };
            ask_or_do(
                &config,
                command,
                |config, command| one_shot::schema(config, command, output.json),
                |done| show::schema(done, output.json),
            )
        }),
        CliCommand::Search { question, config, org, object, limit, output } => {
            with_config(&config, |config, _| search(&config, &question, org, object, limit, output.json))
        }
        CliCommand::Query { statement, config, org, all, api, out } => {
            let ask = query::Ask { statement, org, all, api, out };
            with_config(&config, |config, _| query::query(&config, ask))
        }
        CliCommand::Batch { file, config, plan, dry_run, claims, database, idempotency_key } => {
            let ask = batch::Ask { file, plan, dry_run, claims, database, idempotency_key };
            match ask.into_command() {
                Ok(command) => with_config(&config, |config, _| batch::batch(&config, command)),
                Err(message) => {
                    eprintln!("penstock: {message}");
                    USAGE
                }
            }
        }
        CliCommand::Leads { command: Some(command), .. } => match command {
            LeadsCommand::Retry { job, config, out, max_cost, output } => {
                with_config(&config, |config, _| leads::retry(&config, job, out, max_cost, output.json))
            }
            LeadsCommand::List { config, output } => {
                with_config(&config, |config, _| leads::list(&config, output.json))
            }
        },
        CliCommand::Leads {
            command: None,
            file,
            config,
            org,
            sheet,
            id_column,
            batch_size,
            ai_batch_size,
            max_cost,
            rules_only,
            out,
            explain,
            detach,
            output,
        } => {
            let size = |given: Option<u32>| given.and_then(|size| usize::try_from(size).ok());
            let ask = leads::Ask {
                // clap has asked for it.
                file: file.unwrap_or_default(),
                org,
                sheet,
                id_column,
                batch_size: size(batch_size),
                ai_batch_size: size(ai_batch_size),
                max_cost,
                rules_only,
                out,
                explain,
                detach,
                json: output.json,
            };
            with_config(&config, |config, _| leads::leads(&config, ask))
        }
        CliCommand::Sync {
            objects,
            config,
            explain,
            full,
            compare_ids,
            formulas,
            reconcile,
            existing_job_id,
            output,
        } => {
            if existing_job_id.is_some() && objects.len() != 1 {
                eprintln!("penstock: --existing-job-id is for one object: name it");
                return USAGE;
            }
            let order = SyncOrder { objects, full, compare_ids, formulas, reconcile, existing_job_id };
            with_config(&config, |config, _| {
                let ask = if explain { SyncAsk::Explain(order) } else { SyncAsk::Run(order) };
                ask_or_do(&config, Command::Sync { ask }, one_shot::at_the_org, |done| match explain {
                    true => sync::explanations(done, output.json),
                    false => sync::results(done, output.json),
                })
            })
        }
        CliCommand::Push { names, config, output } => with_config(&config, |config, _| {
            let shown = |done: &serde_json::Value| sync::pushes(done, output.json);
            ask_or_do(&config, Command::Push { names }, one_shot::at_the_org, shown)
        }),
        CliCommand::BulkJobs { command } => bulk_jobs(command),
        CliCommand::Config { command: ConfigCommand::Dump(config) } => with_config(&config, |config, _| {
            show::say_line(format_args!("{}", config.to_toml().trim_end()));
            0
        }),
        CliCommand::Check(config) => with_config(&config, |config, path| {
            show::good_config(&config, path.as_deref());
            0
        }),
        CliCommand::Status { config, output } => {
            command_over(&config, Command::Status, move |done| show::status(done, output.json))
        }
        CliCommand::Limits { config, org, output } => with_config(&config, |config, _| {
            let command = Command::Limits { org };
            ask_or_do(&config, command, one_shot::command, |done| show_limits::limits(done, output.json))
        }),
        CliCommand::Pause(config) => {
            command_over(&config, Command::Pause, |_| show::say_line(format_args!("paused")))
        }
        CliCommand::Resume(config) => {
            command_over(&config, Command::Resume, |_| show::say_line(format_args!("resumed")))
        }
        CliCommand::Dead { command } => match command {
            DeadCommand::List { config, output } => {
                command_over(&config, Command::DeadList, move |done| show::dead_letters(done, output.json))
            }
            DeadCommand::Retry { numbers, config, output } => {
                command_over(&config, Command::DeadRetry { numbers }, move |done| {
                    show::retried(done, output.json)
                })
            }
            DeadCommand::Drop { numbers, config, output } => {
                command_over(&config, Command::DeadDrop { numbers }, move |done| {
                    show::dropped(done, output.json)
                })
            }
        },
        CliCommand::Cache { command } => match command {
            CacheCommand::Stats { config, output } => {
                command_over(&config, Command::CacheStats, move |done| show::cache_stats(done, output.json))
            }
            CacheCommand::Keys { prefix, config, output } => {
                command_over(&config, Command::CacheKeys { prefix }, move |done| {
                    show::keys(done, output.json)
                })
            }
            CacheCommand::Clear { prefix, config, output } => {
                command_over(&config, Command::CacheClear { prefix }, move |done| {
                    show::cleared(done, output.json)
                })
            }
        },
    }
}

fn bulk_jobs(command: BulkJobsCommand) -> u8 {
    let (at, ask) = match command {
        BulkJobsCommand::List(at) => (at, BulkJobsAsk::List),
        BulkJobsCommand::Show { job, at } => (at, BulkJobsAsk::Show { job }),
        BulkJobsCommand::Delete { jobs, at } => (at, BulkJobsAsk::Delete { jobs }),
        BulkJobsCommand::Clean { older_than_hours, at } => (at, BulkJobsAsk::Clean { older_than_hours }),
    };
    let AtOrg { config, org, output } = at;
    with_config(&config, |config, _| {
        ask_or_do(&config, Command::BulkJobs { org, ask }, one_shot::at_the_org, |done| {
            sync::bulk_jobs(done, output.json);
            0
        })
    })
}

fn with_config(argument: &ConfigArg, go_on: impl FnOnce(Config, Option<PathBuf>) -> u8) -> u8 {
    let here = PathBuf::from("config.toml");
    let path = argument.config.clone().or_else(|| here.exists().then_some(here));
    match Config::load(path.as_deref(), process_environment()) {
        Ok(config) => go_on(config, path),
        Err(problems) => tell_problems(&problems),
    }
}

fn tell_problems(problems: &Problems) -> u8 {
    eprintln!("{}", problems.to_string().trim_end());
    let mistakes = match problems.len() {
        1 => "1 mistake".to_owned(),
        several => format!("{several} mistakes"),
    };
    eprintln!("penstock: {mistakes} in the configuration");
    CONFIG
}

fn command_over(config: &ConfigArg, command: Command, show: impl FnOnce(&serde_json::Value)) -> u8 {
    with_config(config, |config, _| {
        let shown = |done: &serde_json::Value| {
            show(done);
            0
        };
        ask_or_do(&config, command, one_shot::command, shown)
    })
}

/// Asks the daemon that holds the state folder; without one, does it here.
fn ask_or_do(
    config: &Config,
    command: Command,
    here: impl FnOnce(&Config, Command) -> Result<Reply, u8>,
    show: impl FnOnce(&serde_json::Value) -> u8,
) -> u8 {
    let socket = control_socket_path(&config.state_dir);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(&error),
    };
    let reply = match runtime.block_on(control::ask(&socket, &command)) {
        Ok(reply) => reply,
        Err(ControlError::NobodyListens) => match here(config, command) {
            Ok(reply) => reply,
            Err(code) => return code,
        },
        Err(error) => return tell(&error),
    };
    match reply {
        Reply::Done(done) => show(&done),
        Reply::Failed { message, exit_code } => {
            eprintln!("penstock: {message}");
            exit_code
        }
    }
}

fn tell(error: &dyn std::error::Error) -> u8 {
    eprintln!("penstock: {}", chain(error));
    FAILED
}

/// The model that is set, which the check of the configuration has seen; its files may have changed since.
fn model_of(config: &Config) -> Result<Arc<dyn Embedder>, u8> {
    ai::static_model(config.embedder.model_dir.as_deref()).map_err(|error| {
        eprintln!("penstock: embedder.model_dir: {}", chain(&error));
        CONFIG
    })
}

fn search(
    config: &Config,
    question: &str,
    org: Option<OrgName>,
    object: Option<ObjectName>,
    limit: u16,
    json: bool,
) -> u8 {
    let Some(org) = org.or_else(|| config.org.first().map(|org| org.name.clone())) else {
        eprintln!("penstock: the configuration names no org");
        return CONFIG;
    };
    // What a demo on a project has brought in stands in no configuration, and can be searched all the same.
    let is_configured = config.org.iter().any(|known| known.name == org);
    let model = match model_of(config) {
        Ok(model) => model,
        Err(code) => return code,
    };
    let of = org.clone();
    let path = library_path(&config.state_dir);
    let found = Search::open_read_only(&path).map_err(|error| {
        let hint = if path.exists() { "" } else { " (run `penstock demo` or `penstock schema` first)" };
        format!("{}{hint}", chain(&error))
    });
    let found = found.and_then(|search| {
        let filter = SearchFilter { object, limit: usize::from(limit), ..SearchFilter::of(org) };
        search.search(&*model, question, &filter).map_err(|error| {
            let hint = match error {
                SearchError::OtherModel { .. } => " (run `penstock schema` to embed it anew)",
                _ => "",
            };
            format!("{}{hint}", chain(&error))
        })
    });
    match found {
        Ok(hits) if hits.is_empty() && !is_configured => {
            eprintln!("penstock: neither the configuration nor the library knows an org `{of}`");
            FAILED
        }
        Ok(hits) => {
            show::hits(question, &hits, json);
            0
        }
        Err(message) => {
            eprintln!("penstock: {message}");
            FAILED
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2.50", Some(2.5))]
    #[case("0", Some(0.0))]
    #[case("-1", None)]
    #[case("NaN", None)]
    #[case("inf", None)]
    #[case("2,50", None)]
    fn a_bound_is_an_amount_of_money(#[case] text: &str, #[case] units: Option<f64>) {
        let args = ["penstock", "leads", "list.csv", &format!("--max-cost={text}")].map(str::to_owned);
        let parsed = Cli::try_parse_from(args).ok().and_then(|cli| match cli.command {
            CliCommand::Leads { max_cost, .. } => max_cost,
            _ => None,
        });
        assert_eq!(parsed, units);
    }
}
