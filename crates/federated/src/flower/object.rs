//! Flower's objects: `"<Type> <child,child> <body length>" 0x00 body`, named by the SHA-256 of all of it in hexadecimal.
//!
//! A message is a tree: Message → RecordDict → records; an ArrayRecord → Arrays → ArrayChunks of `.npy` bytes.

use super::wire::{ObjectTree, Record, RecordItem, RecordValue, Scalar};
use crate::error::{Error, Result};
use crate::transport::{Answer, NamedArray, Setting};
use prost::Message;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// Largest body of an ArrayChunk in Flower 1.41.
const CHUNK: usize = 5_242_880;
/// Deepest and widest tree that is read.
const MOST_DEPTH: usize = 16;
const MOST_OBJECTS: usize = 100_000;

/// Arrays and settings of a task.
pub(super) type Content = (Vec<NamedArray>, Vec<(String, Setting)>);

/// Objects by name.
pub(super) type Objects = HashMap<String, Vec<u8>>;

fn malformed(reason: impl ToString) -> Error {
    Error::malformed("Flower object", reason)
}

/// The name of an object.
pub(super) fn object_id(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

struct Object<'a> {
    kind: &'a str,
    children: Vec<&'a str>,
    body: &'a [u8],
}

fn parse(bytes: &[u8]) -> Result<Object<'_>> {
    let end = bytes.iter().position(|b| *b == 0).ok_or_else(|| malformed("no end of the head"))?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(malformed)?;
    let parts: Vec<&str> = head.split(' ').collect();
    let [kind, children, length] = parts[..] else { return Err(malformed("the head has not three fields")) };
    let body = &bytes[end + 1..];
    if length.parse() != Ok(body.len()) {
        return Err(malformed("the body has another length than the head says"));
    }
    Ok(Object { kind, children: children.split(',').filter(|c| !c.is_empty()).collect(), body })
}

/// Names of all objects of a tree, children first, each once.
pub(super) fn post_order(tree: &ObjectTree) -> Result<Vec<String>> {
    fn walk(
        tree: &ObjectTree,
        depth: usize,
        seen: &mut HashSet<String>,
        out: &mut Vec<String>,
    ) -> Result<()> {
        if depth > MOST_DEPTH || out.len() > MOST_OBJECTS {
            return Err(malformed("the tree of objects is too deep or too large"));
        }
        for child in &tree.children {
            walk(child, depth + 1, seen, out)?;
        }
        if seen.insert(tree.object_id.clone()) {
            out.push(tree.object_id.clone());
        }
        Ok(())
    }
    let mut out = Vec::new();
    walk(tree, 0, &mut HashSet::new(), &mut out)?;
    Ok(out)
}

/// Collects the objects of one reply.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) objects: Objects,
}

impl Builder {
    pub(super) fn add(&mut self, kind: &str, children: Vec<ObjectTree>, body: &[u8]) -> ObjectTree {
        let mut unique: Vec<ObjectTree> = Vec::new();
        for child in children {
            if !unique.iter().any(|u| u.object_id == child.object_id) {
                unique.push(child);
            }
        }
        let ids: Vec<&str> = unique.iter().map(|c| c.object_id.as_str()).collect();
        let mut bytes = format!("{kind} {} {}\0", ids.join(","), body.len()).into_bytes();
        bytes.extend_from_slice(body);
        let object_id = object_id(&bytes);
        self.objects.insert(object_id.clone(), bytes);
        ObjectTree { object_id, children: unique }
    }

    /// A record of named things: ArrayRecord or RecordDict.
    fn named(&mut self, kind: &str, items: Vec<(String, ObjectTree)>) -> ObjectTree {
        let body: Map<String, Value> =
            items.iter().map(|(name, tree)| (name.clone(), tree.object_id.clone().into())).collect();
        let children = items.into_iter().map(|(_, tree)| tree).collect();
        self.add(kind, children, Value::Object(body).to_string().as_bytes())
    }

    fn array(&mut self, array: &NamedArray) -> ObjectTree {
        let (mut chunks, mut indices, mut distinct) = (Vec::new(), Vec::new(), Vec::<String>::new());
        for piece in to_npy(&array.shape, &array.values).chunks(CHUNK) {
            let chunk = self.add("ArrayChunk", vec![], piece);
            let known = distinct.iter().position(|d| *d == chunk.object_id);
            indices.push(known.unwrap_or(distinct.len()));
            if known.is_none() {
                distinct.push(chunk.object_id.clone());
            }
            chunks.push(chunk);
        }
        let body = json!({"dtype": "float32", "shape": array.shape, "stype": "numpy.ndarray", "arraychunk_ids": indices});
        self.add("Array", chunks, body.to_string().as_bytes())
    }

