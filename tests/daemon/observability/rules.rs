//! Alerts, their tests, their runbooks and the dashboard: they fit each other, and speak of figures
//! that a running daemon tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stated::metrics::families;

use super::{dashboard, promtool};
use crate::admin::{metrics, observed};
use crate::certificates::Authority;
use crate::fleet::Fleet;
use crate::harness::{Setup, wait_until};
use crate::requests::{kick_out, leave, subscribe};
use crate::schema::files_below;

/// Labels that Prometheus itself adds.
const OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("observability")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

/// A rule, as far as it is looked at here.
#[derive(Default)]
struct Alert {
    severity: String,
    runbook: String,
    annotations: usize,
}

/// What stands behind `key: ` on a line.
fn after<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.trim_start().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": ")
}

fn alerts() -> BTreeMap<String, Alert> {
    let mut alerts: BTreeMap<String, Alert> = BTreeMap::new();
    let mut name = String::new();
    for line in read("alerts.yml").lines() {
        if let Some(found) = after(line, "alert") {
            name = found.to_owned();
            assert!(!alerts.contains_key(&name), "{name} is there twice");
        }
        let alert = alerts.entry(name.clone()).or_default();
        if let Some(severity) = after(line, "severity") {
            alert.severity = severity.to_owned();
        }
        if let Some(runbook) = after(line, "runbook") {
            alert.runbook = runbook.to_owned();
        }
        alert.annotations += usize::from(
            ["summary", "description"]
                .iter()
                .any(|key| after(line, key).is_some_and(|text| !text.is_empty())),
        );
    }
    alerts.remove("");
    alerts
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_is_and_where_its_runbook_is() {
    let alerts = alerts();
    assert!(alerts.len() >= 20, "{}", alerts.len());
    for (name, Alert { severity, annotations, .. }) in &alerts {
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name} {severity}");
        assert_eq!(*annotations, 2, "{name}");
    }
    let named: BTreeSet<_> = alerts.values().map(|alert| alert.runbook.clone()).collect();
    assert_eq!(named.len(), alerts.len(), "two alerts share a runbook");
    let there: BTreeSet<_> = fs::read_dir(folder().join("runbooks"))
        .unwrap()
        .map(|file| format!("observability/runbooks/{}", file.unwrap().file_name().display()))
        .collect();
    assert_eq!(named, there);
}

#[test]
fn a_runbook_is_about_its_alert_and_answers_the_same_questions() {
    let questions = ["What it means", "What users feel", "Look here", "Do this", "It is over when"];
    for (name, Alert { severity, runbook, .. }) in alerts() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&runbook);
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with(&format!("# {name}\n")), "{runbook}");
        assert!(text.contains(&format!("Severity: {severity}.")), "{runbook}");
        let headings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, questions, "{runbook}");
    }
}

/// What a runbook would have somebody look for in the daemon's log: the words behind `grep`.
fn looked_for(runbook: &str) -> Vec<&str> {
    let spans = runbook.split('`').skip(1).step_by(2).filter(|span| span.contains("-u stated"));
    let patterns = spans.filter_map(|span| span.split_once("| grep ")).map(|(_, pattern)| pattern);
    let plain = patterns.map(|pattern| pattern.trim_start_matches("-E ").trim_start_matches("-i "));
    plain.flat_map(|pattern| pattern.trim_matches('"').split('|')).collect()
}

#[test]
fn what_a_runbook_looks_for_in_the_log_is_what_the_daemon_writes() {
    let sources: String = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let mut words = 0;
    for Alert { runbook, .. } in alerts().into_values() {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&runbook));
        for word in looked_for(&text.unwrap()) {
            assert!(sources.contains(word), "{runbook}: the daemon never writes {word:?}");
            words += 1;
        }
    }
    assert!(words > 10, "{words}");
}

#[test]
fn every_alert_is_tested_for_speaking_and_for_silence() {
    let text = read("alerts_test.yml");
    for name in alerts().keys() {
        let speaks = format!("alertname: {name}\n        exp_alerts:\n");
        assert!(text.contains(&speaks), "{name} is never heard");
        let is_silent = format!("alertname: {name}, exp_alerts: []");
        assert!(text.contains(&is_silent), "{name} is never silent");
    }
}

#[test]
fn the_rules_are_right_and_speak_when_they_should() {
    for arguments in [
        ["check", "rules", "observability/alerts.yml"],
        ["test", "rules", "observability/alerts_test.yml"],
    ] {
        let Some(output) = promtool(&arguments, "") else { return };
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("FAILED"), "{said}");
    }
}

/// All expressions of the dashboard, its variables replaced as Grafana would.
fn dashboard_expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let replaced = |target: &Value| {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression.replace("$job", "stated").replace("$instance", ".*");
        expression.replace("$__rate_interval", "1m")
    };
    targets.map(replaced).collect()
}

#[test]
fn prometheus_understands_every_expression_of_the_dashboard() {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (at, expression) in dashboard_expressions().iter().enumerate() {
        assert!(!expression.contains('$'), "{expression}");
        let expression = Value::from(expression.as_str());
        rules.push_str(&format!("      - record: panel:{at}\n        expr: {expression}\n"));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), rules).unwrap();
    let path = file.path().to_str().unwrap();
    let Some(output) = promtool(&["check", "rules", path], "") else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Words of a text, as PromQL has identifiers.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
}

