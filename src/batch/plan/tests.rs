use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn ids(count: usize) -> Vec<Arc<str>> {
    (0..count)
        .map(|at| Arc::from(char::from(b'a' + u8::try_from(at % 26).expect("few")).to_string()))
        .collect()
}

fn planned(dependencies: Vec<Vec<usize>>) -> Result<Plan, Cycle> {
    plan(&ids(dependencies.len()), dependencies)
}

#[rstest]
#[case::one(vec![vec![]], &[0])]
#[case::linear_given_backwards(vec![vec![2], vec![], vec![1]], &[1, 2, 0])]
#[case::three_independent(vec![vec![], vec![], vec![]], &[0, 1, 2])]
#[case::diamond(vec![vec![], vec![0], vec![0], vec![1, 2]], &[0, 1, 2, 3])]
#[case::diamond_upside_down(vec![vec![1, 2], vec![3], vec![3], vec![]], &[3, 1, 2, 0])]
#[case::fan_of_six(vec![vec![], vec![0], vec![0], vec![0], vec![0], vec![1, 2, 3, 4]], &[0, 1, 2, 3, 4, 5])]
#[case::a_valid_list_stays(vec![vec![], vec![], vec![0], vec![], vec![1]], &[0, 1, 2, 3, 4])]
#[case::released_ones_go_by_their_place(vec![vec![], vec![3], vec![0], vec![], vec![]], &[0, 2, 3, 1, 4])]
#[case::said_twice(vec![vec![], vec![0, 0, 0]], &[0, 1])]
fn ready_operations_run_by_their_place(#[case] dependencies: Vec<Vec<usize>>, #[case] order: &[usize]) {
    assert_eq!(planned(dependencies).expect("no cycle").order, order);
}

#[rstest]
#[case::itself(vec![vec![0]], "a -> a")]
#[case::two(vec![vec![1], vec![0]], "a -> b -> a")]
#[case::three(vec![vec![1], vec![2], vec![0]], "a -> b -> c -> a")]
#[case::behind_others(vec![vec![], vec![0, 2], vec![1]], "b -> c -> b")]
#[case::only_waiting_for_one(vec![vec![1], vec![2], vec![1]], "b -> c -> b")]
#[case::found_from_its_middle(vec![vec![3], vec![3], vec![1], vec![2]], "b -> d -> c -> b")]
fn operations_that_wait_for_each_other_are_told_as_a_path(
    #[case] dependencies: Vec<Vec<usize>>,
    #[case] written: &str,
) {
    assert_eq!(planned(dependencies).expect_err("a cycle").written, written);
}

#[test]
fn independent_operations_wait_for_nothing_and_dependents_are_direct() {
    // b and c wait for a; d waits for b. As the resolver that is replaced was tested: {a, c} alone, then with c's edge.
    let plan = planned(vec![vec![], vec![0], vec![], vec![1]]).expect("no cycle");
    assert_eq!(plan.independent(), [0, 2]);
    let plan = planned(vec![vec![], vec![0], vec![0], vec![1]]).expect("no cycle");
    assert_eq!(plan.dependents, [vec![1, 2], vec![3], vec![], vec![]]);
}

#[test]
fn groups_are_levels() {
    let plan = planned(vec![vec![], vec![0], vec![], vec![1, 2]]).expect("no cycle");
    assert_eq!(plan.groups(), [vec![0, 2], vec![1], vec![3]]);
    assert_eq!((plan.depth(), plan.levels), (3, vec![0, 1, 0, 2]));
}

/// Any edges at all between up to 30 operations.
fn edges() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1_usize..30)
        .prop_flat_map(|count| proptest::collection::vec(proptest::collection::vec(0..count, 0..3), count))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_order_keeps_every_edge_and_a_cycle_is_one(dependencies in edges()) {
        match plan(&ids(dependencies.len()), dependencies.clone()) {
            Ok(plan) => {
                let mut place = vec![usize::MAX; dependencies.len()];
                for (at, &operation) in plan.order.iter().enumerate() {
                    prop_assert_eq!(place[operation], usize::MAX, "once each");
                    place[operation] = at;
                    // Of those that were ready, the lowest.
                    let ready = |one: &usize| !plan.order[..at].contains(one)
                        && dependencies[*one].iter().all(|awaited| plan.order[..at].contains(awaited));
                    prop_assert_eq!((0..dependencies.len()).find(ready), Some(operation));
                }
                prop_assert_eq!(plan.order.len(), dependencies.len());
                for (operation, awaited) in dependencies.iter().enumerate() {
                    for &one in awaited {
                        prop_assert!(place[one] < place[operation]);
                        prop_assert!(plan.levels[one] < plan.levels[operation]);
                        prop_assert!(plan.dependents[one].contains(&operation));
                    }
                }
            }
            Err(cycle) => {
                prop_assert!(cycle.path.len() >= 2);
                prop_assert_eq!(cycle.path.first(), cycle.path.last());
                for pair in cycle.path.windows(2) {
                    prop_assert!(dependencies[pair[0]].contains(&pair[1]));
                }
            }
        }
    }

    #[test]
    fn a_list_that_is_in_a_valid_order_runs_as_written(dependencies in edges()) {
        let earlier = dependencies.into_iter().enumerate()
            .map(|(operation, awaited)| awaited.into_iter().filter(|one| *one < operation).collect())
            .collect::<Vec<Vec<usize>>>();
        let plan = plan(&ids(earlier.len()), earlier).expect("no cycle");
        prop_assert!(plan.order.iter().copied().eq(0..plan.order.len()));
    }
}
