//! Log lines: to stderr, pretty on a terminal and JSON elsewhere, counted by level.
//!
//! The filter can be changed while the daemon runs. A line that the filter drops is neither written nor
//! counted. Values of type `Secret` print as nothing; row data is never logged.

use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::metrics::Metrics;
use crate::config::LogFormat;

/// Values of the label `level`.
pub const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error("read the log filter `{filter}`")]
    Filter {
        /// The filter's text.
        filter: String,
        /// What the parser said.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another subscriber is there already.
    #[error("start logging")]
    Taken(#[source] tracing_subscriber::util::TryInitError),
    /// The subscriber is gone.
    #[error("change the log filter")]
    Gone(#[source] reload::Error),
}

/// Changes the filter of a running subscriber.
#[derive(Debug, Clone)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

impl LogHandle {
    /// Takes another filter from now on.
    ///
    /// # Errors
    /// When it does not parse; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LoggingError> {
        self.0.reload(parse_filter(filter)?).map_err(LoggingError::Gone)
    }
}

/// Starts logging for the whole process, to stderr.
///
/// # Errors
/// When the filter does not parse, or logging was started before.
pub fn init(format: LogFormat, filter: &str, metrics: &Metrics) -> Result<LogHandle, LoggingError> {
    let terminal = std::io::stderr().is_terminal();
    let pretty = match format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let (subscriber, handle) = build(pretty, terminal, filter, metrics, std::io::stderr)?;
    subscriber.try_init().map_err(LoggingError::Taken)?;
    log_panics();
    Ok(handle)
}

/// A panic becomes one line of the log, like every other event: the engine deals with it, and a trace of the stack on
/// stderr would only frighten whoever reads along.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let said = info.payload_as_str().unwrap_or("a panic without a text");
        let said: String = said.chars().take(PANIC_TEXT_MAX).collect();
        tracing::error!(location, said, "panicked");
    }));
}

/// Characters of a panic's text that reach the log.
const PANIC_TEXT_MAX: usize = 400;

/// A subscriber that writes to `writer`, and the handle to its filter.
///
/// # Errors
/// When the filter does not parse.
pub fn build<W>(
    pretty: bool,
    colour: bool,
    filter: &str,
    metrics: &Metrics,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + 'static, LogHandle), LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse_filter(filter)?);
    let lines = fmt::layer().with_writer(writer).with_ansi(colour);
    let lines =
        if pretty { lines.boxed() } else { lines.json().flatten_event(true).with_ansi(false).boxed() };
    let counter = LineCounter(metrics.clone());
    Ok((Registry::default().with(filter).with(lines).with(counter), LogHandle(handle)))
}

fn parse_filter(filter: &str) -> Result<EnvFilter, LoggingError> {
    // The web server's words on its own start and end help nobody; whoever wants them names it after.
    let text = format!("actix_server=warn,{filter}");
    EnvFilter::try_new(text).map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })
}

/// Counts what the filter let through.
struct LineCounter(Metrics);

impl<S: Subscriber> Layer<S> for LineCounter {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => LEVELS[0],
            Level::WARN => LEVELS[1],
            Level::INFO => LEVELS[2],
            Level::DEBUG => LEVELS[3],
            Level::TRACE => LEVELS[4],
        };
        self.0.log_lines_total.with_label_values(&[level]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn logged(pretty: bool, filter: &str, work: impl FnOnce(&LogHandle)) -> (String, Metrics) {
        let (page, metrics) = (Page::default(), Metrics::new());
        let writer = page.clone();
        let (subscriber, handle) =
            build(pretty, false, filter, &metrics, move || writer.clone()).expect("a good filter");
        tracing::subscriber::with_default(subscriber, || work(&handle));
        (page.text(), metrics)
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields() {
        let (text, _) = logged(false, "info", |_| tracing::info!(actor = "fetcher", "call throttled"));
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["actor"], "fetcher");
        assert_eq!(line["message"], "call throttled");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn lines_are_counted_by_level_and_dropped_ones_are_not() {
        let (_, metrics) = logged(true, "info", |_| {
            tracing::warn!("one");
            tracing::warn!("two");
            tracing::debug!("dropped");
        });
        let count = |level| metrics.log_lines_total.with_label_values(&[level]).get();
        assert_eq!([count("warn"), count("debug"), count("error")], [2, 0, 0]);
    }

    #[test]
    fn the_filter_changes_while_running_and_a_bad_one_changes_nothing() {
        let (text, _) = logged(true, "warn", |handle| {
            tracing::info!("before");
            handle.set_filter("info").unwrap();
            tracing::info!("after");
            handle.set_filter("info,penstock=loud").expect_err("no such level");
            tracing::info!("still");
        });
        assert!(!text.contains("before") && text.contains("after") && text.contains("still"), "{text}");
    }

    #[test]
    fn a_secret_in_a_field_is_not_written() {
        let secret = Secret::new("hunter2");
        let (text, _) = logged(false, "trace", |_| tracing::info!(?secret, "signed in"));
        assert!(text.contains("signed in") && !text.contains("hunter2"), "{text}");
    }
}
