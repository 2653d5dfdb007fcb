//! Rust nodes against the real SuperLink of `flwr==1.41.0`, on loopback, offline.
//!
//! Needs Python with that package: `python3 -m venv v && v/bin/pip install flwr==1.41.0`, then
//! `FLOWER_VENV=$PWD/v cargo test -p federated --features flower --test flower`. Without it every test here says that it
//! is skipped.
#![cfg(feature = "flower")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // helpers are test code too

use federated::flower::{FlowerConfig, FlowerTransport, NodeKey};
use federated::transport::{Answer, Setting, Task, Transport};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Folder with `flwr`, `flower-superlink` and `python`, if the right version is there.
fn venv() -> Option<PathBuf> {
    let bin = std::env::var_os("FLOWER_VENV").map(|v| PathBuf::from(v).join("bin"));
    let script = "import importlib.metadata as m; print(m.version('flwr'))";
    let python = bin.as_ref().map_or(PathBuf::from("python3"), |b| b.join("python"));
    let version = Command::new(&python).args(["-c", script]).output().ok().filter(|o| o.status.success());
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string());
    if version.as_deref() != Some("1.41.0") {
        println!(
            "SKIPPED: no flwr==1.41.0 (found {version:?}); set FLOWER_VENV to a virtual environment that has it"
        );
        return None;
    }
    Some(bin.unwrap_or_default())
}

fn wait_until(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(seconds), "{what} took longer than {seconds} s");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A process that dies with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // the server gets a chance to end its own children
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        for _ in 0..50 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A SuperLink with its own home.
struct SuperLink {
    bin: PathBuf,
    home: tempfile::TempDir,
    address: String,
    tls: bool,
    _process: Killed,
}

impl SuperLink {
    fn start(bin: PathBuf, tls: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Self::command(&bin, home.path(), "flower-superlink");
        command.args([
            "--disable-runtime-dependency-installation",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ]);
        let mut config =
            format!("[superlink]\ndefault = \"loopback\"\n\n[superlink.loopback]\naddress = \"{address}\"\n");
        if tls {
            let script = include_str!("flower_certificates.py");
            let status =
                Command::new(bin.join("python")).args(["-c", script]).arg(home.path()).status().unwrap();
            assert!(status.success());
            let file = |name: &str| home.path().join(name).display().to_string();
            command.args(["--ssl-certfile", &file("server.pem"), "--ssl-keyfile", &file("server.key")]);
            command.args(["--ssl-ca-certfile", &file("ca.pem"), "--enable-supernode-auth"]);
            config += &format!("root-certificates = \"{}\"\n", file("ca.pem"));
        } else {
            command.arg("--insecure");
            config += "insecure = true\n";
        }
        std::fs::write(home.path().join("config.toml"), config).unwrap();
        let log = std::fs::File::create(home.path().join("superlink.log")).unwrap();
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let link = Self { bin, address, tls, _process: Killed(process), home };
        wait_until("starting the SuperLink", 300, || std::net::TcpStream::connect(&link.address).is_ok());
        link
    }

    fn command(bin: &Path, home: &Path, program: &str) -> Command {
        let mut command = Command::new(bin.join(program));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", bin.display()));
        command
            .env("FLWR_HOME", home)
            .env("FLWR_TELEMETRY_ENABLED", "0")
            .env("FLWR_DISABLE_UPDATE_CHECK", "1");
        command.env("UV_OFFLINE", "1").env("PYTHONUNBUFFERED", "1").stdin(Stdio::null());
        command
    }

    /// Starts the server application; its output goes to `run.log`.
    fn run(&self, config: &str) -> Killed {
        let log = std::fs::File::create(self.home.path().join("run.log")).unwrap();
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("flower-app");
        let mut command = Self::command(&self.bin, self.home.path(), "flwr");
        command.arg("run").arg(app).args(["loopback", "--stream", "-c", config]);
        Killed(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.home.path().join(name)).unwrap_or_default();
        format!("{}\n--- superlink ---\n{}", read("run.log"), read("superlink.log"))
    }

