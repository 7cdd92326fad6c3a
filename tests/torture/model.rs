//! What concurrent calls about one subject may answer, on a page. Written from the contract; knows nothing of the service.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Call, Kind, Record, Report, Scope, Shown, What};

/// What a history can do wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Rule {
    /// An export shows what was not imported, what was rejected, or something twice.
    Phantom,
    /// An export shows what an erasure had erased, or what was observed before it.
    Undead,
    /// An export misses what was imported and never erased.
    Lost,
    /// An export shows one part of an erasure and misses another.
    Torn,
    /// The epoch goes back, or rises by less than there were erasures.
    Epoch,
    /// A record was taken that was sent with the epoch of before an erasure.
    Late,
    /// An export shows an upload without content that it has.
    Content,
    /// An export ended because of an erasure that was not there.
    Aborted,
    /// A record was rejected that no erasure was about.
    Rejected,
    /// What was erased and what is left is not what was imported.
    Counts,
    /// An erasure found again what it had erased.
    Remaining,
}

/// Whether an erasure takes a record that is held.
pub(crate) fn takes(scopes: &BTreeSet<Scope>, kind: Kind, personal: bool) -> bool {
    let any = |of: &[Scope]| of.iter().any(|scope| scopes.contains(scope));
    match kind {
        Kind::Conversation => any(&[Scope::Dialogues]) && personal,
        // Messages go with their conversation, as far as exports show.
        Kind::Message | Kind::Cache => any(&[Scope::Messages]) || any(&[Scope::Dialogues]) && personal,
        Kind::Feedback => any(&[Scope::Feedback]),
        Kind::Memory => any(&[Scope::Memory]) && personal,
        Kind::Upload => any(&[Scope::Vault]) && personal,
        Kind::Assistant => any(&[Scope::Assistants]) && personal,
        Kind::Session => any(&[Scope::Sessions]),
    }
}

struct Sent<'a> {
    record: &'a Record,
    invoked: i64,
    returned: i64,
    observed: Option<(i64, i64)>,
    /// `None`: nobody knows.
    held: Option<bool>,
    content_held: bool,
}

struct Erasure<'a> {
    invoked: i64,
    returned: i64,
    scopes: &'a BTreeSet<Scope>,
    report: &'a Report,
}

impl Erasure<'_> {
    fn has_effect(&self) -> bool {
        self.report.erased.values().any(|count| *count != 0)
    }

    fn takes(&self, record: &Record) -> bool {
        takes(self.scopes, record.kind, record.personal) && !self.report.failed.contains(&record.id)
    }
}

struct Export<'a> {
    invoked: i64,
    returned: i64,
    shown: &'a Shown,
    ids: BTreeSet<&'a str>,
}

/// All calls about one subject, of which the last is an export of what is left, and whom they violate.
pub(crate) fn violations(calls: &[Call]) -> Vec<(Rule, String)> {
    let mut found = Vec::new();
    let mut sent: BTreeMap<&str, Sent<'_>> = BTreeMap::new();
    let (mut erasures, mut exports, mut statuses) = (Vec::new(), Vec::new(), Vec::new());
    for Call { invoked, returned, what, .. } in calls {
        let (invoked, returned) = (*invoked, *returned);
        match what {
            What::Status { epoch } => statuses.push((invoked, returned, *epoch)),
            What::Import { records, observed, rejected } => sent.extend(records.iter().map(|record| {
                let held = rejected.as_ref().map(|rejected| !rejected.records.contains(&record.id));
                let whole = rejected.as_ref().is_some_and(|rejected| !rejected.contents.contains(&record.id));
                let content_held = record.has_content && held == Some(true) && whole;
                (record.id.as_str(), Sent { record, invoked, returned, observed: *observed, held, content_held })
            })),
            What::Export(Some(shown)) => {
                exports.push(Export { invoked, returned, shown, ids: shown.ids.iter().map(String::as_str).collect() });
            }
            What::Export(None) => {
                // One that has left files is at work until these are gone.
                let is_at_work = |call: &Call| match &call.what {
                    What::Erasure { report, .. } => {
                        call.returned > invoked || report.as_ref().is_some_and(|report| !report.failed.is_empty())
                    }
                    _ => false,
                };
                let erasing = |call: &Call| call.invoked < returned && is_at_work(call);
                if !calls.iter().any(erasing) {
                    found.push((Rule::Aborted, format!("the export invoked at {invoked}")));
                }
            }
            What::Erasure { scopes, report: Some(report) } => {
                erasures.push(Erasure { invoked, returned, scopes, report });
                if report.remaining != 0 {
                    found.push((Rule::Remaining, format!("{} rows, says the erasure invoked at {invoked}", report.remaining)));
                }
            }
            What::Erasure { report: None, .. } => {}
        }
    }
    for export in &exports {
        of_export(export, &sent, &erasures, &mut found);
    }
    of_epochs(&statuses, &erasures, &mut found);
    of_late(&sent, &erasures, &mut found);
    of_rejections(calls, &sent, &mut found);
    of_counts(exports.last(), &sent, &erasures, &mut found);
    found
}

