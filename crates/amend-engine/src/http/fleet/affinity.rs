//! Which server holds the prefix of which item.

use std::collections::HashMap;

use super::MemberId;

/// The largest number of items that are remembered. Those used longest ago are forgotten, which
/// costs at most the computation of a prefix.
const CAPACITY: usize = 1 << 16;

/// The server of each item that was under way lately.
#[derive(Debug, Default)]
pub struct Affinity {
    places: HashMap<u64, Place>,
    /// Counts the uses.
    clock: u64,
}

#[derive(Debug)]
struct Place {
    member: MemberId,
    used: u64,
}

impl Affinity {
    /// The server of an item.
    pub fn get(&mut self, item: u64) -> Option<MemberId> {
        let place = self.places.get_mut(&item)?;
        self.clock += 1;
        place.used = self.clock;
        Some(place.member)
    }

    /// Notes that a server has an item from now on.
    pub fn set(&mut self, item: u64, member: MemberId) {
        self.clock += 1;
        self.places.insert(item, Place { member, used: self.clock });
        if self.places.len() > CAPACITY {
            let mut uses: Vec<u64> = self.places.values().map(|place| place.used).collect();
            let (_, &mut median, _) = uses.select_nth_unstable(CAPACITY / 2);
            self.places.retain(|_, place| place.used > median);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_items_used_longest_ago_are_forgotten() {
        let mut affinity = Affinity::default();
        let member = MemberId(3);
        for item in 0..=CAPACITY as u64 {
            affinity.set(item, member);
            assert_eq!(affinity.get(0), Some(member), "it is used all the time");
        }
        assert!(affinity.places.len() <= CAPACITY);
        assert_eq!(affinity.get(1), None);
        assert_eq!(affinity.get(CAPACITY as u64), Some(member));
    }
}
