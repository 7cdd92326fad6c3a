//! The calls of a history, before anybody makes them: they follow from the seed.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    history::{Kind, Record, Scope},
    trial::Random,
};

/// A call that is to be made.
pub(crate) struct Planned {
    pub(crate) subject: usize,
    /// How long its client waits before it.
    pub(crate) pause: Duration,
    pub(crate) plan: Plan,
}

pub(crate) enum Plan {
    Import {
        records: Vec<Record>,
        /// Asks for the epoch first, waits so long, and sends it along.
        observed: Option<Duration>,
    },
    Export,
    Status,
    Erasure {
        scopes: BTreeSet<Scope>,
        /// Empty for none.
        request_id: String,
    },
}

pub(crate) const SCOPED: [Scope; 6] = [Scope::Dialogues, Scope::Vault, Scope::Memory, Scope::Assistants, Scope::Feedback, Scope::Sessions];

/// What one client is going to do.
pub(crate) struct Planner<'a> {
    random: &'a mut Random,
    client: usize,
    records: usize,
    /// Its conversations, by subject.
    conversations: Vec<(usize, Record)>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(random: &'a mut Random, client: usize) -> Self {
        Self { random, client, records: 0, conversations: Vec::new() }
    }

    pub(crate) fn call(&mut self, subjects: usize) -> Planned {
        let subject = self.random.below(subjects);
        let plan = match self.random.below(100) {
            0..45 => {
                let observed = self.random.percent(25).then(|| Duration::from_micros(self.random.below(6_000) as u64));
                Plan::Import { records: self.import(subject), observed }
            }
            45..70 => Plan::Export,
            _ => {
                let request_id = if self.random.percent(50) { self.random.request_id() } else { String::new() };
                Plan::Erasure { scopes: self.scopes(), request_id }
            }
        };
        let pause = if self.random.percent(30) { self.random.below(4_000) } else { 0 };
        Planned { subject, pause: Duration::from_micros(pause as u64), plan }
    }

    fn scopes(&mut self) -> BTreeSet<Scope> {
        match self.random.below(10) {
            0..3 => BTreeSet::from([Scope::Messages]),
            3..6 => BTreeSet::from(SCOPED),
            _ => {
                let first = *self.random.pick(&SCOPED);
                SCOPED.into_iter().filter(|scope| *scope == first || self.random.percent(25)).collect()
            }
        }
    }

    /// Records of a subject, none of which was sent before.
    pub(crate) fn import(&mut self, subject: usize) -> Vec<Record> {
        let mut records = Vec::new();
        if self.random.percent(45) {
            let conversation = self.record(subject, Kind::Conversation, None);
            self.conversations.push((subject, conversation.clone()));
            for (kind, most) in [(Kind::Message, 2), (Kind::Feedback, 1), (Kind::Cache, 1)] {
                for _ in 0..self.random.between(0, most) {
                    records.push(self.record(subject, kind, Some(&conversation)));
                }
            }
            records.push(conversation);
        } else {
            // A message that continues what may be forgotten by then.
            let own = self.conversations.iter().rev().find(|(of, _)| *of == subject).map(|(_, conversation)| conversation.clone());
            records.extend(own.map(|conversation| self.record(subject, Kind::Message, Some(&conversation))));
        }
        for (kind, chance) in [(Kind::Memory, 40), (Kind::Feedback, 20), (Kind::Upload, 30), (Kind::Assistant, 20), (Kind::Session, 40)] {
            if self.random.percent(chance) || kind == Kind::Session && records.is_empty() {
                records.push(self.record(subject, kind, None));
            }
        }
        records
    }

    fn record(&mut self, subject: usize, kind: Kind, within: Option<&Record>) -> Record {
        self.records += 1;
        let id = format!("{kind:?}-{subject}-{}-{}", self.client, self.records);
        let personal = within.map_or_else(|| self.random.percent(80), |conversation| conversation.personal);
        let bytes = if kind == Kind::Upload { self.random.between(1, 40) as i64 } else { 0 };
        let has_content = kind == Kind::Upload && self.random.percent(40);
        Record { id, kind, personal, within: within.map(|conversation| conversation.id.clone()), bytes, has_content }
    }
}
