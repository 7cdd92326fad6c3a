//! Requests about one user, coming in.

use super::Complaints;
use crate::{
    domain::{
        category::{Categories, Category},
        erasure::{Erasure, Once, PlanDigest, RequestId, Terms},
        resume_token::ExportChoices,
        scope::{Chosen, Scopes},
        subject::{Subject, UserToken},
        violation::{Complaint, FieldViolation},
    },
    grpc::proto,
};

type Checked<T> = Result<T, Vec<FieldViolation>>;

/// Checks a user token that is all of a request, or all that is needed of it yet.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn user_token(text: String) -> Checked<UserToken> {
    UserToken::parse(text).map_err(|complaint| vec![FieldViolation::new("user_token", complaint)])
}

/// Checks what an export is asked for. The resume token is opened later: it is bound to the subject.
///
/// # Errors
/// All that is wrong with the request.
pub(crate) fn export(request: proto::ExportUserDataRequest) -> Checked<(UserToken, ExportChoices, String)> {
    let mut complaints = Complaints::default();
    let token = UserToken::parse(request.user_token);
    if let Err(complaint) = &token {
        complaints.add("user_token", complaint.clone());
    }
    let mut categories = Vec::new();
    for (index, value) in request.categories.iter().enumerate() {
        let known = Category::ALL.into_iter().find(|category| *category as i32 == *value);
        match known {
            Some(category) => categories.push(category),
            None => {
                let known = "CATEGORY_CONVERSATIONS, _MESSAGES, _FEEDBACK, _MEMORIES, _UPLOADS, _ASSISTANTS, _SESSIONS, _COMPACTION_CACHE";
                complaints.add(format!("categories[{index}]"), Complaint::UnknownValue { known });
            }
        }
    }
    let choices = ExportChoices {
        categories: Categories::choose(&categories),
        include_deleted: request.include_deleted,
        include_upload_content: request.include_upload_content,
    };
    match token {
        Ok(token) => complaints.or((token, choices, request.resume_token)),
        Err(_) => Err(complaints.0),
    }
}

/// What a caller demands of an erasure, beside what is to be erased.
#[derive(Default)]
pub(crate) struct Demands {
    request_id: Option<RequestId>,
    plan: Option<PlanDigest>,
    /// Nothing is to be erased.
    pub(crate) validate_only: bool,
}

impl Demands {
    /// Checks the demands; an empty text is none.
    fn check(complaints: &mut Complaints, request_id: &str, validate_only: bool, plan_digest: &str) -> Self {
        let mut demands = Self { validate_only, ..Self::default() };
        for (field, text) in [("request_id", request_id), ("plan_digest", plan_digest)] {
            if validate_only && !text.is_empty() {
                complaints.add(field, Complaint::Rule("means nothing together with `validate_only`; leave one of them out"));
            }
        }
        if !request_id.is_empty() {
            demands.request_id = RequestId::parse(request_id).map_err(|complaint| complaints.add("request_id", complaint)).ok();
        }
        if !plan_digest.is_empty() {
            demands.plan = PlanDigest::parse(plan_digest).map_err(|complaint| complaints.add("plan_digest", complaint)).ok();
        }
        demands
    }

    /// The terms of this erasure.
    pub(crate) fn terms(self, subject: &Subject, erasure: Erasure) -> Terms {
        let once = self.request_id.map(|id| Once::new(id, subject, erasure, self.plan.as_ref()));
        Terms { once, plan: self.plan }
    }
}

/// Checks what a deletion of messages is asked for.
///
/// # Errors
/// All that is wrong with the request.
pub(crate) fn delete_user_messages(request: proto::DeleteUserMessagesRequest) -> Checked<(UserToken, Demands)> {
    let mut complaints = Complaints::default();
    let token = UserToken::parse(request.user_token);
    if let Err(complaint) = &token {
        complaints.add("user_token", complaint.clone());
    }
    let demands = Demands::check(&mut complaints, &request.request_id, request.validate_only, &request.plan_digest);
    match token {
        Ok(token) => complaints.or((token, demands)),
        Err(_) => Err(complaints.0),
    }
}

/// Checks what a scoped delete is asked for.
///
/// # Errors
/// All that is wrong with the request.
pub(crate) fn scoped_delete(request: proto::ScopedDeleteRequest) -> Checked<(UserToken, Scopes, Demands)> {
    let mut complaints = Complaints::default();
    let token = UserToken::parse(request.user_token);
    if let Err(complaint) = &token {
        complaints.add("user_token", complaint.clone());
    }
    let scopes = Scopes::new(Chosen {
        dialogues: request.dialogues,
        vault: request.vault,
        memory: request.memory,
        assistants: request.assistants,
        feedback: request.feedback,
        sessions: request.sessions,
    });
    if scopes.is_none() {
        let none =
            Complaint::Rule("is not set, and no other scope is; set at least one of vault, memory, assistants, feedback, sessions or this");
        complaints.add("dialogues", none);
    }
    let demands = Demands::check(&mut complaints, &request.request_id, request.validate_only, &request.plan_digest);
    match (token, scopes) {
        (Ok(token), Some(scopes)) => complaints.or((token, scopes, demands)),
        _ => Err(complaints.0),
    }
}
