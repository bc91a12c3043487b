//! What is said of each command, by its name.

use super::{Heading, Section};

const fn examples(entries: &'static [(&'static str, &'static str)]) -> Section {
    Section { heading: Heading::Examples, entries }
}

const fn exit_statuses(entries: &'static [(&'static str, &'static str)]) -> Section {
    Section { heading: Heading::ExitStatus, entries }
}

/// By the command as its manual page is called.
pub(super) const COMMANDS: &[(&str, &[Section])] = &[
    ("stated", STATED),
    ("stated-serve", SERVE),
    ("stated-check-config", CHECK_CONFIG),
    ("stated-send", SEND),
    ("stated-status", STATUS),
    ("stated-night", NIGHT),
    ("stated-night-status", NIGHT_STATUS),
    ("stated-night-plan", NIGHT_PLAN),
    ("stated-night-close", NIGHT_CLOSE),
    ("stated-night-deliver", NIGHT_DELIVER),
    ("stated-demo", DEMO),
    ("stated-bench", BENCH),
    ("stated-completions", COMPLETIONS),
    ("stated-man", MAN),
];

const STATED: &[Section] = &[
    examples(&[
        ("stated serve", "A daemon on 127.0.0.1:8099 that keeps its state in ./stated-data."),
        (
            "stated send '{\"server\":\"auth\",\"type\":\"STUDY_TIME_FROM_TCP\",\"user_id\":\"u1\"}'",
            "Ask it something.",
        ),
    ]),
    Section {
        heading: Heading::Environment,
        entries: &[(
            "STATED_SECTION__KEY",
            "Sets a configuration key: its name in capitals, with two underscores for each \
             dot. STATED_STORE__URL is store.url.",
        )],
    },
    Section {
        heading: Heading::Files,
        entries: &[
            ("/etc/stated/stated.toml", "The configuration of the service, where it is installed."),
            ("/var/lib/stated", "The service's embedded store, where no other is configured."),
        ],
    },
    exit_statuses(&[
        ("0", "It went well."),
        ("2", "The arguments are wrong. Each command says what else it can end with."),
    ]),
];

const SERVE: &[Section] = &[
    examples(&[
        ("stated serve --config /etc/stated/stated.toml", "As the service does."),
        (
            "stated serve --listen 127.0.0.1:8100 --store redis://127.0.0.1:6379",
            "Defaults, but for the address and the store.",
        ),
    ]),
    Section {
        heading: Heading::Signals,
        entries: &[
            (
                "SIGTERM, SIGINT",
                "Stop: what was read is answered, what is owed to peers is sent, within \
                 limits.shutdown_grace.",
            ),
            (
                "SIGHUP",
                "Read the configuration again. A mistake is told and changes nothing; keys that need a \
                 restart are named.",
            ),
        ],
    },
    Section {
        heading: Heading::Environment,
        entries: &[
            (
                "STATED_SECTION__KEY",
                "Overrides the configuration's section.key. A flag overrides both.",
            ),
            (
                "CREDENTIALS_DIRECTORY",
                "Set by systemd: a file in it that is called like such a variable sets that key.",
            ),
        ],
    },
    exit_statuses(&[
        ("0", "It was told to stop, and did."),
        ("1", "It could not start, or not go on; the last line of the log says why."),
        ("2", "The configuration or the arguments are wrong. Every mistake is told."),
    ]),
];

const CHECK_CONFIG: &[Section] = &[
    examples(&[("stated check-config /etc/stated/stated.toml", "Before a restart.")]),
    exit_statuses(&[
        ("0", "No mistakes. What is allowed but doubtful is told."),
        ("1", "There are mistakes, or the file can't be read."),
        ("2", "The arguments are wrong."),
    ]),
];

const SEND: &[Section] = &[
    examples(&[
        (
            "stated send '{\"server\":\"chat\",\"type\":\"SUBSCRIBE\",\"user_id\":\"u1\",\"room_id\":7,\"session\":\"s1\"}'",
            "Say that a user has entered a room.",
        ),
        (
            "stated send --addr state.internal:8099 --framing crlf - < messages.jsonl",
            "Every line of a file to a listener of another framing.",
        ),
    ]),
    exit_statuses(&[
        ("0", "Every reply is what was asked for."),
        ("1", "At least one reply is an error."),
        ("2", "The daemon could not be asked, or the arguments are wrong."),
    ]),
];

