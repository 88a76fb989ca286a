//! A file that changes from one text to another leaves what the second text alone makes: nothing of the first one stays. And
//! what is said to be untouched by the change is the same before and after. The input is both texts, with a line `=====`
//! between them.

#![no_main]

mod configuration;

use config_model::file::ParsedFile;
use config_model::resolve::{Change, change};
use configuration::{FILE, InForce};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, second) = text.split_once("\n=====\n").unwrap_or((text, ""));
    let before = ParsedFile::parse(FILE, first, None);
    let changed = ParsedFile::parse(FILE, second, Some(&before));
    let alone = ParsedFile::parse(FILE, second, None);
    assert_eq!(changed.resources, alone.resources);
    assert_eq!(changed.diagnostics, alone.diagnostics);

    let (before, changed, alone) = (InForce::of(&before), InForce::of(&changed), InForce::of(&alone));
    assert_eq!(changed.resolution, alone.resolution);
    assert_eq!(changed.endpoints, alone.endpoints);
    check_change(&before, &changed);
});

fn check_change(before: &InForce, after: &InForce) {
    let hosts = match change(&before.set, &after.set) {
        Change::Routing => return,
        Change::Parts(parts) => parts.endpoints_of,
        Change::None => Default::default(),
    };
    assert_eq!(before.resolution.model, after.resolution.model);
    for (number, cluster) in after.resolution.model.clusters.iter().enumerate() {
        if !hosts.contains(&cluster.name.host) {
            assert_eq!(before.endpoints[number], after.endpoints[number], "{}", cluster.name);
        }
    }
}
