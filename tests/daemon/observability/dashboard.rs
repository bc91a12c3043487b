//! The dashboard for Grafana, as a table of panels; `observability/dashboard.json` is made of it.

use serde_json::{Value, json};

/// What is shown together under a heading.
struct Row {
    title: &'static str,
    panels: Vec<Panel>,
}

/// One question and its answer.
struct Panel {
    title: &'static str,
    description: &'static str,
    kind: Kind,
    unit: &'static str,
    /// From where on it is a warning, and from where on it is bad.
    steps: Option<[f64; 2]>,
    /// In 24ths of the dashboard.
    width: u64,
    queries: Vec<Query>,
}

/// How values are drawn.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The latest value, large.
    Stat,
    /// 1 is well, 0 is not: with these words.
    Whether(&'static str, &'static str),
    Lines,
    /// Lines on top of each other.
    Stack,
    Heatmap,
    /// What is in the labels.
    Table,
}

struct Query {
    expr: String,
    legend: &'static str,
}

/// Which series are meant, by the variables at the top of the dashboard.
const OF: &str = r#"job="$job", instance=~"$instance""#;
/// Panels' height, in the dashboard's unit.
const HEIGHT: u64 = 8;
/// That of a panel with one value.
const STAT_HEIGHT: u64 = 4;
/// The dashboard's width.
const WIDTH: u64 = 24;

/// `OF` stands for the variables' matchers.
fn query(expr: &str, legend: &'static str) -> Query {
    Query { expr: expr.replace("OF", OF), legend }
}

fn panel(
    title: &'static str,
    description: &'static str,
    kind: Kind,
    unit: &'static str,
    queries: Vec<Query>,
) -> Panel {
    let width = if matches!(kind, Kind::Stat | Kind::Whether(..)) { 4 } else { 8 };
    Panel { title, description, kind, unit, steps: None, width, queries }
}

impl Panel {
    fn steps(self, warning: f64, bad: f64) -> Self {
        Self { steps: Some([warning, bad]), ..self }
    }

    fn width(self, width: u64) -> Self {
        Self { width, ..self }
    }

    fn height(&self) -> u64 {
        match self.kind {
            Kind::Stat | Kind::Whether(..) => STAT_HEIGHT,
            Kind::Lines | Kind::Stack | Kind::Heatmap | Kind::Table => HEIGHT,
        }
    }

    fn to_json(&self, id: u64, x: u64, y: u64) -> Value {
        let source = json!({"type": "prometheus", "uid": "${datasource}"});
        let targets = self.queries.iter().zip(b'A'..).map(|(query, letter)| {
            json!({
                "datasource": source,
                "refId": char::from(letter).to_string(),
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": self.kind != Kind::Table,
                "instant": self.kind == Kind::Table,
                "format": self.format(),
            })
        });
        json!({
            "id": id,
            "type": self.type_name(),
            "title": self.title,
            "description": self.description,
            "datasource": source,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height()},
            "fieldConfig": {"defaults": self.defaults(), "overrides": []},
            "options": self.options(),
            "targets": targets.collect::<Vec<_>>(),
        })
    }

    fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Stat | Kind::Whether(..) => "stat",
            Kind::Lines | Kind::Stack => "timeseries",
            Kind::Heatmap => "heatmap",
            Kind::Table => "table",
        }
    }

    fn format(&self) -> &'static str {
        match self.kind {
            Kind::Stat | Kind::Whether(..) | Kind::Lines | Kind::Stack => "time_series",
            Kind::Heatmap => "heatmap",
            Kind::Table => "table",
        }
    }

    fn defaults(&self) -> Value {
        let colour = |colour: &str, from: Option<f64>| json!({"color": colour, "value": from});
        let steps = match (self.kind, self.steps) {
            (Kind::Whether(..), _) => vec![colour("red", None), colour("green", Some(1.0))],
            (_, Some([warning, bad])) => vec![
                colour("green", None),
                colour("orange", Some(warning)),
                colour("red", Some(bad)),
            ],
            (_, None) => vec![colour("green", None)],
        };
        let mut defaults = json!({
            "unit": self.unit,
            "min": 0,
            "color": {"mode": "thresholds"},
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": [],
            "noValue": "unknown",
        });
        match self.kind {
            Kind::Whether(well, unwell) => {
                let words =
                    json!({"0": {"text": unwell, "index": 0}, "1": {"text": well, "index": 1}});
                defaults["mappings"] = json!([{"type": "value", "options": words}]);
            }
            Kind::Lines | Kind::Stack => {
                let stack = if self.kind == Kind::Stack { "normal" } else { "none" };
                let fill = if self.kind == Kind::Stack { 30 } else { 5 };
                let shown = if self.steps.is_some() { "dashed" } else { "off" };
                defaults["color"] = json!({"mode": "palette-classic"});
                defaults["custom"] = json!({
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": fill,
                    "showPoints": "never",
                    "stacking": {"mode": stack, "group": "A"},
                    "thresholdsStyle": {"mode": shown},
                });
            }
            Kind::Stat | Kind::Heatmap | Kind::Table => {}
        }
        defaults
    }

    fn options(&self) -> Value {
        let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
        match self.kind {
            Kind::Stat | Kind::Whether(..) => json!({
                "reduceOptions": last,
                "colorMode": "background",
                "graphMode": if self.kind == Kind::Stat { "area" } else { "none" },
                "textMode": "auto",
                "justifyMode": "center",
            }),
            Kind::Lines | Kind::Stack => json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            Kind::Heatmap => json!({
                "calculate": false,
                "yAxis": {"unit": self.unit},
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                "tooltip": {"mode": "single"},
            }),
            Kind::Table => json!({"showHeader": true, "cellHeight": "sm"}),
        }
    }
}

