//! The compiled table decides as an interpreter does that walks along the rules of the model, first match first. Both the
//! interpreter and the making of models from bytes are those of the property tests in `proxy/routing`.

#![no_main]

#[path = "../../proxy/routing/tests/naive/mod.rs"]
mod naive;

use arbitrary::Arbitrary;
use config_model::model::RouteConfigurationIndex;
use libfuzzer_sys::fuzz_target;
use naive::generate::{Choices, any_model, any_request};
use routing::Table;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    requests: Vec<([u8; 16], u64)>,
    model: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let model = any_model(&mut Choices(input.model));
    let table = Table::compile(&model);
    for (request, draw) in &input.requests {
        let request = any_request(&mut Choices(request));
        let configuration = RouteConfigurationIndex((draw % 2) as u32);
        let decision = table.decide(configuration, &request, |_| *draw);
        assert_eq!(naive::verdict(&decision), naive::decide(&model, configuration, &request, *draw), "{request:?}");
    }
});
