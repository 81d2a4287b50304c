//! What goes wrong on order.
//!
//! A rule is written `FAULT[=ARGUMENT][@CONDITION[,CONDITION]...]`, several with `;` between them:
//! `prose@lead=00Q5g00000AbCdE`, `status=500@every=10`, `hang@nth=7`, `throttled=600@times=20`, `cut@path=batches,times=1`.

use std::str::FromStr;
use std::time::Duration;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `prose`: text instead of JSON.
    Prose,
    /// `wrong_types`: JSON of other types than the schema's.
    WrongTypes,
    /// `out_of_range`: every number is 900.
    OutOfRange,
    /// `half`: JSON that breaks off, though the answer says that it is whole.
    Half,
    /// `empty`: no content.
    Empty,
    /// `refusal`: the model refuses.
    Refusal,
    /// `length`: cut off at the longest length, and says so.
    Length,
    /// `filter`: held back by a content filter.
    Filter,
    /// `no_choices`: an answer without any.
    NoChoices,
    /// `no_usage`: a good answer that does not say what it took.
    NoUsage,
    /// `html`: status 200 and a page of HTML.
    Html,
    /// `status=500`: another status, with an error body.
    Status(u16),
    /// `unauthorized`: 401, with words that repeat part of the key.
    Unauthorized,
    /// `throttled` or `throttled=600`: 429, and the seconds to wait when given.
    Throttled(Option<u64>),
    /// `quota`: 429 that means that the money is spent.
    Quota,
    /// `hang`: no answer, ever.
    Hang,
    /// `drop`: asked and paid for, then no answer and a closed connection.
    Drop,
    /// `cut`: asked and paid for, then the connection breaks within the answer.
    Cut,
    /// `latency=3000`: so many milliseconds more.
    Latency(Duration),
}

impl Fault {
    /// Its name in rules and in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prose => "prose",
            Self::WrongTypes => "wrong_types",
            Self::OutOfRange => "out_of_range",
            Self::Half => "half",
            Self::Empty => "empty",
            Self::Refusal => "refusal",
            Self::Length => "length",
            Self::Filter => "filter",
            Self::NoChoices => "no_choices",
            Self::NoUsage => "no_usage",
            Self::Html => "html",
            Self::Status(_) => "status",
            Self::Unauthorized => "unauthorized",
            Self::Throttled(_) => "throttled",
            Self::Quota => "quota",
            Self::Hang => "hang",
            Self::Drop => "drop",
            Self::Cut => "cut",
            Self::Latency(_) => "latency",
        }
    }

    fn read(name: &str, argument: Option<&str>) -> Result<Self, BadFault> {
        let number = |what: &str| {
            let text = argument.ok_or_else(|| BadFault(format!("`{name}` needs {what}: `{name}=...`")))?;
            text.parse::<u64>().map_err(|_| BadFault(format!("`{text}` of `{name}` is no number")))
        };
        let fault = match name {
            "prose" => Self::Prose,
            "wrong_types" => Self::WrongTypes,
            "out_of_range" => Self::OutOfRange,
            "half" => Self::Half,
            "empty" => Self::Empty,
            "refusal" => Self::Refusal,
            "length" => Self::Length,
            "filter" => Self::Filter,
            "no_choices" => Self::NoChoices,
            "no_usage" => Self::NoUsage,
            "html" => Self::Html,
            "unauthorized" => Self::Unauthorized,
            "quota" => Self::Quota,
            "hang" => Self::Hang,
            "drop" => Self::Drop,
            "cut" => Self::Cut,
            "status" => {
                let status = number("a status")?;
                let status = u16::try_from(status).ok().filter(|status| (400..600).contains(status));
                return status.map(Self::Status).ok_or_else(|| BadFault("a status is 400 to 599".into()));
            }
            "throttled" => {
                let seconds = argument.map(|_| number("seconds")).transpose()?;
                return Ok(Self::Throttled(seconds));
            }
            "latency" => return Ok(Self::Latency(Duration::from_millis(number("milliseconds")?))),
            other => return Err(BadFault(format!("there is no fault `{other}`"))),
        };
        match argument {
            None => Ok(fault),
            Some(_) => Err(BadFault(format!("`{name}` takes no argument"))),
        }
    }
}

