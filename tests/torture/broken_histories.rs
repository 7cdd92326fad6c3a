//! Histories made by hand, each with one thing wrong: the model finds it, and finds nothing in those where nothing is wrong.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::{Call, Kind, Record, Rejected, Report, Scope, Shown, What},
    model::{Rule, violations},
};

fn call(invoked: i64, returned: i64, what: What) -> Call {
    Call { client: 0, invoked, returned, what }
}

fn record(id: &str) -> Record {
    let kind = match id.as_bytes()[0] {
        b'c' => Kind::Conversation,
        b'm' => Kind::Message,
        b'k' => Kind::Cache,
        b'u' => Kind::Upload,
        b's' => Kind::Session,
        _ => Kind::Memory,
    };
    let within = matches!(kind, Kind::Message | Kind::Cache).then(|| format!("c{}", id[1..].trim_end_matches('x')));
    let is_upload = kind == Kind::Upload;
    Record { id: id.to_owned(), kind, personal: !id.ends_with('i'), within, bytes: if is_upload { 7 } else { 0 }, has_content: is_upload }
}

fn set(ids: &str) -> BTreeSet<String> {
    ids.split_whitespace().map(str::to_owned).collect()
}

fn import_but(invoked: i64, returned: i64, ids: &str, rejected: &str) -> Call {
    let records = ids.split_whitespace().map(record).collect();
    let rejected = Rejected { records: set(rejected), ..Default::default() };
    call(invoked, returned, What::Import { records, observed: None, rejected: Some(rejected) })
}

/// An import with an epoch that was asked for and told then.
fn import_observed(observed: (i64, i64), invoked: i64, returned: i64, ids: &str, rejected: &str) -> Call {
    let mut import = import_but(invoked, returned, ids, rejected);
    if let What::Import { observed: of, .. } = &mut import.what {
        *of = Some(observed);
    }
    import
}

fn status(invoked: i64, returned: i64, epoch: i64) -> Call {
    call(invoked, returned, What::Status { epoch })
}

fn import(invoked: i64, returned: i64, ids: &str) -> Call {
    import_but(invoked, returned, ids, "")
}

fn export(invoked: i64, returned: i64, ids: &str) -> Call {
    let ids = ids.split_whitespace().map(str::to_owned).collect();
    call(invoked, returned, What::Export(Some(Shown { ids, ..Default::default() })))
}

fn erasure(invoked: i64, returned: i64, scopes: &[Scope], erased: &[(Kind, i64)]) -> Call {
    let erased: BTreeMap<Kind, i64> = erased.iter().copied().collect();
    let bytes = erased.get(&Kind::Upload).copied().unwrap_or_default() * 7;
    let report = Report { erased, bytes, ..Default::default() };
    call(invoked, returned, What::Erasure { scopes: scopes.iter().copied().collect(), report: Some(report) })
}

const MEMORY: &[Scope] = &[Scope::Memory];
const BOTH: &[Scope] = &[Scope::Memory, Scope::Sessions];

/// The rules that are violated, each once.
fn rules(calls: &[Call]) -> Vec<Rule> {
    let rules: BTreeSet<Rule> = violations(calls).into_iter().map(|(rule, _)| rule).collect();
    rules.into_iter().collect()
}

