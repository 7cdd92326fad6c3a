// Calls all RPCs with @grpc/grpc-js, whose types are made from proto/ at run time.
"use strict";

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const protobuf = require("protobufjs");

const contract = grpc.loadPackageDefinition(
  loader.loadSync(["userdata/v1/user_data_service.proto", "userdata/v1/import_service.proto"], {
    includeDirs: [path.join(__dirname, "../../proto")],
    keepCase: true,
    longs: String,
    enums: String,
  }),
).userdata.v1;

const server = process.env.USERDATA_TEST_SERVER;
const userData = new contract.UserDataService(server, grpc.credentials.createInsecure());
const imports = new contract.ImportService(server, grpc.credentials.createInsecure());

const ARGS = '{"order":9007199254740993,"total":1.10}';
const CONTENT = Buffer.alloc(300_000, "0123456789");

function credentials(key = process.env.USERDATA_TEST_API_KEY) {
  const metadata = new grpc.Metadata();
  metadata.set("x-application-id", process.env.USERDATA_TEST_APPLICATION);
  metadata.set("x-api-key", key);
  return metadata;
}
const deadline = () => ({ deadline: Date.now() + 30_000 });

const unary = (method, request, metadata = credentials()) =>
  new Promise((resolve, reject) =>
    userData[method](request, metadata, deadline(), (error, response) => (error ? reject(error) : resolve(response))),
  );

const importAll = (requests, metadata = credentials()) =>
  new Promise((resolve, reject) => {
    const call = imports.ImportUserData(metadata, deadline(), (error, response) => (error ? reject(error) : resolve(response)));
    for (const request of requests) call.write(request);
    call.end();
  });

// The responses of an export.
async function frames(request) {
  const responses = [];
  for await (const response of userData.ExportUserData(request, credentials(), deadline())) responses.push(response);
  return responses;
}

// All records of a user by kind, with the summary.
async function exportAll(user, choices = {}, metadata = credentials()) {
  const whole = { summary: null };
  const request = { user_token: user, include_upload_content: true, ...choices };
  for await (const { resume_token, summary, ...records } of userData.ExportUserData(request, metadata, deadline())) {
    assert.equal(whole.summary, null, "a response follows the summary");
    whole.summary = summary ?? null;
    for (const [kind, batch] of Object.entries(records)) (whole[kind] ??= []).push(...batch);
  }
  assert.ok(whole.summary, "no summary: the export is incomplete");
  return whole;
}

const at = (seconds) => ({ seconds: String(1_760_000_000 + seconds), nanos: 123_000_000 });
const feedback = (id, message_id) => ({
  id, message_id, agent_id: "agent", vote: 1, tags: ["clear"], created_at: at(3), updated_at: at(3),
});

// One user's records; what refers to others comes in a second request.
const everything = (user) => [
  {
    user_token: user,
    conversations: [
      {
        id: "c1", agent_id: "agent", title: "", created_at: at(0), updated_at: at(9),
        message_count: 2, total_input_tokens: 10, total_output_tokens: 20, total_tokens: 30,
        messages: [
          {
            id: "m1", conversation_id: "c1", role: "ROLE_USER", created_at: at(1), updated_at: at(1),
            parts: [{ text: { text: "Où est ma commande ?" } }],
            turn_context: { values: { page: "orders", locale: "fr" } },
          },
          {
            id: "m2", conversation_id: "c1", role: "ROLE_ASSISTANT", created_at: at(2), updated_at: at(2), model: "model",
            parts: [
              { start: {} },
              { tool_call: { tool_call_id: "t1", tool_name: "find", args: ARGS } },
              {
                tool_result: {
                  tool_call_id: "t1", tool_name: "find", output: { type: "TOOL_OUTPUT_TYPE_TEXT", value: '"sent"' },
                },
              },
            ],
          },
        ],
        feedback: [feedback("f1", "m2")],
      },
    ],
    feedback: [feedback("f2", "gone")],
    memories: [
      {
        object_id: "y1", text: "Prefers French.", raw_extract: "in French please", memory_type: "MEMORY_TYPE_SEMANTIC",
        keywords: ["language"], app_id: "app", user_id: user, created_at: at(4), updated_at: at(4),
      },
    ],
    uploads: [
      {
        id: "u1", file_name: "bill.pdf", content_type: "application/pdf", size_bytes: String(CONTENT.length), status: "ready",
        created_at: at(5),
      },
    ],
    assistants: [{ id: "a1", name: "Helper", status: "active", created_at: at(6), updated_at: at(6) }],
    sessions: [{ id: "s1", ip_address: "192.0.2.1", user_agent: "Browser", device: "phone", created_at: at(7) }],
  },
  {
    user_token: user,
    upload_contents: [{ upload_id: "u1", data: CONTENT }],
    upload_embeddings: [{ upload_id: "u1", model: "model", vector: [0.5, -1] }],
    compaction_cache: [{ id: "k1", conversation_id: "c1", text: "An order.", created_at: at(8) }],
  },
];
const EVERYTHING = {
  conversations: 1, messages: 2, feedback: 2, memories: 1, uploads: 1, assistants: 1, sessions: 1, compaction_cache: 1,
};