/// The whole dashboard, as Grafana imports it.
pub(super) fn to_json() -> Value {
    let (mut panels, mut id, mut y) = (Vec::new(), 1, 0);
    for row in rows() {
        panels.push(json!({
            "id": id,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
        }));
        (id, y) = (id + 1, y + 1);
        let (mut x, mut height) = (0, 0);
        for panel in row.panels {
            if x + panel.width > WIDTH {
                (x, y, height) = (0, y + height, 0);
            }
            panels.push(panel.to_json(id, x, y));
            (id, x, height) = (id + 1, x + panel.width, height.max(panel.height()));
        }
        y += height;
    }
    json!({
        "uid": "stated",
        "title": "stated",
        "description": "Whether peers are served, whether the store is well, whether last night was \
                        closed; and below, why.",
        "tags": ["stated"],
        "schemaVersion": 41,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": variables()},
        "panels": panels,
    })
}

fn variables() -> Value {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let of_label = |name: &str, label: &str, of: &str, many: bool| {
        json!({
            "name": name,
            "label": label,
            "type": "query",
            "datasource": source,
            "query": {"qryType": 1, "query": of, "refId": name},
            "definition": of,
            "refresh": 2,
            "sort": 1,
            "multi": many,
            "includeAll": many,
            "current": if many { json!({"text": "All", "value": "$__all"}) } else { json!({}) },
        })
    };
    json!([
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        of_label("job", "Job", "label_values(stated_build_info, job)", false),
        of_label("instance", "Daemon", "label_values(stated_build_info{job=\"$job\"}, instance)", true),
    ])
}

fn rows() -> Vec<Row> {
    vec![at_a_glance(), requests(), connections(), store(), gateways(), night(), process()]
}

fn at_a_glance() -> Row {
    let panels = vec![
        panel(
            "Peers are served",
            "Whether every daemon can fulfil requests, as /readyz has it.",
            Kind::Whether("served", "NOT SERVED"),
            "none",
            vec![query("min(stated_ready{OF})", "")],
        ),
        panel(
            "Answered CHAT-031",
            "Share of the requests of the last five minutes that the daemon could not fulfil.",
            Kind::Stat,
            "percentunit",
            vec![query(
                "sum(rate(stated_requests_total{outcome=\"CHAT-031\", OF}[5m])) \
                 / sum(rate(stated_requests_total{OF}[5m]))",
                "",
            )],
        )
        .steps(0.001, 0.01),
        panel(
            "The store",
            "Whether the store of every daemon works.",
            Kind::Whether("well", "DOWN"),
            "none",
            vec![query("min(stated_dependency_up{dependency=\"store\", OF})", "")],
        ),
        panel(
            "Services that are down",
            "Of those that are called: room, signaling, auth. One that nobody called yet is not \
             counted.",
            Kind::Stat,
            "none",
            vec![query("sum(stated_dependency_up{dependency!=\"store\", OF} == bool 0)", "")],
        )
        .steps(1.0, 2.0),
        panel(
            "Last night",
            "Whether a study day was closed within the last 26 hours.",
            Kind::Whether("closed", "NOT CLOSED"),
            "none",
            vec![query("max(changes(stated_night_day{OF}[26h])) > bool 0", "")],
        ),
        panel(
            "Undelivered for",
            "Time since the oldest closed day was closed that auth has not acknowledged in full; 0 \
             if there is none.",
            Kind::Stat,
            "s",
            vec![query("max(stated_night_undelivered_age_seconds{OF})", "")],
        )
        .steps(1800.0, 3600.0),
    ];
    Row { title: "At a glance", panels }
}