#[test]
fn nothing_is_wrong_with_what_the_contract_allows() {
    let left = Report { failed: ["u".to_owned()].into(), ..Default::default() };
    let left = What::Erasure { scopes: [Scope::Vault].into(), report: Some(left) };
    let histories: [&[Call]; 11] = [
        &[import(1, 2, "a s"), export(3, 4, "a s")],
        // An import and an erasure at once: the record is erased, or comes later than it.
        &[import(1, 4, "a"), erasure(2, 3, MEMORY, &[(Kind::Memory, 1)]), export(5, 6, "")],
        &[import_but(1, 4, "a", "a"), erasure(2, 3, MEMORY, &[]), export(5, 6, "")],
        &[erasure(1, 4, MEMORY, &[]), import(2, 3, "a"), export(5, 6, "a")],
        // An export and an erasure at once: before it, or after it, or neither.
        &[import(1, 2, "a s"), erasure(3, 9, BOTH, &[(Kind::Memory, 1), (Kind::Session, 1)]), export(4, 5, "a s"), export(10, 11, "")],
        &[import(1, 2, "a s"), erasure(3, 9, BOTH, &[(Kind::Memory, 1), (Kind::Session, 1)]), export(4, 5, ""), export(10, 11, "")],
        &[import(1, 2, "a"), call(3, 6, What::Export(None)), erasure(4, 5, MEMORY, &[(Kind::Memory, 1)]), export(7, 8, "")],
        // So is one, for an export, that still removes what it has named.
        &[import(1, 2, "u"), call(3, 4, left), call(5, 6, What::Export(None)), export(7, 8, "")],
        // What is imported while an export runs may or may not be in it.
        &[import(1, 2, "a"), export(3, 6, "a"), import(4, 5, "b"), erasure(7, 8, MEMORY, &[(Kind::Memory, 2)]), export(9, 10, "")],
        // A conversation is forgotten; its message is hidden, and then deleted.
        &[
            import(1, 2, "c1 m1 c2i m2i"),
            erasure(3, 4, &[Scope::Dialogues], &[(Kind::Conversation, 1)]),
            import_but(5, 6, "m1x", "m1x"),
            export(7, 8, "c2i m2i"),
            erasure(9, 10, &[Scope::Messages], &[(Kind::Message, 2)]),
            export(11, 12, "c2i"),
        ],
        // Others were in the way: an import may have been taken, an erasure has not happened.
        &[
            call(1, 2, What::Import { records: vec![record("a")], observed: None, rejected: None }),
            call(3, 4, What::Erasure { scopes: BTreeSet::from([Scope::Memory]), report: None }),
            export(5, 6, "a"),
        ],
    ];
    for (nth, calls) in histories.iter().enumerate() {
        assert_eq!(violations(calls), [], "history {nth}");
    }
}

#[test]
fn an_export_of_what_was_never_taken_is_found() {
    assert_eq!(rules(&[import(1, 2, "a"), export(3, 4, "a b")]), [Rule::Phantom]);
    assert_eq!(rules(&[import(1, 2, "a"), export(3, 4, "a a")]), [Rule::Phantom]);
    assert_eq!(rules(&[export(1, 2, "a"), import(3, 4, "a"), export(5, 6, "a")]), [Rule::Phantom]);
    assert_eq!(rules(&[import_but(1, 4, "a", "a"), erasure(2, 3, MEMORY, &[]), export(5, 6, "a")]), [Rule::Phantom, Rule::Counts]);
}

#[test]
fn a_record_that_outlives_its_erasure_is_found() {
    assert_eq!(rules(&[import(1, 2, "a"), erasure(3, 4, MEMORY, &[]), export(5, 6, "a")]), [Rule::Undead]);
    // Observed before the erasure, it was to be rejected, though it arrived later.
    assert_eq!(rules(&[import(1, 5, "a"), erasure(2, 3, MEMORY, &[]), export(6, 7, "a")]), [Rule::Undead]);
    let erasure = erasure(3, 4, &[Scope::Messages], &[]);
    assert_eq!(rules(&[import(1, 2, "c1 m1"), erasure, export(5, 6, "c1 m1")]), [Rule::Undead]);
}

#[test]
fn a_record_that_goes_without_an_erasure_is_found() {
    assert_eq!(rules(&[import(1, 2, "a"), export(3, 4, ""), export(5, 6, "a")]), [Rule::Lost]);
    // An erasure of something else, and of an institution's.
    let sessions = erasure(3, 4, &[Scope::Sessions], &[]);
    assert_eq!(rules(&[import(1, 2, "a"), sessions, export(5, 6, ""), export(7, 8, "a")]), [Rule::Lost]);
    let early = erasure(1, 2, MEMORY, &[]);
    assert_eq!(rules(&[early, import(3, 4, "a"), export(5, 6, ""), export(7, 8, "a")]), [Rule::Lost]);
    let memories = erasure(3, 4, MEMORY, &[]);
    assert_eq!(rules(&[import(1, 2, "ai"), memories, export(5, 6, ""), export(7, 8, "ai")]), [Rule::Lost]);
}

#[test]
fn an_erasure_that_is_seen_in_parts_is_found() {
    let erased = [(Kind::Memory, 1), (Kind::Session, 1)];
    let calls = [import(1, 2, "a s"), erasure(3, 9, BOTH, &erased), export(4, 5, "a"), export(10, 11, "")];
    assert_eq!(rules(&calls), [Rule::Torn]);
    let erased = [(Kind::Message, 2)];
    let messages = erasure(5, 9, &[Scope::Messages], &erased);
    let calls = [import(1, 2, "c1 m1"), import(3, 4, "c2 m2"), messages, export(6, 7, "c1 m1 c2"), export(10, 11, "c1 c2")];
    assert_eq!(rules(&calls), [Rule::Torn]);
}

