//! `discover`: the graphs that the reference packages find, and data that cannot be used.

use super::{Desk, golden, golden_json};
use serde_json::{Value, json};
use std::fs;

const FEW: &str = "A,B,C\n1,2,3\n2,1,5\n3,5,4\n4,3,1\n5,9,2\n6,4,9\n7,8,6\n8,6,8\n";

fn column(name: &str) -> u64 {
    name.trim_start_matches('X').parse().unwrap()
}

/// The edges of a report as the reference data write them: directed `[from, to]`, undirected `[low, high]`.
fn edges(report: &Value) -> (Vec<[u64; 2]>, Vec<[u64; 2]>) {
    let (mut directed, mut undirected) = (Vec::new(), Vec::new());
    for edge in report["edges"].as_array().unwrap() {
        let (a, b) = (column(edge["from"].as_str().unwrap()), column(edge["to"].as_str().unwrap()));
        if edge["from_mark"] == edge["to_mark"] {
            undirected.push([a.min(b), a.max(b)]);
        } else {
            directed.push([a, b]);
        }
    }
    directed.sort_unstable();
    undirected.sort_unstable();
    (directed, undirected)
}

fn wanted(graph: &Value) -> (Vec<[u64; 2]>, Vec<[u64; 2]>) {
    let part = |name: &str| {
        let mut pairs: Vec<[u64; 2]> = serde_json::from_value(graph[name].clone()).unwrap();
        pairs.sort_unstable();
        pairs
    };
    (part("directed"), part("undirected"))
}

#[test]
fn pc_ges_and_gies_find_what_the_reference_packages_find() {
    let desk = Desk::new(&[(
        "environments.json",
        r#"{"environments": {"column": "env", "targets": {"1": ["X2"], "2": ["X3"], "3": ["X7"]}}}"#,
    )]);
    let linear = &golden_json("causal/tests/golden/linear_gaussian.json")["datasets"][0];
    let data = golden("causal/tests/golden/lin10a.csv");
    let pc = desk.json(&["discover", &data, "--method", "pc", "--test", "fisher-z", "--alpha", "0.01"]);
    assert_eq!(edges(&pc), wanted(&linear["pc_fisherz_stable"]["0.01"]));
    assert_eq!((&pc["method"], &pc["test"], &pc["rows"]), (&json!("pc"), &json!("fisher-z"), &json!(500)));
    let ges = desk.json(&["discover", &data, "--method", "ges"]);
    assert_eq!(edges(&ges), wanted(&linear["ges_bic"]));
    let discrete = &golden_json("causal/tests/golden/discrete.json")["datasets"][0]["pc_stable"];
    let asia = golden("causal/tests/golden/asia2000.csv");
    for (test, name) in [("g-square", "gsq@0.01"), ("chi-square", "chisq@0.01")] {
        let report = desk.json(&["discover", &asia, "--test", test, "--alpha", "0.01"]);
        assert_eq!(edges(&report), wanted(&discrete[name]), "{test}");
    }
    let want = &golden_json("causal/tests/golden/gies.json")["datasets"][0]["gies_icpdag"];
    let data = golden("causal/tests/golden/gies0.csv");
    let gies = desk.json(&["discover", &data, "--method", "gies", "--knowledge", "environments.json"]);
    assert_eq!(edges(&gies), wanted(want));
}

