//! "Did you mean": the known word that is nearest to an unknown one.

/// The candidate nearest to `word`, if it is near enough to be what was meant. Case, underscores and hyphens count nothing.
pub fn suggest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = fold(word);
    let allowed = (word.len() / 3).clamp(1, 3);
    candidates
        .iter()
        .map(|candidate| (distance(&word, &fold(candidate)), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn fold(word: &str) -> Vec<u8> {
    let bytes = word.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
    bytes.take(64).map(|byte| byte.to_ascii_lowercase()).collect()
}

/// Edits (insert, remove, replace, swap of neighbours) from `left` to `right`.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &from) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &to) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let replace = at(&above, column) + usize::from(from != to);
            let mut best = replace.min(at(&above, column + 1) + 1).min(at(&current, column) + 1);
            let swapped =
                row > 0 && column > 0 && left.get(row - 1) == Some(&to) && right.get(column - 1) == Some(&from);
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_proposed_and_a_strange_one_is_not() {
        let fields = ["route", "redirect", "retries", "match", "exportTo"];
        for (word, want) in [
            ("rout", Some("route")),
            ("ruote", Some("route")),
            ("export_to", Some("exportTo")),
            ("Redirect", Some("redirect")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(suggest(word, &fields), want, "{word}");
        }
    }
}
