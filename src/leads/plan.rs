//! How the leads of a job are read, and what the job would take: decided and told before anything is spent.
//!
//! Promises: pure. Of the two ways, the one with fewer calls to the org is taken, and the sentence says why with the numbers.
//! A Bulk query of all leads is only considered when their number is known and is not many times that of the ids, for it
//! downloads every one of them. A forecast leaves out what nobody can know before: which ids have no record.

use super::settings::{Money, Price};

/// Ids in one look at what became of leads without a record: more do not fit into the address of a request.
pub const IDS_PER_LOOKUP: u64 = 500;
/// Rows in one page of a Bulk result.
pub const BULK_PAGE_ROWS: u64 = 50_000;
/// A Bulk query reads at most so many times the leads that are wanted.
pub const MOST_TIMES_THE_IDS: u64 = 20;
/// Calls of a Bulk job beside its pages: it is made, looked after three times, and taken away.
const BULK_JOB_CALLS: u64 = 1 + 3 + 1;
/// Looks more while the org works on so many rows.
const BULK_ROWS_PER_LOOK: u64 = 200_000;
/// The call that asks for the number of leads in the org.
const COUNT_CALLS: u64 = 1;

/// How the leads are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retrieval {
    /// Some thousand ids a call.
    Collections,
    /// All leads of the org by one Bulk query, deleted ones too, joined with the ids here.
    Bulk,
}

impl Retrieval {
    /// The name used in files, answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Collections => "collections",
            Self::Bulk => "bulk",
        }
    }
}

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetrievalNeeds {
    /// Different leads.
    pub leads: u64,
    /// Ids in one read.
    pub read_batch: u64,
    /// Relations that lead to a parent's field: collections do not follow them, so each is read by itself.
    pub relations: u64,
    /// Ids that are known to have no record, of an earlier attempt.
    pub without_record: u64,
    /// Leads in the org; `None`: not asked.
    pub org_leads: Option<u64>,
}

/// How the leads of a job are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrievalPlan {
    /// The way.
    pub retrieval: Retrieval,
    /// Calls that it takes, as far as can be known; the count of the org's leads included where it was asked.
    pub calls: u64,
    /// Why, in a sentence.
    pub why: String,
}

impl RetrievalNeeds {
    /// Whether asking the org for the number of its leads can pay: even with no lead too many there, a Bulk query must save
    /// more than the question costs.
    pub fn count_pays(&self) -> bool {
        let least = Self { org_leads: Some(self.leads), ..*self };
        least.collection_calls() > COUNT_CALLS + bulk_calls(self.leads)
    }

    /// Decides.
    pub fn plan(&self) -> RetrievalPlan {
        let by_ids = self.collection_calls();
        let ids = format!("{} by reads of {} ids", calls(by_ids), grouped(self.read_batch.max(1)));
        let Some(in_org) = self.org_leads else {
            let why = match self.count_pays() {
                false => format!("{ids}: too few for a Bulk query to save any"),
                true => format!(
                    "{ids}: the number of leads in the org is not known, so a Bulk query of all is no choice"
                ),
            };
            return RetrievalPlan { retrieval: Retrieval::Collections, calls: by_ids, why };
        };
        // The count was paid for, whichever way is taken.
        let by_ids_all = by_ids + COUNT_CALLS;
        let by_bulk_all = bulk_calls(in_org) + COUNT_CALLS;
        let bulk = format!("a Bulk query of all {} leads of the org", grouped(in_org));
        if in_org > self.leads.saturating_mul(MOST_TIMES_THE_IDS) {
            let why = format!(
                "{ids}: {bulk} would read more than {MOST_TIMES_THE_IDS} times the {} that are wanted",
                grouped(self.leads)
            );
            return RetrievalPlan { retrieval: Retrieval::Collections, calls: by_ids_all, why };
        }
        if by_bulk_all < by_ids_all {
            let why =
                format!("about {} by {bulk}, joined here, against {ids}", calls(by_bulk_all - COUNT_CALLS));
            return RetrievalPlan { retrieval: Retrieval::Bulk, calls: by_bulk_all, why };
        }
        let why = format!("{ids}, against about {} by {bulk}", calls(by_bulk_all - COUNT_CALLS));
        RetrievalPlan { retrieval: Retrieval::Collections, calls: by_ids_all, why }
    }

