//! The rooms to which this node has sent lately, so that sockets that may have missed it can be
//! told apart from the others.
//!
//! A fixed table holds the time of the last message for each namespace and room, found by a hash
//! that is the same on every node. Two rooms may share a place. Then a socket counts as concerned
//! that is not, but no concerned one is overlooked.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD as BASE64};

use super::message::Selection;

/// Places in the table, as many as 16 bits can name.
const PLACES: usize = 1 << 16;
/// A set of places as one bit each, in bytes.
const BITMAP: usize = PLACES / 8;

/// The unit of time in the table. Its 32 bits last for two years and wrap without harm: an old time
/// looks new for a moment.
const STEP: Duration = Duration::from_millis(16);

/// The age from which marks may be forgotten. A question for more is answered with all places.
pub(crate) const HORIZON: Duration = Duration::from_secs(3600);

/// The hash of a namespace, or of a room in it, before it is cut to a place.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    fn namespace(namespace: &str) -> Self {
        Self(0).and(namespace)
    }

    fn and(self, text: &str) -> Self {
        let mix =
            |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut hash = self.0;
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = mix(hash, u64::from_le_bytes(word));
        }
        Self(mix(hash, text.len() as u64 + 1))
    }

    /// The place of the hash: its highest bits, in which every byte has a part.
    fn place(self) -> usize {
        (self.0 >> 48) as usize
    }
}

/// The times of the last messages.
pub(crate) struct Marks {
    began: Instant,
    /// In steps since a moment before the start, so that 0, "never", is long ago.
    last: Box<[AtomicU32]>,
}

impl Default for Marks {
    fn default() -> Self {
        let last = std::iter::repeat_with(AtomicU32::default).take(PLACES).collect();
        Self { began: Instant::now(), last }
    }
}

impl Marks {
    fn now(&self) -> u32 {
        // Cut off on purpose: the numbers wrap.
        ((self.began.elapsed() + HORIZON + 2 * STEP).as_millis() / STEP.as_millis()) as u32
    }

    /// Notes that a message is about to go to the sockets that `to` selects.
    pub(crate) fn mark(&self, namespace: &str, to: &Selection) {
        let now = self.now();
        let namespace = Hash::namespace(namespace);
        if to.rooms.is_empty() {
            self.last[namespace.place()].store(now, Ordering::Relaxed);
        }
        for room in &to.rooms {
            self.last[namespace.and(room).place()].store(now, Ordering::Relaxed);
        }
    }

    /// The places that got a message within the last `age`.
    pub(crate) fn within(&self, age: Duration) -> Places {
        let mut places = Places::default();
        if age > HORIZON {
            places.0.fill(u64::MAX);
            return places;
        }
        let now = self.now();
        let steps = u32::try_from(age.as_millis() / STEP.as_millis() + 1).unwrap_or(u32::MAX);
        for (place, last) in self.last.iter().enumerate() {
            if now.wrapping_sub(last.load(Ordering::Relaxed)) <= steps {
                places.add(place);
            }
        }
        places
    }
}

/// Some of the places: namespaces and rooms.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Places(Box<[u64; PLACES / 64]>);

impl Default for Places {
    fn default() -> Self {
        Self(Box::new([0; PLACES / 64]))
    }
}

impl Places {
    fn add(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn has(&self, place: usize) -> bool {
        self.0[place / 64] >> (place % 64) & 1 == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The places that are here and not in `others`.
    pub(crate) fn without(mut self, others: &Self) -> Self {
        self.0.iter_mut().zip(&*others.0).for_each(|(word, other)| *word &= !other);
        self
    }

    pub(crate) fn extend(&mut self, others: &Self) {
        self.0.iter_mut().zip(&*others.0).for_each(|(word, other)| *word |= other);
    }

    /// The places of one namespace.
    pub(crate) fn of(&self, namespace: &str) -> PlacesOf<'_> {
        PlacesOf { places: self, namespace: Hash::namespace(namespace) }
    }

    /// Text for a message: a list if it is short, or one bit for each place.
    pub(crate) fn to_text(&self) -> String {
        if self.len() * 2 < BITMAP {
            let all = (0..PLACES).filter(|place| self.has(*place));
            let bytes: Vec<u8> = all.flat_map(|place| (place as u16).to_le_bytes()).collect();
            BASE64.encode(bytes)
        } else {
            let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
            BASE64.encode(bytes)
        }
    }

    /// The opposite of [`to_text`](Self::to_text). `None` if the text is not valid.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        // A longer text is refused before it is decoded.
        let bytes = BASE64.decode(text.get(..text.len().min(2 * BITMAP))?).ok()?;
        let mut places = Self::default();
        if bytes.len() == BITMAP {
            let words = bytes.chunks_exact(8).map(|word| word.try_into().map(u64::from_le_bytes));
            for (place, word) in places.0.iter_mut().zip(words) {
                *place = word.ok()?;
            }
            return Some(places);
        }
        if bytes.len() > BITMAP || bytes.len() % 2 != 0 {
            return None;
        }
        for place in bytes.chunks_exact(2) {
            places.add(usize::from(u16::from_le_bytes(place.try_into().ok()?)));
        }
        Some(places)
    }
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// See [`Places::of`].
#[derive(Clone, Copy)]
pub(crate) struct PlacesOf<'a> {
    places: &'a Places,
    namespace: Hash,
}