    /// Least and largest final parameter, once the run has printed them.
    fn result(&self, seconds: u64) -> (f32, f32) {
        let start = Instant::now();
        loop {
            let log = self.log();
            if let Some((_, rest)) = log.split_once("FINAL ") {
                let mut numbers = rest.split_whitespace().map_while(|w| w.parse().ok());
                if let (Some(low), Some(high)) = (numbers.next(), numbers.next()) {
                    return (low, high);
                }
            }
            assert!(start.elapsed() < Duration::from_secs(seconds), "no result after {seconds} s:\n{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn node_config(&self, registered: bool) -> FlowerConfig {
        let root_certificates = self.tls.then(|| std::fs::read(self.home.path().join("ca.pem")).unwrap());
        FlowerConfig {
            address: self.address.clone(),
            root_certificates,
            registered,
            heartbeat_seconds: 10.0,
            ..FlowerConfig::default()
        }
    }

    /// The `flower_node` example, which cargo builds beside this test.
    fn child_node(&self, arguments: &[&str]) -> Killed {
        let example =
            std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/flower_node");
        assert!(
            example.exists(),
            "{} is missing: run cargo test without --test, or build the examples",
            example.display()
        );
        let mut command = Command::new(example);
        command.arg(&self.address).args(arguments).stderr(Stdio::piped());
        Killed(command.spawn().unwrap())
    }
}

fn key(index: u64) -> NodeKey {
    NodeKey::random(&mut rl_core::seed::SeedStream::new(index).stream("node", std::process::id().into()))
}

fn pull_towards(task: &Task, target: f32, examples: f64) -> Answer {
    let metrics = vec![("num-examples".to_string(), examples)];
    if task.kind != "train" {
        return Answer { metrics, ..Answer::default() };
    }
    let mut arrays = task.arrays.clone();
    arrays[0].values.iter_mut().for_each(|w| *w += 0.5 * (target - *w));
    Answer { arrays, metrics, extra: vec![] }
}

/// Serves `tasks` tasks, then leaves when the run is over.
fn serve(mut node: FlowerTransport, tasks: usize, mut work: impl FnMut(&Task) -> Answer) {
    let mut done = 0;
    while done < tasks {
        if let Some(task) = node.pull(Duration::from_secs(5)).unwrap() {
            let answer = work(&task);
            node.push(&task, answer).unwrap();
            done += 1;
        }
    }
    node.leave().unwrap();
}

#[test]
fn rust_nodes_take_part_in_stock_fed_avg() {
    let Some(bin) = venv() else { return };
    let link = SuperLink::start(bin, false);
    // 3,000,000 parameters are 12 MB in three chunks; the weighted target is (100·1 + 300·3)/400 = 2.5
    let rounds = 2;
    let nodes: Vec<_> = [(1.0, 100.0), (3.0, 300.0)]
        .into_iter()
        .enumerate()
        .map(|(i, (target, examples))| {
            let node = FlowerTransport::connect(link.node_config(false), key(i as u64)).unwrap();
            std::thread::spawn(move || serve(node, 2 * rounds, |task| pull_towards(task, target, examples)))
        })
        .collect();
    let _run = link.run(&format!("num-server-rounds={rounds} dim=3000000 min-nodes=2"));
    let (low, high) = link.result(300);
    let expected = 2.5 * (1.0 - 0.25);
    assert!((low - expected).abs() < 1e-5 && (high - expected).abs() < 1e-5, "{low} {high}\n{}", link.log());
    nodes.into_iter().for_each(|n| n.join().unwrap());
}

#[test]
fn tls_authentication_and_a_node_killed_in_mid_round() {
    let Some(bin) = venv() else { return };
    let link = SuperLink::start(bin, true);
    let path = |name: &str| link.home.path().join(name);
    // a key that is not registered is refused
    let at_once = FlowerConfig { takeover: Duration::ZERO, ..link.node_config(true) };
    let refused = FlowerTransport::connect(at_once, key(99)).unwrap_err();
    assert!(refused.to_string().contains("activate-node"), "{refused}");
    // a certificate authority that did not sign the server's certificate is refused
    let wrong = FlowerConfig {
        root_certificates: Some(std::fs::read(path("other-ca.pem")).unwrap()),
        patience: Duration::from_millis(100),
        ..link.node_config(true)
    };
    assert!(FlowerTransport::connect(wrong, key(98)).is_err());

    let keys: Vec<NodeKey> = (0..3).map(key).collect();
    for (i, key) in keys.iter().enumerate() {
        let public = path(&format!("node-{i}.pub"));
        std::fs::write(&public, key.public_openssh()).unwrap();
        key.save(&path(&format!("node-{i}.pem"))).unwrap();
        let mut register = SuperLink::command(&link.bin, link.home.path(), "flwr");
        let output = register.args(["supernode", "register"]).arg(&public).arg("loopback").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let nodes: Vec<_> = (0..2)
        .map(|i| {
            let node = FlowerTransport::connect(
                link.node_config(true),
                NodeKey::load(&path(&format!("node-{i}.pem"))).unwrap(),
            );
            let node = node.unwrap();
            let finished = link.home.path().join("finished");
            std::thread::spawn(move || {
                let mut node = node;
                while !finished.exists() {
                    if let Some(task) = node.pull(Duration::from_millis(200)).unwrap() {
                        let answer = pull_towards(&task, 1.0 + 2.0 * i as f32, 1.0);
                        node.push(&task, answer).unwrap();
                    }
                }
                node.leave().unwrap();
            })
        })
        .collect();
    let (ca, pem) = (path("ca.pem").display().to_string(), path("node-2.pem").display().to_string());
    let mut victim = link.child_node(&["--ca", &ca, "--key", &pem, "--hang"]);
    let mut stderr = std::io::BufReader::new(victim.0.stderr.take().unwrap());
    let run = link.run("num-server-rounds=2 dim=5 min-nodes=3 round-timeout=15");
    // killed as soon as it has its task: the round times out and goes on with the other two
    let mut line = String::new();
    while !line.contains("task train") {
        line.clear();
        assert!(
            std::io::BufRead::read_line(&mut stderr, &mut line).unwrap() > 0,
            "the node ended\n{}",
            link.log()
        );
    }
    victim.0.kill().unwrap();
    wait_until("the first round after the kill", 120, || {
        link.log().contains("aggregate_train: Received 2 results")
            || link.log().contains("Received 2 results")
    });
    // a new process with the same key takes its place
    let _revived = link.child_node(&["--ca", &ca, "--key", &pem, "--target", "5", "--examples", "1"]);
    let (low, high) = link.result(180);
    assert!(low == high && low > 1.0 && low < 3.0, "{low} {high}\n{}", link.log());
    std::fs::write(path("finished"), "").unwrap();
    nodes.into_iter().for_each(|n| n.join().unwrap());
    drop(run);
}

#[test]
fn secure_aggregation_travels_as_custom_messages() {
    use ed25519_dalek::SigningKey;
    use federated::secure_aggregation::{Directory, Participant, QuantiserConfig};
    let Some(bin) = venv() else { return };
    let link = SuperLink::start(bin, false);
    let identities: Vec<SigningKey> = (0..4u8).map(|i| SigningKey::from_bytes(&[i + 1; 32])).collect();
    let directory: Directory =
        identities.iter().enumerate().map(|(i, k)| (i as u32, k.verifying_key())).collect();
    let hex = |bytes: [u8; 32]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let listed: std::collections::BTreeMap<u32, String> =
        directory.iter().map(|(i, k)| (*i, hex(k.to_bytes()))).collect();
    let file = link.home.path().join("directory.json");
    std::fs::write(&file, serde_json::to_string(&listed).unwrap()).unwrap();
    let nodes: Vec<_> = identities
        .into_iter()
        .enumerate()
        .map(|(i, identity)| {
            let mut node = FlowerTransport::connect(link.node_config(false), key(10 + i as u64)).unwrap();
            let quantiser = QuantiserConfig { clip: 4.0, ..QuantiserConfig::default() };
            let mut participant = Participant::new(i as u32, identity, directory.clone(), quantiser).unwrap();
            let finished = link.home.path().join("finished");
            std::thread::spawn(move || {
                let mut rng = rl_core::seed::SeedStream::new(1).stream("participant", i as u64);
                let mut answered = 0;
                while !finished.exists() {
                    let Some(task) = node.pull(Duration::from_millis(200)).unwrap() else { continue };
                    if task.bytes("session").is_none() {
                        let extra = vec![("client".into(), Setting::Int(i as i64))];
                        node.push(&task, Answer { extra, ..Answer::default() }).unwrap();
                        continue;
                    }
                    // client 3 falls silent in its first session after sharing its keys
                    answered += 1;
                    if i == 3 && answered > 2 {
                        continue;
                    }
                    let train = |task: &Task| {
                        let update = task.arrays[0].values.iter().map(|w| w + 0.5 * (i as f32 - w)).collect();
                        Ok((update, 1))
                    };
                    let answer = participant.handle(&task, train, &mut rng).unwrap();
                    node.push(&task, answer).unwrap();
                }
                node.leave().unwrap();
            })
        })
        .collect();
    let program =
        std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/secure_sum");
    assert!(program.exists(), "{} is missing: build the examples", program.display());
    let settings = format!("secure-sum=\"{}\" directory=\"{}\"", program.display(), file.display());
    let _run = link.run(&format!("num-server-rounds=1 dim=1000 min-nodes=4 round-timeout=60 {settings}"));
    let (low, high) = link.result(300);
    // the mean of clients 0, 1 and 2 moving half-way from 0 to their numbers
    assert!((low - 0.5).abs() < 1e-4 && (high - 0.5).abs() < 1e-4, "{low} {high}\n{}", link.log());
    std::fs::write(link.home.path().join("finished"), "").unwrap();
    nodes.into_iter().for_each(|n| n.join().unwrap());
}

#[test]
fn the_wire_has_the_field_numbers_of_the_installed_package() {
    let Some(bin) = venv() else { return };
    let source = include_str!("../src/flower/wire.rs");
    let script = include_str!("flower_fields.py");
    let output = Command::new(bin.join("python")).args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let fields: std::collections::BTreeMap<String, std::collections::BTreeMap<String, u32>> =
        serde_json::from_slice(&output.stdout).unwrap();
    let (mut message, mut tag, mut compared) = (String::new(), None, 0);
    for line in source.lines() {
        if let Some((_, name)) = line.split_once("struct ") {
            message = name.split([' ', '{']).next().unwrap().into();
        } else if let Some((_, rest)) = line.split_once("tag = \"") {
            tag = rest.split('"').next().and_then(|t| t.parse::<u32>().ok());
        } else if let (Some(number), Some((name, _))) = (tag.take(), line.trim().split_once(':')) {
            let name = name.rsplit(' ').next().unwrap();
            // our names of Flower's messages where they differ
            let theirs: &[&str] = match message.as_str() {
                "NodeId" => &[
                    "RegisterNodeFleetResponse",
                    "ActivateNodeResponse",
                    "DeactivateNodeRequest",
                    "UnregisterNodeFleetRequest",
                ],
                "Envelope" => &["Message"],
                "RemoteError" => &["Error"],
                "Record" | "RecordItem" | "RecordValue" => continue,
                other => &[other],
            };
            for their in theirs {
                assert_eq!(fields[*their].get(name), Some(&number), "{their}.{name}");
                compared += 1;
            }
        }
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn settings_carry_bytes() {
    let task = Task {
        id: String::new(),
        kind: "train".into(),
        arrays: vec![],
        settings: vec![("secagg".into(), Setting::Bytes(vec![1]))],
    };
    assert_eq!(task.bytes("secagg"), Some(&[1u8][..]));
}