fn requests() -> Row {
    let panels = vec![
        panel(
            "Requests by server",
            "Requests answered, by the service that speaks.",
            Kind::Stack,
            "reqps",
            vec![query("sum by (server) (rate(stated_requests_total{OF}[$__rate_interval]))", "{{server}}")],
        ),
        panel(
            "Requests by type",
            "Requests answered, by what was asked.",
            Kind::Stack,
            "reqps",
            vec![query("sum by (server, type) (rate(stated_requests_total{OF}[$__rate_interval]))", "{{server}} {{type}}")],
        ),
        panel(
            "Errors by code",
            "Requests answered with an error. CHAT-001 is an unknown session and no fault.",
            Kind::Stack,
            "reqps",
            vec![query(
                "sum by (outcome) (rate(stated_requests_total{outcome!=\"ok\", OF}[$__rate_interval]))",
                "{{outcome}}",
            )],
        ),
        panel(
            "Latency, 99th percentile",
            "From a request's arrival to its answer, by server. Requests of room wait for signaling.",
            Kind::Lines,
            "s",
            vec![query(
                "histogram_quantile(0.99, sum by (server, le) \
                 (rate(stated_request_duration_seconds_bucket{OF}[$__rate_interval])))",
                "{{server}}",
            )],
        )
        .steps(0.25, 1.0),
        panel(
            "Latency, distribution",
            "How many requests took how long.",
            Kind::Heatmap,
            "s",
            vec![query(
                "sum by (le) (increase(stated_request_duration_seconds_bucket{OF}[$__rate_interval]))",
                "{{le}}",
            )],
        ),
        panel(
            "In flight",
            "Requests that were read and are not answered yet; and those that were answered for being \
             late and are still worked on.",
            Kind::Lines,
            "none",
            vec![
                query("stated_requests_in_flight{OF}", "{{instance}}"),
                query("stated_requests_late{OF}", "{{instance}}: late"),
            ],
        ),
    ];
    Row { title: "Requests and latency", panels }
}

fn connections() -> Row {
    let panels = vec![
        panel(
            "Open connections",
            "Connections of peers, against limits.max_connections.",
            Kind::Lines,
            "none",
            vec![
                query("stated_connections{OF}", "{{instance}}"),
                query("stated_connections_max{OF}", "{{instance}}: the most"),
            ],
        ),
        panel(
            "Share of the limit",
            "At 100 percent peers are turned away.",
            Kind::Lines,
            "percentunit",
            vec![query("stated_connections{OF} / stated_connections_max{OF}", "{{instance}}")],
        )
        .steps(0.8, 1.0),
        panel(
            "Opened and turned away",
            "New connections; those turned away found no place, those denied may not speak at all.",
            Kind::Lines,
            "cps",
            vec![
                query("sum(rate(stated_connections_opened_total{OF}[$__rate_interval]))", "opened"),
                query(
                    "sum by (limit) \
                     (rate(stated_connections_turned_away_total{OF}[$__rate_interval]))",
                    "turned away: {{limit}}",
                ),
                query(
                    "sum by (reason) (rate(stated_connections_denied_total{OF}[$__rate_interval]))",
                    "denied: {{reason}}",
                ),
                query(
                    "sum by (reason) (rate(stated_handshakes_failed_total{OF}[$__rate_interval]))",
                    "no handshake: {{reason}}",
                ),
            ],
        ),
        panel(
            "Denied requests, by entry",
            "Requests for services for which the peer may not speak (CHAT-032), by the entry of \
             [[peers]] that it matches.",
            Kind::Stack,
            "reqps",
            vec![query(
                "sum by (entry) (rate(stated_requests_denied_total{OF}[$__rate_interval]))",
                "{{entry}}",
            )],
        )
        .width(24),
        panel(
            "Memory of connections",
            "Share of limits.max_buffer_bytes. At 100 percent those who send much wait for their turn.",
            Kind::Lines,
            "percentunit",
            vec![query("stated_buffer_bytes{OF} / stated_buffer_bytes_max{OF}", "{{instance}}")],
        )
        .steps(0.8, 1.0),
        panel(
            "Paused, by limit",
            "Connections that were not read for a while, for one of the limits in the configuration.",
            Kind::Lines,
            "cps",
            vec![query(
                "sum by (limit) (rate(stated_connections_paused_total{OF}[$__rate_interval]))",
                "{{limit}}",
            )],
        ),
        panel(
            "Closed, by reason",
            "Why connections ended. A peer that closes is usual, all else is worth a look.",
            Kind::Stack,
            "cps",
            vec![query(
                "sum by (reason) (rate(stated_connections_closed_total{OF}[$__rate_interval]))",
                "{{reason}}",
            )],
        )
        .width(12),
        panel(
            "Bytes",
            "What peers sent and were sent.",
            Kind::Lines,
            "Bps",
            vec![
                query("sum(rate(stated_received_bytes_total{OF}[$__rate_interval]))", "received"),
                query("sum(rate(stated_sent_bytes_total{OF}[$__rate_interval]))", "sent"),
            ],
        )
        .width(12),
    ];
    Row { title: "Connections", panels }
}