#[test]
fn an_epoch_that_does_not_tell_an_erasure_is_found() {
    assert_eq!(rules(&[status(1, 2, 5), status(3, 4, 4), export(5, 6, "")]), [Rule::Epoch]);
    let erasure = || erasure(5, 6, MEMORY, &[(Kind::Memory, 1)]);
    assert_eq!(rules(&[import(1, 2, "a"), status(3, 4, 0), erasure(), status(7, 8, 0), export(9, 10, "")]), [Rule::Epoch]);
    assert_eq!(rules(&[import(1, 2, "a"), status(3, 4, 0), erasure(), status(7, 8, 1), export(9, 10, "")]), []);
}

#[test]
fn a_record_that_is_sent_with_an_old_epoch_and_taken_is_found() {
    let erasure = || erasure(5, 6, MEMORY, &[(Kind::Memory, 1)]);
    let late = import_observed((3, 4), 7, 8, "s", "");
    assert_eq!(rules(&[import(1, 2, "a"), status(3, 4, 0), erasure(), late, export(9, 10, "s")]), [Rule::Late]);
    // Of any kind it is to be rejected then, and else of none.
    let late = import_observed((3, 4), 7, 8, "s", "s");
    assert_eq!(rules(&[import(1, 2, "a"), status(3, 4, 0), erasure(), late, export(9, 10, "")]), []);
    let in_time = import_observed((7, 8), 9, 10, "s", "s");
    assert_eq!(rules(&[import(1, 2, "a"), erasure(), status(7, 8, 1), in_time, export(11, 12, "")]), [Rule::Rejected]);
}

#[test]
fn content_that_is_missing_is_found() {
    let mut shown = Shown { ids: vec!["u".to_owned()], ..Default::default() };
    shown.without_content = set("u");
    let export = || call(3, 4, What::Export(Some(shown.clone())));
    assert_eq!(rules(&[import(1, 2, "u"), export()]), [Rule::Content]);
    let rejected = Some(Rejected { contents: set("u"), ..Default::default() });
    assert_eq!(rules(&[call(1, 2, What::Import { records: vec![record("u")], observed: None, rejected }), export()]), []);
}

#[test]
fn an_export_that_ends_for_no_erasure_is_found() {
    let early = erasure(1, 2, MEMORY, &[]);
    assert_eq!(rules(&[early, call(3, 4, What::Export(None)), erasure(5, 6, MEMORY, &[]), export(7, 8, "")]), [Rule::Aborted]);
}

#[test]
fn a_rejection_without_a_reason_is_found() {
    assert_eq!(rules(&[import_but(1, 2, "a", "a"), export(3, 4, "")]), [Rule::Rejected]);
    // An erasure that was over, and one of something else.
    assert_eq!(rules(&[erasure(1, 2, MEMORY, &[]), import_but(3, 4, "a", "a"), export(5, 6, "")]), [Rule::Rejected]);
    assert_eq!(rules(&[import_but(1, 4, "c1 m1", "m1"), erasure(2, 3, MEMORY, &[]), export(5, 6, "c1")]), [Rule::Rejected]);
}

#[test]
fn counts_that_do_not_add_up_are_found() {
    let twice = [(Kind::Memory, 2)];
    assert_eq!(rules(&[import(1, 2, "a"), erasure(3, 4, MEMORY, &twice), export(5, 6, "")]), [Rule::Counts]);
    assert_eq!(rules(&[import(1, 2, "a"), erasure(3, 4, MEMORY, &[]), export(5, 6, "")]), [Rule::Counts]);
    let mut bytes = erasure(3, 4, &[Scope::Vault], &[(Kind::Upload, 1)]);
    assert_eq!(rules(&[import(1, 2, "u"), bytes.clone(), export(5, 6, "")]), []);
    if let What::Erasure { report: Some(report), .. } = &mut bytes.what {
        report.bytes = 0;
    }
    assert_eq!(rules(&[import(1, 2, "u"), bytes, export(5, 6, "")]), [Rule::Counts]);
}

#[test]
fn an_erasure_that_finds_something_left_is_found() {
    let mut remains = erasure(3, 4, MEMORY, &[(Kind::Memory, 1)]);
    if let What::Erasure { report: Some(report), .. } = &mut remains.what {
        report.remaining = 1;
    }
    assert_eq!(rules(&[import(1, 2, "a"), remains, export(5, 6, "")]), [Rule::Remaining]);
}
