//! The life of a node: register, activate, beat, pull, push, leave.

use super::connection::{Connection, NodeKey};
use super::object::{Builder, Objects, object_id, post_order, read_content};
use super::wire::{
    ActivateNodeRequest, ConfirmMessageReceivedRequest, Empty, Envelope, GetRunRequest, GetRunResponse,
    Metadata, Node, NodeId, ObjectTree, PullMessagesRequest, PullMessagesResponse, PullObjectRequest,
    PullObjectResponse, PushMessagesRequest, PushMessagesResponse, PushObjectRequest, PushObjectResponse,
    RegisterNodeFleetRequest, SendNodeHeartbeatRequest, SendNodeHeartbeatResponse,
};
use crate::error::{Error, Result, check};
use crate::transport::{Answer, Task, Transport};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Connections for objects; Flower's own node uses two.
const WORKERS: usize = 2;

/// Where and how to connect.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowerConfig {
    /// `host:port` of the SuperLink.
    pub address: String,
    /// PEM of the certificate authority: TLS, trusting only this. `None` is plain HTTP.
    pub root_certificates: Option<Vec<u8>>,
    /// Whether the server knows the key already (`flwr supernode register`); otherwise the node registers itself, which
    /// a server with node authentication refuses.
    pub registered: bool,
    /// Seconds between heartbeats, 10 to 1800; the server calls a node offline after twice that.
    pub heartbeat_seconds: f64,
    /// How long to try again when the server cannot be reached.
    pub patience: Duration,
    /// How long to try again when the server does not activate the node: a process that was killed is held for alive
    /// until twice its heartbeat has passed, and its successor must wait. A key that is not registered is refused with
    /// the same code, so that refusal takes this long too.
    pub takeover: Duration,
    /// How long [`FlowerTransport::leave`] waits for the runs to finish.
    pub linger: Duration,
    /// Largest task in bytes.
    pub most_bytes: usize,
}

impl Default for FlowerConfig {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8000".into(),
            root_certificates: None,
            registered: false,
            heartbeat_seconds: 30.0,
            patience: Duration::from_secs(30),
            takeover: Duration::from_secs(75),
            linger: Duration::from_secs(60),
            most_bytes: 2 << 30,
        }
    }
}

/// An active node. Dropping it stops the heartbeat without a word, as a crash would; [`FlowerTransport::leave`] says goodbye.
pub struct FlowerTransport {
    config: FlowerConfig,
    connection: Arc<Connection>,
    node: Node,
    stop: Arc<AtomicBool>,
    /// Instructions that wait for their answers, by the name of their root object.
    open: BTreeMap<String, (Metadata, Instant)>,
    runs: BTreeSet<u64>,
}

