//! Plays every file of `proto-json/` against the real daemon, as its README says they are played.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use stated::connection::request::{Error, Request};

use crate::fleet::{Fleet, times_in};
use crate::harness::Setup;
use crate::place::{Place, wait_for};
use crate::played::{Act, Played};
use crate::schema::{Schemas, files_below, proto_json};
use crate::servers::redis::RedisServer;
use crate::wire::Framing;

/// Folders of samples, each named after the `server` in its requests.
const SERVERS: [&str; 5] = ["chat", "signaling", "signaling_scheduling", "auth", "room"];

/// A request file and what shares its stem.
struct Sample {
    /// `SERVER/TYPE[.LABEL]`
    stem: String,
    request: String,
    reply: String,
    before: Vec<String>,
    setup: Value,
    /// What the daemon sends to its peers: the file's stem below `upstream/`, and the text.
    sent: Vec<(String, String)>,
}

pub(crate) fn content(path: &str) -> Option<String> {
    let text = fs::read_to_string(proto_json().join(path)).ok()?;
    Some(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
}

pub(crate) fn json(path: &str) -> Value {
    serde_json::from_str(&content(path).unwrap()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn samples() -> Vec<Sample> {
    let origins: BTreeMap<String, Vec<String>> =
        serde_json::from_value(json("upstream/origins.json")).unwrap();
    let mut samples = Vec::new();
    for server in SERVERS {
        for path in files_below(&proto_json().join(server)) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(stem) = name.strip_suffix(".json") else { continue };
            if stem.ends_with(".reply") || stem.ends_with(".setup") {
                continue;
            }
            samples.push(sample(&format!("{server}/{stem}"), &origins));
        }
    }
    assert!(samples.len() > 50, "only {} samples were found", samples.len());
    samples
}

fn sample(stem: &str, origins: &BTreeMap<String, Vec<String>>) -> Sample {
    let before = content(&format!("{stem}.before.jsonl")).unwrap_or_default();
    let setup = content(&format!("{stem}.setup.json")).unwrap_or("{}".to_owned());
    let sent = origins.iter().filter(|(_, stems)| stems.iter().any(|other| other == stem));
    Sample {
        request: content(&format!("{stem}.json")).unwrap(),
        reply: content(&format!("{stem}.reply.json")).expect(stem),
        before: before.lines().map(str::to_owned).collect(),
        setup: serde_json::from_str(&setup).unwrap(),
        sent: sent
            .map(|(name, _)| (name.clone(), content(&format!("upstream/{name}.json")).unwrap()))
            .collect(),
        stem: stem.to_owned(),
    }
}

impl Sample {
    /// `SERVER/TYPE`
    fn kind(&self) -> &str {
        kind_of(&self.stem)
    }

    fn fits(&self, framing: Framing) -> bool {
        let payloads = self.before.iter().chain([&self.request, &self.reply]);
        payloads.map(String::len).all(|bytes| bytes <= framing.payload_bytes_max())
    }

    fn play(&self, framing: Framing, place: &Place, schemas: &Schemas) {
        let fleet = self.fleet();
        let mut setup = Setup::with(&fleet).listens(&[framing]).keeps(place);
        for (key, value) in self.setup["config"].as_object().into_iter().flatten() {
            setup = setup.key(key, &value.to_string());
        }
        // What can't be sent to an absent peer is tried for this long when the daemon stops.
        let daemon = setup.key("limits.shutdown_grace", "\"2s\"").start();
        let mut peer = daemon.connect();
        for line in &self.before {
            peer.served(line);
        }
        let reply = peer.ask(&self.request);
        schemas.check(self.kind(), &self.request);
        schemas.check_reply(self.kind(), &reply);
        assert_eq!(comparable(&reply), comparable(&self.reply), "{}", self.stem);
        let expected = |peer: &str| {
            let mine = self.sent.iter().filter(|(name, _)| name.starts_with(peer));
            mine.map(|(name, text)| (kind_of(name).to_owned(), text.clone())).collect::<Vec<_>>()
        };
        // Auth is told in the background, and not for the daemon's stopping alone.
        fleet.auth.wait_told(expected("auth").len());
        drop(peer);
        daemon.stop_in_debt();
        for (name, played) in
            [("room", &fleet.room), ("signaling", &fleet.signaling), ("auth", &fleet.auth)]
        {
            self.check_told(name, &played.told(), &expected(name), schemas);
        }
    }

    fn check_told(
        &self,
        peer: &str,
        told: &[String],
        expected: &[(String, String)],
        schemas: &Schemas,
    ) {
        let texts = |all: &mut dyn Iterator<Item = &String>| {
            let mut texts: Vec<String> = all.map(|text| any_order(text)).collect();
            texts.sort();
            texts
        };
        let expected_texts = texts(&mut expected.iter().map(|(_, text)| text));
        assert_eq!(texts(&mut told.iter()), expected_texts, "{}: {peer}", self.stem);
        for ((kind, _), text) in expected.iter().zip(told) {
            schemas.check(&format!("upstream/{kind}"), text);
        }
    }

    fn fleet(&self) -> Fleet {
        let played = |peer: &str| match &self.setup["peers"][peer] {
            Value::Null => Played::says("SUCCESS"),
            Value::Object(manner) => Played::says(manner["answers"].as_str().unwrap()),
            Value::String(manner) => match manner.as_str() {
                "silent" => Played::does(Act::KeepSilent),
                "hangs_up" => Played::does(Act::HangUp),
                "absent" => Played::absent(Framing::Length4),
                other => panic!("{}: unknown manner {other}", self.stem),
            },
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => panic!("{}: {peer}", self.stem),
        };
        Fleet { room: played("room"), signaling: played("signaling"), auth: played("auth") }
    }
}

/// `PATH/TYPE` of `PATH/TYPE.LABEL`.
fn kind_of(stem: &str) -> &str {
    stem.split('.').next().unwrap()
}

/// A reply as it is compared: byte for byte, but an error without its detail.
fn comparable(reply: &str) -> String {
    if !reply.starts_with("{\"error\"") {
        return reply.to_owned();
    }
    let mut value: Value = serde_json::from_str(reply).unwrap();
    value["error"].as_object_mut().unwrap().remove("detail");
    value.to_string()
}

/// A message to a peer as it is compared: byte for byte, but a frame to auth with its users in
/// order and without the stamp that can't be known beforehand.
fn any_order(text: &str) -> String {
    if !text.contains("\"users\":") {
        return text.to_owned();
    }
    let mut value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&value).unwrap().len(), text.len(), "{text} is not compact");
    let mut times = times_in(text);
    times.sort();
    value["users"] = serde_json::to_value(times).unwrap();
    for stamp in ["day", "batch"] {
        if value.get(stamp).is_some() {
            value[stamp] = Value::Null;
        }
    }
    value.to_string()
}

