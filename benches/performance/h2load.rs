//! `h2load`, a load generator that others made: it must find the same as our own client.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use prost::Message as _;
use userdata::grpc::proto::ExportUserDataRequest;

use super::{
    client::EXPORT_PATH,
    database::{APPLICATION, Database},
    process,
    rounds::Sample,
    server::Server,
};

/// Has so many callers, over so many connections, export a user for so long.
pub(crate) fn export_for(
    server: &Server,
    database: &Database,
    (key, user_token): (&str, &str),
    (connections, callers): (usize, usize),
    time: Duration,
    folder: &Path,
) -> anyhow::Result<Sample> {
    let request = ExportUserDataRequest { user_token: user_token.to_owned(), ..ExportUserDataRequest::default() }.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(request.len())?.to_be_bytes());
    frame.extend_from_slice(&request);
    let data = folder.join("h2load_request");
    fs::write(&data, frame)?;

    let mut command = Command::new("h2load");
    command.args(["--threads=1", "--warm-up-time=0", &format!("--clients={connections}")]);
    command.arg(format!("--max-concurrent-streams={}", callers / connections));
    command.args([&format!("--duration={}", time.as_secs()), &format!("--data={}", data.display())]);
    let headers = ["content-type: application/grpc", "te: trailers"].map(str::to_owned);
    for header in headers.into_iter().chain([format!("x-application-id: {APPLICATION}"), format!("x-api-key: {key}")]) {
        command.args(["--header", &header]);
    }
    let (program, backends) = (process::cpu_of(server.pid())?, database.cpu()?);
    let output = command.arg(format!("http://{}{EXPORT_PATH}", server.address)).stdin(Stdio::null()).output().context("h2load")?;
    let printed = String::from_utf8(output.stdout)?;
    ensure!(output.status.success() && printed.contains(" 0 failed, 0 errored"), "h2load failed: {printed}");
    // finished in 5.00s, 1234.50 req/s, 16.00MB/s
    let finished = printed.lines().find_map(|line| line.strip_prefix("finished in ")).context("h2load did not finish")?;
    let (wall, rate) = finished.split_once("s, ").context("h2load tells no time")?;
    let (rate, _) = rate.split_once(" req/s").context("h2load tells no rate")?;
    let (wall, rate): (f64, f64) = (wall.parse()?, rate.parse()?);
    Ok(Sample {
        wall,
        program_cpu: process::cpu_of(server.pid())? - program,
        database_cpu: database.cpu()? - backends,
        units: wall * rate,
        ..Sample::default()
    })
}
