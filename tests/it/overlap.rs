//! Calls for the same user that overlap, and requests whose numbers or amounts are extreme.

use userdata::grpc::proto::{
    Conversation, ExportUserDataRequest, ImportUserDataRequest, MessagePart, ScopedDeleteRequest, TextPart, message_part::Part,
};

use crate::{
    on_both_engines, records,
    world::{ACME, World},
};

on_both_engines!(
    an_import_beside_an_export_takes_nothing_from_it,
    sizes_beyond_all_bounds_are_summed_up_to_the_bound,
    seventy_thousand_unknown_conversations_are_rejected_one_by_one,
);

fn request(conversations: Vec<Conversation>) -> ImportUserDataRequest {
    ImportUserDataRequest { user_token: "anna".to_owned(), conversations, ..Default::default() }
}

/// A conversation with ten messages of about 12 KiB.
fn long_conversation(number: i32) -> Conversation {
    let id = format!("c-{number}");
    let mut conversation = records::conversation(&id, 0);
    conversation.created_at = records::at(1_000 * number);
    for index in 0..10 {
        let mut message = records::message(&format!("{id}-{index}"), &id, index);
        let text = TextPart { text: "word ".repeat(2_500) };
        message.parts = vec![MessagePart { part: Some(Part::Text(text)) }];
        conversation.messages.push(message);
    }
    conversation
}

async fn an_import_beside_an_export_takes_nothing_from_it(world: World) {
    let mut client = world.client().await;
    let even = (0..40).map(|number| 2 * number);
    let outcome = client.import(even.clone().map(|number| request(vec![long_conversation(number)])).collect()).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);

    let wanted = ExportUserDataRequest { user_token: "anna".to_owned(), ..Default::default() };
    let mut export = client.clone().users.export_user_data(wanted).await.unwrap().into_inner();
    let mut responses = vec![export.message().await.unwrap().unwrap()];
    // Between those that the export has read the heads of, and has not come to yet.
    let outcome = client.import(vec![request(vec![long_conversation(41), long_conversation(61)])]).await.unwrap();
    assert_eq!(outcome.rejected, 0);
    while let Some(response) = export.message().await.unwrap() {
        responses.push(response);
    }

    assert!(responses.len() > 10 && responses.last().unwrap().summary.is_some());
    let messages: Vec<&str> = responses
        .iter()
        .flat_map(|response| &response.conversations)
        .flat_map(|conversation| conversation.messages.iter().map(|message| message.id.as_str()))
        .collect();
    for number in even {
        for index in 0..10 {
            let id = format!("c-{number}-{index}");
            assert_eq!(messages.iter().filter(|found| **found == id).count(), 1, "{id}");
        }
    }
}

async fn sizes_beyond_all_bounds_are_summed_up_to_the_bound(world: World) {
    let mut client = world.client().await;
    let mut uploads = vec![records::upload("u-1", 1), records::upload("u-2", 2)];
    for upload in &mut uploads {
        upload.size_bytes = i64::MAX;
        upload.institution_id = None;
    }
    let sent = ImportUserDataRequest { user_token: "anna".to_owned(), uploads, ..Default::default() };
    assert_eq!(client.import(vec![sent]).await.unwrap().rejected, 0);
    let vault = ScopedDeleteRequest { user_token: "anna".to_owned(), vault: true, ..Default::default() };
    let report = client.users.scoped_delete(vault).await.unwrap().into_inner();
    assert_eq!((report.uploads_deleted, report.bytes_freed), (2, i64::MAX));
    assert!(world.subject_id(ACME, "anna").await > 0);
}

async fn seventy_thousand_unknown_conversations_are_rejected_one_by_one(world: World) {
    let mut client = world.client().await;
    let continuations = (0..70_000).map(|number| Conversation { id: number.to_string(), ..Default::default() }).collect();
    let outcome = client.import(vec![request(continuations)]).await.unwrap();
    assert_eq!((outcome.rejected, outcome.rejections.len()), (70_000, 1_000));
    assert!(world.all_rows().await["conversations"].is_empty());
}
