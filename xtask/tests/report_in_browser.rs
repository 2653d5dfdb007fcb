//! The report in a real browser: every figure is drawn, nothing is logged as an error, nothing is fetched, no
//! sideways scrolling on a phone. Needs `chromium` on the path; without it the test says so and passes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Added to the page: waits for the report's script, works it like a reader and writes what it found.
const PROBE: &str = r#"<script>
const problems = [];
addEventListener("error", e => problems.push(e.message));
addEventListener("load", () => {
  const check = (name, ok) => { if (!ok) problems.push(name); };
  try {
    check("script did not end", document.documentElement.dataset.ready === "yes");
    document.querySelectorAll("details").forEach(d => { d.open = true; d.dispatchEvent(new Event("toggle")); });
    const charts = [...document.querySelectorAll("figure.chart")];
    check("no charts", charts.length > 0);
    for (const f of charts) {
      const paths = [...f.querySelectorAll("svg.live path")];
      check("no lines in " + f.dataset.chart, paths.length > 0);
      check("bad path in " + f.dataset.chart, paths.every(p => /^M[\d.-]/.test(p.getAttribute("d")) && !/NaN|undefined/.test(p.outerHTML)));
      check("two drawings in " + f.dataset.chart, f.querySelectorAll("svg").length === 1);
    }
    check("no bars", document.querySelectorAll("figure.bars rect").length > 0);
    const svg = charts[0].querySelector("svg.live"), box = svg.getBoundingClientRect();
    svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, clientY: box.top + 20 }));
    check("no hover values", /environment steps: \d/.test(charts[0].querySelector(".tip").textContent));
    const ticks = () => [...charts[0].querySelectorAll("svg.live text")].map(t => t.textContent).join(" ");
    const mouse = (type, share) => charts[0].querySelector("svg.live").dispatchEvent(new PointerEvent(type,
      { pointerType: "mouse", pointerId: 1, button: 0, clientX: box.left + box.width * share, clientY: box.top + 20 }));
    const whole = ticks();
    mouse("pointerdown", 0.3); mouse("pointermove", 0.5); mouse("pointerup", 0.5);
    check("dragging does not zoom", ticks() !== whole);
    charts[0].querySelector("svg.live").dispatchEvent(new MouseEvent("dblclick"));
    check("a double click does not reset", ticks() === whole);
    const lines = () => document.querySelectorAll("svg.live path").length;
    const before = lines();
    document.getElementById("seeds").click();
    check("seeds are not shown", lines() > before);
    document.getElementById("theme").click();
    check("no theme", ["light", "dark"].includes(document.documentElement.dataset.theme));
    charts[0].querySelector(".legend button").click();
    const table = document.querySelector("table.sortable"), column = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === "mean");
    const values = () => [...table.tBodies[0].rows].map(r => +r.cells[column].dataset.value);
    table.tHead.rows[0].cells[column].click();
    check("not ascending", values().every((v, i, all) => i === 0 || all[i - 1] <= v));
    table.tHead.rows[0].cells[column].click();
    check("not descending", values().every((v, i, all) => i === 0 || all[i - 1] >= v));
    check("the page scrolls sideways", document.documentElement.scrollWidth <= innerWidth);
    check("something was fetched", performance.getEntriesByType("resource").every(e => e.name.startsWith("data:")));
  } catch (e) { problems.push(String(e)); }
  document.title = "PROBE " + (problems.length ? problems.join("; ") : "fine");
});
</script>"#;

fn chromium(page: &Path, size: &str) -> Option<(String, String)> {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display()));
    command.args([&format!("--window-size={size}"), "--enable-logging=stderr", "--virtual-time-budget=5000"]);
    let output = command.arg("--dump-dom").arg(format!("file://{}", page.display())).output().ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&output.stdout), text(&output.stderr)))
}

fn report(folder: &Path) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().unwrap().parent().unwrap().join("examples/chain");
    let run = Command::new(program)
        .args(["run-exercise", "chain", "--preset", "smoke", "--seeds", "3", "--json"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(run.status.success());
    let run = fs::read_dir(folder.join("runs/chain")).unwrap().next().unwrap().unwrap().path();
    run.join("report.html")
}

/// What the probe found: `fine`, or the problems.
fn verdict(dom: &str) -> &str {
    let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
    title.and_then(|title| title.strip_prefix("PROBE ")).unwrap_or("the probe did not run")
}

#[test]
fn every_figure_is_drawn_and_nothing_complains() {
    if Command::new("chromium").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no chromium on the path");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(report(folder.path())).unwrap();
    let addresses = text.replace("http://www.w3.org/2000/svg", "");
    assert!(!addresses.contains("http:") && !addresses.contains("https:"), "the page refers to the network");
    let probed = folder.path().join("probed.html");
    let with_probe = text.replacen("<head>", &format!("<head>{PROBE}"), 1);
    fs::write(&probed, &with_probe).unwrap();
    for size in ["1400,1000", "500,900"] {
        let (dom, log) = chromium(&probed, size).unwrap();
        assert_eq!(verdict(&dom), "fine", "at {size}");
        let complaints: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
    // The probe itself: a page whose script dies must not look fine.
    fs::write(&probed, with_probe.replacen("const charts = new Map", "const charts = new Mop", 1)).unwrap();
    let (dom, _) = chromium(&probed, "1400,1000").unwrap();
    assert!(verdict(&dom).contains("script did not end"), "{}", verdict(&dom));
}
