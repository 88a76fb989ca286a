//! The compiled table decides as the naive interpreter does, whatever the rules and requests.

mod naive;

use config_model::model::RouteConfigurationIndex;
use naive::generate::{Choices, any_model, any_request};
use proptest::collection::vec;
use proptest::prelude::*;
use routing::{RouteIndex, Table};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_table_decides_as_the_interpreter(
        rules in vec(any::<u8>(), 0..1500),
        requests in vec((vec(any::<u8>(), 16), any::<u64>()), 30),
    ) {
        let model = any_model(&mut Choices(&rules));
        let table = Table::compile(&model);
        for (bytes, draw) in requests {
            let request = any_request(&mut Choices(&bytes));
            let configuration = RouteConfigurationIndex((draw % 2) as u32);
            let decision = table.decide(configuration, &request, |_| draw);
            prop_assert_eq!(
                naive::verdict(&decision),
                naive::decide(&model, configuration, &request, draw),
                "{:?}", request
            );
        }
    }

    #[test]
    fn routes_splits_and_destinations_are_numbered_densely(rules in vec(any::<u8>(), 0..1500)) {
        let table = Table::compile(&any_model(&mut Choices(&rules)));
        let mut destinations = Vec::new();
        let mut splits = Vec::new();
        for (number, route) in (0..).zip(table.routes()) {
            prop_assert_eq!(route.index, RouteIndex(number));
            destinations.extend(route.destinations().iter().map(|destination| destination.index.0));
            splits.extend(route.split().map(|(index, _)| index.0));
        }
        prop_assert!(destinations.into_iter().eq(0..table.destination_count() as u32));
        prop_assert!(splits.into_iter().eq(0..table.split_count() as u32));
    }
}
