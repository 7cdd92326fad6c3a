//! Real conversations: what goes in comes out, on both engines. Skipped, by name, where the data is not beside the checkout.

use std::{fs, path::PathBuf};

use serde_json::Value;
use userdata::grpc::{document::UserDocument, proto::ImportUserDataRequest};

use crate::{on_both_engines, world::World};

on_both_engines!(every_airline_user_comes_out_as_it_went_in);

/// The lines of the data, or `None` where there is none.
pub(crate) fn airline_lines() -> Option<Vec<String>> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/airline_users.jsonl");
    match fs::read_to_string(&file) {
        Ok(text) => Some(text.lines().map(str::to_owned).collect()),
        Err(_) => {
            eprintln!("skipped: airline data: {} is not there", file.display());
            None
        }
    }
}

async fn every_airline_user_comes_out_as_it_went_in(world: World) {
    let Some(lines) = airline_lines() else { return };
    let documents: Vec<UserDocument> = lines.iter().map(|line| UserDocument::parse(line.as_bytes()).unwrap()).collect();
    let requests: Vec<ImportUserDataRequest> = documents.into_iter().flat_map(UserDocument::into_requests).collect();
    let mut client = world.client().await;
    let mut rows = Vec::new();
    for _ in 0..2 {
        let outcome = client.import(requests.clone()).await.unwrap();
        assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
        let imported = outcome.imported.unwrap();
        assert_eq!((imported.conversations, imported.messages, imported.feedback, imported.memories), (200, 2_831, 200, 50));
        rows.push(world.all_rows().await);
    }
    assert!(rows[0] == rows[1], "the second import changed rows");
    assert_eq!((rows[1]["subjects"].len(), rows[1]["messages"].len()), (34, 2_831));

    for line in lines {
        let mut expected: Value = serde_json::from_str(&line).unwrap();
        // The file has conversations in no order; an export has them by creation time, then id.
        expected["conversations"].as_array_mut().unwrap().sort_by_key(|conversation| {
            (conversation["createdAt"].as_str().unwrap().to_owned(), conversation["id"].as_str().unwrap().to_owned())
        });
        let user_token = expected["userToken"].as_str().unwrap().to_owned();
        let mut document = UserDocument::new(user_token.clone());
        for response in client.export(&user_token).await {
            for item in userdata::grpc::document::items(response) {
                document.push(item).unwrap();
            }
        }
        let found: Value = serde_json::from_str(&serde_json::to_string(&document).unwrap()).unwrap();
        assert!(found == expected, "another document came out for one of the users");
    }
}