fn store() -> Row {
    let panels = vec![
        panel(
            "Operations",
            "What the store was asked, looks at its health included.",
            Kind::Stack,
            "ops",
            vec![query(
                "sum by (operation) \
                 (rate(stated_store_operation_duration_seconds_count{OF}[$__rate_interval]))",
                "{{operation}}",
            )],
        ),
        panel(
            "Latency, 99th percentile",
            "How long operations took. Those of the night may take long.",
            Kind::Lines,
            "s",
            vec![query(
                "histogram_quantile(0.99, sum by (operation, le) \
                 (rate(stated_store_operation_duration_seconds_bucket{OF}[$__rate_interval])))",
                "{{operation}}",
            )],
        )
        .steps(0.05, 0.25),
        panel(
            "Errors",
            "Operations that failed.",
            Kind::Stack,
            "ops",
            vec![query(
                "sum by (operation) (rate(stated_store_errors_total{OF}[$__rate_interval]))",
                "{{operation}}",
            )],
        ),
        panel(
            "Connections to Redis",
            "Open ones; none with other stores.",
            Kind::Lines,
            "none",
            vec![query("stated_store_links{OF}", "{{instance}}")],
        ),
        panel(
            "Connections to Redis made and lost",
            "Each loss costs the requests under way a repetition.",
            Kind::Stack,
            "none",
            vec![query(
                "sum by (event) (increase(stated_store_link_events_total{OF}[$__rate_interval]))",
                "{{event}}",
            )],
        ),
        panel(
            "Users, live sessions, rooms",
            "With Redis as they were last counted.",
            Kind::Lines,
            "none",
            vec![
                query("max(stated_users{OF})", "users"),
                query("max(stated_sessions_live{OF})", "live sessions"),
                query("max(stated_rooms{OF})", "rooms"),
            ],
        ),
        panel(
            "Mended by scrubs",
            "What a crash between two keys left behind in Redis, by kind.",
            Kind::Stack,
            "none",
            vec![query(
                "sum by (kind) (increase(stated_store_scrub_mended_total{OF}[$__rate_interval]))",
                "{{kind}}",
            )],
        ),
        panel(
            "Left to or alone by scrubs",
            "Rooms' sets that were not changed as they should, and what the latest scrub did not \
             understand.",
            Kind::Lines,
            "none",
            vec![
                query(
                    "sum by (event) \
                     (increase(stated_store_room_sets_missed_total{OF}[$__rate_interval]))",
                    "missed {{event}}",
                ),
                query("max(stated_store_scrub_left_alone{OF})", "left alone"),
            ],
        ),
        panel(
            "Counted",
            "Time since users, sessions and rooms were counted.",
            Kind::Lines,
            "s",
            vec![query("time() - stated_store_counted_timestamp_seconds{OF}", "{{instance}}")],
        ),
    ];
    Row { title: "Store", panels }
}

