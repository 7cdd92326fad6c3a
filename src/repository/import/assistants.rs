//! Importing assistants. The names of those that a subject has are unique; one request may give them to each other.

use std::collections::{HashMap, HashSet};

use sea_orm::{ColumnTrait, Condition, QueryFilter, sea_query::Expr};

use super::{Import, late::LATE, marks, other_mark};
use crate::{
    domain::{
        category::Category,
        import::{At, ImportBatch},
        record::Assistant,
        violation::{Complaint, FieldViolation},
    },
    repository::{
        Error, assistant,
        entity::assistant::{Column, Entity},
        subject::update_rows,
        upsert::{by_id, latest_by_id, upsert},
    },
};

const NAME_TAKEN: Complaint = Complaint::Rule("is the name of another assistant of the user; choose another, or delete that one");

/// No name begins so.
const NO_NAME: &str = "\u{1}";

impl Import<'_> {
    pub(super) async fn assistants(&mut self, batch: &ImportBatch) -> Result<(), Error> {
        let ids: Vec<_> = batch.assistants.iter().map(|at| at.record.key.id.as_str()).collect();
        let mut marks = marks(self.held_records::<Entity, _>(&ids, &[Column::Id, Column::DeletedAt]).await?);
        let mut good = Vec::with_capacity(ids.len());
        for at in &batch.assistants {
            let record = &at.record;
            let personal = record.institution_id.is_none() && record.deleted_at.is_none();
            let complaint = match other_mark(marks.get(&record.key.id).copied(), record.deleted_at) {
                Some(complaint) => Some(("id", complaint)),
                None if self.is_late_if(personal, record.key.created_at, self.erased.assistants_erased_at) => Some(("created_at", LATE)),
                None => None,
            };
            match complaint {
                Some((field, complaint)) => self.refuse_assistant(at, field, complaint),
                None => {
                    marks.insert(record.key.id.clone(), record.deleted_at.is_some());
                    good.push(at);
                }
            }
        }
        // Who has the names that are wanted.
        let wanted: Vec<_> = good.iter().filter_map(|at| name(&at.record)).collect();
        let live = Condition::all().add(Column::DeletedAt.is_null());
        let holders = self.held_by::<Entity, (String, String)>("name", live, &wanted, &[Column::Name, Column::Id]).await?;
        let holders: HashMap<String, String> = holders.into_iter().collect();
        let refused = refused_for_names(&good, &holders);
        let (refused, taken): (Vec<_>, Vec<_>) = good.into_iter().partition(|at| refused.contains(at.record.key.id.as_str()));
        for at in refused {
            self.refuse_assistant(at, "name", NAME_TAKEN);
        }
        let names = names(&taken);
        let gives_up = |(held, id): (String, String)| names.get(id.as_str()).is_some_and(|name| *name != Some(&held)).then_some(id);
        for id in holders.into_iter().filter_map(gives_up) {
            self.free_name(id).await?;
        }
        let rows = latest_by_id(taken.iter().map(|at| (at.record.key.id.as_str(), assistant::row(&self.held, &at.record))));
        self.report.counts.add(Category::Assistants, rows.len() as u32);
        upsert(self.transaction, rows, by_id::<Entity>(&[Column::DeletedAt])).await
    }

    fn refuse_assistant(&mut self, at: &At<Assistant>, field: &str, complaint: Complaint) {
        let field = format!("{}.assistants[{}].{field}", self.path, at.index);
        self.report.reject(FieldViolation::new(field, complaint), 1);
    }

    /// Has one who will have another name give up his first: a row is written before the next, and no two may have the same.
    async fn free_name(&self, id: String) -> Result<(), Error> {
        let free = update_rows::<Entity>(&self.held).col_expr(Column::Name, Expr::val(format!("{NO_NAME}{id}")));
        free.filter(Column::Id.eq(id)).exec(self.transaction).await?;
        Ok(())
    }
}

fn name(record: &Assistant) -> Option<&str> {
    record.deleted_at.is_none().then_some(record.name.as_str())
}

/// The names that records want, by id; of those with the same id the last counts.
fn names<'a>(records: &[&'a At<Assistant>]) -> HashMap<&'a str, Option<&'a str>> {
    records.iter().map(|at| (at.record.key.id.as_str(), name(&at.record))).collect()
}

/// The ids of records whose name is not free when the others are taken: one that stays has it, or an earlier record. Who is refused keeps the
/// name that is held, so whoever wanted that is refused too.
fn refused_for_names<'a>(records: &[&'a At<Assistant>], holders: &'a HashMap<String, String>) -> HashSet<&'a str> {
    let names = names(records);
    let held: HashMap<&str, &str> = holders.iter().map(|(name, id)| (id.as_str(), name.as_str())).collect();
    let mut refused: HashSet<&str> = HashSet::new();
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for at in records {
        let id = at.record.key.id.as_str();
        let Some(name) = names.get(id).copied().flatten().filter(|_| !refused.contains(id)) else { continue };
        let keeps_it = |holder: &str| names.get(holder).is_none_or(|wanted| *wanted == Some(name)) || refused.contains(holder);
        let is_held = holders.get(name).is_some_and(|holder| holder != id && keeps_it(holder));
        if !is_held && *owners.entry(name).or_insert(id) == id {
            continue;
        }
        let mut next = Some(id);
        while let Some(id) = next {
            refused.insert(id);
            next = held.get(id).and_then(|name| owners.remove(name)).filter(|owner| *owner != id);
        }
    }
    refused
}
