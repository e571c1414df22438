//! Division of images that have several classes.

use crate::Sample;

/// The part of each image, so that each part gets its share of the images of each class: iterative stratification (Sechidis, Tsoumakas and
/// Vlahavas, *On the Stratification of Multi-Label Data*, 2011, algorithm 1). The class with the fewest images that are not dealt yet comes
/// next, because later classes leave no choice for rare ones. Each of its images goes to the part that lacks most of this class; of
/// equal parts, to the one that lacks most images; of equal ones, to the first. Images of a group are dealt together.
pub(super) fn iterative(groups: &[Vec<usize>], samples: &[Sample], classes: usize, shares: [f64; 3]) -> Vec<usize> {
    // How many images of each class a group has, and which groups a class has, in their order.
    let mut own: Vec<Vec<(usize, usize)>> = Vec::with_capacity(groups.len());
    let mut groups_of: Vec<Vec<usize>> = vec![Vec::new(); classes];
    let mut left = vec![0_usize; classes];
    for (number, group) in groups.iter().enumerate() {
        let mut counts = std::collections::BTreeMap::new();
        for &class in group.iter().flat_map(|&at| samples[at].label.classes()) {
            *counts.entry(class as usize).or_insert(0) += 1;
        }
        for (&class, &count) in &counts {
            groups_of[class].push(number);
            left[class] += count;
        }
        own.push(counts.into_iter().collect());
    }
    let mut wanted: Vec<[f64; 3]> = left.iter().map(|&count| shares.map(|share| share * count as f64)).collect();
    let mut room = shares.map(|share| share * samples.len() as f64);
    let mut part_of_group: Vec<Option<usize>> = vec![None; groups.len()];
    let mut deal = |number: usize, class: Option<usize>, left: &mut [usize]| {
        if part_of_group[number].is_some() {
            return;
        }
        let lack = |part: usize| (class.map_or(0.0, |class| wanted[class][part]), room[part]);
        // A part without a share gets nothing, whatever the others have.
        let better = |part: usize, best: usize| shares[best] <= 0.0 || lack(part) > lack(best);
        let part = (1..3).fold(0, |best, part| if shares[part] > 0.0 && better(part, best) { part } else { best });
        part_of_group[number] = Some(part);
        room[part] -= groups[number].len() as f64;
        for &(class, count) in &own[number] {
            wanted[class][part] -= count as f64;
            left[class] -= count;
        }
    };
    while let Some(class) = (0..classes).filter(|&class| left[class] > 0).min_by_key(|&class| left[class]) {
        groups_of[class].iter().for_each(|&number| deal(number, Some(class), &mut left));
    }
    // What is left has no class.
    (0..groups.len()).for_each(|number| deal(number, None, &mut left));
    let mut part_of = vec![0; samples.len()];
    for (group, part) in groups.iter().zip(part_of_group) {
        group.iter().for_each(|&at| part_of[at] = part.expect("each group is dealt"));
    }
    part_of
}
