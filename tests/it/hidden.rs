//! Exports of users of whom little is shown.

use userdata::{
    domain::{
        category::Categories,
        principal::{Permission, Permissions, Principal},
        resume_token::ExportChoices,
        subject::{ApplicationId, UserToken},
    },
    grpc::proto::{Conversation, ImportUserDataRequest},
    operations::{Stores, export_user_data::Export},
    vault::Vault,
};

use crate::{
    on_both_engines, records,
    world::{ACME, World},
};

on_both_engines!(an_export_reads_no_more_at_a_time_where_all_is_forgotten);

async fn an_export_reads_no_more_at_a_time_where_all_is_forgotten(world: World) {
    const FORGOTTEN: usize = 3_000;
    let forgotten = |number: usize| Conversation { forgotten_at: records::at(1), ..records::conversation(&format!("c{number:05}"), 0) };
    let mut conversations: Vec<_> = (0..FORGOTTEN).map(forgotten).collect();
    conversations.push(records::conversation("shown", 1));
    let request = ImportUserDataRequest { user_token: "anna".into(), conversations, ..Default::default() };
    assert_eq!(world.client().await.import(vec![request]).await.unwrap().rejected, 0);

    let stores = Stores::new(world.repository().clone(), Vault::open(&"memory://".parse().unwrap()).unwrap());
    let application = ApplicationId::parse(ACME).unwrap();
    let permissions = Permissions::default().with(Permission::Export);
    let principal = Principal::ApiKey { application, key_id: String::new(), permissions };
    let anna = principal.authorise(Permission::Export, UserToken::parse("anna").unwrap()).unwrap();
    let choices = ExportChoices { categories: Categories::all(), include_deleted: false, include_upload_content: false };
    let mut export = Export::begin(stores, anna, choices).await.unwrap();
    let mut items_of_blocks = Vec::new();
    loop {
        let block = export.next_block().await.unwrap();
        items_of_blocks.push(block.items.len());
        if block.is_last {
            break;
        }
    }
    assert_eq!(items_of_blocks.iter().sum::<usize>(), 1);
    assert!(items_of_blocks.len() > FORGOTTEN / 1_000, "all was read at once: {items_of_blocks:?}");
}
