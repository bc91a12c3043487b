//! Counts the allocations of each piece of a message's way once it is warm, for a thousand of each:
//! `allocations`. `allocations CASE` tells where that case's are, a stack for each place. See
//! `scripts/allocations`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark, not a library")]

mod cases;

use std::fs;

use dhat::{Alloc, HeapStats, Profiler};
use serde_json::Value;

use cases::Case;

#[global_allocator]
static ALLOCATOR: Alloc = Alloc;

/// Times before anything is counted: buffers and tables have their size by then.
const WARM_UP: u64 = 2000;
/// Times that are counted.
const TIMES: u64 = 1000;

fn main() {
    // Cargo adds an argument of its own.
    let name = std::env::args().skip(1).find(|argument| argument != "--bench");
    for mut case in cases::all() {
        match &name {
            None => {
                let allocations = of_a_thousand(&mut case);
                println!("{} {allocations}", case.name);
            }
            Some(name) if name == case.name => tell_places(&mut case),
            Some(_) => {}
        }
    }
}

/// Allocations for a thousand of what the case does, rounded up.
fn of_a_thousand(case: &mut Case) -> u64 {
    (case.run)(WARM_UP);
    let profiler = Profiler::builder().testing().build();
    (case.run)(TIMES);
    let allocations = HeapStats::get().total_blocks;
    drop(profiler);
    (allocations * 1000).div_ceil(TIMES * case.at_once as u64)
}

fn tell_places(case: &mut Case) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dhat.json");
    (case.run)(WARM_UP);
    let profiler = Profiler::builder().file_name(&file).trim_backtraces(None).build();
    (case.run)(TIMES);
    drop(profiler);
    let heap: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut places = heap["pps"].as_array().unwrap().clone();
    places.sort_by_key(|place| place["tbk"].as_u64());
    for place in places.iter().rev() {
        println!("{} in {} times, {} bytes:", place["tbk"], TIMES, place["tb"]);
        for frame in place["fs"].as_array().unwrap() {
            println!("    {}", heap["ftbl"][frame.as_u64().unwrap() as usize].as_str().unwrap());
        }
    }
}
