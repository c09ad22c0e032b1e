//! Threads that read the rows of the next batches from a file while the present one is worked on.
//!
//! A call costs about as much for a row as for a page, and the calls for one batch some per cent of a step. On a machine
//! whose cores are all at work, a single thread would hold up one of them, and the others would wait for that one: so
//! there are a few *lanes*, each a thread with its share of every batch. On a disk, they also have more than one read
//! under way.
//!
//! A lane reads its share in groups of batches, so that the threads meet seldom even where batches are small. Three groups go round:
//! one is worked on, one is ready, one is being read. A group's rows are read in the order of the file, neighbours in
//! one call; where each row is then says a list. All memory is allocated at the start: locks, conditions and lists of a
//! known length need no more of it.

use super::row_file::{lock, resize};
use super::{Batches, View};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Bytes of a group of batches, and batches in it at most. Larger groups need larger caches, smaller ones more meetings.
const GROUP_BYTES: usize = 1 << 20;
const GROUP_BATCHES: usize = 64;
/// Groups of a lane that go round.
const GROUPS: usize = 3;
/// Lanes at most; else one for each core.
const MOST_LANES: usize = 4;
/// Bytes that a row has for each lane at least: every lane keeps a list of all rows, which must stay small beside them.
const LANE_BYTES: usize = 64;

/// A batch: its epoch, and its number there.
type Place = (u64, usize);

/// Which rows of a batch are read by one thread: those whose number in the batch is `number` modulo `count`.
#[derive(Clone, Copy)]
struct Lane {
    number: usize,
    count: usize,
}

impl Lane {
    /// How many rows of a batch these are.
    fn share(self, rows: usize) -> usize {
        rows.saturating_sub(self.number).div_ceil(self.count)
    }
}

/// Some batches of one epoch and a lane's rows of them.
struct Group {
    /// The first batch, and the one after the last.
    epoch: u64,
    batches: std::ops::Range<usize>,
    /// The numbers of the rows in the set, batch after batch.
    ids: Vec<u32>,
    /// Where each row is among the bytes.
    places: Vec<u32>,
    /// Rows in the order of the file, each with its place among `ids`.
    order: Vec<(u32, u32)>,
    bytes: Vec<u8>,
    /// Batches that there is room for.
    most: usize,
    lane: Lane,
}

impl Group {
    fn new(lane: Lane, most: usize, rows: usize, row_bytes: usize) -> Result<Group> {
        let mut bytes = Vec::new();
        resize(&mut bytes, rows.saturating_mul(row_bytes))?;
        let (ids, places, order) = (Vec::with_capacity(rows), Vec::with_capacity(rows), Vec::with_capacity(rows));
        Ok(Group { epoch: 0, batches: 0..0, ids, places, order, bytes, most, lane })
    }

    fn has(&self, (epoch, number): Place) -> bool {
        self.epoch == epoch && self.batches.contains(&number)
    }

    /// Reads batches from `at` on, as many as the group holds, and returns which one comes after them.
    fn read(&mut self, view: &View, batches: &Batches, (epoch, first): Place) -> Result<Place> {
        let Some(file) = view.rows().file() else { return Ok((epoch, first)) };
        let end = batches.len().min(first + self.most);
        (self.epoch, self.batches) = (epoch, first..end);
        self.ids.clear();
        for number in first..end {
            let share = batches.batch(number).iter().skip(self.lane.number).step_by(self.lane.count);
            self.ids.extend(share.map(|&position| view.id(position as usize) as u32));
        }
        self.order.clear();
        self.order.extend(self.ids.iter().zip(0..).map(|(&id, at)| (id, at)));
        self.order.sort_unstable();
        self.places.clear();
        self.places.resize(self.ids.len(), 0);
        for (place, &(_, at)) in (0..).zip(&self.order) {
            self.places[at as usize] = place;
        }
        let (len, mut done) = (file.row_bytes(), 0);
        for run in self.order.chunk_by(|a, b| a.0 + 1 == b.0) {
            file.read(run[0].0 as usize, &mut self.bytes[done * len..(done + run.len()) * len])?;
            done += run.len();
        }
        Ok(if end == batches.len() { (epoch + 1, 0) } else { (epoch, end) })
    }
}

/// What the two threads share.
#[derive(Default)]
struct State {
    /// The batch that the next group to be read begins with; nothing before the first is asked for, and after a failure.
    next: Option<Place>,
    /// The batch that the next group to be taken begins with.
    due: Option<Place>,
    /// Counts the jumps to another place, so that a group that was being read meanwhile is known to be the wrong one.
    jumps: u64,
    ready: VecDeque<Group>,
    free: Vec<Group>,
    /// What ended the reading, after the groups that are ready.
    failed: Option<Error>,
    /// Nobody wants more groups.
    closed: bool,
    /// Nobody reads more groups.
    ended: bool,
}

impl State {
    /// Goes on from another batch than the next one.
    fn jump(&mut self, place: Place) {
        self.free.extend(self.ready.drain(..));
        (self.next, self.due, self.failed) = (Some(place), Some(place), None);
        self.jumps += 1;
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to read, or nothing any more.
    wanted: Condvar,
    /// A group is ready, or none will be.
    found: Condvar,
}

/// Waits for a condition; as with [`lock`], a panic elsewhere does not matter.
fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}