    /// What can be told before the org is asked for its number of leads: where asking can pay, the most calls that it may
    /// come to, and from which number on the job goes the other way.
    pub fn foretell(&self) -> RetrievalPlan {
        let plan = self.plan();
        let Some(most) = self.most_for_bulk() else { return plan };
        let why = format!(
            "{} by reads of {} ids, and {} to ask how many leads the org has; where it has at most {}, all of them are \
             read by a Bulk query instead, about {} for {} and {} for {}",
            calls(plan.calls),
            grouped(self.read_batch.max(1)),
            calls(COUNT_CALLS),
            grouped(most),
            calls(bulk_calls(self.leads)),
            grouped(self.leads),
            calls(bulk_calls(most)),
            grouped(most)
        );
        RetrievalPlan { calls: plan.calls + COUNT_CALLS, why, ..plan }
    }

    /// With how many leads in the org at most a Bulk query is taken; `None` where nobody asks.
    fn most_for_bulk(&self) -> Option<u64> {
        if self.org_leads.is_some() || !self.count_pays() {
            return None;
        }
        let by_bulk = |in_org| {
            let asked = Self { org_leads: Some(in_org), ..*self };
            asked.plan().retrieval == Retrieval::Bulk
        };
        // With as many as are wanted it pays, and each more makes it dearer.
        let (mut most, mut too_many) = (self.leads, self.leads.saturating_mul(MOST_TIMES_THE_IDS) + 1);
        while too_many - most > 1 {
            let middle = most + (too_many - most) / 2;
            if by_bulk(middle) { most = middle } else { too_many = middle }
        }
        Some(most)
    }

    /// Reads, looks at ids without a record as far as they are known, and parents.
    fn collection_calls(&self) -> u64 {
        let reads = self.leads.div_ceil(self.read_batch.max(1));
        // An org with fewer leads than there are ids lacks the rest.
        let lacking = self.org_leads.map_or(0, |in_org| self.leads.saturating_sub(in_org));
        let lookups = self.without_record.max(lacking).min(self.leads).div_ceil(IDS_PER_LOOKUP);
        let parents = if self.leads == 0 { 0 } else { self.relations };
        reads + lookups + parents
    }
}

fn bulk_calls(rows: u64) -> u64 {
    let pages = rows.div_ceil(BULK_PAGE_ROWS).max(1);
    // Where there is more than one, a call says where the others are.
    BULK_JOB_CALLS + rows / BULK_ROWS_PER_LOOK + pages + u64::from(pages > 1)
}

fn calls(number: u64) -> String {
    if number == 1 { "1 call".to_owned() } else { format!("{} calls", grouped(number)) }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What asking the model about leads takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelWork {
    /// Leads that it is asked about: not those whose answer is there already.
    pub leads: u64,
    /// Tokens of a question, as estimated from a sample.
    pub prompt_tokens: u64,
    /// Tokens of an answer.
    pub completion_tokens: u64,
    /// What they cost.
    pub price: Price,
    /// Most that the job may spend.
    pub max_cost: Option<Money>,
    /// By the endpoint's batches: cheaper, and nobody knows when.
    pub is_batch: bool,
}

/// How fast things may go; what is not known holds nothing up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Speeds {
    /// Seconds of a call to the org.
    pub org_call_secs: Option<f64>,
    /// Calls to the org at once.
    pub org_calls_at_once: u64,
    /// Requests to the model in a minute.
    pub model_requests_per_minute: Option<u64>,
    /// Its tokens in a minute.
    pub model_tokens_per_minute: Option<u64>,
    /// Seconds of a request to it.
    pub model_request_secs: Option<f64>,
    /// Requests to it at once.
    pub model_requests_at_once: u64,
}