    fn record(&mut self, kind: &str, items: Vec<(String, Scalar)>) -> ObjectTree {
        let item = |(key, value)| RecordItem { key, value: Some(RecordValue { value: Some(value) }) };
        let record = Record { items: items.into_iter().map(item).collect() };
        self.add(kind, vec![], &record.encode_to_vec())
    }

    /// The RecordDict that stock strategies expect: `arrays`, `metrics`, and `extra` where there is any.
    pub(super) fn answer(&mut self, answer: &Answer) -> ObjectTree {
        let mut records = Vec::new();
        if !answer.arrays.is_empty() {
            let arrays = answer.arrays.iter().map(|a| (a.name.clone(), self.array(a))).collect();
            records.push(("arrays".to_string(), self.named("ArrayRecord", arrays)));
        }
        if !answer.metrics.is_empty() {
            // num-examples has to be an integer for Flower's weighted means
            let scalar = |x: f64| {
                if x.fract() == 0.0 && x.abs() < 9e15 { Scalar::Sint64(x as i64) } else { Scalar::Double(x) }
            };
            let metrics = answer.metrics.iter().map(|(name, x)| {
                (name.clone(), if name == "num-examples" { scalar(*x) } else { Scalar::Double(*x) })
            });
            let metrics = metrics.collect();
            records.push(("metrics".to_string(), self.record("MetricRecord", metrics)));
        }
        if !answer.extra.is_empty() {
            let extra = answer.extra.iter().map(|(name, s)| (name.clone(), to_scalar(s))).collect();
            records.push(("extra".to_string(), self.record("ConfigRecord", extra)));
        }
        self.named("RecordDict", records)
    }
}

fn to_scalar(setting: &Setting) -> Scalar {
    match setting {
        Setting::Float(x) => Scalar::Double(*x),
        Setting::Int(x) => Scalar::Sint64(*x),
        Setting::Bool(x) => Scalar::Bool(*x),
        Setting::Text(x) => Scalar::String(x.clone()),
        Setting::Bytes(x) => Scalar::Bytes(x.clone()),
    }
}

fn to_setting(scalar: Scalar) -> Setting {
    match scalar {
        Scalar::Double(x) => Setting::Float(x),
        Scalar::Sint64(x) => Setting::Int(x),
        Scalar::Uint64(x) => i64::try_from(x).map_or(Setting::Float(x as f64), Setting::Int),
        Scalar::Bool(x) => Setting::Bool(x),
        Scalar::String(x) => Setting::Text(x),
        Scalar::Bytes(x) => Setting::Bytes(x),
    }
}

/// Arrays and settings of all records under the message object `root`.
pub(super) fn read_content(objects: &Objects, root: &str) -> Result<Content> {
    let get = |id: &str| {
        objects.get(id).map(Vec::as_slice).ok_or_else(|| malformed(format!("object {id} is missing")))
    };
    let names =
        |body: &[u8]| serde_json::from_slice::<Vec<(String, String)>>(&pairs(body)?).map_err(malformed);
    let message = parse(get(root)?)?;
    let Some(content) = message.children.first() else { return Ok((vec![], vec![])) };
    let (mut arrays, mut settings) = (Vec::new(), Vec::new());
    for (_, id) in names(parse(get(content)?)?.body)? {
        let record = parse(get(&id)?)?;
        match record.kind {
            "ArrayRecord" => {
                for (name, id) in names(record.body)? {
                    arrays.push(read_array(name, &parse(get(&id)?)?, get)?);
                }
            }
            "ConfigRecord" | "MetricRecord" => {
                let record = Record::decode(record.body).map_err(malformed)?;
                for item in record.items {
                    if let Some(scalar) = item.value.and_then(|v| v.value) {
                        settings.push((item.key, to_setting(scalar)));
                    }
                }
            }
            other => return Err(malformed(format!("a record of type {other}"))),
        }
    }
    Ok((arrays, settings))
}

/// A JSON map of strings as a list of pairs in the order of the text, which serde_json's maps do not keep.
fn pairs(body: &[u8]) -> Result<Vec<u8>> {
    struct Pairs(Vec<(String, String)>);
    impl<'de> serde::Deserialize<'de> for Pairs {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Pairs;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a map from names to object ids")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> std::result::Result<Pairs, A::Error> {
                    let mut list = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        list.push(entry);
                    }
                    Ok(Pairs(list))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    let Pairs(list) = serde_json::from_slice(body).map_err(malformed)?;
    serde_json::to_vec(&list).map_err(malformed)
}