/// A reading thread, and the group that is worked on.
pub(super) struct Prefetch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The lane's rows of a batch but the last, and batches of an epoch.
    share: usize,
    len: usize,
    current: Option<Group>,
    number: usize,
}

impl Prefetch {
    /// Starts the threads of all lanes; they read nothing before the first batch is asked for.
    pub(super) fn lanes(view: &View, batches: Batches) -> Result<Vec<Prefetch>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let row_bytes = view.rows().file().map_or(0, |file| file.row_bytes());
        let count = cores.min(MOST_LANES).min(row_bytes / LANE_BYTES).max(1);
        let lane = |number, batches| Prefetch::new(view.clone(), batches, Lane { number, count });
        let mut lanes = (1..count).map(|number| lane(number, batches.clone())).collect::<Result<Vec<_>>>()?;
        lanes.insert(0, lane(0, batches)?);
        Ok(lanes)
    }

    fn new(view: View, batches: Batches, lane: Lane) -> Result<Prefetch> {
        let row_bytes = view.rows().file().map_or(1, |file| file.row_bytes());
        let batch_bytes = batches.size().saturating_mul(row_bytes);
        let many = (GROUP_BYTES / batch_bytes).clamp(1, GROUP_BATCHES).min(batches.len());
        let share = lane.share(batches.size());
        let rows = many.saturating_mul(share).min(view.len());
        let mut state = State { ready: VecDeque::with_capacity(GROUPS), ..State::default() };
        for _ in 0..GROUPS {
            state.free.push(Group::new(lane, many, rows, row_bytes)?);
        }
        let shared = Arc::new(Shared { state: Mutex::new(state), ..Shared::default() });
        let len = batches.len();
        let reader = Reader { shared: shared.clone(), view, batches, epoch: None };
        let builder = std::thread::Builder::new().name(format!("elbo-read-{}", lane.number));
        let thread = builder.spawn(move || reader.run());
        let thread = thread.map_err(|e| Error::input(format!("cannot start the thread that reads the data: {e}")))?;
        Ok(Prefetch { shared, thread: Some(thread), share, len, current: None, number: 0 })
    }

    /// Waits until a batch is in memory. See [`Feed::load`](super::Feed::load).
    pub(super) fn load(&mut self, epoch: u64, number: usize) -> Result<()> {
        assert!(number < self.len, "batch {number} of {}", self.len);
        let place = (epoch, number);
        self.number = number;
        if self.current.as_ref().is_some_and(|group| group.has(place)) {
            return Ok(());
        }
        let mut state = lock(&self.shared.state);
        state.free.extend(self.current.take());
        if state.due != Some(place) {
            state.jump(place);
        }
        self.shared.wanted.notify_one();
        loop {
            if let Some(group) = state.ready.pop_front() {
                let end = group.batches.end;
                state.due = Some(if end == self.len { (epoch + 1, 0) } else { (epoch, end) });
                self.current = Some(group);
                return Ok(());
            }
            if let Some(error) = state.failed.take() {
                state.due = None;
                return Err(error);
            }
            if state.ended {
                return Err(Error::input("the thread that reads the data has ended: this is a mistake in elbo"));
            }
            state = wait(&self.shared.found, state);
        }
    }

    /// How many rows the lane has of the batch that was loaded last.
    pub(super) fn rows(&self) -> usize {
        let group = self.current.as_ref().expect("a batch has been loaded");
        (group.ids.len() - (self.number - group.batches.start) * self.share).min(self.share)
    }

    /// The number in the set of the lane's row `r` of the batch that was loaded last, and its place among the group's
    /// rows, whose bytes are the third.
    pub(super) fn row(&self, r: usize) -> (usize, usize, &[u8]) {
        let group = self.current.as_ref().expect("a batch has been loaded");
        let at = (self.number - group.batches.start) * self.share + r;
        (group.ids[at] as usize, group.places[at] as usize, &group.bytes)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.wanted.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by its message.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefetch").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The thread's side.
struct Reader {
    shared: Arc<Shared>,
    view: View,
    batches: Batches,
    /// The epoch whose order the batches are in.
    epoch: Option<u64>,
}

impl Reader {
    fn run(mut self) {
        while let Some((place, jumps, mut group)) = self.next() {
            if self.epoch != Some(place.0) {
                self.batches.start(place.0);
                self.epoch = Some(place.0);
            }
            let read = group.read(&self.view, &self.batches, place);
            let mut state = lock(&self.shared.state);
            match read {
                _ if state.jumps != jumps => state.free.push(group),
                Ok(next) => {
                    state.next = Some(next);
                    state.ready.push_back(group);
                }
                Err(error) => {
                    (state.next, state.failed) = (None, Some(error));
                    state.free.push(group);
                }
            }
            self.shared.found.notify_one();
        }
    }

    /// Waits for a place to read from and memory to read into; nothing when there is no more to do.
    fn next(&self) -> Option<(Place, u64, Group)> {
        let mut state = lock(&self.shared.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(place) = state.next
                && let Some(group) = state.free.pop()
            {
                return Some((place, state.jumps, group));
            }
            state = wait(&self.shared.wanted, state);
        }
    }
}

/// Whatever ends the thread, a panic too, nobody waits for it any more.
impl Drop for Reader {
    fn drop(&mut self) {
        lock(&self.shared.state).ended = true;
        self.shared.found.notify_one();
    }
}
