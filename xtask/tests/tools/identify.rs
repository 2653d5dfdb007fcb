//! `identify`: the textbook graphs, and graphs and questions that make no sense.

use super::{Desk, golden_json};
use serde_json::{Value, json};
use std::fs;

const FRONT_DOOR: &str = r#"{"nodes": ["gene", "smoking", "tar", "cancer"], "latent": ["gene"], "directed":
    [["gene", "smoking"], ["gene", "cancer"], ["smoking", "tar"], ["tar", "cancer"]]}"#;

#[test]
fn the_textbook_graphs_are_answered() {
    let desk = Desk::new(&[
        ("front.json", FRONT_DOOR),
        ("back.json", r#"{"directed": [["Z", "X"], ["Z", "Y"], ["X", "Y"]]}"#),
        ("bow.json", r#"{"directed": [["Z", "X"], ["X", "Y"]], "bidirected": [["X", "Y"]]}"#),
    ]);
    let ask = |file: &str, x: &str, y: &str| desk.json(&["identify", file, "--treatment", x, "--outcome", y]);
    let front = ask("front.json", "smoking", "cancer");
    assert_eq!(front["identifiable"], true);
    assert_eq!((&front["front_door_sets"], &front["adjustment_sets"]), (&json!([["tar"]]), &json!([])));
    let back = ask("back.json", "X", "Y");
    assert_eq!(back["adjustment_sets"], json!([["Z"]]));
    assert_eq!(back["optimal_adjustment_set"], json!(["Z"]));
    let bow = ask("bow.json", "X", "Y");
    assert_eq!((&bow["identifiable"], &bow["formula"]), (&json!(false), &Value::Null));
    assert_eq!(bow["hedge"]["roots"], json!(["Y"]));
    assert_eq!(bow["instruments"], json!([{"instrument": "Z", "given": []}]));
    let text = desk.text(&["identify", "bow.json", "--treatment", "X", "--outcome", "Y"]);
    for part in ["P(Y | do(X)) is not identifiable", "hedge: ", "instruments: Z"] {
        assert!(text.contains(part), "{text}");
    }
    let text = desk.text(&["identify", "front.json", "--treatment", "smoking", "--outcome", "cancer"]);
    assert!(text.contains("is identifiable") && text.contains("front-door sets: {tar}"), "{text}");
    let joint = ["identify", "back.json", "--treatment", "Z", "--treatment", "X", "--outcome", "Y"];
    assert_eq!(desk.json(&joint)["identifiable"], true);
}

#[test]
fn the_verdicts_are_those_of_a_complete_algorithm() {
    let desk = Desk::new(&[]);
    for case in
        golden_json("causal/tests/golden/identification.json")["cases"].as_array().unwrap().iter().take(24)
    {
        let graph = json!({"nodes": case["observed"], "directed": case["directed"], "bidirected": case["bidirected"]});
        fs::write(desk.0.path().join("graph.json"), graph.to_string()).unwrap();
        let (x, y) = (case["x"].as_str().unwrap(), case["y"].as_str().unwrap());
        let report = desk.json(&["identify", "graph.json", "--treatment", x, "--outcome", y]);
        assert_eq!(report["identifiable"], case["identifiable"], "{}", case["name"]);
    }
}

#[test]
fn graphs_and_questions_that_make_no_sense_are_told_the_mend() {
    let desk = Desk::new(&[
        ("graph.json", FRONT_DOOR),
        ("broken.json", "{\"directed\": [\n[\"A\" \"B\"]]}"),
        ("cycle.json", r#"{"directed": [["A", "B"], ["B", "A"]]}"#),
        ("stranger.json", r#"{"nodes": ["treatment", "outcome"], "directed": [["treatmnt", "outcome"]]}"#),
        ("empty.json", "{}"),
        ("field.json", r#"{"nodez": []}"#),
    ]);
    let check = |file: &str, x: &str, y: &str, parts: &[&str]| {
        desk.refuses(&["identify", file, "--treatment", x, "--outcome", y], parts);
    };
    check("gone.json", "A", "B", &["gone.json", "no such file"]);
    check("broken.json", "A", "B", &["broken.json", "line 2", "expected"]);
    check("field.json", "A", "B", &["field.json", "nodez", "expected"]);
    check("cycle.json", "A", "B", &["cycle.json", "cycle", "A", "B"]);
    check("stranger.json", "treatment", "outcome", &["`treatmnt`", "did you mean `treatment`?"]);
    check("empty.json", "A", "B", &["--treatment A", "there is none"]);
    check("graph.json", "smokin", "cancer", &["--treatment smokin", "graph.json", "did you mean `smoking`?"]);
    check("graph.json", "smoking", "Cancer", &["--outcome Cancer", "did you mean `cancer`?"]);
    check("graph.json", "gene", "cancer", &["--treatment gene", "latent"]);
    check("graph.json", "cancer", "cancer", &["`cancer` is both --treatment and --outcome"]);
    desk.refuses(&["identify", "graph.json", "--treatment", "smoking"], &["--outcome"]);
}