/// What a rule is about; everything that is named must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultWhere {
    /// `lead=`: questions about this lead, by the first 15 characters of its id.
    pub lead: Option<String>,
    /// `path=chat|files|batches|models`: questions alone unless given.
    pub path: Option<String>,
    /// `method=GET`.
    pub method: Option<String>,
    /// `every=`: each so manieth that fits.
    pub every: Option<u64>,
    /// `nth=`: the so manieth that fits, from 1, and no other.
    pub nth: Option<u64>,
    /// `times=`: at most so often.
    pub times: Option<u64>,
}

/// A fault and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// For which requests.
    pub about: FaultWhere,
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; a rule is FAULT[=ARGUMENT][@CONDITION[,CONDITION]...], such as `status=500@every=10`")]
pub struct BadFault(String);

impl FromStr for FaultRule {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let (fault, conditions) = match text.trim().split_once('@') {
            Some((fault, conditions)) => (fault, conditions),
            None => (text.trim(), ""),
        };
        let (name, argument) = match fault.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (fault, None),
        };
        let fault = Fault::read(name, argument)?;
        let mut about = FaultWhere::default();
        for condition in conditions.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
            let bad = || BadFault(format!("`{condition}` is no condition"));
            let (key, value) = condition.split_once('=').ok_or_else(bad)?;
            let count = || value.parse().ok().filter(|count| *count > 0).ok_or_else(bad);
            match key {
                "lead" => about.lead = Some(value.to_owned()),
                "path" if ["chat", "files", "batches", "models"].contains(&value) => {
                    about.path = Some(value.to_owned());
                }
                "method" => about.method = Some(value.to_ascii_uppercase()),
                "every" => about.every = Some(count()?),
                "nth" => about.nth = Some(count()?),
                "times" => about.times = Some(count()?),
                _ => return Err(bad()),
            }
        }
        Ok(Self { fault, about })
    }
}

impl FaultRule {
    /// Several rules, with `;` or line breaks between them.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn read_all(text: &str) -> Result<Vec<Self>, BadFault> {
        text.split([';', '\n']).map(str::trim).filter(|rule| !rule.is_empty()).map(str::parse).collect()
    }
}

/// Rules in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<InForce>,
}

#[derive(Debug)]
struct InForce {
    rule: FaultRule,
    fitted: u64,
    struck: u64,
}

impl Faults {
    /// Adds rules behind those there are.
    pub fn add(&mut self, rules: impl IntoIterator<Item = FaultRule>) {
        self.rules.extend(rules.into_iter().map(|rule| InForce { rule, fitted: 0, struck: 0 }));
    }

    /// Takes all rules away.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The faults that strike a request.
    pub fn strike(&mut self, method: &str, path: &str, lead: Option<&str>) -> Vec<Fault> {
        let mut struck = Vec::new();
        for one in &mut self.rules {
            let about = &one.rule.about;
            let same = |wanted: &str, lead: &str| wanted.get(..15) == lead.get(..15);
            let fits = about.path.as_deref().unwrap_or("chat") == path
                && about.method.as_deref().is_none_or(|wanted| wanted == method)
                && about.lead.as_deref().is_none_or(|wanted| lead.is_some_and(|lead| same(wanted, lead)));
            if !fits {
                continue;
            }
            one.fitted += 1;
            let is_due = about.every.is_none_or(|every| one.fitted % every == 0)
                && about.nth.is_none_or(|nth| one.fitted == nth)
                && about.times.is_none_or(|times| one.struck < times);
            if is_due {
                one.struck += 1;
                struck.push(one.rule.fault.clone());
            }
        }
        struck
    }
}
