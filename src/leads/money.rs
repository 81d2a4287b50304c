//! What an answer cost, from the usage that the endpoint reported.

use super::settings::{Money, Price};

/// Price of an answer. Rounded up to a millionth, so that a budget is never overdrawn by rounding.
pub fn cost(price: &Price, prompt_tokens: u64, completion_tokens: u64, in_batch: bool) -> Money {
    let whole = u128::from(price.prompt_per_million.0) * u128::from(prompt_tokens)
        + u128::from(price.completion_per_million.0) * u128::from(completion_tokens);
    let factor = if in_batch { price.batch_factor } else { 1.0 };
    Money((whole as f64 / 1e6 * factor).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::usual(1_200, 240, false, 324)]
    #[case::half_the_price(1_200, 240, true, 162)]
    #[case::rounded_up(1, 0, false, 1)]
    #[case::nothing(0, 0, true, 0)]
    #[case::very_much(4_000_000_000_000, 0, false, 600_000_000_000)]
    fn tokens_cost_what_the_price_says(
        #[case] prompt: u64,
        #[case] completion: u64,
        #[case] in_batch: bool,
        #[case] millionths: u64,
    ) {
        let price = Price {
            prompt_per_million: Money::from_units(0.15),
            completion_per_million: Money::from_units(0.60),
            batch_factor: 0.5,
        };
        assert_eq!(cost(&price, prompt, completion, in_batch), Money(millionths));
    }
}
