//! `epsilon`: the numbers of the reference accountants, and numbers out of range.

use super::{Desk, golden_json};
use serde_json::json;

const GOOD: [&str; 8] =
    ["--noise-multiplier", "1", "--sampling-rate", "0.01", "--steps", "1000", "--delta", "1e-6"];

#[test]
fn the_numbers_are_those_of_the_reference_accountants() {
    let desk = Desk::new(&[]);
    for row in
        golden_json("federated/tests/golden/dp_epsilon.json")["rows"].as_array().unwrap().iter().step_by(5)
    {
        let number = |key: &str| row[key].to_string();
        for (accountant, key, tolerance) in [("rdp", "eps_rdp", 1e-9), ("pld", "eps_pld", 2e-3)] {
            let report = desk.json(&[
                "epsilon",
                "--noise-multiplier",
                &number("noise_multiplier"),
                "--sampling-rate",
                &number("sampling_rate"),
                "--steps",
                &number("steps"),
                "--delta",
                &number("delta"),
                "--accountant",
                accountant,
            ]);
            let (got, want) = (report["epsilon"].as_f64().unwrap(), row[key].as_f64().unwrap());
            assert!((got - want).abs() <= tolerance * want.max(1.0), "{row}: {accountant} {got}");
            assert_eq!((&report["unit"], &report["accountant"]), (&json!("client"), &json!(accountant)));
        }
    }
}

#[test]
fn the_unit_and_the_sampling_are_always_said() {
    let desk = Desk::new(&[]);
    let report = desk.json(&[&["epsilon"], &GOOD[..]].concat());
    assert_eq!((&report["sampling"], &report["neighbours"]), (&json!("poisson"), &json!("add-or-remove")));
    let text = desk.text(&[&["epsilon"], &GOOD[..]].concat());
    for part in ["per client", "Poisson sampling", "adding or removing one client", "RDP"] {
        assert!(text.contains(part), "{text}");
    }
    let fixed = [&["epsilon", "--sampling", "fixed-size", "--accountant", "pld"], &GOOD[..]].concat();
    let wider = desk.json(&fixed);
    assert_eq!(wider["neighbours"], "replace");
    assert!(
        wider["epsilon"].as_f64() > report["epsilon"].as_f64(),
        "a replaced client moves the sum further"
    );
    assert!(desk.text(&fixed).contains("fixed-size sampling"));
    let none = desk.json(&[&["epsilon"], &GOOD[..5], &["0"], &GOOD[6..]].concat());
    assert_eq!(none["epsilon"], 0.0);
}

#[test]
fn numbers_out_of_range_are_named() {
    let desk = Desk::new(&[]);
    let with = |flag: usize, value: &'static str| {
        let mut args = GOOD;
        args[flag] = value;
        [&["epsilon"], &args[..]].concat()
    };
    for value in ["0", "-1", "nan", "inf"] {
        desk.refuses(&with(1, value), &["--noise-multiplier", "> 0"]);
    }
    for value in ["0", "1.5", "-0.1", "nan"] {
        desk.refuses(&with(3, value), &["--sampling-rate", "(0, 1]"]);
    }
    for value in ["0", "1", "-1e-5", "nan"] {
        desk.refuses(&with(7, value), &["--delta", "(0, 1)"]);
    }
    desk.refuses(&with(1, "loud"), &["loud", "--noise-multiplier"]);
    desk.refuses(&with(5, "1.5"), &["1.5", "--steps"]);
    desk.refuses(&with(5, "-3"), &["-3", "--steps"]);
    desk.refuses(&with(5, "10000000000000"), &["--steps", "2^40"]);
    desk.refuses(&[&["epsilon", "--accountant", "prv"], &GOOD[..]].concat(), &["prv", "rdp, pld"]);
    desk.refuses(&[&["epsilon"], &GOOD[2..]].concat(), &["--noise-multiplier"]);
}
