//! Plans: which steps of a graph share a track, so that branches run at once, and where tracks wait for each other.
//!
//! *Why.* A track is a stream of the host: what is on one needs no waits. A step goes on with the track of something it comes after,
//! if nothing else has; else it takes one whose last step it comes after anyway, or a new one. A wait is left out where another
//! implies it. So a chain is one track without any wait. See docs/decisions/graphs-of-cuda-are-run-by-the-guest.md.

#![forbid(unsafe_code)]

/// Tracks of a graph: more branches than these share them.
pub const MOST_TRACKS: usize = 8;

/// How far each track is known to be complete: the number of its steps.
type Clock = [u32; MOST_TRACKS];

/// Where a step runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its track.
    pub track: usize,
    /// Steps of other tracks that it waits for.
    pub waits: Vec<usize>,
    /// Whether its track has to wait for the begin of the launch: the first track is behind that by itself.
    pub is_first: bool,
}

/// The places of all steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Where each step runs.
    pub places: Vec<Place>,
    /// How many tracks there are.
    pub tracks: usize,
    /// Steps that the first track waits for in the end.
    pub last: Vec<usize>,
}

#[derive(Debug, Default)]
struct Track {
    steps: u32,
    last: Option<usize>,
}

#[derive(Debug, Default)]
struct Planner {
    plan: Plan,
    tracks: Vec<Track>,
    /// What is complete when a step is.
    clocks: Vec<Clock>,
}

fn merge(clock: &mut Clock, other: &Clock) {
    clock.iter_mut().zip(other).for_each(|(one, other)| *one = (*one).max(*other));
}

impl Planner {
    fn clock(&self, step: Option<usize>) -> Clock {
        step.and_then(|step| self.clocks.get(step).copied()).unwrap_or_default()
    }

    fn track_of(&self, step: usize) -> Option<usize> {
        Some(self.plan.places.get(step)?.track)
    }

    /// The track for a step that comes after others.
    fn choose(&mut self, before: &[usize]) -> usize {
        let is_last = |step: &usize| {
            self.track_of(*step)
                .filter(|track| self.tracks.get(*track).is_some_and(|one| one.last == Some(*step)))
        };
        if let Some(track) = before.iter().filter_map(is_last).min() {
            return track;
        }
        let mut known = Clock::default();
        for step in before {
            merge(&mut known, &self.clock(Some(*step)));
        }
        let is_behind = |(track, known): (&Track, &u32)| *known >= track.steps;
        if let Some(track) = self.tracks.iter().zip(&known).position(is_behind) {
            return track;
        }
        if self.tracks.len() < MOST_TRACKS {
            self.tracks.push(Track::default());
            return self.tracks.len() - 1;
        }
        let shortest = self.tracks.iter().enumerate().min_by_key(|(_, track)| track.steps);
        shortest.map_or(0, |(track, _)| track)
    }

    /// What of these steps has to be waited for by who knows so much.
    fn waits(&self, mut known: Clock, mut steps: Vec<usize>) -> (Vec<usize>, Clock) {
        // Later ones first: they are likely to imply others.
        steps.sort_unstable_by(|one, other| other.cmp(one));
        let mut waits = Vec::new();
        for step in steps {
            let clock = self.clock(Some(step));
            let track = self.track_of(step).unwrap_or(0);
            if known.get(track) < clock.get(track) {
                merge(&mut known, &clock);
                waits.push(step);
            }
        }
        (waits, known)
    }

    fn add(&mut self, before: &[usize]) {
        let index = self.plan.places.len();
        let track = self.choose(before);
        let last = self.tracks.get(track).and_then(|track| track.last);
        let (waits, mut clock) = self.waits(self.clock(last), before.to_vec());
        let is_first = track != 0 && last.is_none() && waits.is_empty();
        if let (Some(track), Some(own)) = (self.tracks.get_mut(track), clock.get_mut(track)) {
            track.steps += 1;
            track.last = Some(index);
            *own = track.steps;
        }
        self.clocks.push(clock);
        self.plan.places.push(Place { track, waits, is_first });
    }
}