// What travels in grpc-status-details-bin.
const details = protobuf.parse(
  `syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message BadRequest {
    message FieldViolation { string field = 1; string description = 2; }
    repeated FieldViolation field_violations = 1;
  }`,
  { keepCase: true },
).root;

// Why a call that must fail was refused.
async function refusal(call) {
  const error = await call.then(
    () => assert.fail("the call should have been refused"),
    (error) => error,
  );
  if (!(error.metadata instanceof grpc.Metadata)) throw error;
  const [packed] = error.metadata.get("grpc-status-details-bin");
  const status = details.lookupType("Status").decode(packed);
  assert.equal(status.code, error.code);
  const found = (name) => {
    const any = status.details.find(({ type_url }) => type_url === `type.googleapis.com/google.rpc.${name}`);
    return any && details.lookupType(name).decode(any.value);
  };
  const { domain, reason } = found("ErrorInfo");
  assert.equal(domain, "userdata");
  return { code: error.code, reason, fields: (found("BadRequest")?.field_violations ?? []).map(({ field }) => field) };
}

async function main() {
  const [alice, bob] = ["node-alice", "node-bob"];
  const taken = await importAll([...everything(alice), ...everything(bob)]);
  assert.deepEqual(taken, { imported: Object.fromEntries(Object.entries(EVERYTHING).map(([kind, count]) => [kind, 2 * count])) });

  const before = await exportAll(alice);
  const [sent] = everything(alice);
  for (const kind of ["conversations", "feedback", "memories", "uploads", "assistants", "sessions"]) {
    assert.deepEqual(before[kind], sent[kind], kind);
  }
  assert.equal(before.conversations[0].messages[1].parts[1].tool_call.args, ARGS);
  assert.deepEqual(before.compaction_cache, everything(alice)[1].compaction_cache);
  assert.deepEqual(Buffer.concat(before.upload_contents.map(({ data }) => data)), CONTENT);
  assert.deepEqual(before.summary.counts, EVERYTHING);
  assert.match(before.summary.sha256, /^[0-9a-f]{64}$/);
  const { sha256 } = (await exportAll(bob)).summary;

  const withContent = { user_token: alice, include_upload_content: true };
  const [first, ...rest] = await frames(withContent);
  assert.ok(rest.length > 0, "everything came in one response");
  assert.deepEqual(await frames({ ...withContent, resume_token: first.resume_token }), rest);

  assert.deepEqual(await unary("GetErasureStatus", { user_token: alice }), {});
  const preview = await unary("DeleteUserMessages", { user_token: alice, validate_only: true });
  assert.deepEqual([preview.messages_deleted, preview.remaining], [2, undefined]);
  const request = { user_token: alice, plan_digest: preview.plan_digest, request_id: randomUUID() };
  const { residue, ...deleted } = await unary("DeleteUserMessages", request);
  assert.deepEqual(await unary("DeleteUserMessages", request), { residue, ...deleted });
  assert.deepEqual(await unary("GetErasureStatus", { user_token: alice }), { epoch: "1" });
  // 0 is an epoch, and not that none was looked at.
  const late = { user_token: alice, sessions: sent.sessions, observed_epoch: "0" };
  assert.equal((await importAll([late])).rejected, 1);
  assert.deepEqual(deleted, { messages_deleted: 2, conversations_affected: 1, compaction_cache_purged: 1, remaining: {} });
  assert.equal(residue.memories, 1);
  const everyScope = {
    user_token: alice, dialogues: true, vault: true, memory: true, assistants: true, feedback: true, sessions: true,
  };
  assert.deepEqual(await unary("ScopedDelete", everyScope), {
    dialogues_forgotten: 1, uploads_deleted: 1, bytes_freed: String(CONTENT.length), memory_deleted: 1, assistants_deleted: 1,
    feedback_deleted: 2, sessions_deleted: 1, remaining: {},
  });
  assert.deepEqual(await unary("ScopedDelete", everyScope), { remaining: {} });

  const { summary, ...nothing } = await exportAll(alice);
  assert.deepEqual(nothing, {});
  assert.deepEqual(summary.counts ?? {}, {});
  assert.equal((await exportAll(bob)).summary.sha256, sha256);

  const bad = credentials(`${process.env.USERDATA_TEST_API_KEY.slice(0, -1)}~`);
  for (const call of [
    () => exportAll(bob, {}, bad),
    () => unary("DeleteUserMessages", { user_token: bob }, bad),
    () => unary("ScopedDelete", everyScope, bad),
    () => importAll([], bad),
  ]) {
    assert.deepEqual(await refusal(call()), {
      code: grpc.status.UNAUTHENTICATED, reason: "ERROR_REASON_CREDENTIAL_NOT_ACCEPTED", fields: [],
    });
  }

  const scopeless = await refusal(unary("ScopedDelete", { user_token: bob }));
  assert.equal(scopeless.code, grpc.status.INVALID_ARGUMENT);
  assert.ok(scopeless.fields.length > 0, "no field is named");
  for (const field of scopeless.fields) assert.ok(field in everyScope, field);
  assert.deepEqual(await refusal(exportAll("")), {
    code: grpc.status.INVALID_ARGUMENT, reason: "ERROR_REASON_INVALID_REQUEST", fields: ["user_token"],
  });
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