impl PlacesOf<'_> {
    /// Whether the namespace as a whole is among them.
    pub(crate) fn have_all(&self) -> bool {
        self.places.has(self.namespace.place())
    }

    pub(crate) fn have(&self, room: &str) -> bool {
        self.places.has(self.namespace.and(room).place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(rooms: &[&str]) -> Selection {
        let rooms = rooms.iter().map(|room| (*room).to_owned().into()).collect();
        Selection { rooms, except: vec![] }
    }

    fn age(marks: &mut Marks, by: Duration) {
        marks.began -= by;
    }

    #[test]
    fn a_word_to_rooms_concerns_them_and_one_to_none_the_namespace() {
        let marks = Marks::default();
        assert!(marks.within(HORIZON).is_empty());
        marks.mark("/", &to(&["a", "b"]));
        let places = marks.within(Duration::from_secs(60));
        let of = places.of("/");
        assert!(of.have("a") && of.have("b") && !of.have("c") && !of.have_all());
        assert!(!places.of("/chat").have("a"));
        marks.mark("/chat", &to(&[]));
        let places = marks.within(Duration::from_secs(60));
        assert!(places.of("/chat").have_all() && !places.of("/chat").have("a"));
        assert!(!places.of("/").have_all());
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn the_last_word_counts_and_only_for_as_long_as_is_asked_for() {
        let mut marks = Marks::default();
        marks.mark("/", &to(&["old", "both"]));
        age(&mut marks, Duration::from_secs(10));
        marks.mark("/", &to(&["new", "both"]));
        age(&mut marks, Duration::from_secs(1));
        let recent = marks.within(Duration::from_secs(6));
        let of = recent.of("/");
        assert!(of.have("new") && of.have("both") && !of.have("old"));
        assert!(marks.within(Duration::from_secs(60)).of("/").have("old"));
        assert!(marks.within(Duration::from_millis(900)).is_empty());
    }

    #[test]
    fn what_may_be_forgotten_is_told_as_all() {
        let all = Marks::default().within(HORIZON + STEP);
        assert_eq!(all.len(), PLACES);
        assert!(all.of("/any").have("any"));
    }

    #[test]
    fn a_clock_that_comes_round_loses_no_word() {
        let mut marks = Marks::default();
        let round = STEP * u32::MAX;
        age(&mut marks, round.checked_sub(HORIZON + 2 * STEP).unwrap());
        marks.mark("/", &to(&["a"]));
        age(&mut marks, Duration::from_secs(1));
        let places = marks.within(Duration::from_secs(60));
        assert!(places.of("/").have("a"));
    }

    #[test]
    fn places_travel_as_text_few_or_many() {
        let marks = Marks::default();
        for rooms in [0, 1, 3, 4_000, 5_000, 60_000] {
            (0..rooms).for_each(|room| marks.mark("/", &to(&[&format!("room {room}")])));
            let places = marks.within(Duration::from_secs(60));
            assert_eq!(Places::from_text(&places.to_text()), Some(places), "{rooms}");
        }
        let all = marks.within(HORIZON * 2);
        assert_eq!(Places::from_text(&all.to_text()), Some(all));
        for wrong in ["AAAA!", "AA", "é", &"A".repeat(20_000)] {
            assert_eq!(Places::from_text(wrong), None, "{wrong}");
        }
    }

    /// Nodes of different versions of this server must find the same places. A change of the hash
    /// needs a change of the version of the questions, too.
    #[test]
    fn the_hash_stays_what_it_is() {
        let place = |namespace, room| Hash::namespace(namespace).and(room).place();
        assert_eq!(Hash::namespace("/").place(), 35_631);
        assert_eq!(place("/", "lobby"), 11_896);
        assert_eq!(place("/chat/7", "user:a-rather-long-name"), 5_049);
    }

    #[test]
    fn rooms_that_look_alike_are_spread_over_the_places() {
        let marks = Marks::default();
        (0..10_000).for_each(|room| marks.mark("/", &to(&[&format!("user:{room}")])));
        // of 10,000 thrown at random some 9,280 are left
        let len = marks.within(Duration::from_secs(60)).len();
        assert!(len > 8_900, "{len}");
    }

    /// `cargo test --release --lib marks::tests::price -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn price() {
        let (marks, to) = (Marks::default(), to(&["user:0123456789abcdef"]));
        let began = Instant::now();
        (0..10_000_000).for_each(|_| marks.mark("/", std::hint::black_box(&to)));
        println!("{:?} for a mark", began.elapsed() / 10_000_000);
        let began = Instant::now();
        (0..1_000).for_each(|_| _ = std::hint::black_box(marks.within(HORIZON)));
        println!("{:?} to read all", began.elapsed() / 1_000);
    }
}