fn read_array<'a>(
    name: String,
    array: &Object<'_>,
    get: impl Fn(&str) -> Result<&'a [u8]>,
) -> Result<NamedArray> {
    let meta: Value = serde_json::from_slice(array.body).map_err(malformed)?;
    let list = |key: &str| -> Result<Vec<usize>> {
        serde_json::from_value(meta.get(key).cloned().unwrap_or(Value::Null)).map_err(malformed)
    };
    let shape = list("shape")?;
    let mut npy = Vec::new();
    for index in list("arraychunk_ids")? {
        let id = array.children.get(index).ok_or_else(|| malformed("a chunk that is not a child"))?;
        npy.extend_from_slice(parse(get(id)?)?.body);
    }
    let values = from_npy(&npy)?;
    let size = shape.iter().try_fold(1usize, |product, d| product.checked_mul(*d));
    if size != Some(values.len()) {
        return Err(malformed(format!("{} numbers for the shape {shape:?}", values.len())));
    }
    Ok(NamedArray { name, shape, values })
}

/// The array in NumPy's format, version 1.
fn to_npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let dimensions: Vec<String> = shape.iter().map(usize::to_string).collect();
    let tuple = dimensions.join(", ") + if shape.len() == 1 { "," } else { "" };
    let mut head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({tuple}), }}");
    let padding = (64 - (10 + head.len() + 1) % 64) % 64;
    head.extend(std::iter::repeat_n(' ', padding));
    head.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((head.len() as u16).to_le_bytes());
    out.extend(head.as_bytes());
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    out
}

/// Numbers of a little-endian f32 or f64 array in C order.
fn from_npy(bytes: &[u8]) -> Result<Vec<f32>> {
    let Some((b"\x93NUMPY\x01\x00", rest)) = bytes.split_first_chunk::<8>() else {
        return Err(malformed("not a NumPy array of format 1"));
    };
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(|| malformed("short NumPy head"))?;
    let (head, data) = rest
        .split_at_checked(u16::from_le_bytes(*length) as usize)
        .ok_or_else(|| malformed("short NumPy head"))?;
    let head = std::str::from_utf8(head).map_err(malformed)?;
    if head.contains("'fortran_order': True") {
        return Err(malformed("an array in Fortran order"));
    }
    if head.contains("'<f4'") && data.len().is_multiple_of(4) {
        return Ok(data.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect());
    }
    if head.contains("'<f8'") && data.len().is_multiple_of(8) {
        let number = |c: &[u8]| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]) as f32;
        return Ok(data.chunks_exact(8).map(number).collect());
    }
    Err(malformed("an array of another type than float32 or float64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer() -> Answer {
        let array = |name: &str, shape: &[usize], n: usize| NamedArray {
            name: name.into(),
            shape: shape.to_vec(),
            values: (0..n).map(|i| i as f32 * 0.5).collect(),
        };
        Answer {
            arrays: vec![array("w", &[2, 3], 6), array("b", &[3_000_000], 3_000_000), array("s", &[], 1)],
            metrics: vec![("num-examples".into(), 12.0), ("loss".into(), 0.25)],
            extra: vec![("secagg".into(), Setting::Bytes(vec![1, 2, 3]))],
        }
    }

    #[test]
    fn what_is_built_is_read() {
        let answer = answer();
        let mut builder = Builder::default();
        let content = builder.answer(&answer);
        let root = builder.add("Message", vec![content], &[]);
        assert!(post_order(&root).unwrap().iter().all(|id| builder.objects.contains_key(id)));
        assert!(builder.objects.values().all(|o| o.len() <= CHUNK + 100));
        let (arrays, settings) = read_content(&builder.objects, &root.object_id).unwrap();
        assert_eq!(arrays, answer.arrays);
        assert_eq!(settings[0], ("num-examples".into(), Setting::Int(12)));
        assert_eq!(settings[2].1, Setting::Bytes(vec![1, 2, 3]));
    }

    #[test]
    fn a_missing_object_is_named() {
        let mut builder = Builder::default();
        let content = builder.answer(&answer());
        let gone = content.children[0].object_id.clone();
        let root = builder.add("Message", vec![content], &[]);
        builder.objects.remove(&gone);
        assert!(read_content(&builder.objects, &root.object_id).unwrap_err().to_string().contains(&gone));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), place in any::<usize>()) {
            let _ = parse(&bytes).map(|o| o.body.len());
            let _ = from_npy(&bytes);
            let mut npy = to_npy(&[4], &[1.0; 4]);
            let place = place % npy.len();
            npy[place] = bytes.first().copied().unwrap_or(0);
            let _ = from_npy(&npy);
            let mut builder = Builder::default();
            let content = builder.add("RecordDict", vec![], &bytes);
            let root = builder.add("Message", vec![content], &[]);
            let _ = read_content(&builder.objects, &root.object_id);
        }
    }
}
