//! Slices of time as Chrome's trace events, which Perfetto reads.

use serde_json::{Value, json};

/// A row of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// What the host does.
    Host,
    /// Steps on the device.
    Steps,
    /// Forward, backward, update.
    Phases,
    /// A slice for each pass.
    Passes,
}

const TRACKS: [(Track, &str); 4] =
    [(Track::Host, "host"), (Track::Steps, "steps"), (Track::Phases, "phases"), (Track::Passes, "passes")];

/// Slices in the order in which they were added; those of one track do not overlap.
pub struct Trace {
    device: String,
    slices: Vec<Value>,
}

impl Trace {
    /// Nothing yet, on a device of this name.
    pub fn new(device: &str) -> Trace {
        Trace { device: device.into(), slices: vec![] }
    }

    /// Adds a slice; times in nanoseconds.
    pub fn slice(&mut self, track: Track, name: &str, [begin, end]: [u64; 2], arguments: Value) {
        let (process, thread) = place(track);
        self.slices.push(json!({ "ph": "X", "name": name, "cat": TRACKS[thread].1, "pid": process, "tid": thread,
            "ts": microseconds(begin), "dur": microseconds(end - begin), "args": arguments }));
    }

    /// How many passes there are.
    pub fn passes(&self) -> usize {
        self.slices.iter().filter(|s| s["tid"] == place(Track::Passes).1).count()
    }

    /// The trace as a JSON object.
    pub fn to_json(&self) -> Value {
        let name = |what: &str, track: Track, name: &str| {
            let (process, thread) = place(track);
            json!({ "ph": "M", "name": what, "pid": process, "tid": thread, "args": { "name": name } })
        };
        let order = |(_, (track, _)): (usize, &(Track, &str))| {
            let (process, thread) = place(*track);
            json!({ "ph": "M", "name": "thread_sort_index", "pid": process, "tid": thread, "args": { "sort_index": thread } })
        };
        let mut events =
            vec![name("process_name", Track::Host, "seqloom"), name("process_name", Track::Passes, &self.device)];
        events.extend(TRACKS.iter().map(|(track, of)| name("thread_name", *track, of)));
        events.extend(TRACKS.iter().enumerate().map(order));
        events.extend(self.slices.iter().cloned());
        let clocks =
            "the device's clock is not the host's: the first pass of a program begins where the host submits it";
        json!({ "displayTimeUnit": "ms", "otherData": { "clocks": clocks }, "traceEvents": events })
    }
}

/// Numbers of a track's process and thread.
fn place(track: Track) -> (usize, usize) {
    let thread = TRACKS.iter().position(|(t, _)| *t == track).expect("every track is there");
    (usize::from(track != Track::Host), thread)
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}
