//! Patterns of topic names.

/// Which topics a subscription is about.
pub(super) enum Filter {
    One(Box<str>),
    Pattern(Box<[Word]>),
}

/// A word of a pattern; words are separated by dots.
pub(super) enum Word {
    /// This one.
    Is(Box<str>),
    /// `*`: any one.
    Any,
    /// `#`: any number of them, also none.
    Rest,
}

impl Filter {
    pub(super) fn one(name: &str) -> Filter {
        Filter::One(name.into())
    }

    /// A name, or a pattern if there is a `*` or `#` among its words.
    pub(super) fn new(pattern: &str) -> Filter {
        if !pattern.split('.').any(|word| word == "*" || word == "#") {
            return Filter::one(pattern);
        }
        let word = |word| match word {
            "*" => Word::Any,
            "#" => Word::Rest,
            word => Word::Is(word.into()),
        };
        Filter::Pattern(pattern.split('.').map(word).collect())
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        match self {
            Filter::One(name) => **name == *topic,
            Filter::Pattern(words) => matches(words, topic),
        }
    }
}

/// Tells a topic from a pattern as one does with file names: after the last `#`, try one word more.
fn matches(words: &[Word], topic: &str) -> bool {
    let topic: Vec<_> = topic.split('.').collect();
    let (mut word, mut at) = (0, 0);
    let mut again = None;
    while at < topic.len() {
        match words.get(word) {
            Some(Word::Rest) => {
                again = Some((word, at));
                word += 1;
                continue;
            }
            Some(Word::Any) => (word, at) = (word + 1, at + 1),
            Some(Word::Is(name)) if **name == *topic[at] => (word, at) = (word + 1, at + 1),
            _ => match again {
                Some((rest, from)) => {
                    again = Some((rest, from + 1));
                    (word, at) = (rest + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    words[word..].iter().all(|word| matches!(word, Word::Rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stars_and_hashes() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.#", "ab", false),
            ("#", "anything.at.all", true),
            ("#.c", "a.b.c", true),
            ("#.c", "a.c.b", false),
            ("#.b.#.d", "a.b.c.b.d", true),
            ("*.b.#", "a.b", true),
            ("*.b.#", "b", false),
            ("a.#.#", "a", true),
            ("a*", "ab", false),
        ];
        for (pattern, topic, expected) in cases {
            assert_eq!(Filter::new(pattern).matches(topic), expected, "{pattern} and {topic}");
        }
    }
}
