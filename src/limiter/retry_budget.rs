//! A budget that stops retries from multiplying an outage.
//!
//! Retries draw tokens, successes give some back; an empty budget means "fail now". When an org is down
//! for everyone, the load we add falls to one call an item instead of one call an attempt.

/// Tokens for retries of one org's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryBudget {
    tokens: u32,
    capacity: u32,
}

/// What the retry follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCause {
    /// The org answered, but not with what was asked for.
    Answer,
    /// No answer came in time; such calls hold a place for long, so they cost more.
    Timeout,
}

impl RetryBudget {
    /// Tokens of a full budget.
    pub const CAPACITY: u32 = 500;
    const ANSWER_COST: u32 = 5;
    const TIMEOUT_COST: u32 = 10;
    const SUCCESS_GAIN: u32 = 1;

    /// A full budget.
    pub fn new() -> Self {
        Self { tokens: Self::CAPACITY, capacity: Self::CAPACITY }
    }

    /// Draws for one retry; `false` means that none may be made.
    #[must_use]
    pub fn draw(&mut self, cause: RetryCause) -> bool {
        let cost = match cause {
            RetryCause::Answer => Self::ANSWER_COST,
            RetryCause::Timeout => Self::TIMEOUT_COST,
        };
        match self.tokens.checked_sub(cost) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    /// A call succeeded.
    pub fn refill(&mut self) {
        self.tokens = (self.tokens + Self::SUCCESS_GAIN).min(self.capacity);
    }

    /// Tokens left, 0 to [`RetryBudget::CAPACITY`].
    pub fn tokens(&self) -> u32 {
        self.tokens
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hundred_retries_empty_the_budget_and_five_successes_pay_for_one() {
        let mut budget = RetryBudget::new();
        assert_eq!((0..1_000).filter(|_| budget.draw(RetryCause::Answer)).count(), 100);
        for _ in 0..4 {
            budget.refill();
        }
        assert!(!budget.draw(RetryCause::Answer));
        budget.refill();
        assert!(budget.draw(RetryCause::Answer));
    }

    #[test]
    fn a_timeout_costs_as_much_as_two_answers() {
        let mut budget = RetryBudget::new();
        assert_eq!((0..1_000).filter(|_| budget.draw(RetryCause::Timeout)).count(), 50);
        (0..9).for_each(|_| budget.refill());
        assert!(!budget.draw(RetryCause::Timeout) && budget.draw(RetryCause::Answer));
        assert_eq!(budget.tokens(), 4);
    }

    proptest! {
        #[test]
        fn the_budget_stays_within_its_capacity(steps in prop::collection::vec(0u8..3, 0..2_000)) {
            let mut budget = RetryBudget::new();
            let (mut paid, mut earned) = (0u32, 0u32);
            for step in steps {
                match step {
                    0 => paid += 5 * u32::from(budget.draw(RetryCause::Answer)),
                    1 => paid += 10 * u32::from(budget.draw(RetryCause::Timeout)),
                    _ => { budget.refill(); earned += 1; }
                }
                prop_assert!(budget.tokens() <= RetryBudget::CAPACITY);
                prop_assert!(paid <= RetryBudget::CAPACITY + earned, "no retry is made on credit");
            }
        }
    }
}
