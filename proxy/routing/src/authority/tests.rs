use proptest::prelude::*;

use super::*;

#[test]
fn an_authority_is_taken_apart_at_the_colon_before_the_port() {
    for (authority, host, port) in [
        ("shop.example", "shop.example", None),
        ("shop.example:8080", "shop.example", Some("8080")),
        ("shop.example:", "shop.example", Some("")),
        ("[::1]", "[::1]", None),
        ("[::1]:80", "[::1]", Some("80")),
        ("a%2Db_c,d", "a%2Db_c,d", None),
        ("shop.example.", "shop.example.", None),
    ] {
        let want = Authority { host: host.as_bytes(), port: port.map(str::as_bytes) };
        assert_eq!(parse(authority.as_bytes()), Ok(want), "{authority}");
    }
}

#[test]
fn what_is_no_authority_is_refused() {
    for (authority, refusal) in [
        ("", AuthorityRefusal::Empty),
        (":80", AuthorityRefusal::Empty),
        ("user@shop.example", AuthorityRefusal::UserInformation),
        ("user:pass@shop.example:80", AuthorityRefusal::UserInformation),
        ("shop example", AuthorityRefusal::Host),
        ("shop/example", AuthorityRefusal::Host),
        ("shop\\example", AuthorityRefusal::Host),
        ("shop%2", AuthorityRefusal::Host),
        ("caf\u{e9}", AuthorityRefusal::Host),
        ("a:b:80", AuthorityRefusal::Host),
        ("::1", AuthorityRefusal::Host),
        ("[::1", AuthorityRefusal::Host),
        ("[shop.example]", AuthorityRefusal::Host),
        ("[::1]x", AuthorityRefusal::Host),
        ("[::1%25eth0]", AuthorityRefusal::Host),
        ("shop.example:80a", AuthorityRefusal::Port),
        ("shop.example:+80", AuthorityRefusal::Port),
        ("shop.example:65536", AuthorityRefusal::Port),
    ] {
        assert_eq!(parse(authority.as_bytes()), Err(refusal), "{authority}");
    }
}

proptest! {
    #[test]
    fn a_plain_host_is_one_of_plain_characters(authority in "[a-z0-9.-]{0,20}[\\x00-\\x7fé]{0,2}[a-z0-9.-]{0,9}") {
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let is_plain = authority.len() >= 8 && authority.as_bytes().iter().all(plain);
        prop_assert_eq!(is_plain_host(authority.as_bytes()), is_plain);
    }

    #[test]
    fn any_bytes_are_taken_apart_or_refused(authority: Vec<u8>) {
        if let Ok(parts) = parse(&authority) {
            prop_assert!(parts.host.iter().all(u8::is_ascii_graphic));
            prop_assert_eq!(parts, split_port(&authority));
        }
    }
}
