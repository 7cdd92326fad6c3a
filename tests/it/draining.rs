//! Calls that a shutdown cuts: what they are told, and that they go on elsewhere.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use userdata::grpc::proto::{ExportUserDataRequest, ImportUserDataRequest};

use crate::{
    deadline::import_anna,
    exported::Exported,
    on_both_engines, records,
    resume::slow_client,
    rpc::assert_reason,
    world::{World, eventually},
};

on_both_engines!(calls_that_a_shutdown_cuts_are_told_so_and_go_on_elsewhere);

fn assert_draining(status: &Status) {
    assert_reason(status, Code::Unavailable, "ERROR_REASON_DRAINING");
    assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
}

async fn calls_that_a_shutdown_cuts_are_told_so_and_go_on_elsewhere(mut world: World) {
    // More than an export reads ahead.
    import_anna(&world, 400_000).await;
    let export = ExportUserDataRequest { user_token: "anna".into(), ..Default::default() };
    let whole = Exported::fetch(&mut world.client().await, export.clone()).await;

    let mut stream = slow_client(&world).await.export_user_data(export.clone()).await.unwrap().into_inner();
    let mut came = vec![stream.message().await.unwrap().unwrap()];
    let (requests, sent) = mpsc::channel(1);
    let mut writer = world.client().await;
    let import = tokio::spawn(async move { writer.imports.import_user_data(ReceiverStream::new(sent)).await });
    let memories = vec![records::memory(Some("o"), 0)];
    requests.send(ImportUserDataRequest { user_token: "boris".into(), memories, ..Default::default() }).await.unwrap();
    eventually("the first request is taken", async || world.query("SELECT object_id FROM memories").await.len() == 1).await;

    let cut = async {
        assert_draining(&import.await.unwrap().unwrap_err());
        let status = loop {
            match stream.message().await {
                Ok(response) => came.push(response.expect("the export ended as if it were whole")),
                Err(status) => break status,
            }
        };
        assert_draining(&status);
        assert!(came.iter().all(|response| response.summary.is_none()));
    };
    tokio::join!(world.stop_server(), cut);
    drop(requests);

    world.restart().await;
    let mut client = world.client().await;
    let resume_token = came.last().unwrap().resume_token.clone();
    came.extend(client.export_responses(ExportUserDataRequest { resume_token, ..export }).await.unwrap());
    assert!(Exported(came).items() == whole.items(), "another export came in two parts");
    let boris = client.export("boris").await;
    assert_eq!(boris.iter().map(|response| response.memories.len()).sum::<usize>(), 1, "what was processed did not stay");
}