fn of_export(export: &Export<'_>, sent: &BTreeMap<&str, Sent<'_>>, erasures: &[Erasure<'_>], found: &mut Vec<(Rule, String)>) {
    let mut complain = |rule, id: &str| found.push((rule, format!("{id} in the export invoked at {}", export.invoked)));
    let mut seen = BTreeSet::new();
    for id in &export.shown.ids {
        let known = sent.get(id.as_str()).filter(|sent| sent.held != Some(false) && sent.invoked < export.returned);
        let Some(known) = known.filter(|_| seen.insert(id)) else {
            complain(Rule::Phantom, id);
            continue;
        };
        // To be observed before an erasure is enough: such a record is erased, or comes too late to be taken.
        if erasures
            .iter()
            .any(|erasure| known.invoked < erasure.invoked && erasure.returned < export.invoked && erasure.takes(known.record))
        {
            complain(Rule::Undead, id);
        }
        if known.content_held && known.returned < export.invoked && export.shown.without_content.contains(id) {
            complain(Rule::Content, id);
        }
    }
    // Not one that was over before the record came.
    let may_take = |erasure: &Erasure<'_>, sent: &Sent<'_>| {
        erasure.invoked < export.returned && sent.invoked < erasure.returned && takes_at_all(erasure, sent.record)
    };
    for (nth, erasure) in erasures.iter().enumerate() {
        let before =
            |sent: &&Sent<'_>| sent.invoked < erasure.invoked && erasure.takes(sent.record) && export.ids.contains(sent.record.id.as_str());
        let Some(witness) = sent.values().find(before) else { continue };
        for (id, missing) in sent.iter().filter(|(id, _)| !export.ids.contains(*id)) {
            let acknowledged = missing.held == Some(true) && missing.returned < Ord::min(erasure.invoked, export.invoked);
            let other = |(other, of): (usize, &Erasure<'_>)| other != nth && may_take(of, missing);
            if acknowledged && erasure.takes(missing.record) && !erasures.iter().enumerate().any(other) {
                complain(Rule::Torn, &format!("{id} (while there is {})", witness.record.id));
            }
        }
    }
    for (id, missing) in sent.iter().filter(|(id, _)| !export.ids.contains(*id)) {
        let taken = erasures.iter().any(|erasure| may_take(erasure, missing));
        if missing.held == Some(true) && missing.returned < export.invoked && !taken {
            complain(Rule::Lost, id);
        }
    }
}

/// Also of what it failed for: that is to go, some time.
fn takes_at_all(erasure: &Erasure<'_>, record: &Record) -> bool {
    takes(erasure.scopes, record.kind, record.personal)
}

fn of_epochs(statuses: &[(i64, i64, i64)], erasures: &[Erasure<'_>], found: &mut Vec<(Rule, String)>) {
    for (_, earlier, before) in statuses {
        for (later, _, after) in statuses.iter().filter(|(invoked, ..)| earlier < invoked) {
            let between = erasures.iter().filter(|erasure| *earlier < erasure.invoked && erasure.returned < *later);
            let least = between.filter(|erasure| erasure.has_effect()).count() as i64;
            if after - before < least {
                found.push((Rule::Epoch, format!("from {before} to {after} at {later}, over {least} erasures")));
            }
        }
    }
}

fn of_rejections(calls: &[Call], sent: &BTreeMap<&str, Sent<'_>>, found: &mut Vec<(Rule, String)>) {
    let erased = |sent: &Sent<'_>, since: i64, is_about: &dyn Fn(&BTreeSet<Scope>) -> bool| {
        calls.iter().any(|call| {
            let overlaps = call.invoked < sent.returned && call.returned > since;
            overlaps && matches!(&call.what, What::Erasure { scopes, .. } if is_about(scopes))
        })
    };
    for (id, of) in sent.iter().filter(|(_, sent)| sent.held == Some(false)) {
        let parent = of.record.within.as_deref().and_then(|id| sent.get(id));
        // A conversation that is not held, or is forgotten, takes nothing in.
        let forgotten = |parent: &&Sent<'_>| erased(of, parent.invoked, &|scopes| scopes.contains(&Scope::Dialogues));
        let parent_is_gone = parent.is_some_and(|parent| parent.held != Some(true) || parent.record.personal && forgotten(&parent));
        let late = match of.observed {
            Some((asked, _)) => erased(of, asked, &|_| true),
            // By an erasure of its kind, whether that takes this one or not.
            None => erased(of, of.invoked, &|scopes| takes(scopes, of.record.kind, true)),
        };
        if !parent_is_gone && !late {
            found.push((Rule::Rejected, format!("{id}, sent at {}", of.invoked)));
        }
    }
}

fn of_late(sent: &BTreeMap<&str, Sent<'_>>, erasures: &[Erasure<'_>], found: &mut Vec<(Rule, String)>) {
    for (id, of) in sent.iter().filter(|(_, sent)| sent.held == Some(true)) {
        let Some((_, told)) = of.observed else { continue };
        if erasures.iter().any(|erasure| erasure.has_effect() && told < erasure.invoked && erasure.returned < of.invoked) {
            found.push((Rule::Late, format!("{id}, sent at {}", of.invoked)));
        }
    }
}

/// Every record that was taken is erased once, or left.
fn of_counts(last: Option<&Export<'_>>, sent: &BTreeMap<&str, Sent<'_>>, erasures: &[Erasure<'_>], found: &mut Vec<(Rule, String)>) {
    let Some(last) = last else { return };
    let kinds: BTreeSet<Kind> =
        sent.values().map(|sent| sent.record.kind).chain(erasures.iter().flat_map(|of| of.report.erased.keys().copied())).collect();
    let failed: BTreeSet<&str> = erasures.iter().flat_map(|erasure| &erasure.report.failed).map(String::as_str).collect();
    let mut sums = Vec::new();
    for kind in kinds {
        let one = |sent: &Sent<'_>| i64::from(sent.record.kind == kind);
        let erased: i64 = erasures.iter().filter_map(|erasure| erasure.report.erased.get(&kind)).sum();
        sums.push((format!("{kind:?}"), erased, sum_where(sent, &one, &failed, last)));
    }
    let bytes = |sent: &Sent<'_>| sent.record.bytes;
    sums.push(("bytes".to_owned(), erasures.iter().map(|erasure| erasure.report.bytes).sum(), sum_where(sent, &bytes, &failed, last)));
    for (what, erased, Sums { left, least, most }) in sums {
        if !(least..=most).contains(&(erased + left)) {
            found.push((Rule::Counts, format!("{what}: {erased} erased and {left} left of {least} to {most}")));
        }
    }
}

struct Sums {
    left: i64,
    least: i64,
    most: i64,
}

fn sum_where(sent: &BTreeMap<&str, Sent<'_>>, of: &dyn Fn(&Sent<'_>) -> i64, failed: &BTreeSet<&str>, last: &Export<'_>) -> Sums {
    let mut sums = Sums { left: 0, least: 0, most: 0 };
    for (id, sent) in sent {
        let number = of(sent);
        sums.left += if last.ids.contains(id) { number } else { 0 };
        sums.most += if sent.held == Some(false) { 0 } else { number };
        sums.least += if sent.held == Some(true) && !failed.contains(id) { number } else { 0 };
    }
    sums
}
