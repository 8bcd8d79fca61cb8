use super::{Table, short};

#[test]
fn columns_are_as_wide_as_their_widest_cell() {
    let mut table = Table::new(&["", "direct"]);
    table.row(["ping, µs".to_owned(), "65".to_owned()]);
    table.row(["bulk".to_owned(), "1 234 567".to_owned()]);
    let expected = "\
|          |    direct |
| -------- | --------: |
| ping, µs |        65 |
| bulk     | 1 234 567 |
";
    assert_eq!(table.to_string(), expected);
}

#[test]
fn numbers_are_short() {
    for (value, expected) in [
        (0.0, "0.00"),
        (0.854, "0.85"),
        (12.34, "12.3"),
        (999.6, "1 000"),
        (6_945.4, "6 945"),
        (1_234_567.0, "1 234 567"),
        (-123.0, "-123"),
        (-1_234.0, "-1 234"),
    ] {
        assert_eq!(short(value), expected);
    }
}