/// What a job would take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkForecast {
    /// Calls to the org.
    pub org_calls: u64,
    /// Requests to the model.
    pub model_requests: u64,
    /// Tokens of questions and answers.
    pub model_tokens: u64,
    /// What they cost.
    pub cost: Money,
    /// Leads that the model is not asked about, because the job may not spend more.
    pub beyond_budget: u64,
    /// Seconds; `None` when no speed is known, or a batch decides.
    pub seconds: Option<f64>,
}

/// Foretells what a job takes. Reading and asking go on side by side, so the slower of the two tells the time.
pub fn forecast(plan: &RetrievalPlan, model: Option<&ModelWork>, speeds: &Speeds) -> WorkForecast {
    let org_secs =
        speeds.org_call_secs.map(|secs| secs * plan.calls.div_ceil(speeds.org_calls_at_once.max(1)) as f64);
    let mut forecast = WorkForecast {
        org_calls: plan.calls,
        model_requests: 0,
        model_tokens: 0,
        cost: Money::default(),
        beyond_budget: 0,
        seconds: org_secs,
    };
    let Some(model) = model else { return forecast };
    let each = model.cost_of_one();
    let affordable = match model.max_cost {
        Some(most) if each.0 > 0 => most.0 / each.0,
        _ => u64::MAX,
    };
    let asked = model.leads.min(affordable);
    forecast.model_requests = asked;
    forecast.model_tokens = asked.saturating_mul(model.prompt_tokens + model.completion_tokens);
    forecast.cost = Money(each.0.saturating_mul(asked));
    forecast.beyond_budget = model.leads - asked;
    if asked == 0 {
        return forecast;
    }
    if model.is_batch {
        forecast.seconds = None;
        return forecast;
    }
    let at_rate = |number: u64, a_minute: Option<u64>| {
        a_minute.filter(|rate| *rate > 0).map(|rate| number as f64 * 60.0 / rate as f64)
    };
    let in_turn = speeds
        .model_request_secs
        .map(|secs| secs * asked.div_ceil(speeds.model_requests_at_once.max(1)) as f64);
    forecast.seconds = [
        org_secs,
        at_rate(asked, speeds.model_requests_per_minute),
        at_rate(forecast.model_tokens, speeds.model_tokens_per_minute),
        in_turn,
    ]
    .into_iter()
    .flatten()
    .reduce(f64::max);
    forecast
}