#[test]
fn lingam_and_pcmci_find_what_the_reference_packages_find() {
    let desk = Desk::new(&[]);
    let data = golden("causal/tests/golden/lingam0.csv");
    let lingam = desk.json(&["discover", &data, "--method", "lingam"]);
    assert_eq!(lingam["order"], json!(["X3", "X0", "X1", "X2", "X4"]));
    let want = &golden_json("causal/tests/golden/pcmci.json")["datasets"][0]["found_src_dst_lag"];
    let data = golden("causal/tests/golden/var5_0.csv");
    let pcmci = desk.json(&["discover", &data, "--method", "pcmci", "--alpha", "0.01", "--tau-max", "3"]);
    let link = |link: &Value| {
        [
            column(link["from"].as_str().unwrap()),
            column(link["to"].as_str().unwrap()),
            link["lag"].as_u64().unwrap(),
        ]
    };
    let mut found: Vec<[u64; 3]> = pcmci["links"].as_array().unwrap().iter().map(link).collect();
    found.sort_unstable();
    let mut want: Vec<[u64; 3]> = serde_json::from_value(want.clone()).unwrap();
    want.sort_unstable();
    assert_eq!(found, want);
}

#[test]
fn every_method_and_test_answers_for_people_and_programs() {
    let data = golden("causal/tests/golden/lin10a.csv");
    let small: String =
        fs::read_to_string(&data).unwrap().lines().take(101).fold(String::new(), |text, line| {
            let cells: Vec<&str> = line.split(',').take(4).collect();
            text + &cells.join(",") + "\n"
        });
    let desk = Desk::new(&[("small.csv", &small)]);
    for method in ["pc", "fci", "ges", "lingam", "notears", "dagma", "pcmci"] {
        let report = desk.json(&["discover", "small.csv", "--method", method, "--test", "fisher-z"]);
        assert_eq!(report["method"], method);
        let text = desk.text(&["discover", "small.csv", "--method", method]);
        assert!(text.starts_with(&format!("small.csv: 100 rows, 4 variables; {method}")), "{text}");
    }
    assert_eq!(desk.json(&["discover", "small.csv", "--test", "kci"])["test"], "kci");
    let notes = desk.json(&["discover", "small.csv", "--method", "lingam", "--test", "kci"])["notes"].clone();
    assert!(notes[0].as_str().unwrap().contains("--test"), "{notes}");
}

#[test]
fn knowledge_holds_and_the_dot_file_is_whole_or_absent() {
    let knowledge = r#"{"tiers": [["X9"], ["X1"]], "required": [["X6", "X3"]]}"#;
    let desk = Desk::new(&[("knowledge.json", knowledge), ("few.csv", FEW)]);
    let data = golden("causal/tests/golden/lin10a.csv");
    let args = ["discover", &data, "--alpha", "0.01", "--knowledge", "knowledge.json", "--dot", "graph.dot"];
    let report = desk.json(&args);
    let (directed, _) = edges(&report);
    assert!(directed.contains(&[6, 3]) && !directed.contains(&[1, 9]), "{report}");
    let dot = fs::read_to_string(desk.0.path().join("graph.dot")).unwrap();
    assert!(dot.starts_with("digraph {") && dot.ends_with("}\n") && report["dot"] == dot, "{dot}");
    assert_eq!(desk.names(), ["few.csv", "graph.dot", "knowledge.json"]);
    desk.refuses(
        &["discover", "few.csv", "--dot", "nowhere/graph.dot"],
        &["--dot nowhere/graph.dot", "folder"],
    );
    desk.refuses(&["discover", "few.csv", "--dot", "."], &["--dot .", "is a folder"]);
    desk.refuses(&["discover", "few.csv", "--dot", "few.csv"], &["would replace the data"]);
    desk.refuses(&["discover", "gone.csv", "--dot", "graph.dot"], &["gone.csv"]);
    assert_eq!(fs::read_to_string(desk.0.path().join("graph.dot")).unwrap(), dot);
}