impl std::fmt::Debug for FlowerTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FlowerTransport {{ address: {}, node: {}, .. }}", self.config.address, self.node.node_id)
    }
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl FlowerTransport {
    /// Checks the server's version, registers if need be, activates, and starts the heartbeat.
    ///
    /// # Errors
    /// [`Error::Version`] for a server of another version; a server that cannot be reached or refuses the key.
    pub fn connect(config: FlowerConfig, key: NodeKey) -> Result<Self> {
        let beat = config.heartbeat_seconds;
        check((10.0..=1800.0).contains(&beat), "flower", "heartbeat_seconds", beat, "in 10..=1800")?;
        let connection =
            Connection::new(&config.address, config.root_certificates.as_deref(), key, config.patience)?;
        connection.check_version()?;
        let public_key = connection.public_key();
        if !config.registered {
            let _: NodeId = connection
                .call("register-node", &RegisterNodeFleetRequest { public_key: public_key.clone() })?;
        }
        let activate = ActivateNodeRequest { public_key, heartbeat_interval: beat };
        let start = Instant::now();
        let id: NodeId = loop {
            match connection.call("activate-node", &activate) {
                Err(Error::OutOfOrder { .. }) if start.elapsed() < config.takeover => {
                    std::thread::sleep(Duration::from_millis(500).min(config.takeover));
                }
                other => break other?,
            }
        };
        let node = Node { node_id: id.node_id };
        let (connection, stop) = (Arc::new(connection), Arc::new(AtomicBool::new(false)));
        spawn_heartbeat(Arc::clone(&connection), node, beat, Arc::clone(&stop));
        Ok(Self { config, connection, node, stop, open: BTreeMap::new(), runs: BTreeSet::new() })
    }

    /// The number that the server has given this node.
    pub fn node_id(&self) -> u64 {
        self.node.node_id
    }

    /// Whether every run that this node has worked for is finished.
    ///
    /// # Errors
    /// A server that cannot be reached.
    pub fn runs_finished(&self) -> Result<bool> {
        for &run_id in &self.runs {
            let request = GetRunRequest { node: Some(self.node), run_id };
            let finished = match self.connection.call::<GetRunResponse>("get-run", &request) {
                Ok(response) => response.run.and_then(|r| r.status).is_some_and(|s| s.status == "finished"),
                // the server does not talk about a run that is over
                Err(Error::OutOfOrder { .. }) => true,
                Err(error) => return Err(error),
            };
            if !finished {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until the runs are finished (the server turns undelivered replies of a node that leaves into errors), then
    /// deactivates, and unregisters what registered itself.
    ///
    /// # Errors
    /// A server that cannot be reached.
    pub fn leave(self) -> Result<()> {
        let start = Instant::now();
        while !self.runs_finished()? && start.elapsed() < self.config.linger {
            std::thread::sleep(Duration::from_millis(200));
        }
        self.stop.store(true, Ordering::Relaxed);
        let id = NodeId { node_id: self.node.node_id };
        let _: Empty = self.connection.call("deactivate-node", &id)?;
        if !self.config.registered {
            let _: Empty = self.connection.call("unregister-node", &id)?;
        }
        Ok(())
    }

    /// Fetches all objects of a tree over several connections and checks each against its name.
    fn pull_objects(&self, run_id: u64, tree: &ObjectTree) -> Result<Objects> {
        let ids = post_order(tree)?;
        let (objects, next) = (Mutex::new(Objects::new()), std::sync::atomic::AtomicUsize::new(0));
        let size = std::sync::atomic::AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                let content = self.pull_object(run_id, id)?;
                if size.fetch_add(content.len(), Ordering::Relaxed) + content.len() > self.config.most_bytes {
                    return Err(Error::malformed(
                        "task",
                        format!("it is larger than {} bytes", self.config.most_bytes),
                    ));
                }
                lock(&objects).insert(id.clone(), content);
            }
            Ok(())
        };
        in_parallel(ids.len(), work)?;
        Ok(objects.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn pull_object(&self, run_id: u64, id: &str) -> Result<Vec<u8>> {
        let start = Instant::now();
        loop {
            let request = PullObjectRequest { node: Some(self.node), run_id, object_id: id.into() };
            let response: PullObjectResponse = self.connection.call("pull-object", &request)?;
            let fail = |reason: &str| Err(Error::malformed("Flower object", format!("{id} {reason}")));
            if !response.object_found {
                return fail("is unknown to the server");
            }
            if response.object_available {
                if object_id(&response.object_content) != id {
                    return fail("does not match its hash");
                }
                return Ok(response.object_content);
            }
            if start.elapsed() > self.config.patience {
                return fail("did not become available");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn push_objects(&self, run_id: u64, pushed: &PushMessagesResponse, objects: &Objects) -> Result<()> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(id) = pushed.objects_to_push.get(next.fetch_add(1, Ordering::Relaxed)) {
                let content = objects.get(id).ok_or_else(|| {
                    Error::malformed("Flower server", format!("asks for unknown object {id}"))
                })?;
                let request = PushObjectRequest {
                    node: Some(self.node),
                    run_id,
                    object_id: id.clone(),
                    object_content: content.clone(),
                    session_id: pushed.session_id.clone(),
                };
                let response: PushObjectResponse = self.connection.call("push-object", &request)?;
                if !response.stored {
                    return Err(Error::Transport {
                        operation: "push-object".into(),
                        reason: format!("{id} was not stored"),
                    });
                }
            }
            Ok(())
        };
        in_parallel(pushed.objects_to_push.len(), work)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs `work` on up to [`WORKERS`] threads and returns the first error.
fn in_parallel(items: usize, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..items.min(WORKERS)).map(|_| scope.spawn(&work)).collect();
        let mine = work();
        let lost =
            || Error::Transport { operation: "objects".into(), reason: "a worker thread failed".into() };
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| Err(lost())))
            .fold(mine, |first, next| first.and(next))
    })
}

/// Beats at a third of the interval until told to stop. A beat that fails is tried again at the next.
fn spawn_heartbeat(connection: Arc<Connection>, node: Node, seconds: f64, stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            if last.elapsed().as_secs_f64() > seconds / 3.0 {
                last = Instant::now();
                let request = SendNodeHeartbeatRequest { node: Some(node), heartbeat_interval: seconds };
                let _: Result<SendNodeHeartbeatResponse> = connection.call("send-node-heartbeat", &request);
            }
        }
    });
}