impl ModelWork {
    /// What one lead costs, rounded up to a millionth.
    pub fn cost_of_one(&self) -> Money {
        let of = |tokens: u64, price: Money| tokens as f64 * price.0 as f64 / 1e6;
        let whole = of(self.prompt_tokens, self.price.prompt_per_million)
            + of(self.completion_tokens, self.price.completion_per_million);
        let factor = if self.is_batch { self.price.batch_factor } else { 1.0 };
        Money((whole * factor).max(0.0).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn needs(leads: u64, org_leads: Option<u64>) -> RetrievalNeeds {
        RetrievalNeeds { leads, read_batch: 2_000, relations: 1, without_record: 0, org_leads }
    }

    #[rstest]
    #[case::few(
        needs(100, None),
        Retrieval::Collections,
        2,
        "2 calls by reads of 2,000 ids: too few for a Bulk query to save any"
    )]
    #[case::unknown(
        needs(50_000, None),
        Retrieval::Collections,
        26,
        "26 calls by reads of 2,000 ids: the number of leads in the org is not known, so a Bulk query of all is no choice"
    )]
    #[case::all_of_the_org(
        needs(50_000, Some(50_213)),
        Retrieval::Bulk,
        9,
        "about 8 calls by a Bulk query of all 50,213 leads of the org, joined here, against 26 calls by reads of 2,000 ids"
    )]
    #[case::large_org(
        needs(50_000, Some(900_000)),
        Retrieval::Collections,
        27,
        "26 calls by reads of 2,000 ids, against about 28 calls by a Bulk query of all 900,000 leads of the org"
    )]
    #[case::huge_org(
        needs(50_000, Some(1_000_001)),
        Retrieval::Collections,
        27,
        "26 calls by reads of 2,000 ids: a Bulk query of all 1,000,001 leads of the org would read more than 20 times the 50,000 that are wanted"
    )]
    #[case::one(RetrievalNeeds { relations: 0, ..needs(1, None) }, Retrieval::Collections, 1,
        "1 call by reads of 2,000 ids: too few for a Bulk query to save any")]
    #[case::none(
        needs(0, None),
        Retrieval::Collections,
        0,
        "0 calls by reads of 2,000 ids: too few for a Bulk query to save any"
    )]
    #[case::mostly_gone(
        needs(12_000, Some(2_000)),
        Retrieval::Bulk,
        7,
        "about 6 calls by a Bulk query of all 2,000 leads of the org, joined here, against 27 calls by reads of 2,000 ids"
    )]
    fn the_cheaper_way_is_taken_and_the_numbers_are_told(
        #[case] needs: RetrievalNeeds,
        #[case] retrieval: Retrieval,
        #[case] calls: u64,
        #[case] why: &str,
    ) {
        let plan = needs.plan();
        assert_eq!((plan.retrieval, plan.calls, plan.why.as_str()), (retrieval, calls, why));
    }

    #[test]
    fn the_seeds_small_reads_make_bulk_pay_sooner() {
        let small = RetrievalNeeds { read_batch: 150, ..needs(3_000, Some(3_000)) };
        assert_eq!(small.plan().retrieval, Retrieval::Bulk);
        assert_eq!(needs(3_000, Some(3_000)).plan().retrieval, Retrieval::Collections);
    }

    #[rstest]
    #[case::few(needs(100, None), 2, "2 calls by reads of 2,000 ids: too few for a Bulk query to save any")]
    #[case::bounded_by_calls(
        needs(50_000, None),
        27,
        "26 calls by reads of 2,000 ids, and 1 call to ask how many leads the org has; where it has at most 799,999, all of \
         them are read by a Bulk query instead, about 6 calls for 50,000 and 25 calls for 799,999"
    )]
    #[case::bounded_by_rows(
        RetrievalNeeds { read_batch: 150, ..needs(3_000, None) },
        22,
        "21 calls by reads of 150 ids, and 1 call to ask how many leads the org has; where it has at most 60,000, all of \
         them are read by a Bulk query instead, about 6 calls for 3,000 and 8 calls for 60,000"
    )]
    fn a_forecast_that_cannot_know_the_way_tells_what_decides_and_both_ways(
        #[case] needs: RetrievalNeeds,
        #[case] calls: u64,
        #[case] why: &str,
    ) {
        let told = needs.foretell();
        assert_eq!((told.retrieval, told.calls, told.why.as_str()), (Retrieval::Collections, calls, why));
    }

    proptest! {
        #[test]
        fn a_foretold_bound_is_where_the_job_would_change_its_way(
            leads in 1_u64..2_000_000,
            read_batch in 1_u64..5_000,
            relations in 0_u64..3,
        ) {
            let needs = RetrievalNeeds { leads, read_batch, relations, ..RetrievalNeeds::default() };
            let by_bulk = |org| {
                RetrievalNeeds { org_leads: Some(org), ..needs }.plan().retrieval == Retrieval::Bulk
            };
            prop_assert_eq!(needs.most_for_bulk().is_some(), needs.count_pays());
            if let Some(most) = needs.most_for_bulk() {
                prop_assert!(by_bulk(leads) && by_bulk(most) && !by_bulk(most + 1));
            }
        }

        #[test]
        fn no_plan_takes_more_calls_than_reading_by_ids_and_the_count(
            leads in 0_u64..2_000_000,
            read_batch in 0_u64..5_000,
            relations in 0_u64..3,
            without_record in 0_u64..10_000,
            org_leads in proptest::option::of(0_u64..50_000_000),
        ) {
            let needs = RetrievalNeeds { leads, read_batch, relations, without_record, org_leads };
            let plan = needs.plan();
            let count = u64::from(org_leads.is_some());
            prop_assert!(plan.calls <= needs.collection_calls() + count);
            if plan.retrieval == Retrieval::Bulk {
                prop_assert!(plan.calls < needs.collection_calls() + count);
                prop_assert!(org_leads.unwrap() <= leads * MOST_TIMES_THE_IDS);
            }
            // Where the count does not pay, even the best answer to it saves nothing.
            if !needs.count_pays() && org_leads == Some(leads) {
                prop_assert!(plan.calls >= needs.collection_calls());
            }
        }
    }

    const PRICE: Price = Price {
        prompt_per_million: Money(2_500_000),
        completion_per_million: Money(10_000_000),
        batch_factor: 0.5,
    };

    fn work(leads: u64) -> ModelWork {
        ModelWork {
            leads,
            prompt_tokens: 1_000,
            completion_tokens: 200,
            price: PRICE,
            max_cost: None,
            is_batch: false,
        }
    }

    #[test]
    fn a_forecast_tells_calls_tokens_money_and_the_slowest_limit() {
        let plan = needs(50_000, None).plan();
        let speeds = Speeds {
            org_call_secs: Some(0.3),
            org_calls_at_once: 3,
            model_requests_per_minute: Some(500),
            model_request_secs: Some(1.5),
            model_requests_at_once: 16,
            ..Speeds::default()
        };
        let told = forecast(&plan, Some(&work(50_000)), &speeds);
        assert_eq!((told.org_calls, told.model_requests, told.model_tokens), (26, 50_000, 60_000_000));
        assert_eq!(told.cost, Money(50_000 * 4_500));
        assert_eq!(told.seconds, Some(6_000.0), "500 a minute");
        let free = Speeds { model_requests_per_minute: None, ..speeds };
        assert_eq!(forecast(&plan, Some(&work(50_000)), &free).seconds, Some(1.5 * 3_125.0));
        let by_tokens = Speeds { model_tokens_per_minute: Some(300_000), ..free };
        assert_eq!(forecast(&plan, Some(&work(50_000)), &by_tokens).seconds, Some(12_000.0));
        let rules = forecast(&plan, None, &speeds);
        assert_eq!((rules.cost, rules.model_requests), (Money(0), 0));
        assert!((rules.seconds.unwrap() - 2.7).abs() < 1e-9);
        assert_eq!(forecast(&plan, None, &Speeds::default()).seconds, None);
    }

    #[test]
    fn a_budget_bounds_what_is_asked_and_a_batch_is_half_the_price() {
        let plan = needs(1_000, None).plan();
        let capped = ModelWork { max_cost: Some(Money(450_000)), ..work(1_000) };
        let told = forecast(&plan, Some(&capped), &Speeds::default());
        assert_eq!((told.model_requests, told.beyond_budget, told.cost), (100, 900, Money(450_000)));
        let batch = ModelWork { is_batch: true, ..capped };
        let known = Speeds { org_call_secs: Some(1.0), ..Speeds::default() };
        let told = forecast(&plan, Some(&batch), &known);
        assert_eq!((told.model_requests, told.cost, told.seconds), (200, Money(450_000), None));
        let nothing = ModelWork { max_cost: Some(Money(0)), ..work(5) };
        assert_eq!(forecast(&plan, Some(&nothing), &Speeds::default()).beyond_budget, 5);
    }
}
