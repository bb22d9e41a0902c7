//! Which full names a name may mean.

use hickory_proto::rr::Name;

use super::config::{Config, absolute};
use crate::dns::ErrorKind;
use crate::dns::error::Cause;

/// In the order in which they are tried; at least one.
pub(super) fn candidates(name: &str, config: &Config) -> Result<Vec<Name>, Cause> {
    let invalid = || Cause::from(ErrorKind::InvalidName);
    let as_it_is = absolute(name).ok_or_else(invalid)?;
    if name.ends_with('.') {
        return Ok(vec![as_it_is]);
    }
    let dots = name.bytes().filter(|byte| *byte == b'.').count();
    let mut names = Vec::with_capacity(config.search.len() + 1);
    let first = dots >= config.ndots as usize;
    if first {
        names.push(as_it_is.clone());
    }
    let relative = Name::from_ascii(name).map_err(|_| invalid())?;
    // One that would be too long is none.
    names.extend(config.search.iter().filter_map(|domain| relative.clone().append_domain(domain).ok()));
    if !first {
        names.push(as_it_is);
    }
    Ok(names)
}

/// Which of two failures says more about a name that was looked for in several domains.
pub(super) fn worse(one: Option<Cause>, other: Cause) -> Cause {
    fn rank(cause: &Cause) -> u8 {
        match cause.kind {
            ErrorKind::NotFound => 0,
            ErrorKind::NoData => 1,
            _ => 2,
        }
    }
    match one {
        Some(one) if rank(&one) >= rank(&other) => one,
        _ => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::native::settings::Settings;
    use std::path::Path;

    fn names(name: &str, ndots: u32, search: &[&str]) -> Vec<String> {
        let settings = Settings {
            ndots: Some(ndots),
            search: Some(search.iter().map(|domain| (*domain).to_owned()).collect()),
            ..Settings::default()
        };
        let config = Config::read(Path::new("/nonexistent/resolv.conf"), &settings);
        candidates(name, &config).unwrap().iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn few_dots_are_looked_for_in_the_domains_first() {
        let domains = ["a.example", "b.example."];
        assert_eq!(names("www", 1, &domains), ["www.a.example.", "www.b.example.", "www."]);
        assert_eq!(names("www.x", 1, &domains), ["www.x.", "www.x.a.example.", "www.x.b.example."]);
        assert_eq!(names("www.x", 2, &domains)[0], "www.x.a.example.");
        assert_eq!(names("www", 0, &domains)[0], "www.");
    }

    #[test]
    fn a_dot_at_the_end_means_the_name_itself() {
        assert_eq!(names("www.", 5, &["a.example"]), ["www."]);
    }

    #[test]
    fn a_domain_that_makes_the_name_too_long_is_left_out() {
        let long = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".");
        assert_eq!(names(&long, 1, &["example.example.example"]), [format!("{long}.")]);
    }

    #[test]
    fn the_worse_failure_is_kept() {
        let kinds = [ErrorKind::NotFound, ErrorKind::NoData, ErrorKind::NotFound];
        let kept = kinds.into_iter().fold(None, |kept, kind| Some(worse(kept, kind.into())));
        assert_eq!(kept.unwrap().kind, ErrorKind::NoData);
        assert_eq!(
            worse(Some(ErrorKind::NoData.into()), ErrorKind::Temporary.into()).kind,
            ErrorKind::Temporary
        );
    }
}
