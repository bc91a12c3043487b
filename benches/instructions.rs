//! Does one piece of a message's way so many times, for a tool that counts instructions:
//! `instructions CASE TIMES`. Without arguments it lists the cases, and how much each does at a
//! time. See `scripts/instructions`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark, not a library")]

mod cases;

fn main() {
    // Cargo adds an argument of its own.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut cases = cases::all();
    match (arguments.next(), arguments.next()) {
        (Some(name), Some(times)) => {
            let case = cases.iter_mut().find(|case| case.name == name).unwrap();
            (case.run)(times.parse().unwrap());
        }
        _ => cases.iter().for_each(|case| println!("{} {}", case.name, case.at_once)),
    }
}