impl Drop for FlowerTransport {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Transport for FlowerTransport {
    fn pull(&mut self, wait: Duration) -> Result<Option<Task>> {
        match self.pull_task(wait) {
            // the run ended while its task was on the way
            Err(Error::OutOfOrder { .. }) => Ok(None),
            other => other,
        }
    }

    fn push(&mut self, task: &Task, answer: Answer) -> Result<()> {
        let Some(open) = self.open.remove(&task.id) else {
            let reason = "the task is unknown or answered already".into();
            return Err(Error::OutOfOrder { operation: "push", reason });
        };
        match self.push_answer(task, open, &answer) {
            // nobody waits for this answer any more
            Err(Error::OutOfOrder { .. }) => Ok(()),
            other => other,
        }
    }

    /// The heartbeat has its own thread, so that long training does not take the node offline; nothing is left to do.
    fn heartbeat(&mut self) -> Result<()> {
        Ok(())
    }
}

impl FlowerTransport {
    fn pull_task(&mut self, wait: Duration) -> Result<Option<Task>> {
        let start = Instant::now();
        let request = PullMessagesRequest { node: Some(self.node), message_ids: vec![] };
        let (metadata, tree) = loop {
            let pulled: PullMessagesResponse = self.connection.call("pull-messages", &request)?;
            let first = pulled.messages_list.into_iter().next().and_then(|m| m.metadata);
            match (first, pulled.message_object_trees.into_iter().next()) {
                (Some(metadata), Some(tree)) => break (metadata, tree),
                _ if start.elapsed() >= wait => return Ok(None),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let run_id = metadata.run_id;
        let objects = self.pull_objects(run_id, &tree)?;
        let confirm = ConfirmMessageReceivedRequest {
            node: Some(self.node),
            run_id,
            message_object_id: tree.object_id.clone(),
        };
        let _: Empty = self.connection.call("confirm-message-received", &confirm)?;
        self.runs.insert(run_id);
        let (arrays, settings) = read_content(&objects, &tree.object_id)?;
        let task = Task { id: tree.object_id.clone(), kind: metadata.message_type.clone(), arrays, settings };
        self.open.insert(tree.object_id, (metadata, Instant::now()));
        Ok(Some(task))
    }

    fn push_answer(&self, task: &Task, open: (Metadata, Instant), answer: &Answer) -> Result<()> {
        let (instruction, started) = open;
        let now = unix_time();
        let mut reply = Metadata {
            run_id: instruction.run_id,
            message_id: String::new(),
            src_node_id: self.node.node_id,
            dst_node_id: instruction.src_node_id,
            reply_to_message_id: task.id.clone(),
            group_id: instruction.group_id,
            ttl: (instruction.ttl - (now - instruction.created_at)).max(1.0),
            message_type: instruction.message_type,
            created_at: now,
            src_task_id: instruction.dst_task_id,
            dst_task_id: instruction.src_task_id,
        };
        let mut builder = Builder::default();
        let content = builder.answer(answer);
        let body = Envelope { metadata: Some(reply.clone()), content: None, error: None }.encode_to_vec();
        let root = builder.add("Message", vec![content], &body);
        reply.message_id = root.object_id.clone();
        let request = PushMessagesRequest {
            node: Some(self.node),
            messages_list: vec![Envelope { metadata: Some(reply), content: Some(Empty {}), error: None }],
            message_object_trees: vec![root],
            clientapp_runtime_list: vec![started.elapsed().as_secs_f64()],
        };
        let pushed: PushMessagesResponse = self.connection.call("push-messages", &request)?;
        self.push_objects(instruction.run_id, &pushed, &builder.objects)
    }
}
