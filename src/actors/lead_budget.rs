//! What a lead job may still spend, and whether it may ask at all.
//!
//! Promises: what is spent never passes the bound by more than an endpoint charges beyond the longest answer it was asked
//! for: before a question goes its highest price is set aside, and one that fits only if those under way turn out cheaper
//! waits for them. An answer that nobody tells the usage of, or that was lost on its way, has cost that price.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::leads::{Money, Ordinal};

#[derive(Debug, Default, Clone, Copy)]
struct Account {
    spent: Money,
    set_aside: Money,
}

/// See the module's promises.
#[derive(Debug)]
pub struct LeadBudget {
    most: Option<Money>,
    account: Mutex<Account>,
    /// Leads whose answers are counted: an answer is found again when its batch is run again.
    counted: Mutex<HashSet<Ordinal>>,
    changed: Notify,
    /// Why no question of the job is worth asking any more.
    closed: OnceLock<String>,
}

/// Money that is set aside; dropped, it is free again.
#[derive(Debug)]
pub struct SetAside<'b> {
    budget: &'b LeadBudget,
    money: Money,
}

impl LeadBudget {
    /// A budget of which so much is spent.
    pub fn new(most: Option<Money>, spent: Money) -> Self {
        let account = Mutex::new(Account { spent, set_aside: Money::default() });
        Self { most, account, counted: Mutex::default(), changed: Notify::new(), closed: OnceLock::new() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bound.
    pub fn most(&self) -> Option<Money> {
        self.most
    }

    /// Why a question is not asked that the bound leaves no money for, and what to do.
    pub fn is_reached(&self) -> String {
        let most = self.most.unwrap_or_default();
        format!("the job's budget of {most} is reached; a retry with a higher `max_cost` goes on")
    }

    /// No further question is asked: the endpoint refuses all of them alike. The first reason stands.
    pub fn close(&self, why: &str) {
        drop(self.closed.set(why.to_owned()));
    }

    /// Why no further question is asked; `None` while they are.
    pub fn closed(&self) -> Option<String> {
        self.closed.get().cloned()
    }

    /// The answer about a lead is counted, as it was spent.
    pub fn has_counted(&self, lead: Ordinal) {
        self.count_once(lead);
    }

    /// An answer was found that the job has paid for, perhaps in a process before this one: counted, unless it is.
    pub fn recall(&self, lead: Ordinal, cost: Money) {
        if self.count_once(lead) {
            self.lock().spent += cost;
        }
    }

    fn count_once(&self, lead: Ordinal) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a bound nobody asks.
        self.most.is_some() && counted.insert(lead)
    }

    /// Sets money aside; `None` when the budget cannot bear it, whatever those under way will cost.
    pub async fn set_aside(&self, money: Money) -> Option<SetAside<'_>> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut account = self.lock();
                let fits = |sum: Money| self.most.is_none_or(|most| sum <= most);
                if !fits(account.spent + money) {
                    return None;
                }
                if fits(account.spent + account.set_aside + money) {
                    account.set_aside += money;
                    return Some(SetAside { budget: self, money });
                }
            }
            changed.await;
        }
    }
}

impl SetAside<'_> {
    /// The question has cost so much.
    pub fn spend(self, cost: Money) {
        self.budget.lock().spent += cost;
    }
}

impl Drop for SetAside<'_> {
    fn drop(&mut self) {
        let mut account = self.budget.lock();
        account.set_aside = Money(account.set_aside.0.saturating_sub(self.money.0));
        drop(account);
        self.budget.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_question_waits_for_those_under_way_when_only_their_real_price_leaves_room() {
        let budget = Arc::new(LeadBudget::new(Some(Money(10)), Money(0)));
        let first = budget.set_aside(Money(6)).await.unwrap();
        let second = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.set_aside(Money(6)).await.map(|set_aside| set_aside.spend(Money(5))) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        first.spend(Money(3));
        assert_eq!(second.await.unwrap(), Some(()));
        // 8 of 10 are spent.
        assert!(budget.set_aside(Money(3)).await.is_none());
        assert!(budget.set_aside(Money(2)).await.is_some());
    }

    #[tokio::test]
    async fn an_answer_of_an_earlier_process_is_counted_once_and_one_of_this_process_not_again() {
        let budget = LeadBudget::new(Some(Money(10)), Money(0));
        budget.recall(1, Money(4));
        budget.recall(1, Money(4));
        budget.set_aside(Money(3)).await.unwrap().spend(Money(3));
        budget.has_counted(2);
        budget.recall(2, Money(3));
        assert!(budget.set_aside(Money(4)).await.is_none());
        assert!(budget.set_aside(Money(3)).await.is_some());
    }

    #[tokio::test]
    async fn without_a_bound_nothing_is_refused() {
        let budget = LeadBudget::new(None, Money(u64::MAX));
        assert!(budget.set_aside(Money(u64::MAX)).await.is_some());
    }
}
