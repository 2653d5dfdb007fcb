//! The messages of Flower's Fleet protocol that a node needs, as prost structs. Names and field numbers are Flower's
//! (Apache-2.0); a test compares them with the descriptors of an installed `flwr`.

use prost::{Message, Oneof};
use std::collections::HashMap;

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Node {
    #[prost(uint64, tag = "1")]
    pub(super) node_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RegisterNodeFleetRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) public_key: Vec<u8>,
}

/// Responses of register and activate, requests of deactivate and unregister.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct NodeId {
    #[prost(uint64, tag = "1")]
    pub(super) node_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ActivateNodeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) public_key: Vec<u8>,
    #[prost(double, tag = "2")]
    pub(super) heartbeat_interval: f64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Empty {}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct SendNodeHeartbeatRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(double, tag = "2")]
    pub(super) heartbeat_interval: f64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct SendNodeHeartbeatResponse {
    #[prost(bool, tag = "1")]
    pub(super) success: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(uint64, tag = "1")]
    pub(super) run_id: u64,
    #[prost(string, tag = "2")]
    pub(super) message_id: String,
    #[prost(uint64, tag = "3")]
    pub(super) src_node_id: u64,
    #[prost(uint64, tag = "4")]
    pub(super) dst_node_id: u64,
    #[prost(string, tag = "5")]
    pub(super) reply_to_message_id: String,
    #[prost(string, tag = "6")]
    pub(super) group_id: String,
    #[prost(double, tag = "7")]
    pub(super) ttl: f64,
    #[prost(string, tag = "8")]
    pub(super) message_type: String,
    #[prost(double, tag = "9")]
    pub(super) created_at: f64,
    #[prost(uint64, optional, tag = "10")]
    pub(super) src_task_id: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    pub(super) dst_task_id: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RemoteError {
    #[prost(sint64, tag = "1")]
    pub(super) code: i64,
    #[prost(string, tag = "2")]
    pub(super) reason: String,
}

/// Flower's `Message`. `content` stays empty, because payloads travel as objects, but has to be there.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    pub(super) content: Option<Empty>,
    #[prost(message, optional, tag = "3")]
    pub(super) error: Option<RemoteError>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectTree {
    #[prost(string, tag = "1")]
    pub(super) object_id: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) children: Vec<ObjectTree>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PullMessagesRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(string, repeated, tag = "2")]
    pub(super) message_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PullMessagesResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) messages_list: Vec<Envelope>,
    #[prost(message, repeated, tag = "3")]
    pub(super) message_object_trees: Vec<ObjectTree>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PushMessagesRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(message, repeated, tag = "2")]
    pub(super) messages_list: Vec<Envelope>,
    #[prost(message, repeated, tag = "3")]
    pub(super) message_object_trees: Vec<ObjectTree>,
    #[prost(double, repeated, tag = "4")]
    pub(super) clientapp_runtime_list: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PushMessagesResponse {
    #[prost(map = "string, uint32", tag = "2")]
    pub(super) results: HashMap<String, u32>,
    #[prost(string, repeated, tag = "3")]
    pub(super) objects_to_push: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) session_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PushObjectRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(uint64, tag = "2")]
    pub(super) run_id: u64,
    #[prost(string, tag = "3")]
    pub(super) object_id: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) object_content: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) session_id: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct PushObjectResponse {
    #[prost(bool, tag = "1")]
    pub(super) stored: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PullObjectRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(uint64, tag = "2")]
    pub(super) run_id: u64,
    #[prost(string, tag = "3")]
    pub(super) object_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PullObjectResponse {
    #[prost(bool, tag = "1")]
    pub(super) object_found: bool,
    #[prost(bool, tag = "2")]
    pub(super) object_available: bool,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) object_content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfirmMessageReceivedRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(uint64, tag = "2")]
    pub(super) run_id: u64,
    #[prost(string, tag = "3")]
    pub(super) message_object_id: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct GetRunRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(uint64, tag = "2")]
    pub(super) run_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetRunResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) run: Option<Run>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Run {
    #[prost(uint64, tag = "1")]
    pub(super) run_id: u64,
    #[prost(message, optional, tag = "10")]
    pub(super) status: Option<RunStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RunStatus {
    #[prost(string, tag = "1")]
    pub(super) status: String,
}

/// The scalar arms of MetricRecordValue and ConfigRecordValue. Lists are not needed and are skipped when read.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Scalar {
    #[prost(double, tag = "1")]
    Double(f64),
    #[prost(sint64, tag = "2")]
    Sint64(i64),
    #[prost(uint64, tag = "3")]
    Uint64(u64),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(string, tag = "5")]
    String(String),
    #[prost(bytes = "vec", tag = "6")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RecordValue {
    #[prost(oneof = "Scalar", tags = "1,2,3,4,5,6")]
    pub(super) value: Option<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RecordItem {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<RecordValue>,
}

/// MetricRecord and ConfigRecord.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(message, repeated, tag = "1")]
    pub(super) items: Vec<RecordItem>,
}
