//! The commands as people type them. Each file in `cmd` holds command lines with what they print and how they end.
//! `TRYCMD=overwrite cargo test -p tidegate --test cli` writes down what is printed now.

#[test]
fn commands_print_and_end_as_written_down() {
    trycmd::TestCases::new().case("tests/cmd/*.md").env("NO_COLOR", "1").env("COLUMNS", "100");
}
