//! Run infos as text and as JSON.

use std::fmt::{self, Write};

use super::{Backtrace, GreenletInfo, GreenletState, HubAnswer, HubInfo, RunInfo};

/// Greenlets deeper in a tree than that are drawn at this depth.
const DEEPEST: usize = 24;

impl fmt::Display for GreenletState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GreenletState::New => "new",
            GreenletState::Ready => "ready",
            GreenletState::Running => "running",
            GreenletState::Waiting => "waiting",
            GreenletState::Ending => "ending",
            GreenletState::Ended => "ended",
        })
    }
}

/// On one line, without the backtrace.
impl fmt::Display for GreenletInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.label(), self.state)?;
        if let Some(wait) = &self.waits_for {
            write!(f, " in {}", wait.operation)?;
            if wait.address != 0 {
                write!(f, " of {:#x}", wait.address)?;
            }
            write!(f, " for {:.3?}", wait.duration)?;
        }
        write!(f, ", age {:.3?}, {} switches", self.age, self.switches)?;
        if let Some(stack) = &self.stack {
            write!(f, ", stack {} of {} bytes", stack.used, stack.size)?;
            if let Some(resident) = stack.resident {
                write!(f, " ({resident} in memory)")?;
            }
        }
        write!(f, ", spawned at {}", self.site)
    }
}

/// The hub, then its greenlets as a tree.
impl fmt::Display for HubInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hub {}", self.hub.id())?;
        if !self.hub.name().is_empty() {
            write!(f, " ({})", self.hub.name())?;
        }
        writeln!(f, ", thread {}", self.thread)?;
        writeln!(f, "  {}", self.metrics)?;
        match &self.answer {
            HubAnswer::Given => {}
            HubAnswer::NotAsked => writeln!(f, "  not asked for its greenlets")?,
            HubAnswer::Blocked { greenlet, thread, backtrace } => {
                write!(f, "  does not answer: ")?;
                match greenlet {
                    Some(greenlet) => write!(f, "{greenlet}, spawned at {}, runs", greenlet.spawn_site())?,
                    None => f.write_str("its greenlets are not known")?,
                }
                writeln!(f, "; the thread is {thread}")?;
                write_frames(f, "    ", backtrace)?;
            }
        }
        let rows = self.tree();
        let lines = branches(&rows);
        for (&(_, greenlet), branch) in rows.iter().zip(lines) {
            let prefix = format!("  {branch}");
            writeln!(f, "{prefix}{greenlet}")?;
            let below = " ".repeat(prefix.chars().count() + 2);
            match &greenlet.backtrace {
                Some(Ok(backtrace)) => write_frames(f, &below, backtrace)?,
                Some(Err(reason)) => writeln!(f, "{below}no backtrace: {reason}")?,
                None => {}
            }
        }
        if self.left_out > 0 {
            writeln!(f, "  and {} more", self.left_out)?;
        }
        Ok(())
    }
}

/// The lines of the tree before each greenlet.
fn branches(rows: &[(usize, &GreenletInfo)]) -> Vec<String> {
    // From the end: whether another one of each depth follows before the tree comes back below that depth.
    let mut follows = [false; DEEPEST + 1];
    let mut lines = Vec::with_capacity(rows.len());
    for &(depth, _) in rows.iter().rev() {
        let depth = depth.min(DEEPEST);
        let mut line = String::new();
        for (level, follows) in follows.iter().enumerate().take(depth + 1).skip(1) {
            line.push_str(match (level == depth, follows) {
                (true, true) => "├─ ",
                (true, false) => "└─ ",
                (false, true) => "│  ",
                (false, false) => "   ",
            });
        }
        follows[depth] = true;
        follows[depth + 1..].fill(false);
        lines.push(line);
    }
    lines.reverse();
    lines
}

fn write_frames(f: &mut fmt::Formatter<'_>, indent: &str, backtrace: &Backtrace) -> fmt::Result {
    backtrace.frames().iter().try_for_each(|frame| writeln!(f, "{indent}{frame}"))
}

/// All hubs, one after the other.
impl fmt::Display for RunInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hubs.iter().try_for_each(|hub| fmt::Display::fmt(hub, f))
    }
}

impl RunInfo {
    /// Everything as JSON: an object with `hubs`, an array; each with its `greenlets` as a flat array in which `parent` is the
    /// `id` of who spawned it. Durations are in seconds, sizes in bytes.
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.object(|json| json.field("hubs", |json| json.array(&self.hubs, hub_to_json)));
        json.0
    }
}