fn play_all(framing: Framing, place: impl Fn() -> Place) {
    let schemas = Schemas::load();
    for sample in samples().iter().filter(|sample| sample.fits(framing)) {
        println!("{}", sample.stem);
        sample.play(framing, &place(), &schemas);
    }
}

#[test]
fn every_sample_is_answered_byte_for_byte() {
    play_all(Framing::Length4, Place::memory);
}

#[test]
fn every_sample_is_answered_byte_for_byte_by_the_embedded_store() {
    play_all(Framing::Length4, Place::embedded);
}

#[test]
fn every_sample_is_answered_byte_for_byte_from_redis() {
    let server = wait_for(RedisServer::start());
    play_all(Framing::Length4, || {
        wait_for(server.ask::<()>(&["FLUSHALL"]));
        Place::at(server.url().expose())
    });
}

#[test]
fn every_sample_is_answered_byte_for_byte_in_lines() {
    play_all(Framing::Crlf, Place::memory);
}

#[test]
fn every_sample_that_fits_is_answered_byte_for_byte_in_one_length_byte() {
    play_all(Framing::Length1, Place::memory);
}

#[test]
fn every_sample_and_every_schema_belongs_to_another() {
    let schemas = Schemas::load();
    let mut used = BTreeSet::new();
    for sample in samples() {
        used.insert(sample.kind().to_owned());
        used.insert(format!("{}.reply", sample.kind()));
        used.extend(sample.sent.iter().map(|(name, _)| format!("upstream/{}", kind_of(name))));
    }
    for path in files_below(&proto_json().join("upstream")) {
        let stem = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".json");
        let peer = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        if stem != "origins" {
            let kind = format!("upstream/{peer}/{}", kind_of(stem));
            schemas.check(&kind, &content(&format!("upstream/{peer}/{stem}.json")).unwrap());
        }
    }
    for path in files_below(&proto_json().join("schema")) {
        let path = path.strip_prefix(proto_json().join("schema")).unwrap();
        let name = path.to_str().unwrap().trim_end_matches(".json");
        let general = ["error", "record", "words", "stored/record"].contains(&name);
        let reply_of_a_peer = name.starts_with("upstream/") && name.ends_with(".reply");
        assert!(general || reply_of_a_peer || used.contains(name), "no sample shows {name}");
    }
}

/// Every text in the source of what decodes requests and of what they mean, as far as it could be
/// a server or a type.
fn words_of_the_decoder() -> BTreeSet<String> {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = files_below(&src.join("domain"));
    files.push(src.join("connection/request.rs"));
    let is_word = |text: &&str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let words_in = |file: &std::path::PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        text.split('"').filter(is_word).map(str::to_owned).collect::<Vec<_>>()
    };
    files.iter().flat_map(words_in).collect()
}

#[test]
fn every_type_that_the_decoder_knows_has_a_sample() {
    let words = words_of_the_decoder();
    assert!(words.contains("chat") && words.contains("SUBSCRIBE") && words.contains("RECEIPT"));
    let shown: BTreeSet<String> = samples().iter().map(|one| one.kind().to_owned()).collect();
    let mut known = BTreeSet::new();
    for server in &words {
        for kind in &words {
            let message = format!(r#"{{"server":"{server}","type":"{kind}"}}"#);
            match Request::decode(message.as_bytes()) {
                Err(Error::UnknownServer(_) | Error::UnknownType { .. }) => {}
                Ok(_) | Err(_) => drop(known.insert(format!("{server}/{kind}"))),
            }
        }
    }
    assert_eq!(shown, known, "what is shown, and what is known");
}

#[test]
fn every_error_code_is_as_the_table_says() {
    use stated::error::Code;
    let table = json("errors.json");
    let rows = table["codes"].as_array().unwrap();
    let row = |code: &Code| {
        let [code, name, status, message] = code.row();
        serde_json::json!({"code": code, "name": name, "status": status, "message": message})
    };
    let shown: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut row = row.clone();
            row.as_object_mut()
                .unwrap()
                .retain(|name, _| ["code", "name", "status", "message"].contains(&name.as_str()));
            row
        })
        .collect();
    let known: Vec<Value> = Code::ALL.iter().map(row).collect();
    assert_eq!(shown, known);
}