fn is_metric(word: &&str) -> bool {
    word.starts_with("stated_") || word.starts_with("process_")
}

/// Everything here that names a metric, with its text.
fn texts() -> Vec<(String, String)> {
    let mut names = vec!["alerts.yml", "alerts_test.yml", "README.md"];
    let runbooks: Vec<_> =
        alerts().into_values().map(|alert| alert.runbook.replace("observability/", "")).collect();
    names.extend(runbooks.iter().map(String::as_str));
    let mut texts: Vec<_> = names.iter().map(|name| ((*name).to_owned(), read(name))).collect();
    texts.push(("dashboard.json".to_owned(), dashboard_expressions().join("\n")));
    texts
}

/// A page on which everything that can be told is told.
fn page() -> String {
    let fleet = Fleet::new();
    let authority = Authority::new();
    let tls = format!(
        "{{ ca = {:?}, {} }}",
        authority.file(),
        authority.issue("stated", &["DNS:stated"]).keys()
    );
    let daemon = observed(Setup::with(&fleet).key("gateways.auth.tls", &tls)).start();
    let mut peer = daemon.connect();
    peer.ask(subscribe("u1", 7, "s1"));
    peer.ask(leave("u1", "00:10:00"));
    peer.ask(kick_out("u1", 7));
    wait_until("the night and the gateways are known", || {
        let page = metrics(&daemon);
        page.contains("\nstated_night_day ") && page.contains("dependency=\"signaling\"")
    });
    metrics(&daemon)
}

#[test]
fn every_metric_that_is_named_is_on_the_page_of_a_running_daemon() {
    let page = page();
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let told: BTreeSet<_> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    // A family is a name, too, in prose; in PromQL a histogram's is none.
    let families: BTreeSet<_> = families::ALL.iter().map(|family| family.name).collect();
    for (file, text) in texts() {
        let is_promql = !file.ends_with(".md");
        for name in words(&text).filter(is_metric) {
            let is_there = told.contains(name) || !is_promql && families.contains(name);
            assert!(is_there, "{file} names {name}, which no daemon tells");
        }
    }
}

/// `name="value"`, `name=~"one|other"` and so on in a text: names, and the plain values.
fn matchers(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('"') {
        let before = text[..at].trim_end_matches(['=', '~', '!']);
        let is_matcher = before.len() < at;
        let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
        if let (true, Some(name)) = (is_matcher, name.filter(|name| !name.is_empty())) {
            let value = text[at + 1..].split('"').next().unwrap();
            let values = value.split('|').filter(|one| !one.contains(['.', '*', '$']));
            found.push((name, values.collect()));
        }
    }
    found
}

#[test]
fn every_label_that_is_asked_for_is_on_the_page_with_its_value() {
    let page = page();
    let labels: BTreeSet<_> =
        families::ALL.iter().flat_map(|family| family.labels).map(|label| label.name).collect();
    let expressions = dashboard_expressions().join("\n") + &rules_without_prose();
    let asked = matchers(&expressions);
    assert!(asked.iter().any(|(name, values)| *name == "outcome" && values == &["CHAT-031"]));
    for (name, values) in asked {
        if OF_PROMETHEUS.contains(&name) {
            continue;
        }
        assert!(labels.contains(name), "there is no label {name}");
        for value in values {
            assert!(page.contains(&format!("{name}=\"{value}\"")), "{name} is never {value}");
        }
    }
    for list in expressions.split("by (").skip(1).filter_map(|rest| rest.split(')').next()) {
        for name in list.split(',').map(str::trim) {
            assert!(labels.contains(name) || OF_PROMETHEUS.contains(&name), "no label {name}");
        }
    }
}

/// The rules without what they say to people.
fn rules_without_prose() -> String {
    let text = read("alerts.yml");
    let mut kept = String::new();
    let mut in_prose = false;
    for line in text.lines() {
        in_prose = match line.trim_start() {
            "annotations:" => true,
            text if text.starts_with("- ") || text.starts_with('#') => false,
            _ => in_prose,
        };
        if !in_prose {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn the_dashboard_is_what_its_table_says() {
    let expected = format!("{:#}\n", dashboard::to_json());
    let path = folder().join("dashboard.json");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "run: UPDATE=1 cargo test --test daemon observability::rules");
}

#[test]
fn the_dashboards_panels_are_explained_have_a_unit_and_do_not_overlap() {
    let dashboard = dashboard::to_json();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + width <= 24, "{title}");
        for column in x..x + width {
            assert!((y..y + height).all(|line| taken.insert((column, line))), "{title} overlaps");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
    }
    let shown = serde_json::to_string(&dashboard).unwrap();
    assert!(!shown.contains("\\n"), "an expression has a line break");
}

#[test]
fn every_metric_is_on_the_dashboard_or_an_alert() {
    // What they say is shown by others, or is for looking closer.
    let for_looking_closer = ["process_virtual_memory_bytes", "process_threads"];
    let used = dashboard_expressions().join("\n") + &read("alerts.yml");
    let used: BTreeSet<_> = words(&used)
        .filter(is_metric)
        .flat_map(|word| [Some(word), word.strip_suffix("_bucket"), word.strip_suffix("_count")])
        .flatten()
        .collect();
    for family in families::ALL {
        let is_used = used.contains(family.name) || for_looking_closer.contains(&family.name);
        assert!(is_used, "{} is counted and never looked at", family.name);
    }
}