fn gateways() -> Row {
    let panels = vec![
        panel(
            "Calls",
            "Calls of other services by what came of them. signaling is silent about users who are \
             not connected to it.",
            Kind::Stack,
            "reqps",
            vec![query(
                "sum by (peer, outcome) (rate(stated_gateway_calls_total{OF}[$__rate_interval]))",
                "{{peer}} {{outcome}}",
            )],
        ),
        panel(
            "Latency, 99th percentile",
            "How long calls took, waiting for a connection included.",
            Kind::Lines,
            "s",
            vec![query(
                "histogram_quantile(0.99, sum by (peer, le) \
                 (rate(stated_gateway_call_duration_seconds_bucket{OF}[$__rate_interval])))",
                "{{peer}}",
            )],
        )
        .steps(1.0, 5.0),
        panel(
            "Breakers that are not closed",
            "A breaker is open or half open while the latest attempts to connect failed.",
            Kind::Lines,
            "none",
            vec![query(
                "sum by (peer, state) (stated_gateway_breaker_state{state!=\"closed\", OF})",
                "{{peer}} {{state}}",
            )],
        ),
        panel(
            "Pools",
            "Connections by what they do, and how many there may be.",
            Kind::Lines,
            "none",
            vec![
                query(
                    "sum by (peer, state) (stated_gateway_pool_connections{OF})",
                    "{{peer}} {{state}}",
                ),
                query(
                    "sum by (peer) (stated_gateway_pool_connections_max{OF})",
                    "{{peer}}: the most",
                ),
            ],
        ),
        panel(
            "Waiting callers",
            "Calls that wait for a connection.",
            Kind::Lines,
            "none",
            vec![query("sum by (peer) (stated_gateway_waiting_callers{OF})", "{{peer}}")],
        )
        .steps(1.0, 10.0),
        panel(
            "Connections made and lost",
            "What happened to connections of the pools.",
            Kind::Lines,
            "cps",
            vec![query(
                "sum by (peer, event) (rate(stated_gateway_connections_total{OF}[$__rate_interval]))",
                "{{peer}} {{event}}",
            )],
        ),
        panel(
            "Tellings that a user left",
            "Each ends in one outcome; what is dropped is never told.",
            Kind::Stack,
            "ops",
            vec![
                query(
                    "sum by (outcome) (rate(stated_room_outs_total{OF}[$__rate_interval]))",
                    "{{outcome}}",
                ),
                query("sum(rate(stated_room_out_retries_total{OF}[$__rate_interval]))", "put back"),
            ],
        )
        .width(12),
        panel(
            "Tellings that wait",
            "The queue before room.",
            Kind::Lines,
            "none",
            vec![query("stated_room_out_queue{OF}", "{{instance}}")],
        )
        .steps(1000.0, 10_000.0)
        .width(12),
    ];
    Row { title: "Gateways", panels }
}

fn night() -> Row {
    let panels = vec![
        panel(
            "Running day",
            "Its number: it grows by one when a day is closed.",
            Kind::Lines,
            "none",
            vec![query("stated_night_day{OF}", "{{instance}}")],
        ),
        panel(
            "Closed days that auth has not",
            "How many.",
            Kind::Lines,
            "none",
            vec![query("stated_night_undelivered_closes{OF}", "{{instance}}")],
        )
        .steps(1.0, 2.0),
        panel(
            "Age of the oldest of them",
            "Time since it was closed.",
            Kind::Lines,
            "s",
            vec![query("stated_night_undelivered_age_seconds{OF}", "{{instance}}")],
        )
        .steps(1800.0, 3600.0),
        panel(
            "Stage",
            "What the night's work of each daemon is at, over time; idle is left out.",
            Kind::Lines,
            "none",
            vec![query("stated_night_stage{stage!=\"idle\", OF} == 1", "{{instance}} {{stage}}")],
        ),
        panel(
            "Days closed, by cause",
            "last: SCHEDULER_LAST came; timeout: it did not; operator: by hand.",
            Kind::Lines,
            "none",
            vec![query(
                "sum by (closed_by) (increase(stated_night_closes_total{OF}[$__rate_interval]))",
                "{{closed_by}}",
            )],
        ),
        panel(
            "Frames to auth",
            "Acknowledged, and not acknowledged and sent again.",
            Kind::Lines,
            "none",
            vec![
                query(
                    "sum(increase(stated_night_batches_delivered_total{OF}[$__rate_interval]))",
                    "acknowledged",
                ),
                query(
                    "sum(increase(stated_night_batches_retried_total{OF}[$__rate_interval]))",
                    "sent again",
                ),
            ],
        ),
        panel(
            "Users delivered",
            "Users in frames that auth acknowledged.",
            Kind::Lines,
            "none",
            vec![query(
                "sum(increase(stated_night_users_delivered_total{OF}[$__rate_interval]))",
                "users",
            )],
        ),
    ];
    Row { title: "Night", panels }
}

