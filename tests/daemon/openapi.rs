//! `docs/openapi.json` as a test reads it: its operations, and what their answers have to look like.

use serde_json::{Map, Value, json};

/// The document.
pub(crate) struct Document(Value);

/// One method of one path.
pub(crate) struct Operation<'a> {
    pub(crate) path: &'a str,
    /// In capitals.
    pub(crate) method: String,
    described: &'a Value,
}

impl Document {
    pub(crate) fn load() -> Self {
        let text = include_str!("../../docs/openapi.json");
        Self(serde_json::from_str(text).unwrap())
    }

    /// As it is written.
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0["paths"].as_object().unwrap().keys().map(String::as_str)
    }

    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let mut all = Vec::new();
        for (path, methods) in self.0["paths"].as_object().unwrap() {
            for (method, described) in methods.as_object().unwrap() {
                all.push(Operation { path, method: method.to_uppercase(), described });
            }
        }
        all
    }

    /// Holds an answer of an operation against what is written about it. A member that is not
    /// written about is a mistake here, though peers have to overlook it.
    pub(crate) fn check(&self, operation: &Operation<'_>, status: u16, body: &str) {
        let Operation { path, method, described } = operation;
        let place = format!("{method} {path} answers {status}");
        let response = self.resolve(&described["responses"][status.to_string()]);
        assert!(response.is_object(), "{place}, which is not documented: {body}");
        let Some(json) = response["content"].get("application/json") else { return };
        let value: Value = serde_json::from_str(body).unwrap_or_else(|error| {
            panic!("{place} with what is no JSON: {error}: {body}");
        });
        let mut root = self.strict_schemas();
        root["allOf"] = json!([json["schema"]]);
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&root).unwrap_or_else(|error| panic!("{place}: {error}"));
        let mistakes: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(mistakes.is_empty(), "{place}: {mistakes:#?} in {body}");
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let target = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
        target.map_or(value, |target| self.0.pointer(target).unwrap())
    }

    /// The schemas, with no room for members they don't name.
    fn strict_schemas(&self) -> Value {
        let mut schemas = self.0["components"]["schemas"].clone();
        for schema in schemas.as_object_mut().unwrap().values_mut() {
            close(schema.as_object_mut().unwrap());
        }
        json!({ "components": { "schemas": schemas } })
    }
}

fn close(schema: &mut Map<String, Value>) {
    if schema.contains_key("properties") {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}