#[test]
fn data_that_cannot_be_used_are_named_with_row_column_and_mend() {
    let check = |text: &str, flags: &[&str], parts: &[&str]| {
        let desk = Desk::new(&[("data.csv", text)]);
        desk.refuses(&[&["discover", "data.csv"], flags].concat(), &[&["data.csv"], parts].concat());
    };
    let desk = Desk::new(&[]);
    desk.refuses(&["discover", "gone.csv"], &["gone.csv", "no such file"]);
    desk.refuses(&["discover", "."], &["is a folder"]);
    for method in ["pc", "ges", "lingam", "notears", "pcmci"] {
        let flags = ["--method", method];
        check(&FEW.replace("3,5,4", "3,many,4"), &flags, &["line 4", "column `B`", "`many` is not a number"]);
        check(&FEW.replace("3,5,4", "3,,4"), &flags, &["line 4", "column `B`", "missing", "remove the row"]);
        check(&FEW.replace("3,5,4", "3,NA,4"), &flags, &["line 4", "column `B`", "missing"]);
        check(&FEW.replace("3,5,4", "3,inf,4"), &flags, &["line 4", "column `B`", "not finite"]);
        check("A,B\n1,2\n2,1\n", &flags, &["are needed"]);
    }
    for flags in
        [&["--method", "pc"][..], &["--method", "ges"], &["--test", "g-square"], &["--method", "notears"]]
    {
        check("A,B\n1,2\n1,3\n1,4\n1,9\n1,5\n1,4\n1,2\n", flags, &["column `A`", "constant", "drop it"]);
    }
    check("A,B\n1,2\n2,\n", &["--test", "chi-square"], &["line 3", "column `B`", "missing"]);
    check("", &[], &["empty"]);
    check("A,B\n", &[], &["no row"]);
    check("1,2\n3,4\n", &[], &["column names"]);
    check("A,A\n3,4\n", &[], &["two columns are called `A`"]);
    check("A,B\n3,4,5\n", &[], &["line 2 has 3 cells"]);
    check("A\n1\n2\n3\n4\n5\n", &[], &["at least 2"]);
    check(
        "A,B\n1,2\n2,4\n3,6\n4,8\n5,10\n6,12\n7,14\n",
        &["--method", "lingam"],
        &["linearly dependent", "drop"],
    );
    fs::write(desk.0.path().join("binary.csv"), [0xff, 0xfe, 0x00]).unwrap();
    desk.refuses(&["discover", "binary.csv"], &["binary.csv", "UTF-8"]);
}

#[test]
fn bad_flags_and_knowledge_are_told_the_mend() {
    let desk = Desk::new(&[("few.csv", FEW)]);
    let check =
        |flags: &[&str], parts: &[&str]| desk.refuses(&[&["discover", "few.csv"], flags].concat(), parts);
    check(&["--method", "pcc"], &["pcc", "pcmci"]);
    check(&["--test", "fisher"], &["fisher", "fisher-z"]);
    check(&["--alpha", "0"], &["--alpha 0", "between 0 and 1"]);
    check(&["--alpha", "-0.1"], &["--alpha -0.1", "between 0 and 1"]);
    check(&["--alpha", "much"], &["much", "--alpha"]);
    check(&["--knowledge", "gone.json"], &["gone.json", "no such file"]);
    check(&["--method", "gies"], &["environments"]);
    desk.refuses(&["discover"], &["<DATA>"]);
    let knowledge = |text: &str, parts: &[&str]| {
        fs::write(desk.0.path().join("knowledge.json"), text).unwrap();
        check(&["--knowledge", "knowledge.json"], &[&["knowledge.json"], parts].concat());
    };
    knowledge("{", &["line 1", "expected"]);
    knowledge(r#"{"tier": []}"#, &["unknown field `tier`"]);
    knowledge(r#"{"forbidden": [["A", "b"]]}"#, &["no variable `b`", "did you mean `B`?"]);
    knowledge(r#"{"forbidden": [["A", "zzz"]]}"#, &["no variable `zzz`", "there are: A, B, C"]);
    knowledge(r#"{"forbidden": [["A", "B"]], "required": [["A", "B"]]}"#, &["both required and forbidden"]);
    fs::write(desk.0.path().join("knowledge.json"), r#"{"forbidden": [["A", "B"]]}"#).unwrap();
    check(&["--method", "ges", "--knowledge", "knowledge.json"], &["use pc or fci"]);
}