fn process() -> Row {
    let panels = vec![
        panel(
            "Processor",
            "Processors in use by the daemon, of which the runtime's workers take their part.",
            Kind::Lines,
            "none",
            vec![
                query("rate(process_cpu_seconds_total{OF}[$__rate_interval])", "{{instance}}"),
                query(
                    "rate(stated_runtime_busy_seconds_total{OF}[$__rate_interval])",
                    "{{instance}}: workers",
                ),
            ],
        ),
        panel(
            "Share of the workers that is busy",
            "At 100 percent everything waits for the processor.",
            Kind::Lines,
            "percentunit",
            vec![query(
                "rate(stated_runtime_busy_seconds_total{OF}[$__rate_interval]) \
                 / stated_runtime_workers{OF}",
                "{{instance}}",
            )],
        )
        .steps(0.7, 0.9),
        panel(
            "Memory",
            "Resident memory.",
            Kind::Lines,
            "bytes",
            vec![query("process_resident_memory_bytes{OF}", "{{instance}}")],
        ),
        panel(
            "File descriptors",
            "Share of those the process may have.",
            Kind::Lines,
            "percentunit",
            vec![query("process_open_fds{OF} / process_max_fds{OF}", "{{instance}}")],
        )
        .steps(0.8, 0.95),
        panel(
            "Tasks",
            "Tasks of the runtime: about one a connection. Queued ones wait for a worker.",
            Kind::Lines,
            "none",
            vec![
                query("stated_runtime_tasks{OF}", "{{instance}}"),
                query("stated_runtime_queued_tasks{OF}", "{{instance}}: queued"),
            ],
        ),
        panel(
            "Up for",
            "Time since the daemon was started.",
            Kind::Lines,
            "s",
            vec![query("time() - process_start_time_seconds{OF}", "{{instance}}")],
        ),
        panel(
            "Lines of the log that were lost",
            "Nobody read them in time, or they could not be written.",
            Kind::Lines,
            "none",
            vec![query(
                "increase(stated_log_lines_lost_total{OF}[$__rate_interval])",
                "{{instance}}",
            )],
        )
        .width(12),
        panel(
            "Lines of the log that were held back",
            "Repetitions of one cause; their number is told in the log.",
            Kind::Stack,
            "none",
            vec![query(
                "sum by (cause) (increase(stated_log_lines_held_back_total{OF}[$__rate_interval]))",
                "{{cause}}",
            )],
        )
        .width(12),
        panel(
            "What runs",
            "Version and commit of each daemon.",
            Kind::Table,
            "none",
            vec![query("stated_build_info{OF}", "")],
        )
        .width(12),
        panel(
            "Configuration",
            "Which is in force; daemons with the same digest have the same, but for secrets.",
            Kind::Table,
            "none",
            vec![query("stated_config_info{OF}", "")],
        )
        .width(12),
        panel(
            "Configuration in force for",
            "Time since it was read.",
            Kind::Lines,
            "s",
            vec![query("time() - stated_config_loaded_timestamp_seconds{OF}", "{{instance}}")],
        ),
        panel(
            "Reloads",
            "Applied, and refused because something was wrong.",
            Kind::Lines,
            "none",
            vec![query(
                "sum by (outcome) (increase(stated_config_reloads_total{OF}[$__rate_interval]))",
                "{{outcome}}",
            )],
        ),
        panel(
            "Waits for a restart",
            "1 while a key was changed that only takes effect with a restart.",
            Kind::Lines,
            "none",
            vec![query("stated_config_needs_restart{OF}", "{{instance}}")],
        ),
        panel(
            "Days that certificates have left",
            "Of each certificate of the daemon's own, by the key that names it.",
            Kind::Lines,
            "none",
            vec![query("stated_tls_certificate_days_left{OF}", "{{instance}} {{key}}")],
        ),
        panel(
            "Certificates end in",
            "The same by the clock of Prometheus, which goes on if the daemon is not scraped.",
            Kind::Lines,
            "s",
            vec![query(
                "stated_tls_certificate_expiry_timestamp_seconds{OF} - time()",
                "{{instance}} {{key}}",
            )],
        ),
    ];
    Row { title: "Process and configuration", panels }
}
