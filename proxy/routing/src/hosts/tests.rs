use super::*;

fn table(domains: &[&[&str]]) -> HostTable {
    let virtual_host = |domains: &&[&str]| VirtualHost {
        name: domains[0].to_owned(),
        domains: domains.iter().map(|domain| HostPattern::parse(domain)).collect(),
        routes: Arc::new([]),
        https_redirect: false,
        origins: Vec::new(),
    };
    HostTable::build(&domains.iter().map(virtual_host).collect::<Vec<_>>(), 0, false)
}

#[test]
fn the_exact_name_then_the_longest_wildcard_then_any() {
    let hosts = table(&[&["*"], &["*.example"], &["*.shop.example", "shop.example"], &["a.shop.example"], &["[::1]"]]);
    for (authority, want) in [
        ("a.shop.example", 3),
        ("A.Shop.EXAMPLE:8080", 3),
        ("b.shop.example", 2),
        ("x.y.shop.example", 2),
        ("shop.example", 2),
        ("other.example:80", 1),
        (".example", 0),
        ("example", 0),
        ("a.shop.example.", 0),
        ("[::1]:80", 4),
        ("[::1]", 4),
        ("[::2]:80", 0),
        ("", 0),
        (":80", 0),
    ] {
        assert_eq!(hosts.find(authority.as_bytes()), Some(want), "{authority:?}");
    }
}

#[test]
fn no_host_fits_where_there_is_no_any() {
    let hosts = table(&[&["*.example"], &["shop.test"]]);
    for authority in ["other.test", "example", ".example", "", "shop.test.", "shop.tes"] {
        assert_eq!(hosts.find(authority.as_bytes()), None, "{authority:?}");
    }
}

#[test]
fn a_wildcard_takes_hosts_of_any_length() {
    let hosts = table(&[&["*.example"]]);
    assert_eq!(hosts.find(format!("{}.example", "a".repeat(1000)).as_bytes()), Some(0));
}

#[test]
fn ten_thousand_hosts_and_as_many_wildcards_are_all_found() {
    let names: Vec<String> = (0..10_000).map(|number| format!("host-{number}.example")).collect();
    let wildcards: Vec<String> = names.iter().map(|name| format!("*.{name}")).collect();
    let domains: Vec<[&str; 2]> =
        names.iter().zip(&wildcards).map(|(name, wildcard)| [&name[..], &wildcard[..]]).collect();
    let hosts = table(&domains.iter().map(|pair| &pair[..]).collect::<Vec<_>>());
    for (number, name) in (0..).zip(&names) {
        assert_eq!(hosts.find(name.as_bytes()), Some(number));
        assert_eq!(hosts.find(format!("www.{name}").as_bytes()), Some(number));
    }
}
