//! Which folders are opened, by whom, and what is in them then.

use super::*;

#[test]
fn what_was_acknowledged_is_there_after_closing_dropping_and_copying() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/with/parents");
    let store = open(&path);
    record_each(&store, 0..3);
    run(store.close()).unwrap();
    assert!(matches!(run(store.record_study_time(&user(0), &time(9))), Err(Error::Failed(_))));
    let store = open(&path);
    record_each(&store, 3..5);
    drop(store);
    let store = open(&path);
    record_each(&store, 5..7);
    // As after `kill -9`: nothing was closed.
    let copy = copy_of(&path);
    assert_eq!(study_times(&open(copy.path()), 7), expected_times(7));
}

#[test]
fn a_folder_is_open_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    match EmbeddedStore::open(dir.path()) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(store);
    open(dir.path());
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    for (name, content) in
        [("notes.txt", ""), ("VERSION", "17\n"), ("log-1", "a log of somebody else, of that name")]
    {
        let dir = tempfile::tempdir().unwrap();
        let long = content.repeat(2);
        fs::write(dir.path().join(name), &long).unwrap();
        let opened = EmbeddedStore::open(dir.path());
        assert!(matches!(opened, Err(OpenError::NotOurs { .. })), "{opened:?}");
        assert_eq!(files(dir.path()), [name]);
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), long);
    }
}

#[test]
fn a_folder_of_a_newer_format_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("VERSION"), "stated embedded store, format 4\n").unwrap();
    let before = contents(dir.path());
    let error = EmbeddedStore::open(dir.path()).unwrap_err();
    let told = "was written in format 4 by a newer stated, this one knows up to format 3";
    assert!(error.to_string().contains(told), "{error}");
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_store_whose_making_was_cut_short_at_any_step_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let steps = ["LOCK", "snapshot-1", "log-1", "acknowledged", "VERSION"];
    assert_eq!(files(dir.path()).len(), steps.len());
    for done in 0..steps.len() {
        for unfinished in [0, 7, 1000] {
            let cut = tempfile::tempdir().unwrap();
            for step in &steps[..done] {
                fs::copy(dir.path().join(step), cut.path().join(step)).unwrap();
            }
            let next = fs::read(dir.path().join(steps[done])).unwrap();
            let next = &next[..unfinished.min(next.len())];
            let in_place = matches!(steps[done], "LOCK" | "acknowledged");
            let name = format!("{}{}", steps[done], if in_place { "" } else { ".tmp" });
            fs::write(cut.path().join(name), next).unwrap();
            let store = open(cut.path());
            record_each(&store, 0..1);
            drop(store);
            assert_eq!(study_times(&open(cut.path()), 1), expected_times(1));
        }
    }
}
