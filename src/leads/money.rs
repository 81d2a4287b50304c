//! What an answer cost, from the usage that the endpoint reported.

use super::settings::{Money, Price};

/// Price of an answer. Rounded up to a millionth, so that a budget is never overdrawn by rounding.
pub fn cost(price: &Price, prompt_tokens: u64, completion_tokens: u64, in_batch: bool) -> Money {
    let whole = u128::from(price.prompt_per_million.0) * u128::from(prompt_tokens)
        + u128::from(price.completion_per_million.0) * u128::from(completion_tokens);
    let factor = if in_batch { price.batch_factor } else { 1.0 };
    Money((whole as f64 / 1e6 * factor).ceil() as u64)
}
