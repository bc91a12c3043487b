//! What this program was built from.

/// The version, as in `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first twelve characters of the commit's hash, or `unknown`. Whoever builds outside git can
/// tell it by `STATED_COMMIT` in the environment of the build. It says nothing of changes that were
/// not committed.
pub const COMMIT: &str = env!("BUILD_COMMIT");

/// The day of the commit, `YYYY-MM-DD`; empty if it isn't known.
pub const COMMIT_DATE: &str = env!("BUILD_DATE");

/// The cargo features that are built in, with commas between them; empty if there are none.
pub const FEATURES: &str = env!("BUILD_FEATURES");

/// Two lines: version, commit and its day; features and target.
pub const DESCRIPTION: &str = concat!(env!("BUILD_FIRST_LINE"), "\n", env!("BUILD_SECOND_LINE"));