/// Of commands that ask a daemon's HTTP API.
const ASKING: Section = Section {
    heading: Heading::Environment,
    entries: &[
        (
            "STATED_ADMIN__TOKEN",
            "The daemon's admin.token, where no --token-file is given. It is needed for what changes \
             something, where the daemon has one.",
        ),
        ("NO_COLOR", "Set to anything: no colours, on a terminal either."),
    ],
};

const STATUS: &[Section] = &[
    examples(&[
        ("stated status", "The daemon on this machine."),
        ("stated status --watch", "Over and over, with rates."),
        (
            "stated status --admin state.internal:8091 --json | jq .readiness",
            "The document of another, for a script.",
        ),
    ]),
    ASKING,
    exit_statuses(&[
        ("0", "It is ready."),
        (
            "1",
            "It is degraded: it serves, but a service that it calls is away, or a certificate has ended.",
        ),
        ("2", "It could not be asked, or the arguments are wrong."),
        ("3", "It is unready: its store is away, or it stops."),
    ]),
];

const NIGHT: &[Section] = &[
    examples(&[
        ("stated night status", "Which day runs, and what is still owed to auth."),
        ("stated night plan", "What auth would be told if the day were closed now."),
        ("stated night close --wait", "Close the day after a question, and see it delivered."),
    ]),
    exit_statuses(&[
        ("0", "It went well."),
        ("1", "It was not done; the command's own page says more."),
        ("2", "The daemon could not be asked, or the arguments are wrong."),
    ]),
];

const NIGHT_STATUS: &[Section] = &[
    ASKING,
    exit_statuses(&[
        ("0", "It is shown."),
        ("1", "The daemon refused to say."),
        ("2", "The daemon could not be asked, or the arguments are wrong."),
    ]),
];

const NIGHT_PLAN: &[Section] = &[
    examples(&[
        ("stated night plan", "The first users, and how many there are."),
        ("stated night plan --all --json | jq -r '.entries[].user_id'", "Every user."),
    ]),
    ASKING,
    exit_statuses(&[
        ("0", "It is shown, wholly."),
        ("1", "The daemon refused to say, or the day was closed before all of it was shown."),
        ("2", "The daemon could not be asked, or the arguments are wrong."),
    ]),
];

const NIGHT_CLOSE: &[Section] = &[
    examples(&[
        ("stated night close", "After a question."),
        ("stated night close --yes --wait", "In a script, until auth has all of it."),
    ]),
    ASKING,
    exit_statuses(&[
        ("0", "The day is closed and, with --wait, delivered."),
        ("1", "The answer was no, the daemon refused, or it was not delivered in time."),
        ("2", "The daemon could not be asked, or the arguments are wrong."),
    ]),
];

const NIGHT_DELIVER: &[Section] = &[
    examples(&[("stated night deliver --wait", "After auth was mended, until it has everything.")]),
    ASKING,
    exit_statuses(&[
        ("0", "The daemon tries and, with --wait, nothing is left to deliver."),
        ("1", "The daemon refused, or it was not delivered in time."),
        ("2", "The daemon could not be asked, or the arguments are wrong."),
    ]),
];

const DEMO: &[Section] = &[exit_statuses(&[
    ("0", "Everything was as it should be."),
    ("1", "Something was not; what was expected and what came is told."),
])];

const BENCH: &[Section] = &[
    examples(&[
        (
            "stated bench --connections 64 --in-flight 16",
            "The most that the daemon on 127.0.0.1:8099 answers.",
        ),
        (
            "stated bench --rate 20000 --duration 30s",
            "How long answers take at a given load, whatever becomes of it.",
        ),
        ("stated bench --suite", "All stores, against the limit of the machine."),
    ]),
    exit_statuses(&[
        ("0", "Every request was answered as it should be."),
        ("1", "At least one was answered with an error, or not at all."),
        ("2", "Nothing could be measured, or the arguments are wrong."),
    ]),
];

const COMPLETIONS: &[Section] = &[
    examples(&[
        ("source <(stated completions bash)", "In this shell only."),
        (
            "stated completions fish > ~/.config/fish/completions/stated.fish",
            "For one user, from now on. The package installs those of bash, fish and zsh for everybody.",
        ),
    ]),
    exit_statuses(&[("0", "It is printed."), ("2", "There is no such shell here.")]),
];

const MAN: &[Section] = &[
    examples(&[
        ("stated man | man -l -", "Read the main page, installed or not."),
        ("stated man --out man1", "Write stated.1 and a page for each command."),
    ]),
    exit_statuses(&[("0", "It went well."), ("1", "A page could not be written.")]),
];
