//! The schemas of `proto-json/schema/`, ready to be held against what really goes over the wire.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The wire contract as data.
pub(crate) fn proto_json() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-json")
}

/// All files below `dir`, in order.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Validators by their path below `schema/`, without `.json`.
pub(crate) struct Schemas(BTreeMap<String, jsonschema::Validator>);

impl Schemas {
    pub(crate) fn load() -> Self {
        let dir = proto_json().join("schema");
        let read = |path: &PathBuf| {
            let name = path.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned();
            let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            assert_eq!(schema["$id"], name.as_str(), "a schema's id is its path");
            assert!(jsonschema::meta::is_valid(&schema), "{name} is no JSON Schema");
            (name, schema)
        };
        let schemas: Vec<(String, Value)> = files_below(&dir).iter().map(read).collect();
        let mut registry = jsonschema::Registry::new();
        for (name, schema) in &schemas {
            if ["words.json", "record.json"].contains(&name.as_str()) {
                registry = registry.add(format!("json-schema:///{name}"), schema.clone()).unwrap();
            }
        }
        let registry = registry.prepare().unwrap();
        let build = |(name, schema): &(String, Value)| {
            let validator = jsonschema::options()
                .with_registry(&registry)
                .with_base_uri("json-schema:///")
                .build(schema)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            (name.trim_end_matches(".json").to_owned(), validator)
        };
        Self(schemas.iter().map(build).collect())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn is_valid(&self, name: &str, value: &Value) -> bool {
        self.0.get(name).is_some_and(|validator| validator.is_valid(value))
    }

    pub(crate) fn check(&self, name: &str, text: &str) {
        let value: Value = serde_json::from_str(text)
            .unwrap_or_else(|error| panic!("{name}: {text} is no JSON: {error}"));
        let Some(validator) = self.0.get(name) else { panic!("there is no schema {name}") };
        let mistakes: Vec<String> =
            validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(mistakes.is_empty(), "{text} is not as {name} says: {mistakes:?}");
    }

    /// Holds a reply to a request of this server and type against its schema; without one it has
    /// to be empty.
    pub(crate) fn check_reply(&self, request: &str, reply: &str) {
        let name = format!("{request}.reply");
        if reply.starts_with("{\"error\"") {
            self.check("error", reply);
        } else if self.has(&name) {
            self.check(&name, reply);
        } else {
            assert_eq!(reply, "", "{request} has no reply schema");
        }
    }
}
