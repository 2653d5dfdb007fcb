//! The real TensorBoard reads the event files. Needs Python with the package `tensorboard`; the interpreter is
//! taken from `QUINTET_PYTHON`, else `python3`. Without it the test says so and passes.

use rl_core::experiment::EventWriter;
use std::process::Command;

const READ: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
tags = events.Tags()
text = tags["tensors"][0]
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "text": [text, events.Tensors(text)[0].tensor_proto.string_val[0].decode()],
    "plugin": events.SummaryMetadata(text).plugin_data.plugin_name,
}))
"#;

#[test]
fn the_real_tensorboard_reads_scalars_and_texts() {
    let python = std::env::var("QUINTET_PYTHON").unwrap_or_else(|_| "python3".into());
    let present = Command::new(&python).args(["-c", "import tensorboard"]).output();
    if !present.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {python} has no package tensorboard; set QUINTET_PYTHON to one that has");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventWriter::open(folder.path(), None).unwrap();
    for step in [1u64, 200, 70_000, 5_000_000_000] {
        events.scalar("charts/episodic_return", step, -0.5 * step as f64).unwrap();
    }
    drop(events);
    let mut resumed = EventWriter::open(folder.path(), Some(70_000)).unwrap();
    resumed.scalar("charts/episodic_return", 6_000_000_000, 7.0).unwrap();
    resumed.text("config", 6_000_000_000, "b = ü").unwrap();
    let output = Command::new(&python).args(["-c", READ]).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        read,
        serde_json::json!({
            "scalars": {"charts/episodic_return": [[1, -0.5], [200, -100.0], [70_000, -35_000.0], [6_000_000_000u64, 7.0]]},
            "text": ["config", "b = ü"],
            "plugin": "text",
        })
    );
}