impl Plan {
    /// For steps in an order in which they can run, each with those that it comes after.
    #[must_use]
    pub fn of(steps: &[Vec<usize>]) -> Self {
        let mut planner = Planner::default();
        steps.iter().for_each(|before| planner.add(before));
        let known = planner.clock(planner.tracks.first().and_then(|track| track.last));
        let ends = planner.tracks.iter().skip(1).filter_map(|track| track.last).collect();
        let (last, _) = planner.waits(known, ends);
        Self { tracks: planner.tracks.len(), last, ..planner.plan }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracks(plan: &Plan) -> Vec<usize> {
        plan.places.iter().map(|place| place.track).collect()
    }

    fn waits(plan: &Plan) -> usize {
        plan.places.iter().map(|place| place.waits.len()).sum::<usize>() + plan.last.len()
    }

    /// Whether the plan keeps every order, by following its tracks and waits only.
    fn keeps(steps: &[Vec<usize>], plan: &Plan) -> bool {
        let mut done: Vec<Vec<bool>> = Vec::new();
        let mut last: Vec<Option<usize>> = vec![None; plan.tracks];
        for (index, place) in plan.places.iter().enumerate() {
            let mut mine = vec![false; steps.len()];
            let behind = last[place.track].into_iter().chain(place.waits.iter().copied());
            for one in behind {
                mine.iter_mut().zip(&done[one]).for_each(|(mine, its)| *mine |= its);
            }
            if !steps[index].iter().all(|before| mine[*before]) {
                return false;
            }
            mine[index] = true;
            last[place.track] = Some(index);
            done.push(mine);
        }
        let mut end = vec![false; steps.len()];
        for one in last[..1].iter().flatten().chain(&plan.last) {
            end.iter_mut().zip(&done[*one]).for_each(|(end, its)| *end |= its);
        }
        end.into_iter().all(|is_done| is_done)
    }

    #[test]
    fn chain_is_one_track_without_waits() {
        let steps: Vec<Vec<usize>> =
            (0..100_usize).map(|at| at.checked_sub(1).into_iter().collect()).collect();
        let plan = Plan::of(&steps);
        assert_eq!((plan.tracks, waits(&plan)), (1, 0));
        assert!(keeps(&steps, &plan));
    }

    #[test]
    fn fork_and_join_wait_once_for_each_branch_and_the_next_fork_takes_the_same_tracks() {
        // 0; 1 2 3; 4; 5 6 7; 8
        let steps =
            [vec![], vec![0], vec![0], vec![0], vec![1, 2, 3], vec![4], vec![4], vec![4], vec![5, 6, 7]];
        let plan = Plan::of(&steps);
        assert!(keeps(&steps, &plan));
        assert_eq!((plan.tracks, waits(&plan)), (3, 8));
        assert!(plan.last.is_empty());
    }

    #[test]
    fn branches_without_an_end_are_waited_for_and_those_without_a_begin_wait_for_the_launch() {
        let steps = [vec![], vec![], vec![0], vec![1]];
        let plan = Plan::of(&steps);
        assert_eq!(tracks(&plan), [0, 1, 0, 1]);
        assert_eq!(plan.last, [3]);
        let first: Vec<bool> = plan.places.iter().map(|place| place.is_first).collect();
        assert_eq!(first, [false, true, false, false]);
    }

    #[test]
    fn waits_that_others_imply_are_left_out() {
        // 3 comes after 0, 1 and 2, but 2 is behind both.
        let steps = [vec![], vec![], vec![0, 1], vec![0, 1, 2]];
        let plan = Plan::of(&steps);
        assert_eq!(waits(&plan), 1);
        assert!(keeps(&steps, &plan));
    }

    #[test]
    fn any_graph_keeps_its_order_on_no_more_than_the_most_tracks() {
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for round in 0..300 {
            let count = 1 + random(60);
            let steps: Vec<Vec<usize>> = (0..count)
                .map(|at| {
                    let mut before: Vec<usize> =
                        (0..random(1 + round % 4)).filter(|_| at > 0).map(|_| random(at.max(1))).collect();
                    before.sort_unstable();
                    before.dedup();
                    before
                })
                .collect();
            let plan = Plan::of(&steps);
            assert!(plan.tracks <= MOST_TRACKS);
            assert!(keeps(&steps, &plan), "{steps:?} {plan:?}");
        }
    }
}