fn hub_to_json(hub: &HubInfo, json: &mut Json) {
    json.object(|json| {
        json.field("id", |json| json.raw(hub.hub.id()));
        json.field("name", |json| json.text(hub.hub.name()));
        json.field("thread", |json| json.raw(hub.thread));
        json.field("metrics", |json| {
            json.object(|json| {
                hub.metrics.named().iter().for_each(|(name, value)| json.field(name, |json| json.raw(value)))
            });
        });
        json.field("answered", |json| json.raw(matches!(hub.answer, HubAnswer::Given)));
        if let HubAnswer::Blocked { greenlet, thread, backtrace } = &hub.answer {
            json.field("blocked", |json| {
                json.object(|json| {
                    if let Some(greenlet) = greenlet {
                        json.field("greenlet", |json| json.raw(greenlet.id()));
                    }
                    json.field("thread", |json| json.text(&thread.to_string()));
                    json.field("backtrace", |json| backtrace_to_json(backtrace, json));
                });
            });
        }
        json.field("greenlets", |json| json.array(&hub.greenlets, greenlet_to_json));
        json.field("left_out", |json| json.raw(hub.left_out));
    });
}

fn greenlet_to_json(greenlet: &GreenletInfo, json: &mut Json) {
    json.object(|json| {
        json.field("id", |json| json.raw(greenlet.id));
        if let Some(name) = &greenlet.name {
            json.field("name", |json| json.text(name));
        }
        json.field("spawned_at", |json| json.text(&greenlet.site.to_string()));
        if let Some(parent) = greenlet.parent {
            json.field("parent", |json| json.raw(parent));
        }
        json.field("state", |json| json.text(&greenlet.state.to_string()));
        if let Some(wait) = &greenlet.waits_for {
            json.field("waits_for", |json| {
                json.object(|json| {
                    json.field("operation", |json| json.text(wait.operation));
                    json.field("address", |json| json.raw(wait.address));
                    json.field("seconds", |json| json.raw(wait.duration.as_secs_f64()));
                });
            });
        }
        json.field("age_seconds", |json| json.raw(greenlet.age.as_secs_f64()));
        json.field("switches", |json| json.raw(greenlet.switches));
        if let Some(stack) = &greenlet.stack {
            json.field("stack", |json| {
                json.object(|json| {
                    json.field("size", |json| json.raw(stack.size));
                    json.field("used", |json| json.raw(stack.used));
                    if let Some(resident) = stack.resident {
                        json.field("resident", |json| json.raw(resident));
                    }
                });
            });
        }
        if let Some(Ok(backtrace)) = &greenlet.backtrace {
            json.field("backtrace", |json| backtrace_to_json(backtrace, json));
        }
    });
}

fn backtrace_to_json(backtrace: &Backtrace, json: &mut Json) {
    json.array(&backtrace.frames(), |frame, json| json.text(&frame.to_string()));
}

/// Writes JSON: the few forms that are needed here.
#[derive(Default)]
struct Json(String);

impl Json {
    /// A number or a truth value, whose `Display` is JSON already.
    fn raw(&mut self, value: impl fmt::Display) {
        // Writing to a string never fails.
        let _ = write!(self.0, "{value}");
    }

    fn text(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    // Control characters and these two are in the basic plane: four digits do.
                    let _ = write!(self.0, "\\u{:04x}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    /// The comma before all but the first in an object or array.
    fn separate(&mut self) {
        if !self.0.ends_with(['{', '[']) {
            self.0.push(',');
        }
    }

    fn object(&mut self, fields: impl FnOnce(&mut Json)) {
        self.0.push('{');
        fields(self);
        self.0.push('}');
    }

    fn field(&mut self, name: &str, value: impl FnOnce(&mut Json)) {
        self.separate();
        self.text(name);
        self.0.push(':');
        value(self);
    }

    fn array<T>(&mut self, items: &[T], mut item: impl FnMut(&T, &mut Json)) {
        self.0.push('[');
        for each in items {
            self.separate();
            item(each, self);
        }
        self.0.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut json = Json::default();
        json.text("a \"b\" \\ \n \u{1} \u{7f} ü {[");
        assert_eq!(json.0, r#""a \"b\" \\ \u000a \u0001 \u007f ü {[""#);
    }

    #[test]
    fn separators_are_where_they_belong() {
        let mut json = Json::default();
        json.object(|json| {
            json.field("none", |json| json.array(&[0; 0], |n, json| json.raw(n)));
            json.field("{", |json| json.array(&["[", "x"], |text, json| json.text(text)));
            json.field("o", |json| json.object(|_| ()));
        });
        assert_eq!(json.0, r#"{"none":[],"{":["[","x"],"o":{}}"#);
    }
}
