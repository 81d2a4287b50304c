//! What a lead job may still spend.
//!
//! Promises: what is spent never passes the bound by more than an endpoint charges beyond the longest answer it was asked
//! for: before a question goes its highest price is set aside, and one that fits only if those under way turn out cheaper
//! waits for them.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::leads::Money;

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
    changed: Notify,
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
        Self { most, account, changed: Notify::new() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bound.
    pub fn most(&self) -> Option<Money> {
        self.most
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
    async fn without_a_bound_nothing_is_refused() {
        let budget = LeadBudget::new(None, Money(u64::MAX));
        assert!(budget.set_aside(Money(u64::MAX)).await.is_some());
    }
}
